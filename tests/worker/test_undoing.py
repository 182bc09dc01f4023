"""Undos that workers carry out: those that fail, those that no worker knows, and those settled by word. [UNDO-1]"""

from __future__ import annotations

from typing import Any

import pytest

import sagalog
from sagalog import Compensation, Permanent
from sagalog.testing import ManualClock
from sagalog.worker import UndoContext
from tests.worker.inline_runs import ONCE, raises, run, worker_of


def test_an_undo_that_always_fails_ends_in_quarantine(engine: sagalog.Engine, clock: ManualClock) -> None:
    """[UNDO-3] [COMP-6] The task shows what it owes."""
    keys: list[str] = []

    def undo(context: UndoContext, _params: Any) -> None:
        keys.append(context.idempotency_key)
        raise OSError("still there")

    undos = [Compensation("undo", {"path": "wt"}, id="u")]
    task = engine.create("do", compensations=undos, retry=ONCE)
    worker = worker_of(engine, clock, raises(Permanent("no")), undo)
    for _ in range(3):
        worker.until_idle()
        clock.advance(10)

    after = engine.get(task.id)
    assert after is not None
    assert (after.state, after.code) == ("quarantined", "undo_attempts_spent")
    assert [(one.kind, one.params) for one in after.owed] == [("undo", {"path": "wt"})]
    assert "'u' of kind 'undo' failed 2 times" in str(after.reason)
    assert keys == [f"{task.id}/u"] * 2


def test_a_task_that_owes_an_unknown_kind_runs_none_of_its_undos(engine: sagalog.Engine, clock: ManualClock) -> None:
    """[UNDO-1] [UNDO-2] It is quarantined."""
    ran: list[str] = []
    undos = [Compensation("unheard-of"), Compensation("undo")]
    task = engine.create("do", compensations=undos)
    left = engine.create("do", compensations=undos, queue="other")
    engine.acquire(left.id, owner="x", ttl_ms=10).fail("no")
    worker = worker_of(engine, clock, raises(Permanent("no")), lambda _context, _params: ran.append("undo"))
    worker.until_idle()
    clock.advance(1_000)
    worker.until_idle()

    after = engine.get(task.id)
    assert after is not None
    assert (after.state, after.code, ran) == ("quarantined", "unknown_compensation", [])
    assert engine.get(left.id).state == "compensating"  # type: ignore[union-attr]


def test_a_worker_leaves_unknown_kinds_to_others_and_names_each_once(
    engine: sagalog.Engine, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """[UNDO-1] [UNDO-2]"""
    tasks = [engine.create("do", compensations=[Compensation("unheard-of", number)]) for number in range(2)]
    worker = worker_of(engine, clock, raises(Permanent("no")), lambda *_: None, quarantine_unknown=False)
    with caplog.at_level("WARNING", "sagalog.worker"):
        worker.until_idle()
        clock.advance(1_000)
        worker.until_idle()
    assert [engine.get(task.id).state for task in tasks] == ["compensating"] * 2  # type: ignore[union-attr]
    warned = [one.getMessage() for one in caplog.records if "'unheard-of'" in one.getMessage()]
    assert len(warned) == 1
    assert "'default'" in warned[0]


def test_a_worker_names_the_unknown_undos_that_others_have_left(
    engine: sagalog.Engine, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """[UNDO-2]"""
    for queue, kind in (("default", "unheard-of"), ("elsewhere", "of-others")):
        id = engine.create("do", compensations=[Compensation(kind)], queue=queue).id
        engine.acquire(id, owner="x", ttl_ms=10).fail("no")
    worker = worker_of(engine, clock, raises(Permanent("no")), lambda *_: None, quarantine_unknown=False)
    with caplog.at_level("WARNING", "sagalog.worker"):
        for _ in range(3):
            worker.until_idle()
            clock.advance(60_000)
    warned = [one.getMessage() for one in caplog.records if "undo of kind" in one.getMessage()]
    assert len(warned) == 1
    assert "'unheard-of'" in warned[0]


def test_an_undo_that_no_worker_knows_is_quarantined_after_a_week(engine: sagalog.Engine, clock: ManualClock) -> None:
    """[UNDO-2]"""
    week_ms = 7 * 24 * 3_600_000
    worker = sagalog.Worker()
    worker.task("do")(raises(Permanent("no")))
    worker.compensation("undo")(lambda *_: None)
    task = engine.create("do", compensations=[Compensation("unheard-of")])
    for wait_ms, state, code in (
        (0, "compensating", "failed"),
        (week_ms - 1, "compensating", "failed"),
        (1, "quarantined", "undo_wait"),
    ):
        clock.advance(wait_ms)
        worker.run(engine, until="idle", handle_signals=False)
        after = engine.get(task.id)
        assert after is not None
        assert (after.state, after.code) == (state, code), wait_ms


def test_an_undo_settled_by_word_that_fails_leaves_the_rest_to_the_next(
    engine: sagalog.Engine, clock: ManualClock
) -> None:
    """[COMP-4] The next holder does them."""
    undone: list[str] = []

    def undo(context: UndoContext, _params: Any) -> None:
        if context.compensation == "b":
            engine.waive(context.task.id, "b", "gone already")
            raise OSError("as they said")
        undone.append(context.compensation)

    undos = [Compensation("undo", id="a"), Compensation("undo", 2, id="b")]
    task = run(engine, clock, raises(Permanent("no")), undo, compensations=undos)
    assert (task.state, undone) == ("compensated", ["a"])

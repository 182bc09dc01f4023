"""Later attempts: a handler runs again, and what is on record is not done again. [STEP-1] [STEP-2]"""

from __future__ import annotations

from typing import Any

import pytest

import sagalog
from sagalog import Compensation, Failed, Retry
from sagalog.testing import ManualClock
from sagalog.worker import WorkContext
from tests.worker.inline_runs import WAIVED, run, worker_of
from tests.worker.worker_processes import story


def test_a_step_that_is_on_record_gives_its_result_and_is_not_run_again(
    engine: sagalog.Engine, clock: ManualClock
) -> None:
    """[STEP-1] [COMP-1]"""
    ran: list[str] = []

    def noted(name: str, result: Any) -> Any:
        ran.append(name)
        return result

    def handler(context: WorkContext, _payload: Any) -> Any:
        undo = Compensation("undo", {"n": 1})
        first = context.step("first", lambda: noted("first", {"n": 1}), compensation=undo)
        if context.attempt == 1:
            raise Failed("after the first")
        return [first, context.step("second", lambda: noted("second", 2))]

    task = engine.create("do", retry=Retry(delay_min_ms=0, delay_max_ms=0))
    worker_of(engine, clock, handler, lambda _context, _params: None).until_idle()

    assert ran == ["first", "second"]
    assert engine.get(task.id).result == [{"n": 1}, 2]  # type: ignore[union-attr]
    assert story(engine, task.id).count("compensation_registered") == 1


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (lambda context: context.step("a", lambda: 1), lambda context: context.step("b", lambda: 1)),
        (
            lambda context: (context.step("a", lambda: 1), context.step("b", lambda: 1)),
            lambda context: context.step("b", lambda: 1),
        ),
        (lambda _context: None, lambda context: (context.step("a", lambda: 1), context.step("a", lambda: 2))),
        (
            lambda context: (context.spawn("kid", "do", 1), context.step("a", lambda: 1)),
            lambda context: context.spawn("kid", "do", 2),
        ),
        (
            lambda context: context.step("a", lambda: 1, compensation=Compensation("undo", 1, id="u")) and 1 / 0,
            lambda context: (
                context.step("a", lambda: 1),
                context.step("b", lambda: 1, compensation=Compensation("undo", 2, id="u")),
            ),
        ),
    ],
    ids=["another step", "another order", "a name twice", "another child", "another undo of that id"],
)
def test_strict_code_that_disagrees_with_the_history_does_nothing(
    first: Any, second: Any, engine: sagalog.Engine, clock: ManualClock
) -> None:
    """[STEP-1] [STEP-2] [REPEAT-3] [WORKER-4]"""

    def handler(context: WorkContext, _payload: Any) -> None:
        if context.task.parent is not None:
            return
        (first if context.task.leases == 1 else second)(context)
        if context.task.leases == 1:
            raise Failed("once more")

    task = engine.create("do", retry=Retry(delay_min_ms=0, delay_max_ms=0))
    worker_of(engine, clock, handler, lambda _context, _params: None, strict=frozenset({"do"})).until_idle()

    after = engine.get(task.id)
    assert after is not None
    assert (after.state, after.code) == ("quarantined", "step_mismatch")


def test_children_are_created_once_with_what_follows_and_waited_for(engine: sagalog.Engine, clock: ManualClock) -> None:
    """[STEP-2] [WAIT-3]"""

    def handler(context: WorkContext, payload: Any) -> Any:
        if context.task.parent is not None:
            return payload * 2
        before = len(engine.find())
        for number in range(3):
            context.spawn(f"kid{number}", "do", number, waive_compensation=WAIVED)
        assert context.task.leases > 1 or len(engine.find()) == before
        return [task.result for task in context.wait_tasks()]

    task = run(engine, clock, handler)

    assert (task.state, task.result) == ("completed", [0, 2, 4])
    assert [other.parent for other in engine.find()] == [None, task.id, task.id, task.id]
    positions = {one.type: one.position for one in engine.history(task.id)}
    assert [one.position for one in engine.events() if one.type == "created"][1:] == [
        positions["parked"] - 3,
        positions["parked"] - 2,
        positions["parked"] - 1,
    ]


def test_a_signal_that_came_before_its_wait_is_there_when_the_wait_begins(
    engine: sagalog.Engine, clock: ManualClock
) -> None:
    """[WAIT-2]"""
    task = engine.create("do")
    engine.signal(task.id, "go", {"by": "ann"})
    worker_of(engine, clock, lambda context, _payload: context.wait_signal("go")).until_idle()

    assert engine.get(task.id).result == {"by": "ann"}  # type: ignore[union-attr]
    assert story(engine, task.id) == ["created", "signalled", "leased", "parked", "unblocked", "leased", "completed"]


def test_a_step_on_record_that_strict_code_does_not_ask_is_a_mismatch(
    engine: sagalog.Engine, clock: ManualClock
) -> None:
    """[WORKER-4] [STEP-2] A parent that is interrupted begins no child."""

    def handler(context: WorkContext, _payload: Any) -> None:
        if context.task.leases == 1:
            context.step("a", lambda: 1)
            raise Failed("again")

    task = engine.create("do", retry=Retry(delay_min_ms=0, delay_max_ms=0))
    worker_of(engine, clock, handler, strict=frozenset({"do"})).until_idle()
    assert engine.get(task.id).code == "step_mismatch"  # type: ignore[union-attr]

    def parent(context: WorkContext, _payload: Any) -> None:
        context.spawn("kid", "do")
        engine.cancel(context.task.id)
        worker.worker_loop._look_for_cancels()
        context.go_on()

    called_off = engine.create("do")
    worker = worker_of(engine, clock, parent)
    worker.until_idle()
    assert engine.get(called_off.id).state == "cancelled"  # type: ignore[union-attr]
    assert len(engine.find()) == 2

"""What happens between two lines of a worker's commit: time passes, answers are lost, handlers go on.

Rule: a manual clock, real threads where they matter, faults in a row; nothing waits for a time.
"""

from __future__ import annotations

import threading
from typing import Any

import pytest

import sagalog
from sagalog import Compensation, Permanent, Unavailable
from sagalog.engine import holder_verbs
from sagalog.testing import ManualClock
from sagalog.testing.faults import away, faults, slow_commits
from sagalog.worker import WorkContext
from tests.worker.commit_plans import AFTER, BEFORE, UNDO, plan_of
from tests.worker.inline import InlineWorker
from tests.worker.threaded import ThreadedWorker
from tests.worker.worker_processes import PATIENCE_S, story

# --- time passes in a commit ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("before_ms", "after_ms"), [(50, 0), (0, 50), (25, 25)])
def test_a_lease_is_measured_from_the_sending_of_its_claim(
    engine: sagalog.Engine, clock: ManualClock, before_ms: int, after_ms: int
) -> None:
    """[WORKER-2] The answer of a commit comes later than its request, and the store's clock may have run meanwhile."""
    lost: list[tuple[int, bool]] = []

    def handler(context: WorkContext, _payload: Any) -> None:
        for ms in (29, 1):
            clock.advance(ms)
            worker.worker_loop.watch()
            lost.append((clock.monotonic_ms() - sent_ms, context.lost))

    engine.create("do")
    worker = InlineWorker(engine, plan_of(handler), "w", clock)
    worker.worker_loop.look()
    sent_ms = clock.monotonic_ms()
    with slow_commits(clock, before_ms, after_ms):
        worker.worker_loop.run_round()
    worker.run_job()
    # Told at 80 of 100 ms since the sending, not since the answer.
    assert lost == [(79, False), (80, True)]


@pytest.mark.parametrize(("before_ms", "after_ms"), [(30, 0), (0, 30)])
def test_a_renewal_is_measured_from_its_sending(
    engine: sagalog.Engine, clock: ManualClock, before_ms: int, after_ms: int
) -> None:
    """[WORKER-2]"""
    lost: list[tuple[int, bool]] = []

    def handler(context: WorkContext, _payload: Any) -> None:
        clock.advance(40)
        sent_ms = clock.monotonic_ms()
        with slow_commits(clock, before_ms, after_ms):
            worker.worker_loop.run_round()
        assert worker.worker_loop.stats.renewed == 1
        for ms in (49, 1):
            clock.advance(ms)
            worker.worker_loop.watch()
            lost.append((clock.monotonic_ms() - sent_ms, context.lost))

    engine.create("do")
    worker = InlineWorker(engine, plan_of(handler), "w", clock)
    worker.turn()
    worker.run_job()
    assert lost == [(79, False), (80, True)]


def test_the_watchdog_tells_a_handler_while_its_renewal_is_under_way(
    engine: sagalog.Engine, clock: ManualClock
) -> None:
    """[WORKER-2] The commit of that renewal is running.

    In real threads: the worker's own is in the commit, and its watchdog is not.
    """
    begun = threading.Event()
    lost: list[bool] = []

    def handler(context: WorkContext, _payload: Any) -> None:
        begun.set()
        lost.append(context.wait_stop(int(PATIENCE_S * 1_000)) and context.lost)

    engine.create("do")
    with ThreadedWorker(engine, plan_of(handler), "w", clock) as worker:
        worker.turn()
        assert begun.wait(PATIENCE_S)
        clock.advance(40)

        def hang() -> None:
            clock.advance(45)
            worker.worker_loop.watch()
            worker.take()

        with faults(BEFORE, hang):
            worker.worker_loop.run_round()
        assert lost == [True]


def test_progress_that_is_told_during_a_renewal_is_written_with_the_next(
    engine: sagalog.Engine, clock: ManualClock
) -> None:
    """[LEASE-3]"""
    seen: list[Any] = []

    def handler(context: WorkContext, _payload: Any) -> None:
        context.progress({"done": 1})
        for fault in (lambda: context.progress({"done": 2}), None):
            clock.advance(40)
            with faults(AFTER, fault):
                worker.worker_loop.run_round()
            seen.append(engine.get(context.task.id).progress)  # type: ignore[union-attr]
        # What is written is written once.
        clock.advance(40)
        worker.worker_loop.run_round()
        newest = engine.history(context.task.id)[-1].event
        seen.append(newest.progress)  # type: ignore[attr-defined]

    engine.create("do")
    worker = InlineWorker(engine, plan_of(handler), "w", clock)
    worker.until_idle()
    assert seen == [{"done": 1}, {"done": 2}, None]


def test_progress_of_a_renewal_that_failed_is_written_with_the_next(engine: sagalog.Engine, clock: ManualClock) -> None:
    """[LEASE-3]"""

    def handler(context: WorkContext, _payload: Any) -> None:
        context.progress("half")
        clock.advance(40)
        with faults(BEFORE, away), pytest.raises(Unavailable):
            worker.worker_loop.run_round()
        worker.worker_loop.run_round()
        assert engine.get(context.task.id).progress == "half"  # type: ignore[union-attr]

    engine.create("do")
    worker = InlineWorker(engine, plan_of(handler), "w", clock)
    worker.until_idle()
    assert worker.worker_loop.stats.settled == 1


# --- a commit that is refused -----------------------------------------------------------------------------------------


def test_children_of_a_refused_step_are_left_to_what_is_written_next(
    engine: sagalog.Engine, clock: ManualClock
) -> None:
    """[STEP-2] The children are begun with what they were to be recorded with, and none is lost or made twice."""
    found: list[int] = []

    def handler(context: WorkContext, payload: Any) -> Any:
        if context.task.parent is not None:
            return payload
        context.spawn("kid", "do", 1)
        context.spawn("other", "do", 2)
        engine.waive(context.task.id, "u", "not needed")
        with pytest.raises(sagalog.StepMismatch):
            # Its undo was settled before this lease, so the registration is refused, and all that came with it.
            context._record("an undo", holder_verbs.register, Compensation("undo", {"n": 2}, id="u"))
        found.append(len(engine.find()))
        context.step("next", lambda: "written")
        found.append(len(engine.find()))
        return "done"

    task = engine.create("do", compensations=[UNDO])
    worker = InlineWorker(engine, plan_of(handler), "w", clock)
    worker.until_idle()
    assert found == [1, 3]
    assert [one.state for one in engine.find()] == ["completed"] * 3
    assert story(engine, task.id) == ["created", "leased", "compensation_waived", "step_completed", "completed"]


@pytest.mark.parametrize("how", ["fails", "interrupted"])
def test_children_of_a_refused_step_need_a_handler_that_tells_its_end(
    engine: sagalog.Engine, clock: ManualClock, how: str
) -> None:
    """[STEP-2] No other outcome begins them."""

    def handler(context: WorkContext, payload: Any) -> Any:
        if context.task.parent is not None:
            return payload
        context.spawn("kid", "do", 1)
        context.step("a", lambda: 1)
        context.spawn("other", "do", 2)
        with pytest.raises(sagalog.StepMismatch):
            context._record("a step", holder_verbs.step, "a", "another result")
        if how == "fails":
            raise Permanent("no way on", waive_compensation="nothing was done")
        engine.cancel(context.task.id)
        worker.worker_loop._look_for_cancels()
        context.go_on()
        return None

    engine.create("do")
    worker = InlineWorker(engine, plan_of(handler), "w", clock)
    worker.until_idle()
    assert len(engine.find()) == (3 if how == "fails" else 2)

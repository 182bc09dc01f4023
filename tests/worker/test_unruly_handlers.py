"""Handlers that do not behave: they hang, fork, outlive their end, or interrupt themselves."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest

import sagalog
from sagalog.testing import ManualClock
from sagalog.worker import WorkContext
from tests.worker.inline_runs import ONCE, WAIVED, raises, run, worker_of
from tests.worker.worker_processes import at_work, ended, story


def test_a_handler_that_takes_too_long_has_failed(real: sagalog.Engine) -> None:
    """[ATTEMPT-3] Its place is given to others."""
    worker = sagalog.Worker(concurrency=1, ttl_ms=1_000, grace_ms=0)
    release = threading.Event()

    @worker.task("hang", time_limit_ms=30)
    def hang(_context: WorkContext, _payload: Any) -> None:
        release.wait(20)

    @worker.task("obey", time_limit_ms=30)
    def obey(context: WorkContext, _payload: Any) -> None:
        context.wait_stop(20_000)
        context.go_on()

    @worker.task("quick")
    def quick(_context: WorkContext, payload: Any) -> Any:
        return payload

    hung, told, other = (
        real.create(kind, retry=ONCE, waive_compensation=WAIVED).id for kind in ("hang", "obey", "quick")
    )
    with at_work(worker, real):
        assert ended(real, other).state == "completed"
        for id in (hung, told):
            task = ended(real, id)
            assert task.error is not None
            assert (task.state, task.error.code) == ("failed", "time_limit")
        release.set()
    assert story(real, hung)[-1] == "failed"


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_the_copy_of_a_handler_that_forks_ends_and_writes_nothing(real: sagalog.Engine) -> None:
    worker = sagalog.Worker()
    children: list[int] = []

    @worker.task("fork")
    def fork(_context: WorkContext, _payload: Any) -> str:
        child = os.fork()
        if child:
            children.append(child)
            return "parent"
        return "child"

    id = real.create("fork").id
    with at_work(worker, real):
        assert ended(real, id).result == "parent"
    _, status = os.waitpid(children[0], 0)
    assert os.waitstatus_to_exitcode(status) == os.EX_SOFTWARE
    assert story(real, id) == ["created", "leased", "completed"]


def test_a_callback_that_fails_keeps_no_other_from_being_told(engine: sagalog.Engine, clock: ManualClock) -> None:
    """[WORKER-2]"""
    told = threading.Event()

    def fails() -> None:
        raise RuntimeError("callback")

    def handler(context: WorkContext, _payload: Any) -> None:
        with context.on_stop(fails), context.on_stop(told.set):
            clock.advance(90)
            worker.worker_loop.watch()
            assert told.wait(20)

    engine.create("do", id="a")
    worker = worker_of(engine, clock, handler)
    worker.turn()
    worker.run_job()
    assert told.is_set()


def test_a_handler_that_interrupts_itself_does_not_go_round_for_ever(
    engine: sagalog.Engine, clock: ManualClock
) -> None:
    """[LIFE-2] [ATTEMPT-2]"""
    task = run(engine, clock, raises(sagalog.Interrupted()))
    assert (task.state, task.code) == ("failed", "transients_spent")


def test_a_context_that_outlives_its_handler_begins_nothing_more(engine: sagalog.Engine, clock: ManualClock) -> None:
    """[WORKER-1]"""
    kept: list[WorkContext] = []
    ran: list[int] = []
    run(engine, clock, lambda context, _payload: kept.append(context))
    with pytest.raises(sagalog.Interrupted, match="has ended"):
        kept[0].step("late", ran.append, 1)
    with pytest.raises(sagalog.Interrupted, match="has ended"):
        kept[0].spawn("kid", "do")
    assert ran == []

"""Handlers of tasks that are cancelled: those that look, those that do not, and those that had not begun."""

from __future__ import annotations

import threading
from typing import Any

import pytest

import sagalog
from sagalog import Failed, Worker
from sagalog.testing import ManualClock
from sagalog.worker import WorkContext
from tests.worker.inline_runs import worker_of
from tests.worker.step_runs import AT_ONCE
from tests.worker.worker_processes import at_work, ended, story


def test_a_handler_that_ignores_a_cancel_completes_and_so_does_its_task(real: sagalog.Engine) -> None:
    """[CANCEL-2]"""
    worker = sagalog.Worker()
    begun, go_on = threading.Event(), threading.Event()

    @worker.task("deaf")
    def deaf(_context: WorkContext, _payload: Any) -> str:
        begun.set()
        go_on.wait(20)
        return "done"

    id = real.create("deaf").id
    with at_work(worker, real):
        assert begun.wait(20)
        real.cancel(id, "not needed")
        go_on.set()
        assert ended(real, id).result == "done"
    assert story(real, id)[-2:] == ["cancel_requested", "completed"]


def test_a_task_that_is_cancelled_before_it_is_begun_is_not_begun(engine: sagalog.Engine, clock: ManualClock) -> None:
    """[CANCEL-2]"""
    began: list[str] = []
    task = engine.create("do")
    worker = worker_of(engine, clock, lambda context, _payload: began.append(context.task.id))
    worker.turn()
    engine.cancel(task.id, "not needed")
    clock.advance(40)
    worker.turn()
    worker.until_idle()
    assert (began, engine.get(task.id).state) == ([], "cancelled")  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("result", "state"), [(None, "cancelled"), ({"half": 1}, "completed")], ids=["None", "a value"]
)
def test_a_handler_that_reads_its_cancel_and_returns_none_is_cancelled(result: Any, state: str, tmp_path: Any) -> None:
    """[CANCEL-2]"""
    worker = Worker(ttl_ms=3_000)
    waits = threading.Event()

    @worker.task("do")
    def handler(context: WorkContext, _: Any) -> Any:
        for number in range(5):
            if context.cancelled:
                return result
            context.step(f"s{number}", lambda: 1)
            if context.attempt == 2 and number == 1:
                waits.set()
                context.wait_stop(20_000)
        raise Failed("once more")

    with sagalog.open(f"sqlite:///{tmp_path}/store.db", durability="normal") as engine:
        id = engine.create("do", retry=AT_ONCE, waive_compensation="none").id
        with at_work(worker, engine):
            assert waits.wait(20)
            engine.cancel(id, "stop")
            task = ended(engine, id)
        assert (task.state, task.result) == (state, result)


def test_a_coroutine_that_returns_none_without_having_looked_completes(engine: sagalog.Engine) -> None:
    """[CANCEL-2] Who has not read that it is cancelled has done its work."""
    worker = Worker()

    @worker.task("do")
    def handler(context: WorkContext, _: Any) -> None:
        engine.cancel(context.task.id)

    id = engine.create("do").id
    worker.run(engine, until="idle", handle_signals=False)
    task = engine.get(id)
    assert task is not None
    assert task.state == "completed"

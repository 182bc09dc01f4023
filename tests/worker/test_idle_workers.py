"""When a worker stops by itself: once it is idle, or once its queues are drained.

Rule: what is asked of one moment, turn by turn on a manual clock; what ends by itself, with the real loop.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import sagalog
import sagalog.aio
from sagalog import Compensation, Failed, Permanent, Retry
from sagalog.testing import ManualClock, SeededEntropy
from sagalog.worker import WorkContext, WorkerStats
from sagalog.worker.config import WorkerConfig
from tests.worker.inline import InlineWorker
from tests.worker.worker_processes import PATIENCE_S, ended, until

SOON = Retry(attempts_max=2, undo_attempts_max=2, delay_min_ms=10, delay_max_ms=10)
LATER_MS = 60_000


@pytest.fixture(params=["memory", "sqlite"])
def engine(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> Iterator[sagalog.Engine]:
    url = "memory:" if request.param == "memory" else f"sqlite:///{tmp_path}/store.db"
    with sagalog.open(url, clock=clock, entropy=SeededEntropy(1)) as engine:
        yield engine


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING, "sagalog.worker")
    return caplog


def worker_of(engine: sagalog.Engine, clock: ManualClock, handler: Any, undo: Any = None) -> InlineWorker:
    compensations = {} if undo is None else {"undo": undo}
    return InlineWorker(
        engine, WorkerConfig(("default",), {"do": handler}, compensations, 2, 0, 100, False), "w", clock
    )


def done(_context: Any, _given: Any) -> str:
    return "done"


def fails_once(context: Any, _given: Any) -> str:
    if context.attempt == 1:
        raise Failed("not yet")
    return "done"


def assert_idle_and_then_drained(worker: InlineWorker, clock: ManualClock, wait_ms: int) -> None:
    worker.until_idle()
    assert (worker.worker_loop.is_idle, worker.worker_loop.is_drained()) == (True, False)
    clock.advance(wait_ms)
    worker.until_idle()
    assert worker.worker_loop.is_drained()


# --- what is waited for -----------------------------------------------------------------------------------------------


def test_a_queue_without_a_live_task_is_drained(engine: sagalog.Engine, clock: ManualClock) -> None:
    worker = worker_of(engine, clock, done)
    assert worker.worker_loop.is_drained()
    engine.create("do")
    assert not worker.worker_loop.is_drained()
    worker.until_idle()
    assert worker.worker_loop.is_drained()


def test_a_task_that_is_delayed_is_waited_for(engine: sagalog.Engine, clock: ManualClock) -> None:
    engine.create("do", run_at_ms=clock.now_ms() + LATER_MS)
    assert_idle_and_then_drained(worker_of(engine, clock, done), clock, LATER_MS)


def test_a_task_that_is_tried_again_is_waited_for(engine: sagalog.Engine, clock: ManualClock) -> None:
    engine.create("do", retry=Retry(attempts_max=2, delay_min_ms=LATER_MS, delay_max_ms=LATER_MS))
    assert_idle_and_then_drained(worker_of(engine, clock, fails_once), clock, LATER_MS)


def test_a_task_that_sleeps_is_waited_for(engine: sagalog.Engine, clock: ManualClock) -> None:
    engine.create("do")
    worker = worker_of(engine, clock, lambda context, _payload: context.sleep("rest", LATER_MS))
    assert_idle_and_then_drained(worker, clock, LATER_MS)


def test_a_task_that_waits_for_a_signal_is_waited_for(engine: sagalog.Engine, clock: ManualClock) -> None:
    id = engine.create("do").id
    worker = worker_of(engine, clock, lambda context, _payload: context.wait_signal("go"))
    worker.until_idle()
    clock.advance(10 * LATER_MS)
    worker.until_idle()
    assert not worker.worker_loop.is_drained()

    engine.signal(id, "go")
    worker.until_idle()

    assert worker.worker_loop.is_drained()


def test_a_task_that_another_worker_has_leased_is_waited_for(engine: sagalog.Engine, clock: ManualClock) -> None:
    """Its lease may expire, and then this worker takes it over."""
    engine.create("do")
    engine.claim("default", owner="another", ttl_ms=LATER_MS)
    assert_idle_and_then_drained(worker_of(engine, clock, done), clock, LATER_MS)


def test_an_undo_that_is_tried_again_is_waited_for(engine: sagalog.Engine, clock: ManualClock) -> None:
    engine.create(
        "do",
        compensations=[Compensation("undo")],
        retry=Retry(undo_attempts_max=2, delay_min_ms=LATER_MS, delay_max_ms=LATER_MS),
    )
    undone: list[Any] = []

    def fail(_context: Any, _payload: Any) -> None:
        raise Permanent("no")

    def undo(_context: Any, params: Any) -> None:
        undone.append(params)
        if len(undone) == 1:
            raise OSError("not yet")

    assert_idle_and_then_drained(worker_of(engine, clock, fail, undo), clock, LATER_MS)
    assert len(undone) == 2


# --- what is not ------------------------------------------------------------------------------------------------------


def test_a_task_of_another_queue_or_kind_is_not_waited_for(engine: sagalog.Engine, clock: ManualClock) -> None:
    engine.create("do", queue="other")
    engine.create("paint")
    assert worker_of(engine, clock, done).worker_loop.is_drained()


def test_an_undo_that_the_worker_does_not_know_is_not_waited_for(engine: sagalog.Engine, clock: ManualClock) -> None:
    engine.create("do", id="t", compensations=[Compensation("undo", id="a"), Compensation("unknown", id="b")])
    engine.acquire("t", owner="another", ttl_ms=None).fail("no")

    assert worker_of(engine, clock, done, undo=done).worker_loop.is_drained()
    engine.waive("t", "b", "it was nothing")
    assert not worker_of(engine, clock, done, undo=done).worker_loop.is_drained()


def test_what_cannot_be_done_here_is_named_once_at_the_end(
    logged: pytest.LogCaptureFixture, engine: sagalog.Engine
) -> None:
    """Ready, or delayed: no worker of this kind comes for either."""
    worker = sagalog.Worker()
    worker.task("do")(done)
    worker.compensation("undo")(done)
    engine.create("ready")
    engine.create("delayed", run_at_ms=engine.now_ms() + LATER_MS)
    engine.create("owing", id="t", compensations=[Compensation("unmake")])
    engine.acquire("t", owner="another", ttl_ms=None).fail("no")

    worker.run(engine, until="drained", handle_signals=False)

    assert sorted(record.getMessage().partition(" in ")[0] for record in logged.records) == [
        "an undo of kind 'unmake' is due",
        "tasks of the kind 'delayed' are left",
        "tasks of the kind 'ready' are ready",
    ]


# --- the end of a run -------------------------------------------------------------------------------------------------


class Run:
    """A run in a thread, until the queues are drained."""

    def __init__(self, worker: sagalog.Worker, engine: sagalog.Engine) -> None:
        self.stats: WorkerStats | None = None
        self._thread = threading.Thread(target=self._run, args=(worker, engine), daemon=True)
        self._thread.start()

    def _run(self, worker: sagalog.Worker, engine: sagalog.Engine) -> None:
        self.stats = worker.run(engine, until="drained", handle_signals=False)

    def end(self) -> WorkerStats:
        self._thread.join(PATIENCE_S)
        assert self.stats is not None
        return self.stats


def test_a_run_goes_on_until_what_was_tried_again_and_undone_has_ended(real: sagalog.Engine) -> None:
    worker = sagalog.Worker()
    tries: list[str] = []

    @worker.task("do")
    def do(context: WorkContext, _payload: Any) -> None:
        tries.append("do")
        context.step("make", lambda: None, compensation=Compensation("undo", id="u"))
        raise Failed("no") if context.attempt == 1 else Permanent("never")

    @worker.compensation("undo")
    def undo(_context: Any, _params: Any) -> None:
        tries.append("undo")
        if tries.count("undo") == 1:
            raise OSError("not yet")

    id = real.create("do", retry=SOON).id
    worker.run(real, until="drained", handle_signals=False)

    assert tries == ["do", "do", "undo", "undo"]
    assert real.get(id).state == "compensated"  # type: ignore[union-attr]


def test_a_run_waits_for_a_signal_that_comes_late(real: sagalog.Engine) -> None:
    worker = sagalog.Worker()
    worker.task("ask")(lambda context, _payload: context.wait_signal("answer"))
    id = real.create("ask").id
    run = Run(worker, real)
    until(real, id, lambda task: task.waiting is not None)

    real.signal(id, "answer", 42)

    assert run.end().outcomes == {"parked": 1, "completed": 1}
    assert real.get(id).result == 42  # type: ignore[union-attr]


def test_a_run_takes_over_what_another_holder_gives_back(real: sagalog.Engine) -> None:
    worker = sagalog.Worker()
    worker.task("do")(done)
    lease = real.acquire(real.create("do").id, owner="another", ttl_ms=None)
    run = Run(worker, real)
    ended(real, real.create("do").id)

    lease.release("it is not for me")

    run.end()
    assert real.get(lease.task.id).state == "completed"  # type: ignore[union-attr]


def test_a_run_that_waits_for_others_ends_as_they_end(real: sagalog.Engine) -> None:
    worker = sagalog.Worker()
    worker.task("do")(done)
    lease = real.acquire(real.create("do").id, owner="another", ttl_ms=None)
    run = Run(worker, real)
    ended(real, real.create("do").id)

    lease.complete()

    assert run.end().claimed == 1


def test_a_run_until_idle_leaves_what_is_delayed(real: sagalog.Engine) -> None:
    worker = sagalog.Worker()
    worker.task("do")(fails_once)
    id = real.create("do", retry=Retry(attempts_max=2, delay_min_ms=LATER_MS)).id

    worker.run(real, until="idle", handle_signals=False)

    assert real.get(id).state == "pending"  # type: ignore[union-attr]


def test_an_awaited_run_ends_when_its_queues_are_drained(real: sagalog.Engine) -> None:
    worker = sagalog.aio.Worker()

    @worker.task("do")
    async def do(context: Any, _payload: Any) -> str:
        return fails_once(context, None)

    id = real.create("do", retry=SOON).id

    asyncio.run(worker.run(real, until="drained"))

    assert real.get(id).state == "completed"  # type: ignore[union-attr]


@pytest.mark.parametrize("wrong", ["", "empty", True, 1])
def test_another_end_than_these_is_refused(real: sagalog.Engine, wrong: Any) -> None:
    worker, awaited = sagalog.Worker(), sagalog.aio.Worker()
    worker.task("do")(done)
    awaited.task("do")(done)

    with pytest.raises(sagalog.InvalidValue, match="until: expected one of 'idle', 'drained', or None") as refusal:
        worker.run(real, until=wrong)
    with pytest.raises(sagalog.InvalidValue, match="until: expected one of 'idle', 'drained', or None") as another:
        asyncio.run(awaited.run(real, until=wrong))

    assert refusal.value.path == another.value.path == "until"


def test_a_worker_that_ends_when_idle_has_seen_what_its_last_work_let_in(real: sagalog.Engine) -> None:
    """[WAIT-3]"""
    worker = sagalog.Worker(concurrency=2)

    @worker.task("parent")
    def parent(context: WorkContext, _payload: Any) -> Any:
        context.spawn("kid", "child", 1)
        return [task.result for task in context.wait_tasks()]

    @worker.task("child")
    def child(_context: WorkContext, payload: Any) -> Any:
        return payload + 1

    ids = [real.create("parent").id for _ in range(5)]
    worker.run(real, until="idle")
    assert [real.get(id).result for id in ids] == [[2]] * 5  # type: ignore[union-attr]

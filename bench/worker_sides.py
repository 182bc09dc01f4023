"""The sides of the suite `worker`: each runs tasks that do nothing, or sagas of three steps, and returns the seconds.

Rule: each side follows its own documentation, on a new file, with a sync for each commit that it promises. At the end
the suite asks it what it did. The time goes from the first creation to the last end; opening and closing do not count.
DBOS is measured twice, by calls and by its queue: its queue does the same as the others for tasks, and for sagas the
faster way counts.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from dbos import DBOS
from sqlalchemy import text

import sagalog
from bench import queue_peers, stores
from bench.queue_ours import whole
from sagalog import Compensation
from sagalog.worker import WorkContext

# How many tasks of sagalog one commit creates.
_CREATED_TOGETHER: Final = 100
_STEPS: Final = 3
_PATIENCE_S: Final = 600.0


# --- ours -------------------------------------------------------------------------------------------------------------


def sagalog_tasks(path: Path, count: int) -> float:
    """Return the seconds for tasks that do nothing: created in batches, then run by one worker."""
    worker = sagalog.Worker(concurrency=8, claim_ahead=200)
    worker.task("nothing")(_nothing)
    with _opened(path) as engine:
        began = time.perf_counter()
        _create(engine, "nothing", count)
        worker.run(engine, until="idle")
        taken = time.perf_counter() - began
        _require(whole(engine), count)
    return taken


def sagalog_steps(path: Path, count: int) -> float:
    """Return the seconds for tasks of three durable steps."""
    return _sagas(path, count, _three_steps, (_STEPS, 0))


def sagalog_sagas(path: Path, count: int) -> float:
    """Return the seconds for tasks of three durable steps, each with its undo on record before it."""
    return _sagas(path, count, _three_undoable_steps, (_STEPS, _STEPS))


def _sagas(path: Path, count: int, handler: Callable[[WorkContext, Any], Any], wanted: tuple[int, int]) -> float:
    worker = sagalog.Worker(concurrency=32, claim_ahead=100)
    worker.task("saga")(handler)
    with _opened(path) as engine:
        began = time.perf_counter()
        _create(engine, "saga", count)
        worker.run(engine, until="idle")
        taken = time.perf_counter() - began
        tasks = engine.find(state="completed")
        _require(len(tasks), count)
        for task in tasks:
            assert (len(task.steps), len(task.compensations)) == wanted
    return taken


def _nothing(_context: WorkContext, _payload: Any) -> None:
    """Do nothing."""


def _three_steps(context: WorkContext, _payload: Any) -> int:
    return sum(context.step(f"step{number}", _identity, number) for number in range(_STEPS))


def _three_undoable_steps(context: WorkContext, _payload: Any) -> int:
    return sum(
        context.step(f"step{number}", _identity, number, compensation=Compensation("undo", number))
        for number in range(_STEPS)
    )


def _identity(number: int) -> int:
    return number


def _create(engine: sagalog.Engine, kind: str, count: int) -> None:
    for first in range(0, count, _CREATED_TOGETHER):
        number = min(_CREATED_TOGETHER, count - first)
        engine.create_many({"kind": kind, "payload": stores.PAYLOAD} for _ in range(number))


@contextmanager
def _opened(path: Path) -> Iterator[sagalog.Engine]:
    with sagalog.open(f"sqlite:///{path}", durability="full") as engine:
        yield engine
    stores.remove(path)


# --- peers ------------------------------------------------------------------------------------------------------------


def litequeue_tasks(path: Path, count: int) -> float:
    """Return the seconds for a loop of litequeue, which has no worker of its own."""
    return _loop(queue_peers.litequeue, path, count)


def persist_queue_tasks(path: Path, count: int) -> float:
    """Return the seconds for a loop of persist-queue, which has no worker of its own."""
    return _loop(queue_peers.persist_queue, path, count)


def huey_tasks(path: Path, count: int) -> float:
    """Return the seconds for huey's own consumer with one thread; it starts after all pushes, so it never sleeps."""
    with queue_peers.huey(path) as side:
        instance = side._huey
        began = time.perf_counter()
        for _ in range(count):
            side.push()
        consumer = instance.create_consumer(workers=1, worker_type="thread", periodic=False, check_worker_health=False)
        with _handlers_kept():
            consumer.start()
        _until(lambda: side.done() >= count)
        taken = time.perf_counter() - began
        consumer.stop(graceful=True)
        _require(side.done(), count)
    stores.remove(path)
    return taken


@contextmanager
def _handlers_kept() -> Iterator[None]:
    """Put the handlers of signals back: a consumer takes them for its process, which would not hear Ctrl-C any more."""
    before = {number: signal.getsignal(number) for number in signal.valid_signals()}
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is not handler:
                signal.signal(number, handler)


def _loop(opened: Callable[[Path], Any], path: Path, count: int) -> float:
    with opened(path) as side:
        began = time.perf_counter()
        for _ in range(count):
            side.push()
        for _ in range(count):
            side.take()
        taken = time.perf_counter() - began
        _require(side.done(), count)
    stores.remove(path)
    return taken


@DBOS.step()
def _dbos_step(number: int) -> int:
    return number


@DBOS.workflow()
def _dbos_nothing(number: int) -> int:
    return number


@DBOS.workflow()
def _dbos_steps(_number: int) -> int:
    return sum(_dbos_step(number) for number in range(_STEPS))


def dbos_tasks_called(path: Path, count: int) -> float:
    """Return the seconds for workflows that do nothing, called one after another."""
    return _dbos(path, _dbos_nothing, _called, count)


def dbos_tasks_queued(path: Path, count: int) -> float:
    """Return the seconds for workflows that do nothing, put into a queue of DBOS."""
    return _dbos(path, _dbos_nothing, _queued, count)


def dbos_steps_called(path: Path, count: int) -> float:
    """Return the seconds for workflows of three steps, called one after another."""
    return _dbos(path, _dbos_steps, _called, count)


def dbos_steps_queued(path: Path, count: int) -> float:
    """Return the seconds for workflows of three steps, put into a queue of DBOS."""
    return _dbos(path, _dbos_steps, _queued, count)


def _called(_queue: Any, workflow: Any, count: int) -> list[Any]:
    return [workflow(number) for number in range(count)]


def _queued(queue: Any, workflow: Any, count: int) -> list[Any]:
    handles = [queue.enqueue(workflow, number) for number in range(count)]
    return [handle.get_result() for handle in handles]


def _dbos(path: Path, workflow: Any, work: Callable[[Any, Any, int], list[Any]], count: int) -> float:
    """Return the seconds for so many workflows. The queue has started, and has run one, before the clock starts."""
    DBOS(
        config={
            "name": "sagalog-bench",
            "system_database_url": f"sqlite:///{path}",
            "log_level": "CRITICAL",
        }
    )
    DBOS.launch()
    try:
        _require_synced()
        queue = DBOS.register_queue("bench", polling_interval_sec=0.01)
        _queued(queue, workflow, 1)
        began = time.perf_counter()
        _require(len(work(queue, workflow, count)), count)
        taken = time.perf_counter() - began
        done = [one for one in DBOS.list_workflows() if one.status == "SUCCESS"]
        _require(len(done) - 1, count)
    finally:
        DBOS.destroy(destroy_registry=False)
    stores.remove(path)
    return taken


def _require_synced() -> None:
    """Raise AssertionError unless DBOS syncs its commits, whatever its journal."""
    from dbos._dbos import _get_dbos_instance

    with _get_dbos_instance()._sys_db.engine.connect() as connection:
        synchronous = connection.execute(text("PRAGMA synchronous")).scalar()
    assert synchronous == 2, f"DBOS has synchronous={synchronous}"


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, "a peer does not end"
        threading.Event().wait(0.005)


def _require(found: int, count: int) -> None:
    assert found == count, f"of {count} tasks {found} are done"

"""One task whose handler a test gives, worked on by a worker without threads until there is nothing more to do."""

from __future__ import annotations

from typing import Any

import sagalog
from sagalog import Retry
from sagalog.testing import ManualClock
from sagalog.worker import WorkContext
from sagalog.worker.config import WorkerConfig
from tests.worker.inline import InlineWorker

WAIVED = "it has no effects"
ONCE = Retry(attempts_max=1, transient_max=1, undo_attempts_max=2, delay_min_ms=10, delay_max_ms=10)


def worker_of(
    engine: sagalog.Engine, clock: ManualClock, handler: Any, undo: Any = None, **config: Any
) -> InlineWorker:
    """A worker whose one handler is this."""
    compensations = {} if undo is None else {"undo": undo}
    config = {"concurrency": 2, "claim_ahead": 0, "ttl_ms": 100, "quarantine_unknown": True, **config}
    return InlineWorker(engine, WorkerConfig(("default",), {"do": handler}, compensations, **config), "w", clock)


def raises(error: BaseException) -> Any:
    def handler(_context: WorkContext, _payload: Any) -> None:
        raise error

    return handler


def run(engine: sagalog.Engine, clock: ManualClock, handler: Any, undo: Any = None, **create: Any) -> sagalog.Task:
    """What becomes of a task whose handler is this, until the worker finds nothing more to do now."""
    task = engine.create("do", **{"retry": ONCE, "waive_compensation": WAIVED, **create})
    worker_of(engine, clock, handler, undo).until_idle()
    after = engine.get(task.id)
    assert after is not None
    return after

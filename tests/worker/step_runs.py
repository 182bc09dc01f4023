"""One task whose handler asks for steps, worked on by a worker without threads; its undo, and its notes by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sagalog
from sagalog import Compensation, Retry
from sagalog.testing import ManualClock
from sagalog.worker import WorkContext
from sagalog.worker.config import WorkerConfig
from tests.worker.inline import InlineWorker

AT_ONCE = Retry(delay_min_ms=0, delay_max_ms=0)
UNDO = Compensation("undo", {"n": 1}, id="u")
Handler = Callable[[WorkContext, Any], Any]


def worker_of(engine: sagalog.Engine, clock: ManualClock, handler: Handler, strict: bool = False) -> InlineWorker:
    kinds = frozenset({"do"}) if strict else frozenset()
    config = WorkerConfig(("default",), {"do": handler}, {"undo": lambda *_: None}, 1, 0, 1_000, True, strict=kinds)
    return InlineWorker(engine, config, "w", clock)


def named(task: sagalog.Task) -> list[str]:
    """The names of the steps whose results are not on record."""
    return [step.name for step in task.unrecorded_steps]


def run(engine: sagalog.Engine, clock: ManualClock, handler: Handler, **create: Any) -> sagalog.Task:
    """What becomes of a task whose handler is this, until there is nothing more to do now."""
    id = engine.create("do", **{"retry": AT_ONCE, "waive_compensation": "none", **create}).id
    worker_of(engine, clock, handler).until_idle()
    task = engine.get(id)
    assert task is not None
    return task

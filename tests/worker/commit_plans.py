"""Plans of workers and tasks for tests of what happens in the middle of a commit."""

from __future__ import annotations

from typing import Any

import sagalog
from sagalog import Compensation
from sagalog.worker.config import WorkerConfig

TTL_MS = 100
UNDO = Compensation("undo", {"n": 1}, id="u")


BEFORE, AFTER = "commit.before_begin", "commit.after_commit"


def plan_of(handler: Any, undo: Any = None, **given: Any) -> WorkerConfig:
    compensations = {} if undo is None else {"undo": undo}
    given = {"concurrency": 2, "claim_ahead": 0, "ttl_ms": TTL_MS, "quarantine_unknown": False, **given}
    return WorkerConfig(("default",), {"do": handler}, compensations, **given)


def failing(engine: sagalog.Engine, *ids: str) -> None:
    """Tasks that are to be undone."""
    for id in ids:
        engine.create("do", id=id, compensations=[UNDO])
        engine.acquire(id, owner="another", ttl_ms=TTL_MS).fail("no")

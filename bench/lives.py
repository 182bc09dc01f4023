"""Scripts of realistic tasks: by public calls they make streams with most kinds of events.

Rule: one script a life, and each ends its task. It must not know what a suite measures on them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bench.stores import KIND, OWNER, PAYLOAD, QUEUE, RESULT, TTL_MS
from sagalog import Compensation, Engine, Lease, Task

_WORKTREE: Final = Compensation("remove-worktree", {"path": "work/168"}, reason="left over after failure")
_BRANCH: Final = Compensation("delete-branch", {"name": "issue-168"})


def _begin(engine: Engine, *planned: Compensation) -> Lease:
    task = engine.create(KIND, PAYLOAD, queue=QUEUE, compensations=planned, tags={"team": "core"})
    return engine.acquire(task.id, owner=OWNER, ttl_ms=TTL_MS)


def _straight(engine: Engine) -> Task:
    return _begin(engine).complete(RESULT)


def _long(engine: Engine) -> Task:
    """Run an agent's life: an undo for each effect, and heartbeats with its progress."""
    lease = _begin(engine, _WORKTREE).register(_BRANCH)
    for percent in range(10, 100, 10):
        # With progress each heartbeat writes, even within one millisecond.
        lease = lease.heartbeat(progress={"percent": percent})
    return lease.complete(RESULT)


def _retried(engine: Engine) -> Task:
    task = _begin(engine).retry("the model is overloaded", budget="transient")
    task = engine.acquire(task.id, owner=OWNER, ttl_ms=TTL_MS).retry("a test failed")
    return engine.acquire(task.id, owner=OWNER, ttl_ms=TTL_MS).complete(RESULT)


def _compensated(engine: Engine) -> Task:
    task = _begin(engine, _WORKTREE).register(_BRANCH).fail("the review was negative")
    lease = engine.acquire(task.id, owner=OWNER, ttl_ms=TTL_MS, purpose="undo")
    for owed in lease.task.owed:
        lease.compensation_done(owed.id)
    ended = engine.get(task.id)
    assert ended is not None
    return ended


def _released_and_cancelled(engine: Engine) -> Task:
    task = _begin(engine).release("shutting down")
    return engine.cancel(task.id, "no longer wanted")


# In realistic proportions: most tasks complete without a retry.
_LIVES: Final[tuple[Callable[[Engine], Task], ...]] = (
    _straight, _straight, _straight, _long, _long, _retried, _compensated, _released_and_cancelled,
)  # fmt: skip


def lead(engine: Engine, tasks: int) -> list[str]:
    """Run so many tasks to their end; return their ids."""
    ended = [_LIVES[number % len(_LIVES)](engine) for number in range(tasks)]
    unended = [task.id for task in ended if not task.is_terminal]
    assert not unended, f"these tasks have not ended: {unended}"
    return [task.id for task in ended]

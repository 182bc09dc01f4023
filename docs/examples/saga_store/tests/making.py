"""Sagas for the tests, in the state that a test begins with."""

from __future__ import annotations

from collections.abc import Iterable

from saga_store import Compensation, SagaStore, TaskSaga

TTL_MS = 30_000
WORKTREE = Compensation("remove-worktree", "wt/1", "left over")
BRANCH = Compensation("delete-branch", "fix/1")


def planned(
    store: SagaStore, number: int = 1, compensations: Iterable[Compensation] = (), saga_id: str | None = None
) -> TaskSaga:
    """A planned saga."""
    return store.create(
        task_id=f"t{number}",
        saga_id=saga_id or f"s{number}",
        issue=number,
        branch=f"fix/{number}",
        worktree=f"wt/{number}",
        compensations=compensations,
    )


def running(store: SagaStore, number: int = 1, compensations: Iterable[Compensation] = ()) -> TaskSaga:
    """A saga that agent-1 works on."""
    return store.acquire_lease(planned(store, number, compensations).task_id, "agent-1", ttl_ms=TTL_MS)


def loaded(store: SagaStore, task_id: str = "t1") -> TaskSaga:
    """The saga as it is now, which must exist."""
    saga = store.get(task_id)
    assert saga is not None
    return saga

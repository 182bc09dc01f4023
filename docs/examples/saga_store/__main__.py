"""A short story of three sagas: one succeeds, one's agent dies, one owes an undo that the sweep does not know at first.

Rule: time is moved by hand, so the story is the same each time. Run it with `python -m saga_store`.
"""

from __future__ import annotations

import sys

import sagalog
from saga_store import Compensation, SagaStore, TaskSaga, open_store, sweep
from sagalog.testing import ManualClock


def tell(store: SagaStore, clock: ManualClock) -> None:
    """Tell it on an empty store."""
    good = plan(store, 1, Compensation("remove-worktree", "wt/1"))
    dies = plan(store, 2, Compensation("remove-worktree", "wt/2"))
    odd = plan(store, 3, Compensation("revoke-token", "token/3"))

    good = store.acquire_lease(good.task_id, "agent-1", ttl_ms=30_000)
    dies = store.acquire_lease(dies.task_id, "agent-2", ttl_ms=30_000)
    store.acquire_lease(odd.task_id, "agent-3", ttl_ms=30_000)
    dies = store.append_compensation(dies, Compensation("delete-branch", "fix/2"))
    print(f"three agents at work: {', '.join(saga.task_id for saga in store.list_in_flight())}")

    clock.advance(20_000)
    good = store.heartbeat(good, ttl_ms=30_000)
    clock.advance(20_000)
    print(f"agents 2 and 3 are silent; stale: {', '.join(saga.task_id for saga in store.list_stale())}")
    print(f"{good.task_id} is {store.mark_completed(good, 'merged').state}")

    undo(store)
    try:
        store.mark_completed(dies, "done after all")
    except sagalog.LeaseLost:
        print("agent 2 wakes up too late, and is refused")
    print(f"a second sweep finds {len(sweep(store, {}))} sagas to do something about")

    again = store.retry(odd.task_id)
    print(f"{odd.task_id} is retried, and its debt with it: {again.saga_id} is {again.state}")
    undo(store, "revoke-token")
    for state, count in sorted(store.status().counts.items()):
        print(f"{count} {state}")


def plan(store: SagaStore, issue: int, compensation: Compensation) -> TaskSaga:
    """One saga with one planned undo."""
    return store.create(
        task_id=f"task-{issue}",
        saga_id=f"saga-{issue}",
        issue=issue,
        branch=f"fix/{issue}",
        worktree=f"wt/{issue}",
        compensations=[compensation],
    )


def undo(store: SagaStore, *more: str) -> None:
    """Sweep with handlers that print what they would undo."""

    def handler(_: TaskSaga, compensation: Compensation) -> None:
        print(f"  undo {compensation.kind} {compensation.target}")

    for swept in sweep(store, dict.fromkeys(("remove-worktree", "delete-branch", *more), handler)):
        print(f"{store.existing(swept.task_id).payload['saga_id']} is {swept.state}: {swept.problem or 'all undone'}")


if __name__ == "__main__":
    clock = ManualClock(1_700_000_000_000)
    with open_store(sys.argv[1] if len(sys.argv) > 1 else "memory:", clock=clock) as opened:
        tell(opened, clock)

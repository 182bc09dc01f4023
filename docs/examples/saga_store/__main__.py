"""A short story: `PYTHONPATH=docs/examples python -m saga_store`."""

from __future__ import annotations

from saga_store import SagaCompensation, open_store, sweep
from sagalog.testing import ManualClock


def main() -> None:
    """Three sagas: one is completed, one loses its worker and is undone, one owes what nobody knows how to undo."""
    clock = ManualClock(1_700_000_000_000)
    with open_store("memory:", clock=clock) as store:
        for number, kind in enumerate(("remove-worktree", "remove-worktree", "retract-announcement"), start=1):
            store.create(
                task_id=f"task-{number}",
                saga_id=f"saga-{number}",
                issue=number,
                branch=f"fix/{number}",
                worktree=f"wt/{number}",
                compensations=[SagaCompensation(kind, f"wt/{number}", "left over")],
            )
        first, second, _ = (store.acquire(f"task-{number}", "ann", 1_000) for number in (1, 2, 3))
        store.mark_completed(first, "merged")
        store.register(second, SagaCompensation("delete-branch", second.branch))
        clock.advance(1_000)
        print("stale:", ", ".join(saga.task_id for saga in store.stale()))

        def undo(_: object, compensation: SagaCompensation) -> None:
            print("undo:", compensation.kind, compensation.target)

        for one in sweep(store, {"remove-worktree": undo, "delete-branch": undo}, "sweeper"):
            print("swept:", one.task_id, one.state)
        print("again:", sweep(store, {"remove-worktree": undo, "delete-branch": undo}, "sweeper"))
        print("status:", store.status())


if __name__ == "__main__":
    main()

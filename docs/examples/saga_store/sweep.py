"""The recovery sweep: dead agents are failed, what is owed is undone, what it cannot undo is quarantined.

Rule: everything is read from the store and the time, so a sweep that dies loses nothing and one that has nothing to do
writes nothing. One bad saga never stops the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import sagalog
from saga_store.showing import compensation_of
from saga_store.store import SagaStore
from saga_store.values import Compensation, TaskSaga, TaskState

Handler = Callable[[TaskSaga, Compensation], None]


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep did to one saga.

    lease_ended   its lease was over, and the sweep ended it
    undone        what was undone, in that order
    problem       what went wrong, if something did
    state         where that left the saga
    """

    task_id: str
    lease_ended: bool
    undone: tuple[Compensation, ...]
    problem: str | None
    state: TaskState


def sweep(
    store: SagaStore, handlers: Mapping[str, Handler], *, owner: str = "sweep", ttl_ms: int = 60_000
) -> tuple[Swept, ...]:
    """Sweep once; what happened to each saga to which something happened, in order of insertion.

    Args:
        store: whose sagas.
        handlers: compensation kind -> what undoes it; may run twice, and shall then do nothing more.
        owner: who is on record for the undoing.
        ttl_ms: how long a single undo may take.
    """
    stale = [saga.task_id for saga in store.list_stale() if saga.state is TaskState.RUNNING]
    dead = [task_id for task_id in stale if _fail_for_agent(store, task_id, owner, ttl_ms)]
    # Maintenance knows no queues, so what it did elsewhere is left out below.
    maintained = {one.task: "lease_expired" in one.events for one in store.engine.recover()}
    maintained.update(dict.fromkeys(dead, True))
    swept = []
    for task in store.engine.find(queue=store.queue):
        undone: list[Compensation] = []
        problem = None
        if task.state == "compensating":
            problem = _undo_one(store, task, handlers, owner, ttl_ms, undone)
        if task.id in maintained or undone or problem is not None:
            saga = store.show(store.existing(task.id))
            swept.append(Swept(task.id, maintained.get(task.id, False), tuple(undone), problem, saga.state))
    return tuple(swept)


def _fail_for_agent(store: SagaStore, task_id: str, owner: str, ttl_ms: int) -> bool:
    """Take a saga over whose agent is gone, only to say that it has failed; whether that was done."""
    try:
        lease = store.engine.acquire(task_id, owner=owner, ttl_ms=ttl_ms)
        try:
            lease.fail("its agent is gone")
        except sagalog.CompensationRequired:
            store.quarantine_held(lease, "its agent is gone and has recorded nothing to undo it by")
    except (sagalog.Rejected, sagalog.Conflict, sagalog.Corrupt):
        # Another caller was first. What is still due on it is maintenance.
        return False
    return True


def _undo_one(
    store: SagaStore,
    task: sagalog.Task,
    handlers: Mapping[str, Handler],
    owner: str,
    ttl_ms: int,
    undone: list[Compensation],
) -> str | None:
    """Undo what one saga owes, adding to `undone`; what went wrong, if something did."""
    unknown = sorted({undo.kind for undo in task.owed} - set(handlers))
    if task.lease is not None or (not unknown and task.run_at_ms > store.engine.now_ms()):
        return None
    try:
        lease = store.engine.acquire(task.id, owner=owner, ttl_ms=ttl_ms, purpose="undo")
        if unknown:
            problem = f"the sweep does not know the compensation kinds {unknown}"
            store.quarantine_held(lease, problem)
            return problem
        return _undo(store, lease, handlers, undone)
    except (sagalog.Rejected, sagalog.Conflict, sagalog.Corrupt) as error:
        # Another sweep was first, or this saga cannot be read: the others go on.
        return str(error)


def _undo(
    store: SagaStore, lease: sagalog.Lease, handlers: Mapping[str, Handler], undone: list[Compensation]
) -> str | None:
    for undo in lease.task.owed:
        lease = lease.heartbeat()
        compensation = compensation_of(undo)
        try:
            handlers[undo.kind](store.show(lease.task), compensation)
        except Exception as error:  # noqa: BLE001  whatever a handler raises is a failure of its saga, not of the sweep
            lease.compensation_failed(undo.id, sagalog.Failure("handler_raised", f"{type(error).__name__}: {error}"))
            return f"{undo.kind}: {error}"
        except BaseException:
            # An operator stops the sweep: the lease would run out, and that would count as a death.
            lease.release("the sweep was stopped")
            raise
        lease.compensation_done(undo.id)
        undone.append(compensation)
    return None

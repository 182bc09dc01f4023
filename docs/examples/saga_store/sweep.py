"""The recovery sweep: sagas whose worker is gone are failed, and what is owed is undone or put before a human.

Rule: half an undo is none: a saga that owes a kind which nobody knows is quarantined and nothing of it is run. One bad
saga never stops the sweep, and sweeping again changes nothing more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from saga_store.store import QUEUE, TTL_MS, SagaStore
from saga_store.values import SagaCompensation, TaskSaga, compensation_of, saga_of
from sagalog import CompensationRequired, Lease, SagalogError, Task

# Carries one undo out. What it raises puts the saga off to a later sweep, and at last before a human.
Handler = Callable[[TaskSaga, SagaCompensation], object]


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep did to one saga: the state it left, and what went wrong, if anything did."""

    task_id: str
    state: str
    error: str | None = None


def sweep(store: SagaStore, handlers: Mapping[str, Handler], owner: str, ttl_ms: int = TTL_MS) -> list[Swept]:
    """Recover all there is to recover, and say what became of each saga, in the order in which it was dealt with."""
    swept: dict[str, Swept] = {}
    for saga in store.stale():
        _give_up(store, saga, owner, ttl_ms)
    owing = store.engine.find(queue=QUEUE, state="compensating")
    unknown = {one.kind for task in owing for one in task.owed} - set(handlers)
    for tended in store.engine.recover(unknown_kinds=unknown):
        swept[tended.task] = Swept(tended.task, tended.state)
    while leases := store.engine.claim(QUEUE, owner=owner, ttl_ms=ttl_ms, purpose="undo", kinds=set(handlers)):
        error = _undo(leases[0], handlers)
        swept[leases[0].task.id] = Swept(leases[0].task.id, _state_of(store, leases[0].task), error)
    return list(swept.values())


def _give_up(store: SagaStore, saga: TaskSaga, owner: str, ttl_ms: int) -> None:
    """Take over a saga whose worker is gone, only to say that it has failed."""
    try:
        lease = store.engine.acquire(saga.task_id, owner=owner, ttl_ms=ttl_ms)
        try:
            lease.fail("its worker is gone")
        except CompensationRequired:
            store.engine.quarantine(saga.task_id, "its worker is gone, and there is nothing to undo its work by")
    except SagalogError:
        # It was being undone, or somebody else was faster. What is still due is done by `recover`.
        return


def _undo(lease: Lease, handlers: Mapping[str, Handler]) -> str | None:
    """Undo all that a saga owes, last things first; what went wrong, if anything did."""
    saga = saga_of(lease.task)
    try:
        for one in lease.task.owed:
            try:
                handlers[one.kind](saga, compensation_of(one))
            except Exception as error:  # noqa: BLE001  a handler may raise anything, and no other saga shall suffer
                text = f"{type(error).__name__}: {error}"
                lease.compensation_failed(one.id, text)
                return text
            lease.compensation_done(one.id)
    except SagalogError as lost:
        # Another sweep has it by now; what was done is recorded as far as it was ours.
        return str(lost)
    return None


def _state_of(store: SagaStore, task: Task) -> str:
    now = store.get(task.id)
    return str(now.state if now is not None else task.state)

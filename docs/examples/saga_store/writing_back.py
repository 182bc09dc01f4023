"""put: a whole saga value written back, for callers that load, replace fields and save.

Rule: the value is compared with what is there and said as verbs, in one commit under the fence that it carries. What
no verb can say is refused, and nothing of it is written.
"""

from __future__ import annotations

from dataclasses import replace

import sagalog
from saga_store.showing import reason_key, undo_of
from saga_store.store import SagaStore
from saga_store.values import TaskSaga, TaskState

_ENDS = (TaskState.COMPLETED, TaskState.FAILED, TaskState.COMPENSATING)


def put(store: SagaStore, saga: TaskSaga) -> TaskSaga:
    """Write a whole value back; the saga as it is afterwards. The same value again changes nothing.

    Raises:
        InvalidValue: no verb says this change. LeaseLost: it would drop or change an active lease.
        TerminalTask: it has ended, and more than a missing reason would change. CompensationRequired.
    """
    found = store.get(saga.task_id)
    if found is None:
        return _insert(store, saga)
    for name in ("saga_id", "issue", "branch", "worktree"):
        if getattr(saga, name) != getattr(found, name):
            raise _unsayable(saga, name, f"is {getattr(found, name)!r} for good")
    if found.state.is_terminal:
        return _remark(store, found, saga)
    if saga.compensations[: len(found.compensations)] != found.compensations:
        raise _unsayable(saga, "compensations", "can be appended to, and not be dropped or changed")
    _require_lease(found, saga)
    if _with_lease_of(saga, found) == found and saga.lease_expires_at == found.lease_expires_at:
        return found
    return _write(store, found, saga)


def _insert(store: SagaStore, saga: TaskSaga) -> TaskSaga:
    if saga.state is TaskState.FAILED and not saga.compensations:
        text = f"saga {saga.task_id!r} cannot be failed without a compensation"
        raise sagalog.CompensationRequired(text, task=saga.task_id)
    blank = replace(saga, fence=0, lease_owner=None, lease_expires_at=None, last_heartbeat_at=None)
    blank = replace(blank, terminal_reason=None)
    if saga != blank or saga.state not in (TaskState.PLANNED, TaskState.DISPATCHED):
        raise _unsayable(saga, "state", "begins planned or dispatched, without a lease; acquire one then")
    created = store.create(
        task_id=saga.task_id,
        saga_id=saga.saga_id,
        issue=saga.issue,
        branch=saga.branch,
        worktree=saga.worktree,
        compensations=saga.compensations,
    )
    return store.dispatch(saga.task_id) if saga.state is TaskState.DISPATCHED else created


def _remark(store: SagaStore, found: TaskSaga, saga: TaskSaga) -> TaskSaga:
    """After the end: nothing, or a reason where there was none."""
    same = _with_lease_of(saga, found)
    if same == found:
        return found
    if replace(same, terminal_reason=None) != found:
        text = f"task {saga.task_id!r} has ended as {found.state}: only a missing terminal_reason can be added"
        raise sagalog.TerminalTask(text, task=saga.task_id, state=str(found.state))
    task = store.existing(saga.task_id)
    return store.show(store.engine.note(saga.task_id, saga.terminal_reason or "", idempotency_key=reason_key(task)))


def _require_lease(found: TaskSaga, saga: TaskSaga) -> None:
    """Refuse a stale write: one that would drop, shorten or change hands of an active lease."""
    if saga.fence != found.fence:
        raise _stale(found, saga)
    if found.lease_owner is None:
        if saga.lease_owner is not None and saga.state not in _ENDS:
            raise _unsayable(saga, "lease_owner", "is None on record; take a lease with acquire_lease")
        return
    dropped = saga.lease_owner is None or saga.lease_expires_at is None or found.lease_expires_at is None
    if dropped or saga.lease_owner != found.lease_owner:
        raise _stale(found, saga)
    assert saga.lease_expires_at is not None
    assert found.lease_expires_at is not None
    if saga.lease_expires_at < found.lease_expires_at:
        raise _stale(found, saga)
    if saga.lease_expires_at == found.lease_expires_at and saga.last_heartbeat_at != found.last_heartbeat_at:
        raise _unsayable(saga, "last_heartbeat_at", "is told by the store's clock; ask for a later lease_expires_at")


def _write(store: SagaStore, found: TaskSaga, saga: TaskSaga) -> TaskSaga:
    """The change as verbs: appended undos and a later end of the lease, then what became of the saga."""
    if saga.state is not found.state and (saga.state not in _ENDS or found.fence == 0):
        return _mark(store, found, saga)
    appended = saga.compensations[len(found.compensations) :]
    lease = store.lease(saga)
    with store.engine.batch() as batch:
        for one in appended:
            batch.register(lease, undo_of(one))
        if saga.state is TaskState.COMPLETED:
            batch.complete(lease, saga.terminal_reason)
        elif saga.state in _ENDS and (found.state is not saga.state):
            batch.fail(lease, saga.terminal_reason or "failed")
        elif saga.terminal_reason != found.terminal_reason:
            raise _unsayable(saga, "terminal_reason", "belongs to the end of a saga")
        elif saga.lease_expires_at is not None and saga.lease_expires_at != found.lease_expires_at:
            batch.heartbeat(lease, saga.lease_expires_at - store.engine.now_ms())
    return store.show(store.existing(saga.task_id))


def _mark(store: SagaStore, found: TaskSaga, saga: TaskSaga) -> TaskSaga:
    """Moves that are a call of their own; they bring nothing else with them."""
    if saga.compensations != found.compensations:
        raise _unsayable(saga, "compensations", f"cannot be appended to on the way to {saga.state}")
    if saga.state is TaskState.DISPATCHED and found.state is TaskState.PLANNED:
        return store.dispatch(saga.task_id)
    if saga.state is TaskState.COMPENSATED and found.state in (TaskState.RUNNING, TaskState.COMPENSATING):
        return store.mark_compensated(found, saga.terminal_reason)
    if saga.state is TaskState.QUARANTINED:
        return store.mark_quarantined(found, saga.terminal_reason or "quarantined")
    raise _unsayable(saga, "state", f"cannot go from {found.state} to {saga.state} by being written")


def _with_lease_of(saga: TaskSaga, found: TaskSaga) -> TaskSaga:
    """The value with the lease's fields as they are on record, to compare the rest."""
    return replace(
        saga,
        fence=found.fence,
        lease_owner=found.lease_owner,
        lease_expires_at=found.lease_expires_at,
        last_heartbeat_at=found.last_heartbeat_at,
    )


def _unsayable(saga: TaskSaga, name: str, why: str) -> sagalog.InvalidValue:
    return sagalog.InvalidValue(f"cannot put task {saga.task_id!r}: {name} {why}", path=name, task=saga.task_id)


def _stale(found: TaskSaga, saga: TaskSaga) -> sagalog.LeaseLost:
    return sagalog.LeaseLost(
        f"cannot put task {saga.task_id!r}: it is held by {found.lease_owner!r} under fence {found.fence} until "
        f"{found.lease_expires_at} ms, and the value would drop or change that; load it again",
        task=saga.task_id,
        fence=saga.fence,
        current=found.fence,
        state=str(found.state),
    )

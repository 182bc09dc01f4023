"""A sagalog task -> a TaskSaga.

Rule: reads only. What a Task does not show (remarks) is looked up in its history, and only where it can matter.
"""

from __future__ import annotations

import json

import sagalog
from saga_store.values import Compensation, TaskSaga, TaskState

# Cancelling is no call of this store, but the file can be worked on with the command `sagalog` too.
_STATES = {
    "running": TaskState.RUNNING,
    "compensating": TaskState.COMPENSATING,
    "completed": TaskState.COMPLETED,
    "failed": TaskState.FAILED,
    "cancelled": TaskState.FAILED,
    "compensated": TaskState.COMPENSATED,
    "quarantined": TaskState.QUARANTINED,
}


def dispatched_key(task: sagalog.Task) -> str:
    """The identity of the remark that says a saga was handed to a dispatcher."""
    return f"{task.queue}/dispatched/{task.id}"


def reason_key(task: sagalog.Task) -> str:
    """The identity of the remark that gives an ended saga its reason; so there is at most one."""
    return f"{task.queue}/terminal_reason/{task.id}"


def undo_of(compensation: Compensation) -> sagalog.Compensation:
    """A compensation as sagalog keeps it; its id comes from kind and target, so the same one is kept once."""
    return sagalog.Compensation(compensation.kind, {"target": compensation.target}, compensation.reason)


def compensation_of(undo: sagalog.TaskCompensation) -> Compensation:
    """The other way round."""
    return Compensation(undo.kind, undo.params["target"], undo.reason)


def state_of(engine: sagalog.Engine, task: sagalog.Task) -> TaskState:
    """The state of the saga; a pending task was dispatched if it was ever leased, or if a remark says so."""
    if task.state != "pending":
        return _STATES[task.state]
    # Before its first lease only remarks and waivers can follow the creation.
    remarked = task.version > 1 and _remark(engine, task, dispatched_key(task)) is not None
    return TaskState.DISPATCHED if task.leases or remarked else TaskState.PLANNED


def saga_of(engine: sagalog.Engine, task: sagalog.Task) -> TaskSaga:
    """The whole value."""
    lease = task.lease
    return TaskSaga(
        task_id=task.id,
        saga_id=task.payload["saga_id"],
        state=state_of(engine, task),
        issue=task.payload["issue"],
        branch=task.payload["branch"],
        worktree=task.payload["worktree"],
        compensations=tuple(compensation_of(undo) for undo in task.compensations),
        fence=task.fence,
        lease_owner=None if lease is None else lease.owner,
        lease_expires_at=None if lease is None else lease.expires_ms,
        last_heartbeat_at=None if lease is None else lease.renewed_ms,
        terminal_reason=_reason(engine, task),
    )


def _reason(engine: sagalog.Engine, task: sagalog.Task) -> str | None:
    """A remark made for it, else what ended the work: the sentence if there is one, the engine's code if not."""
    if task.state in ("pending", "running"):
        return None
    remark = _remark(engine, task, reason_key(task))
    if remark is not None or task.state == "completed":
        return remark or task.result
    return task.reason or (task.error and task.error.message) or task.code


def _remark(engine: sagalog.Engine, task: sagalog.Task, idempotency_key: str) -> str | None:
    for recorded in engine.history(task.id):
        if recorded.idempotency_key == idempotency_key:
            text: str = json.loads(recorded.body)["text"]
            return text
    return None

"""What callers of the store see: a saga and its undos, frozen values.

Rule: a TaskSaga is a photograph of a sagalog task; nothing here is stored, and nothing here decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sagalog import Compensation, Task, TaskCompensation


class TaskState(StrEnum):
    """Where a saga stands. `planned` is sagalog's `pending`; `compensating` did not exist in the hand-written store."""

    PLANNED = "planned"
    RUNNING = "running"
    COMPENSATING = "compensating"
    COMPLETED = "completed"
    FAILED = "failed"
    COMPENSATED = "compensated"
    CANCELLED = "cancelled"
    QUARANTINED = "quarantined"


IN_FLIGHT = frozenset({TaskState.PLANNED, TaskState.RUNNING, TaskState.COMPENSATING})


@dataclass(frozen=True, slots=True)
class SagaCompensation:
    """An undo: which kind, of what, and why it would be needed."""

    kind: str
    target: str
    reason: str | None = None

    def as_compensation(self) -> Compensation:
        """As sagalog has it. The id is derived from kind and target, so the same undo is there once."""
        return Compensation(self.kind, {"target": self.target}, self.reason)


@dataclass(frozen=True, slots=True)
class TaskSaga:
    """One saga as it was when it was read.

    fence                of its newest lease; 0 before the first. What a holder may do, it may do by this number
    lease_expires_ms     None: nobody holds it, or without end
    terminal_reason      why it ended, in words, if anybody said so
    """

    task_id: str
    saga_id: str
    state: TaskState
    issue: int
    branch: str
    worktree: str
    compensations: tuple[SagaCompensation, ...] = ()
    lease_owner: str | None = None
    lease_expires_ms: int | None = None
    last_heartbeat_ms: int | None = None
    terminal_reason: str | None = None
    fence: int = 0

    @property
    def is_in_flight(self) -> bool:
        """Whether it has not ended."""
        return self.state in IN_FLIGHT


def saga_of(task: Task) -> TaskSaga:
    """The saga of a task that this store created."""
    lease, payload = task.lease, task.payload
    return TaskSaga(
        task_id=task.id,
        saga_id=payload["saga_id"],
        state=TaskState.PLANNED if task.state == "pending" else TaskState(str(task.state)),
        issue=payload["issue"],
        branch=payload["branch"],
        worktree=payload["worktree"],
        compensations=tuple(compensation_of(one) for one in task.compensations),
        lease_owner=None if lease is None else lease.owner,
        lease_expires_ms=None if lease is None else lease.expires_ms,
        last_heartbeat_ms=None if lease is None else lease.renewed_ms,
        terminal_reason=_reason_of(task) if task.is_terminal else None,
        fence=task.fence,
    )


def compensation_of(one: TaskCompensation) -> SagaCompensation:
    """The undo as this store has it."""
    return SagaCompensation(one.kind, one.params["target"], one.reason)


def _reason_of(task: Task) -> str | None:
    if task.result is not None:
        return str(task.result["reason"])
    if task.reason is not None:
        return task.reason
    return None if task.error is None else task.error.message

"""The values of the task saga store: states, compensations, sagas.

Rule: frozen values only, compared by content. Knows no store and no engine.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class TaskState(StrEnum):
    """The state of a saga.

    `compensating` is the one state that the hand-written store did not have: failed, and not undone yet.
    `failed` is left for what failed and owes nothing, because an operator settled it by word.
    """

    PLANNED = "planned"
    DISPATCHED = "dispatched"
    RUNNING = "running"
    COMPENSATING = "compensating"
    COMPLETED = "completed"
    FAILED = "failed"
    COMPENSATED = "compensated"
    QUARANTINED = "quarantined"

    @property
    def is_terminal(self) -> bool:
        """Whether a saga in this state has ended for good."""
        return self in (TaskState.COMPLETED, TaskState.FAILED, TaskState.COMPENSATED, TaskState.QUARANTINED)


@dataclass(frozen=True, slots=True)
class Compensation:
    """An undo as data: which handler, on what, and why. The same kind and target is the same undo."""

    kind: str
    target: str
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class TaskSaga:
    """A saga as it was when it was read; times in milliseconds.

    compensations   all that were ever planned or appended, in that order, undone or not
    fence           of its newest lease, 0 before the first; a caller that hands the value back writes under it
    lease_owner, lease_expires_at, last_heartbeat_at   None while no owner holds it
    terminal_reason also given while it is compensating: why it failed
    """

    task_id: str
    saga_id: str
    state: TaskState
    issue: int
    branch: str
    worktree: str
    compensations: tuple[Compensation, ...] = ()
    fence: int = 0
    lease_owner: str | None = None
    lease_expires_at: int | None = None
    last_heartbeat_at: int | None = None
    terminal_reason: str | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """How many sagas are in which state, and the task ids of those in flight and of those whose lease is over."""

    counts: dict[TaskState, int]
    in_flight: tuple[str, ...]
    stale: tuple[str, ...]


class Clock(Protocol):
    """Time in whole milliseconds, as `sagalog.open` takes it."""

    def now_ms(self) -> int:
        """Wall clock since 1970-01-01 UTC."""
        ...

    def monotonic_ms(self) -> int:
        """A clock that never steps back."""
        ...

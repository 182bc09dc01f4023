"""The deadlines of a task: when the engine cancels it, or asks its holder to stop. [DEADLINE-1]

Rule: the state and the time alone determine what has come, and undoing has no deadline. Knows no event and no command.
"""

from __future__ import annotations

from sagalog.kernel.state import TaskFold
from sagalog.kernel.values import DeadlineCode, State


def cancel_ms(task: TaskFold) -> int | None:
    """Return from when on the engine cancels the task, or asks its holder to stop; None: never, or it has asked."""
    deadline_ms, start_by_ms = task.deadline_ms, task.start_by_ms
    if task.state is State.PENDING:
        if start_by_ms is None or task.leases:
            return deadline_ms
        return start_by_ms if deadline_ms is None else min(start_by_ms, deadline_ms)
    return deadline_ms if task.state is State.RUNNING and not task.cancel_version else None


def passed_deadline(task: TaskFold, now_ms: int) -> DeadlineCode | None:
    """Return the code of the deadline that has come at `now_ms` and that the engine has to carry out; None: none.

    Only the clock says so: a cancel that comes early cannot be taken back. [DEADLINE-3]
    """
    if task.deadline_ms is None and task.start_by_ms is None:
        return None
    at_ms = cancel_ms(task)
    if at_ms is None or now_ms < at_ms:
        return None
    return "deadline" if task.deadline_ms is not None and now_ms >= task.deadline_ms else "start_by"


def cannot_start(run_at_ms: int, deadline_ms: int | None, start_by_ms: int | None) -> str | None:
    """Return the name of the deadline that comes before a task is due, so that it could never start; None: none."""
    if deadline_ms is not None and deadline_ms <= run_at_ms:
        return "deadline_ms"
    return "start_by_ms" if start_by_ms is not None and start_by_ms <= run_at_ms else None

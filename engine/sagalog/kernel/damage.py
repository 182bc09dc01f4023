"""The error of a damaged log of a task.

Rule: it names the stream, the version and the type of the event, and what the caller does next. Knows no event.
"""

from __future__ import annotations

from sagalog.errors import LogDamaged
from sagalog.kernel.state import TaskFold


def damaged(task: TaskFold, name: str, version: int, why: str) -> LogDamaged:
    """Return the error: the event `name` at `version` does not fit `task`, and `why`."""
    return LogDamaged(
        f"the log of task {task.id!r} is damaged: {name!r} at version {version} does not fit the task: {why}; "
        "stop, keep the file, and compare it with a backup",
        stream=f"task/{task.id}",
        version=version,
        type=name,
    )

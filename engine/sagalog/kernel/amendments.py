"""The amendments of a task: what of it may change in which state. [AMEND-2]

Rule: what a worker has leased a task with stays as it is under that lease; tags, kind and id never change. Knows no
event and no command.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, Literal

from sagalog.kernel.state import TaskFold
from sagalog.kernel.values import State

# Why something of a task cannot change now: a worker holds it; it waits for something else than its time; it is being
# undone; a worker has leased it with the payload that it has.
Obstacle = Literal["held", "parked", "undoing", "begun"]

# What may change in every live state; all else only while no worker holds the task.
AT_ANY_TIME: Final = frozenset({"deadline_ms", "start_by_ms", "policy"})
# What a task may have or not have; without `run_at_ms` it is due at once.
REMOVABLE: Final = ("run_at_ms", "payload", "affinity", "key", "build", "deadline_ms", "start_by_ms", "uses")


def obstacle(task: TaskFold, names: Collection[str]) -> tuple[str, Obstacle] | None:
    """Return the first of these names that cannot change while the task is as it is, and why; None: all can."""
    for name in names:
        if name in AT_ANY_TIME:
            continue
        if task.lease is not None:
            return name, "held"
        if name in ("run_at_ms", "payload") and task.state is State.COMPENSATING:
            return name, "undoing"
        if name == "run_at_ms" and task.waiting is not None:
            return name, "parked"
        if name == "payload" and task.leases:
            return name, "begun"
    return None

"""The dedupe keys that tasks hold, as a store saves them: which task has a key of its kind, and until when.

Rule: of one kind, one task at most has a key. Which one follows from the log in the order of positions: a task takes
its key as it is created, and by its scope has it until it ends, until a time, or until a successor takes it. [DEDUPE-1]
A task without a key has no row. Knows no store.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from sagalog.kernel.state import TaskFold
from sagalog.kernel.values import State


class DedupeRow(NamedTuple):
    """The row of a dedupe key that a task has.

    kind, key   the kind of the task, and the key
    task        the id of the task
    until_ms    of a period: the task has the key before this time; None: until its end, or for ever
    """

    kind: str
    key: str
    task: str
    until_ms: int | None


def dedupe_row_of(task: TaskFold) -> DedupeRow | None:
    """Return the row by which a task has its dedupe key, as the log of the task gives it; None: it has none.

    A task with a successor has handed its key over, unless that one only undoes what a completed task has left.
    A later task may have taken the key after a period: then that one has it. [DEDUPE-3]
    """
    dedupe = task.dedupe
    if dedupe is None or (dedupe.scope == "live" and task.is_terminal):
        return None
    if task.successor_version and task.state is not State.COMPLETED:
        return None
    return DedupeRow(task.kind, dedupe.key, task.id, dedupe.until_ms)


def fold_dedupes(tasks: Iterable[TaskFold], now_ms: int) -> dict[tuple[str, str], DedupeRow]:
    """Return the rows of all keys whose period is not over, by kind and key, from tasks in the order of creation."""
    rows = [row for row in map(dedupe_row_of, tasks) if row is not None]
    return {(row.kind, row.key): row for row in rows if row.until_ms is None or row.until_ms > now_ms}


def may_save_dedupe(task: TaskFold, found: DedupeRow | None) -> bool:
    """Check whether a store may have this row of a task's key, at some time. [DEDUPE-4]

    A row of a period may be gone since that was over, or end earlier since the clock had stepped back.
    """
    expected = dedupe_row_of(task)
    if expected is None or expected.until_ms is None:
        return found == expected
    if found is None:
        return True
    return found._replace(until_ms=None) == expected._replace(until_ms=None) and (
        type(found.until_ms) is int and found.until_ms <= expected.until_ms
    )

"""The dedupe keys that tasks have, as rows: which task has a key of its kind, and until when.

Rule: the primary key of the table lets one task at most have a key of a kind. [DEDUPE-1] It must not know what
operations do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from sagalog.store import DedupeRow, TaskFold, dedupe_row_of
from sagalog_sqlite import rows
from sagalog_sqlite.rows import Execute

OF_KEY: Final = (
    "SELECT d.kind, d.key, s.id, d.until_ms FROM dedupes d JOIN streams s ON s.number = d.stream "
    "AND s.category = 'task' WHERE d.kind = ? AND d.key = ?"
)
OVER: Final = (
    "SELECT d.kind, d.key, s.id, d.until_ms FROM dedupes d JOIN streams s ON s.number = d.stream "
    "AND s.category = 'task' WHERE d.until_ms <= ? ORDER BY d.until_ms, d.kind, d.key LIMIT ?"
)
TAKE: Final = (
    "INSERT OR REPLACE INTO dedupes(kind, key, stream, until_ms) "
    "SELECT ?1, ?2, number, ?4 FROM streams WHERE category = 'task' AND id = ?3"
)
FREE: Final = (
    "DELETE FROM dedupes WHERE kind = ?1 AND key = ?2 "
    "AND stream = (SELECT number FROM streams WHERE category = 'task' AND id = ?3)"
)
OF_STREAM: Final = "SELECT kind, key, until_ms FROM dedupes WHERE stream = ?"
FORGET: Final = "DELETE FROM dedupes WHERE stream = ?"
FORGET_STRAYS: Final = "DELETE FROM dedupes WHERE stream NOT IN (SELECT number FROM streams WHERE category = 'task')"
# Of two tasks that by themselves might have a key, since a period was over, the later one has it.
PUT_BACK: Final = (
    "INSERT INTO dedupes(kind, key, stream, until_ms) VALUES (?, ?, ?, ?) ON CONFLICT (kind, key) DO UPDATE "
    "SET stream = excluded.stream, until_ms = excluded.until_ms WHERE excluded.stream > dedupes.stream"
)
BETWEEN: Final = "SELECT stream, kind, key, until_ms FROM dedupes WHERE stream BETWEEN ? AND ?"
STRAYS: Final = (
    "SELECT kind, key, stream FROM dedupes WHERE stream NOT IN (SELECT number FROM streams WHERE category = 'task')"
)


def row_of_key(execute: Execute, kind: str, key: str) -> DedupeRow | None:
    """Return the row of a dedupe key of a kind; None: no task has it."""
    for row in execute(OF_KEY, (kind, key)):
        return DedupeRow(*row)
    return None


def over(execute: Execute, now_ms: int, limit: int) -> list[DedupeRow]:
    """Return the first rows whose period is over."""
    return [DedupeRow(*row) for row in execute(OVER, (now_ms, limit))]


def save(execute: Execute, freed: Iterable[DedupeRow], taken: Iterable[DedupeRow]) -> None:
    """Delete the rows that are still of these tasks, then save those that were taken."""
    for row in freed:
        execute(FREE, row[:3])
    for row in taken:
        execute(TAKE, row)


def is_right(execute: Execute, number: int, task: TaskFold, now_ms: int) -> bool:
    """Delete the row of a task if it is not what the log gives by now; tell whether none is missing then."""
    found: list[Any] = list(execute(OF_STREAM, (number,)))
    row = DedupeRow(found[0][0], found[0][1], task.id, found[0][2]) if found else None
    expected = dedupe_row_of(task)
    if expected is not None and expected.until_ms is not None and expected.until_ms <= now_ms:
        expected = None
    if row is not None and row != expected:
        execute(FORGET, (number,))
    return expected is None or row == expected


def put_back(execute: Execute, numbers: Sequence[int]) -> None:
    """Save the missing rows of some tasks, as these are now; those that cannot be read have none."""
    for number in numbers:
        for found in list(execute(rows.TASK_BY_NUMBER, (number,))):
            try:
                fold = rows.load(execute, found).saved.fold
            except rows.UNFOLDABLE:
                continue
            row = dedupe_row_of(fold) if isinstance(fold, TaskFold) else None
            if row is not None:
                execute(PUT_BACK, (row.kind, row.key, number, row.until_ms))

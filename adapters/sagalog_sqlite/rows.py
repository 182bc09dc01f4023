"""Rows -> envelopes and folds, and folds -> rows: the one place that knows which column holds what.

Its one rule: the log wins. A saved fold is used only where its format is this version's and it stands at the stream's
newest version; anything else is folded afresh from the events [RECORD-3], but where the fold is sound and knows more
events than there are: then the log has lost some. It must not know transactions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final
from zlib import crc32

import msgspec

from sagalog.codec import Envelope
from sagalog.errors import Corrupt, LogDamaged, SchemaMismatch, UnknownEvent
from sagalog.kernel.state import FOLD_FORMAT, StoreFold, TaskFold
from sagalog.projection import Columns, columns, decode_fold, encode_fold, refold, refold_store

# The format of the log that this version writes; another one may be read by nobody and written by nobody here.
FORMAT: Final = 0

TASK: Final = "task"
UNREADABLE: Final = "unreadable"
# What a stream that cannot be folded raises; the driver's own Corrupt is none of them. [LOG-5]
UNFOLDABLE: Final = (UnknownEvent, LogDamaged, SchemaMismatch)

# A statement and its values -> rows.
Execute = Callable[..., Iterable[Any]]

ENVELOPES: Final = (
    "SELECT e.position, s.category || '/' || s.id, e.version, e.at_ms, e.type, e.schema, e.actor, e.cause, "
    "e.idempotency_key, e.data_key, e.body, e.digest FROM events e JOIN streams s ON s.number = e.stream "
)
OF_STREAM: Final = ENVELOPES + "WHERE e.stream = ? AND e.version > ? ORDER BY e.version LIMIT ?"
OF_VERSION: Final = ENVELOPES + "WHERE e.stream = ? AND e.version = ?"
OF_NAME: Final = ENVELOPES + "WHERE s.category = ? AND s.id = ? AND e.version = ?"
OF_IDEMPOTENCY_KEY: Final = ENVELOPES + "WHERE e.idempotency_key = ? ORDER BY e.position"
OF_LOG: Final = ENVELOPES + "WHERE e.position > ? ORDER BY e.position LIMIT ?"

STANDING: Final = (
    "SELECT number, (SELECT max(version) FROM events WHERE stream = number) FROM streams WHERE category = ? AND id = ?"
)

_TASKS: Final = (
    "SELECT s.number, s.id, (SELECT max(version) FROM events WHERE stream = s.number), t.format, t.version, t.fold, "
    "t.queue, t.kind, t.priority, t.affinity, t.state, t.owed, t.run_at_ms, t.undo_ms, t.overdue_ms, t.gate, "
    "t.expires_ms, t.renewed_ms "
    "FROM streams s LEFT JOIN tasks t ON t.stream = s.number "
)
TASK_BY_ID: Final = _TASKS + "WHERE s.category = 'task' AND s.id = ?"
TASK_BY_NUMBER: Final = _TASKS + "WHERE s.category = 'task' AND s.number = ?"

# A row is the searched columns in their order, with the gate between what moves and what a renewal changes.
GATE: Final = Columns._fields.index("expires_ms")
QUEUE: Final = Columns._fields.index("queue")
RUN_AT: Final = Columns._fields.index("run_at_ms")
EXPIRES: Final = GATE + 1
_MOVING: Final = Columns._fields.index("state")
# Of each gate of claims, by which column claims look there: kinds, or sets of owed kinds.
_KIND: Final = Columns._fields.index("kind")
_OWED: Final = Columns._fields.index("owed")
VALUE_AT: Final = {"ready": _KIND, "ready_alone": _KIND, "undo": _OWED, "undo_alone": _OWED}

_INSERT: Final = (
    "INTO tasks(stream, format, version, fold, queue, kind, priority, affinity, state, owed, run_at_ms, undo_ms, "
    "overdue_ms, gate, expires_ms, renewed_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
REPLACE_TASK: Final = "INSERT OR REPLACE " + _INSERT
# Only indexes over columns that are set are written, and a commit costs by the pages it writes.
MOVE_TASK: Final = (
    "UPDATE tasks SET format = ?, version = ?, fold = ?, state = ?, owed = ?, run_at_ms = ?, undo_ms = ?, "
    "overdue_ms = ?, gate = ?, expires_ms = ?, renewed_ms = ? WHERE stream = ?"
)
RENEW_TASK: Final = (
    "UPDATE tasks SET format = ?, version = ?, fold = ?, expires_ms = ?, renewed_ms = ? WHERE stream = ?"
)
REFOLD_TASK: Final = "UPDATE tasks SET format = ?, version = ?, fold = ? WHERE stream = ?"
DELETE_TASK: Final = "DELETE FROM tasks WHERE stream = ?"
# It keeps the columns that it had, the last that is known; but it must not be found due again and again.
PUT_ASIDE: Final = (
    "INSERT INTO tasks(stream, gate) VALUES (?, 'unreadable') "
    "ON CONFLICT (stream) DO UPDATE SET gate = excluded.gate, undo_ms = NULL, overdue_ms = NULL, expires_ms = NULL, "
    "renewed_ms = NULL"
)
IS_AWAITED: Final = "SELECT EXISTS (SELECT 1 FROM awaited)"
INSERT_AWAITED: Final = "INSERT OR IGNORE INTO awaited(task, stream) VALUES (?, ?)"
DELETE_AWAITED: Final = "DELETE FROM awaited WHERE task = ? AND stream = ?"
FORGET_AWAITED: Final = "DELETE FROM awaited WHERE stream = ?"
# [WAIT-3] Whoever waits for this task has to be looked at.
WAKE: Final = (
    "UPDATE tasks SET gate = 'waking' WHERE gate = 'waiting' AND stream IN (SELECT stream FROM awaited WHERE task = ?)"
)
LOOKED_AT: Final = "UPDATE tasks SET gate = 'waiting' WHERE stream = ? AND gate = 'waking'"
# Its trigger refuses one that is there; and asking first writes nothing for bytes that are kept already.
INSERT_BLOB: Final = (
    "INSERT INTO blobs(digest, data) SELECT ?1, ?2 WHERE NOT EXISTS (SELECT 1 FROM blobs WHERE digest = ?1)"
)
BLOB: Final = "SELECT data FROM blobs WHERE digest = ?"
INSERT_TAG: Final = "INSERT OR IGNORE INTO tags(name, value, stream) VALUES (?, ?, ?)"

STORE: Final = "SELECT format, id, version, epoch, writer, checksum FROM store"
UPDATE_STORE: Final = "UPDATE store SET id = ?, version = ?, epoch = ?, writer = ?, checksum = ?"
_STORE_STREAM: Final = "SELECT number FROM streams WHERE category = 'store' ORDER BY number LIMIT 1"


class Loaded:
    """A task as a transaction has it: its stream's number, its fold, and its saved columns (None: it has no row).

    `created` is its first event, where this process has written it. `is_row_sound`: its columns were compared with what
    its fold gives, or come from there.
    """

    __slots__ = ("created", "fold", "is_row_sound", "number", "row")

    def __init__(
        self, number: int, fold: TaskFold, row: tuple[Any, ...] | None, created: Envelope | None = None
    ) -> None:
        self.number = number
        self.fold = fold
        self.row = row
        self.created = created
        self.is_row_sound = False

    @property
    def gate(self) -> str | None:
        """The gate as it is saved."""
        return None if self.row is None else self.row[GATE]

    def stands_at(self, gate: str) -> None:
        """Take note that its row was given another gate."""
        assert self.row is not None
        self.row = (*self.row[:GATE], gate, *self.row[GATE + 1 :])


def history(execute: Execute, number: int, after: int = 0, limit: int | None = None) -> list[Envelope]:
    """Events of one stream with versions beyond `after`."""
    return [Envelope(*row) for row in execute(OF_STREAM, (number, after, -1 if limit is None else limit))]


def load(execute: Execute, row: tuple[Any, ...]) -> Loaded:
    """The task of a row of `TASK_BY_ID` or `TASK_BY_NUMBER`.

    Raises:
        UnknownEvent, LogDamaged: its events cannot be folded.
        SchemaMismatch: its fold was saved by a newer version.
    """
    number, id, newest, format, version, text = row[:6]
    gate = row[6 + GATE]
    saved = None if format is None and gate is None else row[6:]
    if type(format) is int and format > FOLD_FORMAT:
        raise SchemaMismatch(
            f"task {id!r} was saved in format {format} and this version knows up to {FOLD_FORMAT}: upgrade sagalog",
            task=id,
            found=format,
            supported=FOLD_FORMAT,
        )
    if format == FOLD_FORMAT and text is not None and gate != UNREADABLE:
        try:
            task = decode_fold(text)
        except msgspec.DecodeError:
            pass
        else:
            if task.id == id and task.version == version == newest:
                return Loaded(number, task, saved)
            if task.id == id and type(newest) is int and task.version > newest:
                # It was folded from events that are not found any more: what is left is not the task.
                raise absent_event(id, newest + 1)
    return Loaded(number, refold(id, history(execute, number)), saved)


def says(task: TaskFold, gate: str | None) -> tuple[Any, ...]:
    """What the searched columns of a task's row hold, in the order in which `save` compares them."""
    found = columns(task)
    return (*found[:GATE], gate, *found[GATE:])


def save(
    execute: Execute, number: int, task: TaskFold, gate: str | None, before: tuple[Any, ...] | None
) -> tuple[Any, ...]:
    """Save a fold with its columns, touching no more indexes than have changed; the columns as they are now.

    `before` is what they were; None where there is no row.
    """
    row = says(task, gate)
    head = (FOLD_FORMAT, task.version, encode_fold(task))
    if before is None or before[:_MOVING] != row[:_MOVING]:
        execute(REPLACE_TASK, (number, *head, *row))
    elif before[_MOVING : GATE + 1] != row[_MOVING : GATE + 1]:
        execute(MOVE_TASK, (*head, *row[_MOVING:], number))
    elif before[GATE + 1 :] != row[GATE + 1 :]:
        execute(RENEW_TASK, (*head, *row[GATE + 1 :], number))
    else:
        execute(REFOLD_TASK, (*head, number))
    return row


def tag(execute: Execute, number: int, task: TaskFold) -> None:
    """Make a task findable by its tags, which never change."""
    for name, value in (task.tags or {}).items():
        execute(INSERT_TAG, (name, value, number))


def await_tasks(execute: Execute, number: int, before: TaskFold | None, after: TaskFold) -> None:
    """Keep who waits for whom in step with a fold that has changed."""
    ended = () if before is None or before.waiting is None else before.waiting.after
    begun = () if after.waiting is None else after.waiting.after
    if ended != begun:
        for id in ended:
            execute(DELETE_AWAITED, (id, number))
        for id in begun:
            execute(INSERT_AWAITED, (id, number))


def store_fold(row: tuple[Any, ...]) -> StoreFold | None:
    """The store's own fold from a row of `STORE`; None before it was founded."""
    format, id, version, epoch, writer = row
    return None if id is None else StoreFold(id, version, format, epoch, writer)


def store_row(execute: Execute) -> tuple[Any, ...]:
    """The one row that says which format may write: format, id, version, epoch, writer.

    Where it was changed the log wins.

    Raises:
        SchemaMismatch: not this version's format.
        Corrupt: there is no such row, or it was changed and the log does not say either.
    """
    found = _saved_store(execute) or _folded_store(execute)
    if found[0] != FORMAT:
        raise SchemaMismatch(
            f"the store's log has format {found[0]} and this version of sagalog writes format {FORMAT}: "
            "use the version that made it, or export and import it",
            found=found[0],
            supported=FORMAT,
        )
    return found


def is_store_row_sound(execute: Execute) -> bool:
    """Whether the row is as it was saved; it is not needed for reading, see `store_row`."""
    return _saved_store(execute) is not None


def update_store(execute: Execute, store: StoreFold) -> None:
    """Save the store's own fold."""
    saved = (store.id, store.version, store.epoch, store.writer)
    execute(UPDATE_STORE, (*saved, _checksum(FORMAT, *saved)))


def _saved_store(execute: Execute) -> tuple[Any, ...] | None:
    """The row, if it is what was saved. One that was never saved has no id, and its store no stream."""
    try:
        found = list(execute(STORE))
    except UnicodeDecodeError:
        return None
    if not found:
        raise Corrupt("the store's own row is gone: another program has changed the file; restore a backup")
    row, checksum = tuple(found[0][:-1]), found[0][-1]
    if row[1:] == (None, 0, 0, None) and checksum is None:
        return row if not list(execute(_STORE_STREAM)) else None
    # A row of a format that is not known here may be summed otherwise; the caller that asks for the format refuses it.
    return row if checksum == _checksum(*row) or row[0] != FORMAT else None


def _folded_store(execute: Execute) -> tuple[Any, ...]:
    for (number,) in execute(_STORE_STREAM):
        store = refold_store(history(execute, number))
        if store is not None:
            return store.format, store.id, store.version, store.epoch, store.writer
    raise Corrupt("the store's own row was changed, and its stream is gone: stop, keep the file, and restore a backup")


def _checksum(*values: Any) -> int:
    return crc32(repr(values).encode())


def absent_event(id: str, version: int) -> LogDamaged:
    """The error for an event that must be there and is not."""
    return LogDamaged(
        f"task/{id}@{version} is not in the log: stop, keep the file, and compare it with a backup",
        stream=f"task/{id}",
        version=version,
        type=None,
    )

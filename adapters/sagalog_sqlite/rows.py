"""Rows -> envelopes and folds, and folds -> rows: the one module that knows which column holds what.

Rule: the log wins. The store uses a saved fold only if its format is this version's and its version is the stream's
newest; otherwise it folds the events afresh. [RECORD-3] If a sound fold knows more events than the log has, the log has
lost some, and the store raises an error. It must not know transactions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final
from zlib import crc32

import msgspec

from sagalog.errors import Corrupt, LogDamaged, SchemaMismatch, UnknownEvent
from sagalog.store import (
    COUNTING,
    FOLD_FORMAT,
    STORE,
    Account,
    Category,
    Envelope,
    LimitUse,
    Projection,
    Row,
    Saved,
    StoreFold,
    category_of,
    decode_account,
    decode_fold,
    decode_fold_of,
    refold,
    refold_store,
    refold_stream,
)

# The format of the log that this version writes; it refuses to read or write another one.
FORMAT: Final = 0

TASK: Final = "task"
UNREADABLE: Final = "unreadable"
# The errors of a stream that the engine cannot fold; the driver's own Corrupt is none of them. [LOG-5]
UNFOLDABLE: Final = (UnknownEvent, LogDamaged, SchemaMismatch)

# A statement and its values -> rows.
Execute = Callable[..., Iterable[Any]]

ENVELOPES: Final = (
    "SELECT e.position, s.category || '/' || s.id, e.version, e.at_ms, e.type, e.schema, e.actor, e.cause, "
    "e.idempotency_key, e.data_key, e.body, e.digest FROM events e LEFT JOIN streams s ON s.number = e.stream "
)
OF_STREAM: Final = ENVELOPES + "WHERE e.stream = ? AND e.version > ? ORDER BY e.version LIMIT ?"
OF_VERSION: Final = ENVELOPES + "WHERE e.stream = ? AND e.version = ?"
OF_NAME: Final = ENVELOPES + "WHERE s.category = ? AND s.id = ? AND e.version = ?"
OF_IDEMPOTENCY_KEY: Final = ENVELOPES + "WHERE e.idempotency_key = ? ORDER BY e.position"
OF_LOG: Final = ENVELOPES + "WHERE e.position > ? ORDER BY e.position LIMIT ?"

OF_COUNTING: Final = (
    f"{ENVELOPES}WHERE e.position > ? AND e.type IN ({', '.join('?' * len(COUNTING))}) ORDER BY e.position LIMIT ?"
)

NEWEST: Final = (
    "SELECT number, (SELECT max(version) FROM events WHERE stream = number) FROM streams WHERE category = ? AND id = ?"
)

_TASKS: Final = (
    "SELECT s.number, s.id, (SELECT max(version) FROM events WHERE stream = s.number), t.format, t.version, t.fold, "
    "t.queue, t.kind, t.priority, t.affinity, t.parent, t.correlation_id, t.cancel_ms, t.build, t.follows, "
    "t.affinity_ms, t.state, t.owed, t.run_at_ms, t.undo_ms, t.overdue_ms, t.updated_ms, t.check_ms, t.gate, t.wait, "
    "t.held, t.holds, t.expires_ms, t.renewed_ms "
    "FROM streams s LEFT JOIN tasks t ON t.stream = s.number "
)
TASK_BY_ID: Final = _TASKS + "WHERE s.category = 'task' AND s.id = ?"
TASK_BY_NUMBER: Final = _TASKS + "WHERE s.category = 'task' AND s.number = ?"

FOLD_BY_NAME: Final = (
    "SELECT s.number, (SELECT max(version) FROM events WHERE stream = s.number), f.format, f.version, f.fold "
    "FROM streams s LEFT JOIN folds f ON f.stream = s.number WHERE s.category = ? AND s.id = ?"
)
REPLACE_FOLD: Final = "INSERT OR REPLACE INTO folds(stream, format, version, fold) VALUES (?, ?, ?, ?)"

# The places in a row where the columns begin that move with the state: first one that nearly no task has, then the
# state; and where those begin that a heartbeat changes.
_MOVING: Final = Row._fields.index("affinity_ms")
_STATE: Final = Row._fields.index("state")
_RENEWED: Final = Row._fields.index("expires_ms")

_INSERT: Final = (
    "INTO tasks(stream, format, version, fold, queue, kind, priority, affinity, parent, correlation_id, cancel_ms, "
    "build, follows, affinity_ms, state, owed, run_at_ms, undo_ms, overdue_ms, updated_ms, check_ms, gate, wait, held, "
    "holds, expires_ms, renewed_ms) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
REPLACE_TASK: Final = "INSERT OR REPLACE " + _INSERT
# SQLite writes only the indexes over columns that a statement sets, and a commit's cost grows with the pages it writes.
MOVE_TASK: Final = (
    "UPDATE tasks SET format = ?, version = ?, fold = ?, state = ?, owed = ?, run_at_ms = ?, undo_ms = ?, "
    "overdue_ms = ?, updated_ms = ?, check_ms = ?, gate = ?, wait = ?, held = ?, holds = ?, expires_ms = ?, "
    "renewed_ms = ? WHERE stream = ?"
)
MOVE_TASK_WITH_AFFINITY: Final = (
    "UPDATE tasks SET format = ?, version = ?, fold = ?, affinity_ms = ?, state = ?, owed = ?, run_at_ms = ?, "
    "undo_ms = ?, overdue_ms = ?, updated_ms = ?, check_ms = ?, gate = ?, wait = ?, held = ?, holds = ?, "
    "expires_ms = ?, renewed_ms = ? WHERE stream = ?"
)
RENEW_TASK: Final = (
    "UPDATE tasks SET format = ?, version = ?, fold = ?, expires_ms = ?, renewed_ms = ? WHERE stream = ?"
)
REFOLD_TASK: Final = "UPDATE tasks SET format = ?, version = ?, fold = ? WHERE stream = ?"
# The task keeps its last known columns, except those by which maintenance would find it again and again.
PUT_ASIDE: Final = (
    "INSERT INTO tasks(stream, gate) VALUES (?, 'unreadable') "
    "ON CONFLICT (stream) DO UPDATE SET gate = excluded.gate, undo_ms = NULL, overdue_ms = NULL, "
    "updated_ms = NULL, check_ms = NULL, cancel_ms = NULL, build = NULL, holds = NULL, affinity_ms = NULL, "
    "expires_ms = NULL, renewed_ms = NULL"
)
# A trigger refuses a digest that is there; asking first writes nothing for bytes that the store keeps already.
INSERT_BLOB: Final = (
    "INSERT INTO blobs(digest, data) SELECT ?1, ?2 WHERE NOT EXISTS (SELECT 1 FROM blobs WHERE digest = ?1)"
)
BLOB: Final = "SELECT data FROM blobs WHERE digest = ?"
INSERT_TAG: Final = "INSERT OR IGNORE INTO tags(name, value, stream) VALUES (?, ?, ?)"

# [LIMIT-5]
INSERT_LIMIT_USE: Final = (
    "INSERT INTO limit_uses(account, place, section, priority, units, stream) VALUES (?, ?, ?, ?, ?, ?)"
)
FORGET_LIMIT_USES: Final = "DELETE FROM limit_uses WHERE stream = ?"
ACCOUNT: Final = "SELECT account FROM accounts WHERE name = ?"
SAVE_ACCOUNT: Final = "INSERT OR REPLACE INTO accounts(name, due_ms, since_ms, account) VALUES (?, ?, ?, ?)"

NEWEST_STREAM: Final = "SELECT coalesce(max(number), 0) FROM streams"

STORE_ROW: Final = "SELECT format, id, version, epoch, writer, paused_kinds, checksum FROM store"
UPDATE_STORE: Final = "UPDATE store SET id = ?, version = ?, epoch = ?, writer = ?, paused_kinds = ?, checksum = ?"
_STORE_STREAM: Final = "SELECT number FROM streams WHERE category = 'store' ORDER BY number LIMIT 1"


class Loaded:
    """A stream as a transaction has it.

    number     of the stream; 0: this transaction begins it and has not written it yet
    saved      the stream as operations see it
    version    how many events it has
    created    its first event, if this process has written it
    may_wait   whether it may have edges to tasks that it awaits
    limit_uses its places under limits, as they are saved; None: not known
    """

    __slots__ = ("created", "limit_uses", "may_wait", "number", "saved", "version")

    def __init__(
        self,
        number: int,
        saved: Saved,
        version: int,
        may_wait: bool = True,
        limit_uses: tuple[LimitUse, ...] | None = None,
    ) -> None:
        self.number = number
        self.saved = saved
        self.version = version
        self.created: Envelope | None = None
        self.may_wait = may_wait
        self.limit_uses = limit_uses

    def is_at_gate(self, gate: str) -> bool:
        """Tell whether its row is at a gate."""
        return self.saved.row is not None and self.saved.row.gate == gate

    def wake(self) -> None:
        """Note that the store has moved its row from the gate `waiting` to `waking`, if it was there."""
        row = self.saved.row
        if row is not None and row.gate == "waiting":
            self.saved = Saved(self.saved.stream, self.saved.fold, row._replace(gate="waking"))


def history(execute: Execute, number: int, after: int = 0, limit: int | None = None) -> list[Envelope]:
    """Return the events of one stream with versions above `after`."""
    return [Envelope(*row) for row in execute(OF_STREAM, (number, after, -1 if limit is None else limit))]


def counting(execute: Execute, after: int, limit: int) -> list[Envelope]:
    """Return the next events behind a position that change accounts, in order. [LIMIT-7]"""
    return [Envelope(*row) for row in execute(OF_COUNTING, (after, *COUNTING, limit))]


def load(execute: Execute, row: tuple[Any, ...]) -> Loaded:
    """Return the task of a row of `TASK_BY_ID` or `TASK_BY_NUMBER`.

    Raises:
        UnknownEvent, LogDamaged: the engine cannot fold its events.
        SchemaMismatch: a newer version has saved its fold.
    """
    number, id, newest, format, version, content = row[:6]
    saved = row_of(row)
    if type(format) is int and format > FOLD_FORMAT:
        raise SchemaMismatch(
            f"task {id!r} was saved in format {format} and this version knows up to {FOLD_FORMAT}: upgrade sagalog",
            task=id,
            found=format,
            supported=FOLD_FORMAT,
        )
    stream = f"{TASK}/{id}"
    if format == FOLD_FORMAT and content is not None and not (saved is not None and saved.gate == UNREADABLE):
        try:
            task = decode_fold(content)
        except msgspec.DecodeError:
            pass
        else:
            if task.id == id and task.version == version == newest:
                return Loaded(number, Saved(stream, task, saved), version)
            if task.id == id and type(newest) is int and task.version > newest:
                # The log has lost some of the events of this fold: the rest is not the task.
                raise absent_event(stream, newest + 1)
    task = refold(id, history(execute, number))
    return Loaded(number, Saved(stream, task, saved), task.version)


def load_other(execute: Execute, stream: str, store: StoreFold | None) -> Loaded | None:
    """Return a stream of no task, by its name; `store` is the fold of the store's own. Raises as `load`."""
    category, (_, _, id) = category_of(stream), stream.partition("/")
    if category is None:
        return None
    for number, newest, format, version, content in execute(FOLD_BY_NAME, (category.name, id)):
        if category is STORE:
            return Loaded(number, Saved(stream, store), newest or 0)
        fold = other_fold(category, format, content) if version == newest else None
        if fold is None:
            fold = refold_stream(category, id, history(execute, number))
        return Loaded(number, Saved(stream, fold), newest or 0)
    return None


def other_fold(category: Category[Any], format: int | None, content: bytes | None) -> Any:
    """Return the saved fold of a stream of no task; None if it has another format or was changed."""
    if format != FOLD_FORMAT or content is None:
        return None
    try:
        return decode_fold_of(category, content)
    except msgspec.DecodeError:
        return None


def row_of(row: tuple[Any, ...]) -> Row | None:
    """Return the searched columns in a row of `TASK_BY_ID` or `TASK_BY_NUMBER`; None: the task has none."""
    found = Row(*row[6:])
    return None if row[3] is None and found.gate is None else found


def may_await(row: Row | None) -> bool:
    """Tell whether a task with this row (None: not known) may be on record as waiting for others."""
    return row is None or row.gate in ("waiting", "waking", UNREADABLE)


def saving(number: int, projection: Projection, row: Row, before: Row | None) -> tuple[str, tuple[Any, ...]]:
    """Return the statement that saves a task's fold with its row, and its values.

    It writes no more indexes than differ from `before` (None: there was no row).
    """
    head = (FOLD_FORMAT, projection.fold.version, projection.content)
    if before is None or before[:_MOVING] != row[:_MOVING]:
        return REPLACE_TASK, (number, *head, *row)
    if before.affinity_ms != row.affinity_ms:
        return MOVE_TASK_WITH_AFFINITY, (*head, *row[_MOVING:], number)
    if before[_STATE:_RENEWED] != row[_STATE:_RENEWED]:
        return MOVE_TASK, (*head, *row[_STATE:], number)
    if before[_RENEWED:] != row[_RENEWED:]:
        return RENEW_TASK, (*head, *row[_RENEWED:], number)
    return REFOLD_TASK, (*head, number)


def account(execute: Execute, name: str) -> Account | None:
    """Return an account by its name; None if it does not exist, or was changed: an audit names it. [LIMIT-7]"""
    for (content,) in execute(ACCOUNT, (name,)):
        try:
            return decode_account(content)
        except msgspec.DecodeError:
            return None
    return None


def save_limit_uses(execute: Execute, number: int, projection: Projection) -> None:
    """Save the places of a task under limits, in place of what was saved. [LIMIT-5]"""
    execute(FORGET_LIMIT_USES, (number,))
    for one in projection.limit_uses:
        execute(INSERT_LIMIT_USE, (*one, number))


def store_fold(row: tuple[Any, ...]) -> StoreFold | None:
    """Return the store's own fold from a row of `STORE_ROW`; None before it was founded."""
    format, id, version, epoch, writer, paused = row
    return None if id is None else StoreFold(id, version, format, epoch, writer, paused_kinds_of(paused))


def paused_kinds_of(saved: str | None) -> dict[str, int]:
    """Return the paused kinds as they are saved."""
    return {} if saved is None else msgspec.json.decode(saved, type=dict[str, int])


def store_row(execute: Execute) -> tuple[Any, ...]:
    """Return the one row that says which format may write: format, id, version, epoch, writer, paused kinds.

    If the row was changed, the log wins.

    Raises:
        SchemaMismatch: not this version's format.
        Corrupt: the row is gone, or it was changed and the log does not say either.
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
    """Tell whether the row is as the store saved it. Reading does not need it, see `store_row`."""
    return _saved_store(execute) is not None


def update_store(execute: Execute, store: StoreFold) -> None:
    """Save the store's own fold."""
    saved = _saved_of(store)
    execute(UPDATE_STORE, (*saved, _checksum(FORMAT, *saved)))


def _saved_of(store: StoreFold) -> tuple[Any, ...]:
    paused = msgspec.json.encode(store.paused_kinds).decode() if store.paused_kinds else None
    return store.id, store.version, store.epoch, store.writer, paused


def _saved_store(execute: Execute) -> tuple[Any, ...] | None:
    """Return the row if it is as saved. A row that the store never saved has no id, and the store no stream."""
    try:
        found = list(execute(STORE_ROW))
    except UnicodeDecodeError:
        return None
    if not found:
        raise Corrupt("the store's own row is gone: another program has changed the file; restore a backup")
    row, checksum = tuple(found[0][:-1]), found[0][-1]
    if row[1:] == (None, 0, 0, None, None) and checksum is None:
        return row if not list(execute(_STORE_STREAM)) else None
    # An unknown format may have another checksum; the caller, which asks for the format, refuses it.
    return row if checksum == _checksum(*row) or row[0] != FORMAT else None


def _folded_store(execute: Execute) -> tuple[Any, ...]:
    for (number,) in execute(_STORE_STREAM):
        store = refold_store(history(execute, number))
        if store is not None:
            return store.format, *_saved_of(store)
    raise Corrupt("the store's own row was changed, and its stream is gone: stop, keep the file, and restore a backup")


def _checksum(*values: Any) -> int:
    return crc32(repr(values).encode())


def absent_event(stream: str, version: int) -> LogDamaged:
    """Make the error for an event that must be in the log and is not."""
    return LogDamaged(
        f"{stream}@{version} is not in the log: stop, keep the file, and compare it with a backup",
        stream=stream,
        version=version,
        type=None,
    )

"""The rows of an audit: whole streams with their events and projections, tags, and what belongs to no stream.

Rule: it reads what the file holds, damaged rows too, and decides nothing about it. It must not know where its rows come
from.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate, groupby
from operator import itemgetter
from typing import Any, Final

import msgspec

from sagalog.errors import Corrupt
from sagalog.store import (
    FOLD_FORMAT,
    Account,
    AuditedStream,
    AuditedTask,
    DedupeRow,
    LimitUse,
    Reference,
    Row,
    SavedTask,
    StoredEvent,
    StreamHead,
    Tag,
    TaskFold,
    category_of,
    decode_account,
    decode_fold,
)
from sagalog_sqlite import dedupes, kept, migration, references, rows, texts

SAVED: Final = (
    "SELECT s.number, (SELECT 1 FROM awaited WHERE stream = s.number LIMIT 1), t.format, t.fold, "  # noqa: S608
    f"{', '.join('t.' + column for column in Row._fields)} "
    "FROM streams s JOIN tasks t ON t.stream = s.number WHERE s.category = ? AND s.id = ?"
)
# Tags have no index by their stream. So the audit looks for each by itself, and a pass over all finds those too many.
TAGGED: Final = "SELECT 1 FROM tags WHERE name = ? AND value = ? AND stream = ?"
TAGGED_BETWEEN: Final = "SELECT stream FROM tags WHERE name = ? AND value = ? AND stream BETWEEN ? AND ?"
TAGS: Final = (
    "SELECT CAST(g.name AS BLOB), CAST(g.value AS BLOB), g.stream, s.category || '/' || s.id, t.format, t.fold "
    "FROM tags g LEFT JOIN streams s ON s.number = g.stream LEFT JOIN tasks t ON t.stream = g.stream "
    "WHERE (g.name, g.value, g.stream) > (CAST(? AS TEXT), CAST(? AS TEXT), ?) "
    "ORDER BY g.name, g.value, g.stream LIMIT ?"
)
TAG_COUNT: Final = "SELECT count(*) FROM tags"
AWAITED: Final = "SELECT task FROM awaited WHERE stream = ? ORDER BY task"
LOST_EVENTS: Final = "SELECT position FROM events WHERE stream NOT IN (SELECT number FROM streams)"
SCHEMA: Final = "SELECT name, sql FROM sqlite_schema"
STRAY_TASKS: Final = "SELECT stream FROM tasks WHERE stream NOT IN (SELECT number FROM streams WHERE category = 'task')"
STRAY_WAITS: Final = (
    "SELECT task, stream FROM awaited WHERE stream NOT IN (SELECT number FROM streams WHERE category = 'task')"
)
STRAY_UNHANDLED: Final = (
    "SELECT what, task FROM unhandled WHERE what NOT IN ('dependants', 'children') "
    "OR task NOT IN (SELECT id FROM streams WHERE category = 'task')"
)
# In a damaged file a name may be NULL; the audit still has to report its stream.
STREAMS: Final = (
    "SELECT number, coalesce(category, '') || '/' || coalesce(id, ''), "
    "(SELECT max(version) FROM events WHERE stream = number) "
    "FROM streams WHERE number > ? ORDER BY number LIMIT ?"
)
NAMES: Final = (
    "SELECT number, coalesce(category, '') || '/' || coalesce(id, '') FROM streams WHERE number > ? "
    "ORDER BY number LIMIT ?"
)
EVENTS_BETWEEN: Final = (
    "SELECT position, stream, version, at_ms, type, schema, actor, cause, idempotency_key, data_key, body, digest "
    "FROM events WHERE stream BETWEEN ? AND ? ORDER BY stream, version"
)
SIZES_BETWEEN: Final = (
    "SELECT stream, TOTAL(OCTET_LENGTH(body) + 512) FROM events WHERE stream BETWEEN ? AND ? GROUP BY stream"
)
SAVED_BETWEEN: Final = (
    f"SELECT stream, format, version, fold, {', '.join(Row._fields)} FROM tasks WHERE stream BETWEEN ? AND ?"  # noqa: S608
)
AWAITED_BETWEEN: Final = "SELECT stream, task FROM awaited WHERE stream BETWEEN ? AND ? ORDER BY stream, task"
LIMIT_USES_BETWEEN: Final = (
    "SELECT stream, account, place, section, priority, units FROM limit_uses WHERE stream BETWEEN ? AND ? "
    "ORDER BY stream, account, place"
)
ACCOUNTS: Final = "SELECT name, due_ms, since_ms, account FROM accounts WHERE name > ? ORDER BY name LIMIT ?"
STRAY_LIMIT_USES: Final = (
    "SELECT account, stream FROM limit_uses WHERE stream NOT IN (SELECT number FROM streams WHERE category = 'task')"
)
FOLDS_BETWEEN: Final = "SELECT stream, format, version, fold FROM folds WHERE stream BETWEEN ? AND ?"

Rows = list[tuple[Any, ...]]
# A statement and its values -> all its rows.
Read = Callable[..., Rows]

# The place of the stream's number in a row of `EVENTS_BETWEEN`.
_STREAM: Final = itemgetter(1)
# The bytes of events that an audit holds at once; a single stream may have more.
_AUDITED_BYTES_MAX = 32 * 1024 * 1024


def streams(read: Read, after: int, limit: int) -> list[StreamHead]:
    """Return the streams with numbers above `after`, in their order."""
    return [StreamHead(number, name, version or 0) for number, name, version in read(STREAMS, (after, limit))]


def saved(read: Read, stream: str) -> SavedTask | None:
    """Return a task as it is saved; None if it is not."""
    category, _, id = stream.partition("/")
    for number, waits, format, content, *values in read(SAVED, (category, id)):
        awaited = tuple(task for (task,) in read(AWAITED, (number,))) if waits else ()
        fold = _fold_or_none(format, content)
        expected = {} if fold is None else fold.tags or {}
        tags = {name: value for name, value in expected.items() if read(TAGGED, (name, value, number))}
        return SavedTask(fold, Row(*values), awaited, tags)
    return None


def audited(read: Read, after: int, limit: int) -> list[AuditedStream]:
    """Return streams with all their events, fewer if those are large: nine statements for all of them."""
    heads = _that_fit(read, read(NAMES, (after, limit)))
    if not heads:
        return []
    between = (heads[0][0], heads[-1][0])
    events: dict[int, list[StoredEvent]] = {number: [] for number, _ in heads}
    for number, found in groupby(read(EVENTS_BETWEEN, between), _STREAM):
        if number in events:
            events[number] += found
    awaited: dict[int, list[str]] = {}
    for number, task in read(AWAITED_BETWEEN, between):
        awaited.setdefault(number, []).append(task)
    limit_uses: dict[int, list[LimitUse]] = {}
    for number, *place in read(LIMIT_USES_BETWEEN, between):
        limit_uses.setdefault(number, []).append(LimitUse(*place))
    named: dict[int, list[Reference]] = {}
    for number, name, task in read(references.BETWEEN, between):
        named.setdefault(number, []).append(Reference(name, task))
    names: dict[int, str] = dict(heads)
    keys = {
        number: DedupeRow(kind, key, names[number].partition("/")[2], until_ms)
        for number, kind, key, until_ms in read(dedupes.BETWEEN, between)
        if number in names
    }
    # As the store loads folds: it uses none that is saved for another version than the newest.
    newest = {number: of_stream[-1][2] for number, of_stream in events.items() if of_stream}
    tasks = {
        number: AuditedTask(
            content if (format, version) == (FOLD_FORMAT, newest.get(number)) else None,
            Row(*values),
            tuple(awaited.get(number, ())),
            tuple(limit_uses.get(number, ())),
            keys.get(number),
        )
        for number, format, version, content, *values in read(SAVED_BETWEEN, between)
    }
    folds = {
        number: (format, content)
        for number, format, version, content in read(FOLDS_BETWEEN, between)
        if version == newest.get(number)
    }
    return [
        AuditedStream(
            number,
            name,
            events[number],
            tasks.get(number),
            _other_fold(name, folds.get(number)),
            tuple(named.get(number, ())),
        )
        for number, name in heads
    ]


def tagged(read: Read, name: str, value: str, first: int, last: int) -> frozenset[int]:
    """Return the numbers of the streams from `first` to `last` with a tag, by the order of the tags."""
    return frozenset([number for (number,) in read(TAGGED_BETWEEN, (name, value, first, last))])


def strays(read: Read) -> list[str]:
    """Return a sentence for each row of tasks, waits and due names that belongs to no stream."""
    found = [f"the row {number} of tasks has no stream" for (number,) in read(STRAY_TASKS)]
    found += [f"the wait of {number} for {task!r} has no stream" for task, number in read(STRAY_WAITS)]
    found += [f"the {what} of {task!r} are due and there is no such task" for what, task in read(STRAY_UNHANDLED)]
    found += [
        f"the dedupe key {key!r} of {kind!r} is of {number}, which has no stream"
        for kind, key, number in read(dedupes.STRAYS)
    ]
    found += [f"the reference of {number} to {name!r} has no stream" for name, number in read(references.STRAYS)]
    return found + [
        f"the place of {number} under {account!r} has no stream" for account, number in read(STRAY_LIMIT_USES)
    ]


def accounts(read: Read, after: str, limit: int) -> list[tuple[str, Account | None]]:
    """Return the accounts with names above `after`; None in place of one that was changed."""
    found: list[tuple[str, Account | None]] = []
    for name, *times, content in read(ACCOUNTS, (after, limit)):
        try:
            account = decode_account(content)
        except msgspec.DecodeError:
            found.append((name, None))
        else:
            # By these columns the store finds those that are due.
            found.append((name, account if times == [account.due_ms, account.since_ms] else None))
    return found


def tag_count(read: Read) -> int:
    """Count the tags."""
    ((count,),) = read(TAG_COUNT)
    return int(count)


def stray_tags(read: Read, after: Tag, limit: int) -> tuple[list[tuple[str | None, str]], Tag | None]:
    """Return the tags among the next `limit` that their task does not have, and the last tag of those."""
    found: list[tuple[str | None, str]] = []
    last = None
    key = (texts.bytes_of(after[0]), texts.bytes_of(after[1]), after[2])
    behind = key
    for raw_name, raw_value, number, stream, format, content in read(TAGS, (*key, limit)):
        name, value = texts.key_of(raw_name), texts.key_of(raw_value)
        last, behind = (name, value, number), (raw_name, raw_value, number)
        if stream is None or not stream.startswith("task/"):
            found.append((None, f"the tag {name!r} of {number} has no stream"))
            continue
        fold = _fold_or_none(format, content)
        if fold is not None and (fold.tags or {}).get(name) != value:
            found.append((stream, f"it is found by the tag {name!r}, which it does not carry so"))
    return found, last if texts.is_beyond(behind, key) else None


def check(read: Read) -> list[str]:
    """Return what SQLite's integrity check finds, and what no stream shows: lost events, changed rows and schema."""
    try:
        found = [text for (text,) in read("PRAGMA integrity_check") if text != "ok"]
        found += [f"the event at position {position} is of no stream" for (position,) in read(LOST_EVENTS)]
        found += kept.changed(read)
        if not rows.is_store_row_sound(read):
            found.append("the store's own row was changed; the log says what it was: rebuild it")
        present: dict[str, str | None] = dict(read(SCHEMA))
    except Corrupt as error:
        return [error.message]
    made = migration.schema()
    gone = [f"{name} is gone from the schema: the file was changed" for name in sorted(made.keys() - present.keys())]
    other = [name for name in sorted(made.keys() & present.keys()) if made[name] != present[name]]
    return found + gone + [f"{name} is not as this version made it: the schema was changed" for name in other]


def _that_fit(read: Read, heads: Rows) -> Rows:
    """Return the first of these streams whose events fit into memory together, but at least one."""
    if not heads:
        return heads
    sizes: dict[int, float] = dict(read(SIZES_BETWEEN, (heads[0][0], heads[-1][0])))
    totals = accumulate(sizes.get(number, 0) for number, _ in heads)
    fitting = sum(total <= _AUDITED_BYTES_MAX for total in totals)
    return heads[: max(1, fitting)]


def _fold_or_none(format: int | None, content: bytes | None) -> TaskFold | None:
    if format != FOLD_FORMAT or content is None:
        return None
    try:
        return decode_fold(content)
    except msgspec.DecodeError:
        return None


def _other_fold(stream: str, content: tuple[int, bytes] | None) -> Any:
    category = category_of(stream)
    return None if content is None or category is None else rows.other_fold(category, *content)

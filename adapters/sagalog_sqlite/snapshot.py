"""A consistent view for reading: the port's snapshot over one read transaction.

Its one rule: it blocks no writer and lives shortly, since the WAL cannot be reused while a reader holds an old state;
past its age it refuses. It must not know where its connection comes from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate, groupby, islice, takewhile
from operator import itemgetter
from typing import Any, Final

import apsw
import msgspec

from sagalog.errors import Corrupt, Unavailable
from sagalog.store import (
    FOLD_FORMAT,
    AuditedStream,
    AuditedTask,
    Claim,
    Delayed,
    Envelope,
    Listed,
    Query,
    Row,
    SavedTask,
    State,
    StoredEvent,
    StoreFold,
    StreamHead,
    Tag,
    TaskFold,
    UnclaimedUndo,
    category_of,
    decode_fold,
)
from sagalog_sqlite import listing, migration, rows, selection, subscriptions, texts
from sagalog_sqlite.estimates import Estimates
from sagalog_sqlite.failures import told

# A slice of an audit or an export takes seconds; a reader that takes longer reads in pages.
AGE_MAX_MS: Final = 300_000

# After how many steps of SQLite's machine a long statement lets Python look for a signal: some tenths of a second.
_STEPS: Final = 100_000

_STATES: Final = tuple(str(state) for state in State)
HISTORY: Final = rows.ENVELOPES + "WHERE s.category = ? AND s.id = ? AND e.version > ? ORDER BY e.version LIMIT ?"
SAVED: Final = (
    "SELECT s.number, (SELECT 1 FROM awaited WHERE stream = s.number LIMIT 1), t.format, t.fold, "  # noqa: S608
    f"{', '.join('t.' + column for column in Row._fields)} "
    "FROM streams s JOIN tasks t ON t.stream = s.number WHERE s.category = ? AND s.id = ?"
)
# There is no index of tags by their stream: each is looked for by itself, and a pass over all finds those too many.
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
# In a damaged file a name may be NULL; an audit still has to tell of its stream.
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
FOLDS_BETWEEN: Final = "SELECT stream, format, version, fold FROM folds WHERE stream BETWEEN ? AND ?"
DELAYED: Final = (
    "SELECT s.id, t.queue, t.version, t.run_at_ms - t.updated_ms FROM tasks t JOIN streams s ON s.number = t.stream "
    "WHERE t.updated_ms > ? AND t.gate IN ('later', 'waiting') AND t.run_at_ms > t.updated_ms "
    "ORDER BY t.updated_ms, t.stream"
)
HEAD: Final = "SELECT (SELECT count(*) FROM events), (SELECT max(position) FROM events)"
UNREADABLE: Final = (
    "SELECT s.id FROM tasks t JOIN streams s ON s.number = t.stream AND s.category = 'task' "
    "WHERE t.gate = 'unreadable' ORDER BY t.stream"
)
COUNTS: Final = "SELECT queue, state, count(*) FROM tasks WHERE state IS NOT NULL GROUP BY state, queue"
COUNT: Final = "SELECT count(*) FROM tasks WHERE state = ? AND queue = ?"
OF_NUMBER: Final = "SELECT id FROM streams WHERE number = ?"
IDS_FROM: Final = "SELECT id FROM streams WHERE category = 'task' AND id >= ? ORDER BY id LIMIT ?"

Rows = list[tuple[Any, ...]]

# The types of a `Delayed`.
_DELAYED: Final = (str, str, int, int)

# Where `EVENTS_BETWEEN` has the number of the stream.
_STREAM: Final = itemgetter(1)
# What the events may take that an audit holds at once, but for those of a single stream.
_AUDITED_BYTES_MAX = 32 * 1024 * 1024


class SqliteSnapshot:
    """The port's snapshot. For one thread, within the block that gave it."""

    def __init__(
        self,
        connection: apsw.Connection,
        path: str,
        require_open: Callable[[], None],
        monotonic_ms: Callable[[], int],
    ) -> None:
        self._connection = connection
        self._require_open = require_open
        self._path = path
        self._monotonic_ms = monotonic_ms
        self._until_ms = monotonic_ms() + AGE_MAX_MS

    def task(self, id: str) -> TaskFold | None:
        """The fold of a task, or None."""
        for row in self._rows(rows.TASK_BY_ID, (id,)):
            return task_of(rows.load(self._rows, row))
        return None

    def fold(self, stream: str) -> Any:
        """The fold of a stream of any category but a task's."""
        store = rows.store_fold(rows.store_row(self._rows)) if stream.startswith("store/") else None
        loaded = rows.load_other(self._rows, stream, store)
        return None if loaded is None else loaded.saved.fold

    def recorded(self, id: str, version: int) -> Envelope:
        """One event of a task's stream."""
        for row in self._rows(rows.OF_NAME, (rows.TASK, id, version)):
            return Envelope(*row)
        raise rows.absent_event(f"task/{id}", version)

    def blob(self, digest: str) -> bytes | None:
        """The bytes that are kept under a digest; None too where something else stands there."""
        for (data,) in self._rows(rows.BLOB, (digest,)):
            return data if isinstance(data, bytes) else None
        return None

    def history(self, stream: str, after: int = 0, limit: int | None = None) -> list[Envelope]:
        """Events of one stream with versions beyond `after`."""
        category, _, id = stream.partition("/")
        found = self._rows(HISTORY, (category, id, after, _all_if_none(limit)))
        return [Envelope(*row) for row in found]

    def events(self, after: int, limit: int) -> list[Envelope]:
        """Events of the whole log with positions beyond `after`."""
        return [Envelope(*row) for row in self._rows(rows.OF_LOG, (after, limit))]

    def find(self, query: Query) -> list[Listed]:
        """Tasks in the order asked for, a page of rows at a time until there are enough that can be folded."""
        found: list[Listed] = []
        for numbers in listing.pages(self._rows, query, found):
            found += self._listed(numbers, query)
        return found

    def ids_with_prefix(self, prefix: str, limit: int) -> list[str]:
        """Ids of tasks, by their own index from the prefix on; the first that does not begin so ends it."""
        found = (id for (id,) in self._rows(IDS_FROM, (prefix, limit)))
        return list(takewhile(lambda id: isinstance(id, str) and id.startswith(prefix), found))

    def unreadable(self) -> list[str]:
        """Ids of tasks whose gate is `unreadable`, in order of creation. [LOG-5]"""
        return [id for (id,) in self._rows(UNREADABLE)]

    def counts(self, queue: str | None) -> dict[str, dict[str, int]]:
        """Queue -> state -> number of tasks."""
        if queue is None:
            found = self._rows(COUNTS)
        else:
            found = [(queue, state, self._rows(COUNT, (state, queue))[0][0]) for state in _STATES]
        counted: dict[str, dict[str, int]] = {}
        for name, state, number in found:
            if number:
                counted.setdefault(str(name), {})[str(state)] = number
        return counted

    def over(self, now_ms: int, limit: int | None = None) -> list[TaskFold]:
        """Live tasks whose lease is over by the clock and was not ended yet, oldest expiry first."""
        queues = selection.queues_leased(self._rows)
        return self._first_folds(selection.over(self._rows, queues, now_ms, -1), limit)

    def waits_over(self, now_ms: int, limit: int | None = None) -> list[TaskFold]:
        """Tasks whose wait may be over."""
        queues = selection.queues_waited(self._rows)
        return self._first_folds(selection.waits_over(self._rows, queues, now_ms, -1), limit)

    def behind(self, now_ms: int) -> list[TaskFold]:
        """Leased tasks whose last renewal lies in the future of `now_ms`. [TIME-3]"""
        return self._folds(selection.behind(self._rows, selection.queues_leased(self._rows), now_ms))

    def delayed(self, now_ms: int) -> list[Delayed]:
        """All tasks that wait for a time, and whose last event lies in the future. [TIME-3]"""
        found = (Delayed(*row) for row in self._rows(DELAYED, (now_ms,)))
        # A damaged column may hold another type: an audit names it, and the others are watched all the same.
        return [one for one in found if tuple(map(type, one)) == _DELAYED]

    def ready_kinds(self, queues: tuple[str, ...], limit: int) -> list[str]:
        """The kinds of the tasks that stand ready in these queues, at most `limit` of each queue, sorted."""
        values = selection.GATES["work"].values
        return sorted({kind for queue in queues for (kind,) in self._rows(values, (queue, limit))})

    def standing(self, claim: Claim) -> list[str]:
        """Ids of the tasks that such a claim would take now."""
        return [fold.id for fold in self._folds(selection.candidates(self._rows, claim, claim.limit, Estimates()))]

    def claimable_ms(self, claim: Claim) -> int | None:
        """When such a claim may find something: 0 is now, None not before a writer commits."""
        return selection.claimable_ms(self._rows, claim)

    def undoing(
        self,
        now_ms: int,
        queues: tuple[str, ...] | None = None,
        unknown: frozenset[str] = frozenset(),
        known: frozenset[str] | None = None,
    ) -> list[str]:
        """Ids of the compensating tasks that no worker holds and for which there is no hope, in order of creation."""
        found = selection.overdue(self._rows, queues, now_ms)
        found += selection.hopeless(self._rows, queues, unknown, known)
        return [id for number in sorted(set(found)) for (id,) in self._rows(OF_NUMBER, (number,))]

    def unclaimed(self, now_ms: int) -> list[UnclaimedUndo]:
        """Undos that are due and that no worker has leased, by queue, then kind."""
        return selection.unclaimed(self._rows, now_ms)

    def store(self) -> StoreFold | None:
        """The store's own stream, folded."""
        return rows.store_fold(rows.store_row(self._rows))

    def head(self) -> tuple[int, int]:
        """How many events there are (counted), and the newest position."""
        ((count, newest),) = self._rows(HEAD)
        return count, newest or 0

    def streams(self, after: int, limit: int) -> list[StreamHead]:
        """Streams by number beyond `after`."""
        return [StreamHead(number, name, version or 0) for number, name, version in self._rows(STREAMS, (after, limit))]

    def saved(self, stream: str) -> SavedTask | None:
        """A task as it is saved; None if it is not."""
        category, _, id = stream.partition("/")
        for number, waits, format, content, *values in self._rows(SAVED, (category, id)):
            awaited = tuple(task for (task,) in self._rows(AWAITED, (number,))) if waits else ()
            return self._saved(number, awaited, format, content, values)
        return None

    def audited(self, after: int, limit: int) -> list[AuditedStream]:
        """Streams with all their events, fewer where those are large: six statements for all of them."""
        heads = self._that_fit(self._rows(NAMES, (after, limit)))
        if not heads:
            return []
        between = (heads[0][0], heads[-1][0])
        events: dict[int, list[StoredEvent]] = {number: [] for number, _ in heads}
        for number, found in groupby(self._rows(EVENTS_BETWEEN, between), _STREAM):
            if number in events:
                events[number] += found
        awaited: dict[int, list[str]] = {}
        for number, task in self._rows(AWAITED_BETWEEN, between):
            awaited.setdefault(number, []).append(task)
        # As folds are loaded: one that is said to stand at another version than the newest is none.
        newest = {number: of_stream[-1][2] for number, of_stream in events.items() if of_stream}
        saved = {
            number: AuditedTask(
                content if (format, version) == (FOLD_FORMAT, newest.get(number)) else None,
                Row(*values),
                tuple(awaited.get(number, ())),
            )
            for number, format, version, content, *values in self._rows(SAVED_BETWEEN, between)
        }
        folds = {
            number: (format, content)
            for number, format, version, content in self._rows(FOLDS_BETWEEN, between)
            if version == newest.get(number)
        }
        return [
            AuditedStream(number, name, events[number], saved.get(number), _other_fold(name, folds.get(number)))
            for number, name in heads
        ]

    def _that_fit(self, heads: Rows) -> Rows:
        """The first of these streams whose events can be held at once; of several at least one."""
        if not heads:
            return heads
        sizes: dict[int, float] = dict(self._rows(SIZES_BETWEEN, (heads[0][0], heads[-1][0])))
        totals = accumulate(sizes.get(number, 0) for number, _ in heads)
        fitting = sum(total <= _AUDITED_BYTES_MAX for total in totals)
        return heads[: max(1, fitting)]

    def tagged(self, name: str, value: str, first: int, last: int) -> frozenset[int]:
        """Numbers of streams, by the tags' own order."""
        return frozenset([number for (number,) in self._rows(TAGGED_BETWEEN, (name, value, first, last))])

    def _saved(
        self, number: int, awaited: tuple[str, ...], format: int | None, content: bytes | None, values: list[Any]
    ) -> SavedTask:
        fold = _fold_or_none(format, content)
        carried = {} if fold is None else fold.tags or {}
        tags = {name: value for name, value in carried.items() if self._rows(TAGGED, (name, value, number))}
        return SavedTask(fold, Row(*values), awaited, tags)

    def strays(self) -> list[str]:
        """Rows of tasks and waits that belong to no stream."""
        found = [f"the row {number} of tasks has no stream" for (number,) in self._rows(STRAY_TASKS)]
        return found + [f"the wait of {number} for {task!r} has no stream" for task, number in self._rows(STRAY_WAITS)]

    def tag_count(self) -> int:
        """How many tags there are, counted."""
        ((count,),) = self._rows(TAG_COUNT)
        return int(count)

    def stray_tags(self, after: Tag, limit: int) -> tuple[list[tuple[str | None, str]], Tag | None]:
        """Tags among the next `limit` that their task does not carry, and the last that was looked at."""
        found: list[tuple[str | None, str]] = []
        last = None
        key = (texts.bytes_of(after[0]), texts.bytes_of(after[1]), after[2])
        behind = key
        for raw_name, raw_value, number, stream, format, content in self._rows(TAGS, (*key, limit)):
            name, value = texts.key_of(raw_name), texts.key_of(raw_value)
            last, behind = (name, value, number), (raw_name, raw_value, number)
            if stream is None or not stream.startswith("task/"):
                found.append((None, f"the tag {name!r} of {number} has no stream"))
                continue
            fold = _fold_or_none(format, content)
            if fold is not None and (fold.tags or {}).get(name) != value:
                found.append((stream, f"it is found by the tag {name!r}, which it does not carry so"))
        return found, last if texts.is_beyond(behind, key) else None

    def check(self) -> list[str]:
        """What SQLite's integrity check finds wrong, and what no stream tells: lost events, changed rows and schema."""
        try:
            with self._heeding_signals():
                found = [text for (text,) in self._rows("PRAGMA integrity_check") if text != "ok"]
            found += [f"the event at position {position} is of no stream" for (position,) in self._rows(LOST_EVENTS)]
            found += subscriptions.changed(self._rows)
            if not rows.is_store_row_sound(self._rows):
                found.append("the store's own row was changed; the log says what it was: rebuild it")
            present: dict[str, str | None] = dict(self._rows(SCHEMA))
        except Corrupt as error:
            return [error.message]
        made = migration.schema()
        gone = [
            f"{name} is gone from the schema: the file was changed" for name in sorted(made.keys() - present.keys())
        ]
        other = [name for name in sorted(made.keys() & present.keys()) if made[name] != present[name]]
        return found + gone + [f"{name} is not as this version made it: the schema was changed" for name in other]

    def checkpoint(self, name: str) -> int | None:
        """The position up to which the subscription of this name has read; None if there is none."""
        return subscriptions.checkpoint(self._rows, name)

    def checkpoints(self) -> dict[str, int]:
        """Every subscription's checkpoint, by name."""
        return subscriptions.all_sound(self._rows)

    @contextmanager
    def _heeding_signals(self) -> Iterator[None]:
        """Within the block SQLite stops now and then for Python, which else hears of a signal behind the statement."""
        self._connection.set_progress_handler(lambda: False, _STEPS)
        try:
            yield
        finally:
            self._connection.set_progress_handler(None, _STEPS)

    def _rows(self, statement: str, values: tuple[Any, ...] = ()) -> Rows:
        self._require_open()
        if self._monotonic_ms() > self._until_ms:
            raise Unavailable(
                f"this snapshot is older than {AGE_MAX_MS} ms and holds up the WAL: read in pages, each from a new one",
                path=self._path,
            )
        try:
            try:
                return self._connection.execute(statement, values).fetchall()
            except UnicodeDecodeError:
                return list(texts.forgiving(self._connection)(statement, values))
        except apsw.Error as error:
            raise told(error, self._path) from error

    def _listed(self, numbers: Iterable[int], query: Query) -> Iterator[Listed]:
        for number in numbers:
            fold = self._fold(number)
            if fold is not None and all((fold.tags or {}).get(name) == value for name, value in query.tags):
                yield Listed(number, fold)

    def _first_folds(self, numbers: Sequence[int], limit: int | None) -> list[TaskFold]:
        """The folds of the first `limit` streams that can be read; None: of all."""
        return list(islice((fold for fold in map(self._fold, numbers) if fold is not None), limit))

    def _folds(self, numbers: Sequence[int]) -> list[TaskFold]:
        return [fold for fold in map(self._fold, numbers) if fold is not None]

    def _fold(self, number: int) -> TaskFold | None:
        """The fold of a stream; None if it cannot be read. [LOG-5]"""
        try:
            for row in self._rows(rows.TASK_BY_NUMBER, (number,)):
                return task_of(rows.load(self._rows, row))
        except rows.UNFOLDABLE:
            return None
        return None


def task_of(loaded: rows.Loaded) -> TaskFold:
    """The fold of a task that was loaded."""
    assert isinstance(loaded.saved.fold, TaskFold), "a stream of a task folds into one"
    return loaded.saved.fold


def _all_if_none(limit: int | None) -> int:
    return -1 if limit is None else limit


def _fold_or_none(format: int | None, content: bytes | None) -> TaskFold | None:
    if format != FOLD_FORMAT or content is None:
        return None
    try:
        return decode_fold(content)
    except msgspec.DecodeError:
        return None


def _other_fold(stream: str, saved: tuple[int, bytes] | None) -> Any:
    category = category_of(stream)
    return None if saved is None or category is None else rows.other_fold(category, *saved)

"""One write transaction: what its operations read, and how what they have decided is written.

Its one rule: everything is read within the transaction that holds the write lock, and is written only after an
operation's function has returned; so a refusal has nothing to undo, and later operations see what earlier ones wrote.
It must not know turns, files or how a transaction begins and ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final

import apsw
import msgspec
from msgspec.structs import astuple

from sagalog.errors import SagalogError, SchemaMismatch, VersionConflict
from sagalog.store import (
    FOLD_FORMAT,
    LEASE_CHECKS_MAX,
    Append,
    Attempt,
    Claim,
    Due,
    Envelope,
    Operation,
    Projection,
    Recordable,
    Result,
    Saved,
    StoreFold,
    TaskFold,
    Undeclared,
    armed,
    decode,
    reach,
    read,
)
from sagalog_sqlite import rows, selection
from sagalog_sqlite.fold_cache import CREATED_CHARACTERS_MAX, LENGTH_MAX, FoldCache, is_worth_keeping
from sagalog_sqlite.rows import FORMAT, Loaded
from sagalog_sqlite.texts import forgiving
from sagalog_sqlite.view import SqliteView

# Unreadable tasks that a look for tasks to claim passes; the claim puts them aside and looks again.
UNREADABLE_MAX: Final = 256

INSERT_STREAM: Final = "INSERT INTO streams(category, id) VALUES (?, ?)"
INSERT_NUMBERED: Final = "INSERT INTO streams(category, id, number) VALUES (?, ?, ?)"
INSERT_EVENT: Final = (
    "INSERT INTO events(stream, version, at_ms, type, schema, actor, cause, idempotency_key, data_key, body, digest) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


class _NeedsView(Exception):
    """An operation is not as plain as it may be."""


class Transaction:
    """The state of one write transaction.

    wrote      whether there is anything to commit
    is_void    an operation has asked for what it had not declared: nothing of it may be committed
    epoch      the store's epoch
    """

    wrote = False
    is_void = False
    reads_any_text = False

    def __init__(self, connection: apsw.Connection, now_ms: int, cache: FoldCache) -> None:
        self.now_ms = now_ms
        self._connection = connection
        self.execute: Callable[..., Any] = connection.execute
        self._cache = cache
        self._streams = cache.streams
        # Streams that there are not, and those that need not be kept once this is committed.
        self._absent: set[str] = set()
        self._finished: list[str] = []
        # What selections have met and cannot be read: streams by number, and their numbers by name.
        self._unread: dict[int, Saved] = {}
        self._unreadable: dict[str, int] = {}
        self.estimates = cache.estimates
        store = self.store = cache.begin(connection, self.execute)
        self.epoch = 0 if store is None else store.epoch

    def keep(self) -> None:
        """It is committed: what it has loaded and written is right until another connection commits."""
        self._cache.end(self._connection, self.store, self._finished)

    def forget(self) -> None:
        """Rows are written that it does not load: nothing that is cached may be believed any more."""
        self._cache.forget()

    def read_any_text(self) -> None:
        """From here on a text that is no UTF-8 stops no reader; see `texts`."""
        self.reads_any_text = True
        self.execute = forgiving(self._connection)

    def answer(self, attempt: Attempt) -> Any:
        """Carry out one operation: its answer, or the SagalogError by which it was refused.

        Where it asks for what it has not declared, the transaction is void, and the operations behind it are only asked
        what they need, so that the next round has it all.
        """
        if attempt.refusal is not None:
            return attempt.refusal
        try:
            result = self._carry_out_plainly(attempt.operation) if attempt.may_be_plain and not self.is_void else None
            if result is None:
                result = self._carry_out(attempt)
            return result.answer
        except Undeclared as undeclared:
            attempt.widen(undeclared)
            self.is_void = True
            return None
        except UnicodeDecodeError:
            if self.reads_any_text:
                raise
            # [LOG-5] A damaged text lies on its way. Nothing of the operation is written yet.
            self.read_any_text()
            return self.answer(attempt)
        except apsw.ConstraintError:
            if not attempt.drawn:
                raise
            attempt.look_for_drawn()
            self.is_void = True
            return None
        except SagalogError as refusal:
            return refusal

    def _carry_out(self, attempt: Attempt) -> Result:
        """Have an operation decide by a view, and write what it has decided. Raises what is no answer yet."""
        view = SqliteView(self, attempt)
        result = attempt.operation.decide(view)
        targets = self._targets(result.appends, view) if result.appends else ()
        if not self.is_void:
            self._write_result(result, targets)
        return result

    def _carry_out_plainly(self, operation: Operation) -> Result | None:
        """The same where one stream decides it; None, and nothing is written, where it needs a view."""
        plain = operation.plain
        if plain is None:
            return None
        try:
            loaded = self._only_stream_of(operation)
            saved = None if loaded is None or loaded.number == 0 else loaded.saved
            result = plain(saved, self.now_ms, self.epoch, partial(self._event_of, loaded))
        except (SagalogError, _NeedsView):
            # The view finds the same, and tells it.
            return None
        if result is not None and result.appends:
            (append,) = result.appends
            if loaded is None or append.stream != loaded.saved.stream or append.expected != loaded.version:
                return None
            self._write_plain(result, append, loaded)
        return result

    def _only_stream_of(self, operation: Operation) -> Loaded | None:
        """The one stream that decides a plain operation, an absent one under number 0; None: nothing is due, or ready.

        Raises:
            _NeedsView: something is due, or cannot be read. SagalogError: as `View.saved`.
        """
        if operation.writes:
            (stream,) = operation.writes
            if operation.drawn:
                self._absent.add(stream)
            return self._streams.get(stream) or self._find(stream) or Loaded(0, Saved(stream, None), 0, ())
        if operation.claim is not None:
            for number in selection.candidates(self.execute, operation.claim, 1, self.estimates):
                if self._by_number(number).fold is None:
                    raise _NeedsView
                return self._cache.numbered[number]
        elif operation.due is None or self._may_be_due(operation.due):
            raise _NeedsView
        return None

    def _may_be_due(self, due: Due) -> bool:
        return due.queues is None or any(self.estimates.is_due(queue, self.now_ms) for queue in due.queues)

    # --- reading --------------------------------------------------------------------------------------------------

    def load(self, stream: str) -> Saved | None:
        """A stream by name; None if there is none. Raises as `View.saved`."""
        loaded = self._streams.get(stream) or self._find(stream)
        return None if loaded is None else loaded.saved

    def _find(self, stream: str) -> Loaded | None:
        if stream in self._absent:
            return None
        category, _, id = stream.partition("/")
        if category == rows.TASK:
            row = self.execute(rows.TASK_BY_ID, (id,)).fetchone()
            loaded = None if row is None else rows.load(self.execute, row)
        else:
            loaded = rows.load_other(self.execute, stream, self.store)
        if loaded is None:
            self._absent.add(stream)
            return None
        return self._add(loaded)

    def _add(self, loaded: Loaded) -> Loaded:
        if not is_worth_keeping(loaded):
            self._finished.append(loaded.saved.stream)
        return self._cache.add(loaded)

    def note_drawn(self, stream: str) -> None:
        """Take a stream for absent, as its id was drawn; where it exists, the first append to it finds that out."""
        self._absent.add(stream)

    def _event_of(self, loaded: Loaded | None, version: int) -> Recordable:
        assert loaded is not None, "there is no stream, so it has no events"
        return self.event(loaded.saved.stream, version)

    def event(self, stream: str, version: int) -> Recordable:
        """One event of a stream; raises as `View.event`."""
        loaded = self._streams.get(stream)
        if loaded is None:
            category, _, id = stream.partition("/")
            row = self.execute(rows.OF_NAME, (category, id, version)).fetchone()
        elif version == 1 and loaded.created is not None:
            return decode(loaded.created)
        else:
            row = self.execute(rows.OF_VERSION, (loaded.number, version)).fetchone()
        if row is None:
            raise rows.absent_event(stream, version)
        return read(Envelope(*row))

    def keyed(self, key: str) -> list[Envelope]:
        """All events that carry an idempotency key, whose streams there are, whatever was drawn. [REPEAT-4]"""
        found = [Envelope(*row) for row in self.execute(rows.OF_IDEMPOTENCY_KEY, (key,))]
        self._absent.difference_update([envelope.stream for envelope in found])
        return found

    def claimed(self, claim: Claim) -> list[Saved]:
        """The tasks that a claim selects, and before or among them those that cannot be read, which do not count.

        A second selection passes `UNREADABLE_MAX` of those; behind more than that it shows fewer tasks than are asked.
        """
        found: list[Saved] = []
        for limit in (claim.limit, claim.limit + UNREADABLE_MAX):
            numbers = selection.candidates(self.execute, claim, limit, self.estimates)
            found, readable = self._until(numbers, claim.limit)
            if readable == claim.limit or len(numbers) < limit:
                break
        return found

    def _until(self, numbers: Iterable[int], limit: int) -> tuple[list[Saved], int]:
        """The tasks of these streams, up to the one that is number `limit` of the readable; how many of those."""
        found, readable = [], 0
        for number in numbers:
            saved = self._by_number(number)
            found.append(saved)
            readable += saved.fold is not None
            if readable == limit:
                break
        return found, readable

    def expired(self, due: Due, queues: list[str]) -> list[Saved]:
        """The tasks of these queues whose lease is to be looked at."""
        limit = due.limit + LEASE_CHECKS_MAX
        return self._by_numbers(selection.checks(self.execute, queues, self.now_ms, limit)) if queues else []

    def waits_over(self, due: Due, queues: list[str]) -> list[Saved]:
        """The tasks of these queues whose wait may be over."""
        return self._by_numbers(selection.waits_over(self.execute, queues, self.now_ms, due.limit)) if queues else []

    def promotable(self, due: Due, queues: list[str]) -> list[Saved]:
        """The tasks of these queues whose due time has come."""
        return self._by_numbers(selection.due_later(self.execute, queues, self.now_ms, due.limit)) if queues else []

    def reached(self, ids: Sequence[str]) -> set[str]:
        """The streams of these tasks, and of all that are reached from them over waits."""
        reached = {f"task/{id}" for id in ids}
        if self.is_awaited():
            found = self.execute(rows.REACHED, (msgspec.json.encode(ids).decode(),))
            reached.update(f"task/{id}" for (id,) in found)
        return reached

    def is_awaited(self) -> bool:
        """Whether some task may wait for another."""
        if self.estimates.is_awaited is None:
            self.estimates.is_awaited = bool(self.execute(rows.IS_AWAITED).fetchone()[0])
        return self.estimates.is_awaited

    def queues_due(self, due: Due) -> tuple[list[str], list[str], list[str]]:
        """Queues where a lease is to be looked at, where a task's time has come, and where a wait may be over."""
        execute = self.execute
        if due.queues is None:
            return (
                selection.queues_leased(execute),
                selection.queues_later(execute),
                selection.queues_waited(execute),
            )
        leased, later, waited = [], [], []
        for queue in dict.fromkeys(due.queues):
            if not self.estimates.is_due(queue, self.now_ms):
                continue
            first = execute(selection.FIRST_DUE, (queue,)).fetchone()
            assert first is not None
            check_ms, run_at_ms, until_ms, waking = first
            self.estimates.keep_due(queue, first)
            if waking is not None or self._has_come(until_ms):
                waited.append(queue)
            if self._has_come(check_ms):
                leased.append(queue)
            if self._has_come(run_at_ms):
                later.append(queue)
        return leased, later, waited

    def _has_come(self, time_ms: int | None) -> bool:
        """Whether a column's time has come; of another type, as a damaged file has it, it finds nothing."""
        return type(time_ms) is int and time_ms <= self.now_ms

    def _by_numbers(self, numbers: Iterable[int]) -> list[Saved]:
        return [self._by_number(number) for number in numbers]

    def _by_number(self, number: int) -> Saved:
        """A task by its stream's number, without a fold if it cannot be read or the row is of no stream. [LOG-5]"""
        known = self._cache.numbered.get(number)
        if known is not None:
            return known.saved
        return self._unread.get(number) or self._find_numbered(number)

    def _find_numbered(self, number: int) -> Saved:
        row = self.execute(rows.TASK_BY_NUMBER, (number,)).fetchone()
        if row is None:
            # No stream has such a name, so what puts the row aside touches no task.
            saved = Saved(f"row {number} of tasks", None)
        else:
            try:
                return self._add(rows.load(self.execute, row)).saved
            except rows.UNFOLDABLE:
                saved = Saved(f"{rows.TASK}/{row[1]}", None, rows.row_of(row))
        self._unread[number] = saved
        self._unreadable[saved.stream] = number
        return saved

    # --- writing --------------------------------------------------------------------------------------------------

    def _targets(self, appends: Sequence[Append], view: SqliteView) -> Sequence[Loaded]:
        """The streams to append to, once all were found where they are expected. [LOG-2]

        Raises:
            VersionConflict: a stream has moved on.
            SchemaMismatch: the store is founded in another format than this one writes.
            Undeclared: a stream was not declared to be written.
        """
        view.require_writes(appends)
        targets: list[Loaded] = []
        new: dict[str, Loaded] = {}
        versions: dict[str, int] = {}
        for append in appends:
            stream = append.stream
            loaded = self._streams.get(stream) or new.get(stream)
            if loaded is None:
                loaded = new[stream] = self._newest(stream)
            found = versions.get(stream, loaded.version)
            if found != append.expected:
                raise VersionConflict(
                    f"{stream} has {found} events, not {append.expected}: load it again",
                    stream=stream,
                    expected=append.expected,
                    actual=found,
                )
            versions[stream] = found + len(append.envelopes)
            if append.projection.row is None:
                _require_format(append.projection.fold)
            targets.append(loaded)
        return targets

    def _newest(self, stream: str) -> Loaded:
        """A stream that was not loaded, of which only its number and its version are known; both 0 where it is new."""
        if stream not in self._absent:
            category, _, id = stream.partition("/")
            row = self.execute(rows.NEWEST, (category, id)).fetchone()
            if row is not None:
                return Loaded(row[0], Saved(stream, None), row[1] or 0)
        return Loaded(0, Saved(stream, None), 0, ())

    def _write_result(self, result: Result, targets: Sequence[Loaded]) -> None:
        """Write everything that a result carries, in the port's order."""
        if result.blobs:
            for blob in result.blobs:
                self._write(rows.INSERT_BLOB, (blob.digest, blob.data))
        if len(targets) > 1:
            self._append_many(result.appends, targets)
        elif targets:
            self._append(result.appends[0], targets[0])
        if result.projections:
            for stream, projection in result.projections:
                self._save(self._streams[stream], projection)
        if result.aside:
            for stream in result.aside:
                self._put_aside(stream)
        # Once all is there: a task that begins to wait in this very operation is told too.
        if result.ended and self.is_awaited():
            for id in result.ended:
                self._wake(id)

    def _write_plain(self, result: Result, append: Append, loaded: Loaded) -> None:
        """Write a result that appends to one stream, and has nothing else beside it."""
        for blob in result.blobs:
            self._write(rows.INSERT_BLOB, (blob.digest, blob.data))
        self._append(append, loaded)
        for id in result.ended:
            if self.is_awaited():
                self._wake(id)

    def _append(self, append: Append, loaded: Loaded) -> None:
        """Append to one stream, as nearly every operation does."""
        self.wrote = True
        execute = self.execute
        if loaded.number == 0:
            execute(INSERT_STREAM, _category_and_id(append))
            self._begin(append, loaded, self._connection.last_insert_rowid())
        for values in _event_rows(append, loaded.number):
            execute(INSERT_EVENT, values)
        if armed:
            reach("commit.after_events")
        self._save_appended(append, loaded)
        if armed:
            reach("commit.after_fold")

    def _append_many(self, appends: Sequence[Append], targets: Sequence[Loaded]) -> None:
        """Append to several streams: of each table all rows at once."""
        self.wrote = True
        pairs = list(zip(appends, targets, strict=True))
        new: dict[str, tuple[Append, Loaded]] = {}
        for append, loaded in pairs:
            if loaded.number == 0:
                new.setdefault(append.stream, (append, loaded))
        if new:
            number = int(self.execute(rows.NEWEST_STREAM).fetchone()[0])
            for append, loaded in new.values():
                number += 1
                self._begin(append, loaded, number)
            self._execute_many(
                INSERT_NUMBERED, [(*_category_and_id(one), loaded.number) for one, loaded in new.values()]
            )
        self._execute_many(INSERT_EVENT, [row for one, loaded in pairs for row in _event_rows(one, loaded.number)])
        if armed:
            reach("commit.after_events")
        for append, loaded in pairs:
            self._save_appended(append, loaded)
        if armed:
            reach("commit.after_fold")

    def _begin(self, append: Append, loaded: Loaded, number: int) -> None:
        """Note that a stream is begun under a number, and save its tags, which never change."""
        loaded.number = number
        self._absent.discard(append.stream)
        created = append.envelopes[0]
        if len(created.body) <= CREATED_CHARACTERS_MAX:
            loaded.created = created
        for name, value in append.projection.tags:
            self.execute(rows.INSERT_TAG, (name, value, number))
        self._cache.add(loaded)

    def _save_appended(self, append: Append, loaded: Loaded) -> None:
        projection = append.projection
        loaded.version = append.expected + len(append.envelopes)
        if projection.row is not None:
            self._save(loaded, projection)
            return
        if isinstance(projection.fold, StoreFold):
            rows.update_store(self.execute, projection.fold)
            self.store = projection.fold
            self._finished.append(append.stream)
        else:
            self.execute(rows.REPLACE_FOLD, (loaded.number, FOLD_FORMAT, loaded.version, projection.content))
        loaded.saved = Saved(append.stream, projection.fold)

    def _save(self, loaded: Loaded, projection: Projection) -> None:
        """Save a projection, touching no more tables and indexes than have changed."""
        self.wrote = True
        row, saved = projection.row, loaded.saved
        assert row is not None, "every task has a row"
        before = saved.row
        self.execute(*rows.saving(loaded.number, projection, row, before))
        if projection.awaited != loaded.awaited and (projection.awaited or rows.may_await(before)):
            rows.save_awaited(self.execute, loaded.number, projection.awaited)
            self.estimates.is_awaited = None
        loaded.awaited = projection.awaited
        loaded.saved = Saved(saved.stream, projection.fold, row)
        if projection.fold.is_terminal or projection.fold.length > LENGTH_MAX:
            self._finished.append(saved.stream)
        self.estimates.note(row)

    def _wake(self, ended: str) -> None:
        """[WAIT-3] The next maintenance looks at every task that awaits one that has ended."""
        self.execute(rows.WAKE, (ended,))
        if self._connection.changes():
            self.wrote = True
            self.estimates.forget_due()
            self._cache.wake(ended)

    def _put_aside(self, stream: str) -> None:
        """[LOG-5] Nothing finds the task any more, until it can be read again and is rebuilt."""
        loaded = self._streams.get(stream)
        self._cache.drop(stream)
        number = self._unreadable.get(stream) if loaded is None else loaded.number
        if number is None:
            # It was asked for by its name.
            number = self._newest(stream).number
        if number:
            self._unread.pop(number, None)
            self._write(rows.PUT_ASIDE, (number,))

    def _execute_many(self, statement: str, values: Sequence[tuple[Any, ...]]) -> None:
        self._connection.executemany(statement, values)

    def _write(self, statement: str, values: tuple[Any, ...]) -> None:
        self.wrote = True
        self.execute(statement, values)


def _require_format(fold: TaskFold | StoreFold) -> None:
    if isinstance(fold, StoreFold) and fold.format != FORMAT:
        raise SchemaMismatch(
            f"a store of format {fold.format} was to be founded in a file of format {FORMAT}",
            found=fold.format,
            supported=FORMAT,
        )


def _event_rows(append: Append, number: int) -> list[tuple[Any, ...]]:
    """The rows of the events to append; raises ValueError where their versions have a gap."""
    rows, version = [], append.expected
    for one in append.envelopes:
        version += 1
        if one.version != version:
            raise ValueError(f"{one.name} was to be appended as version {version} of {append.stream}")
        # All fields of an envelope but its position, and the number of its stream in place of the name.
        rows.append((number, *astuple(one)[2:]))
    return rows


def _category_and_id(append: Append) -> tuple[str, str]:
    category, _, id = append.stream.partition("/")
    return category, id

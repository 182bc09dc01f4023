"""One write transaction: what its operations read, and how what they have decided is written.

Its one rule: everything is read within the transaction that holds the write lock, and is written only after an
operation's function has returned; so a refusal has nothing to undo, and later operations see what earlier ones wrote.
It must not know turns, files or how a transaction begins and ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import apsw
import msgspec

from sagalog.errors import SagalogError, SchemaMismatch, VersionConflict
from sagalog.store import (
    Append,
    Attempt,
    Claim,
    Due,
    Envelope,
    Projection,
    Recordable,
    Result,
    Saved,
    StoreFold,
    Undeclared,
    decode,
    reach,
    read,
)
from sagalog_sqlite import rows, selection
from sagalog_sqlite.kept import Kept
from sagalog_sqlite.rows import FORMAT, Loaded
from sagalog_sqlite.texts import forgiving
from sagalog_sqlite.view import SqliteView

INSERT_STREAM: Final = "INSERT INTO streams(category, id) VALUES (?, ?)"
INSERT_EVENT: Final = (
    "INSERT INTO events(stream, version, at_ms, type, schema, actor, cause, idempotency_key, data_key, body, digest) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


class Transaction:
    """The state of one write transaction.

    wrote      whether there is anything to commit
    is_void    an operation has asked for what it had not declared: nothing of it may be committed
    """

    def __init__(self, connection: apsw.Connection, now_ms: int, kept: Kept) -> None:
        self.now_ms = now_ms
        self.wrote = False
        self.is_void = False
        self.reads_any_text = False
        self._connection = connection
        self.execute: Callable[..., Any] = connection.execute
        # What was loaded or written, by stream; None: there is no such stream.
        self._loaded: dict[str, Loaded | None] = {}
        # Streams that cannot be folded, by name, with their numbers.
        self._unreadable: dict[str, int] = {}
        self._kept = kept
        self.estimates = kept.estimates
        self.store = kept.begin(connection, self.execute)

    def keep(self) -> None:
        """It is committed: what it has loaded and written is right until another connection commits."""
        self._kept.keep(self._connection, self.store, self._loaded)

    def forget(self) -> None:
        """Rows are written that it does not load: nothing that is kept may be believed any more."""
        self._kept.forget()

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
        view = SqliteView(self, attempt)
        try:
            result = attempt.operation.decide(view)
            numbers = self._require_expected(result.appends, view)
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
        except SagalogError as refusal:
            return refusal
        if not self.is_void:
            self._write_result(result, numbers)
        return result.answer

    # --- reading --------------------------------------------------------------------------------------------------

    def load(self, stream: str) -> Saved | None:
        """A stream by name; None if there is none. Raises as `View.saved`."""
        if stream in self._loaded:
            loaded = self._loaded[stream]
        else:
            loaded = self._loaded[stream] = self._kept.get(stream) or self._find(stream)
        return None if loaded is None else loaded.saved

    def _find(self, stream: str) -> Loaded | None:
        category, _, id = stream.partition("/")
        if category != rows.TASK:
            return rows.load_store(self.execute, stream, self.store) if category == "store" else None
        row = self.execute(rows.TASK_BY_ID, (id,)).fetchone()
        return None if row is None else rows.load(self.execute, row)

    def event(self, stream: str, version: int) -> Recordable:
        """One event of a stream; raises as `View.event`."""
        loaded = self._loaded.get(stream)
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
        """All events that carry an idempotency key. [REPEAT-4]"""
        return [Envelope(*row) for row in self.execute(rows.OF_IDEMPOTENCY_KEY, (key,))]

    def claimed(self, claim: Claim) -> list[Saved]:
        """The tasks that a claim selects, and before or among them those that cannot be read, which do not count."""
        limit = claim.limit
        while True:
            numbers = selection.candidates(self.execute, claim, limit, self.estimates)
            found = self._by_numbers(numbers)
            readable = sum(saved.fold is not None for saved in found)
            if readable >= claim.limit or len(numbers) < limit:
                return found
            limit += claim.limit - readable

    def expired(self, due: Due, queues: list[str]) -> list[Saved]:
        """The tasks of these queues whose lease is over."""
        return self._by_numbers(selection.over(self.execute, queues, self.now_ms, due.limit)) if queues else []

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
        """Queues where a lease is over, where a task's time has come, and where a wait may be over."""
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
            expires_ms, run_at_ms, until_ms, waking = first
            self.estimates.keep_due(queue, first)
            if waking is not None or (until_ms is not None and until_ms <= self.now_ms):
                waited.append(queue)
            if expires_ms is not None and expires_ms <= self.now_ms:
                leased.append(queue)
            if run_at_ms is not None and run_at_ms <= self.now_ms:
                later.append(queue)
        return leased, later, waited

    def _by_numbers(self, numbers: Iterable[int]) -> list[Saved]:
        return [saved for saved in map(self._by_number, numbers) if saved is not None]

    def _by_number(self, number: int) -> Saved | None:
        """A task by its stream's number, without a fold if it cannot be read; None for a row of no stream. [LOG-5]"""
        kept = self._kept.numbered(number)
        if kept is not None:
            self._loaded[kept.saved.stream] = kept
            return kept.saved
        row = self.execute(rows.TASK_BY_NUMBER, (number,)).fetchone()
        if row is None:
            return None
        stream = f"{rows.TASK}/{row[1]}"
        loaded = self._loaded.get(stream)
        if loaded is None:
            try:
                loaded = self._loaded[stream] = rows.load(self.execute, row)
            except rows.UNFOLDABLE:
                self._unreadable[stream] = number
                return Saved(stream, None, rows.row_of(row))
        return loaded.saved

    # --- writing --------------------------------------------------------------------------------------------------

    def _require_expected(self, appends: Sequence[Append], view: SqliteView) -> dict[str, int]:
        """The number of each stream to append to (0: a new one), once all were found where they are expected. [LOG-2]

        Raises:
            VersionConflict: a stream has moved on.
            SchemaMismatch: the store is founded in another format than this one writes.
            Undeclared: a stream was not declared to be written.
        """
        numbers: dict[str, int] = {}
        if not appends:
            return numbers
        view.require_writes(appends)
        versions: dict[str, int] = {}
        for append in appends:
            stream, fold = append.stream, append.projection.fold
            if stream not in numbers:
                numbers[stream], versions[stream] = self._newest(stream)
            if versions[stream] != append.expected:
                raise VersionConflict(
                    f"{stream} has {versions[stream]} events, not {append.expected}: load it again",
                    stream=stream,
                    expected=append.expected,
                    actual=versions[stream],
                )
            versions[stream] += len(append.envelopes)
            if type(fold) is StoreFold and fold.format != FORMAT:
                raise SchemaMismatch(
                    f"a store of format {fold.format} was to be founded in a file of format {FORMAT}",
                    found=fold.format,
                    supported=FORMAT,
                )
        return numbers

    def _newest(self, stream: str) -> tuple[int, int]:
        """A stream's number and its newest version; both 0 where there is none."""
        if stream in self._loaded:
            loaded = self._loaded[stream]
            return (0, 0) if loaded is None else (loaded.number, loaded.version)
        category, _, id = stream.partition("/")
        row = self.execute(rows.NEWEST, (category, id)).fetchone()
        return (0, 0) if row is None else (row[0], row[1] or 0)

    def _write_result(self, result: Result, numbers: dict[str, int]) -> None:
        """Write everything that a result carries, in the port's order."""
        for blob in result.blobs:
            self._write(rows.INSERT_BLOB, (blob.digest, blob.data))
        for append in result.appends:
            self._append(append, numbers)
        for stream, projection in result.projections:
            loaded = self._loaded[stream]
            assert loaded is not None, "a projection is saved of what was shown"
            self._save(loaded, projection)
        for stream in result.aside:
            self._put_aside(stream)
        # Once all is there: a task that begins to wait in this very operation is told too.
        for id in result.ended:
            self._wake(id)

    def _append(self, append: Append, numbers: dict[str, int]) -> None:
        self.wrote = True
        number = numbers[append.stream]
        if number == 0:
            category, _, id = append.stream.partition("/")
            self.execute(INSERT_STREAM, (category, id))
            number = numbers[append.stream] = self._connection.last_insert_rowid()
        self._insert(append, number)
        reach("commit.after_events")
        fold = append.projection.fold
        if isinstance(fold, StoreFold):
            rows.update_store(self.execute, fold)
            self.store = fold
            self._loaded.pop(append.stream, None)
        else:
            self._save_appended(append, number)
        reach("commit.after_fold")

    def _insert(self, append: Append, number: int) -> None:
        version = append.expected
        for one in append.envelopes:
            version += 1
            if one.version != version:
                raise ValueError(f"{one.name} was to be appended as version {version} of {append.stream}")
            self.execute(
                INSERT_EVENT,
                (number, version, one.at_ms, one.type, one.schema, one.actor, one.cause, one.idempotency_key,
                 one.data_key, one.body, one.digest),
            )  # fmt: skip

    def _save_appended(self, append: Append, number: int) -> None:
        projection = append.projection
        loaded = self._loaded.get(append.stream)
        if append.expected == 0:
            for name, value in projection.tags:
                self.execute(rows.INSERT_TAG, (name, value, number))
        if append.expected == 0 or loaded is None:
            # New, or decided without having been loaded: the row is written whole, whatever it was.
            created = append.envelopes[0] if append.expected == 0 else None
            awaited = () if append.expected == 0 else None
            loaded = self._loaded[append.stream] = Loaded(number, Saved(append.stream, None), created, awaited)
        self._save(loaded, projection)

    def _save(self, loaded: Loaded, projection: Projection) -> None:
        """Save a projection, touching no more tables and indexes than have changed."""
        self.wrote = True
        row, before = projection.row, loaded.saved.row
        assert row is not None, "every task has a row"
        rows.save(self.execute, loaded.number, projection, row, before)
        if projection.awaited != loaded.awaited and (projection.awaited or rows.may_await(before)):
            rows.save_awaited(self.execute, loaded.number, projection.awaited)
            self.estimates.is_awaited = None
        loaded.saved = Saved(loaded.saved.stream, projection.fold, row)
        loaded.awaited = projection.awaited
        self.estimates.note(row)

    def _wake(self, ended: str) -> None:
        """[WAIT-3] The next maintenance looks at every task that awaits one that has ended."""
        if not self.is_awaited():
            return
        self.execute(rows.WAKE, (ended,))
        if self._connection.changes():
            self.wrote = True
            self.estimates.forget_due()
            for one in (*self._loaded.values(), *self._kept):
                if one is not None and one.awaited is not None and ended in one.awaited:
                    one.wake()
            self._kept.drop_waiting(self._loaded)

    def _put_aside(self, stream: str) -> None:
        """[LOG-5] Nothing finds the task any more, until it can be read again and is rebuilt."""
        loaded = self._loaded.pop(stream, None)
        self._kept.drop(stream)
        number = self._unreadable.get(stream) if loaded is None else loaded.number
        if number is not None:
            self._write(rows.PUT_ASIDE, (number,))

    def _write(self, statement: str, values: tuple[Any, ...]) -> None:
        self.wrote = True
        self.execute(statement, values)

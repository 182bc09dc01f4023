"""One write transaction: what its units see, and how what they append is written.

Its one rule: everything is read within the transaction that holds the write lock, and is written only after a unit's
function has returned; so a refusal has nothing to undo, and later units see what earlier ones wrote. It must not know
turns, files or how a transaction begins and ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import apsw

from sagalog.codec import Envelope, decode, read
from sagalog.errors import SagalogError, SchemaMismatch, VersionConflict
from sagalog.failpoints import reach
from sagalog.kernel.events import Recordable
from sagalog.kernel.state import StoreFold, TaskFold
from sagalog.ports import Append, Claim, Decided, Due, Unit
from sagalog.projection import OPEN, gate_next
from sagalog.projection import gate as gate_of
from sagalog_sqlite import rows, selection
from sagalog_sqlite.kept import Kept
from sagalog_sqlite.rows import FORMAT, Loaded
from sagalog_sqlite.texts import forgiving

INSERT_STREAM: Final = "INSERT INTO streams(category, id) VALUES (?, ?)"
INSERT_EVENT: Final = (
    "INSERT INTO events(stream, version, at_ms, type, schema, actor, cause, idempotency_key, data_key, body, digest) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


class Transaction:
    """The state of one write transaction. `wrote` tells whether there is anything to commit."""

    def __init__(self, connection: apsw.Connection, now_ms: int, kept: Kept) -> None:
        self.now_ms = now_ms
        self.wrote = False
        self.reads_any_text = False
        self._connection = connection
        self.execute: Callable[..., Any] = connection.execute
        # What was loaded or written, by task id; None: there is no such stream.
        self._loaded: dict[str, Loaded | None] = {}
        self._kept = kept
        self._estimates = kept.estimates
        self.store = kept.begin(connection, self.execute)

    def keep(self) -> None:
        """It is committed: what it has loaded and written stands so, until somebody else commits."""
        self._kept.keep(self._connection, self.store, self._loaded.values())

    def forget(self) -> None:
        """Rows are written that it does not load: nothing that is kept may be believed any more."""
        self._kept.forget()

    def read_any_text(self) -> None:
        """From here on a text that is no UTF-8 stops no reader; see `texts`."""
        self.reads_any_text = True
        self.execute = forgiving(self._connection)

    def answer(self, unit: Unit) -> Any:
        """Run one unit: its answer, or the SagalogError by which it was refused."""
        try:
            decided = unit.decide(UnitView(self, unit))
            numbers = self._standing(decided.appends)
        except UnicodeDecodeError:
            if self.reads_any_text:
                raise
            # [LOG-5] A damaged text lies on its way. Nothing of the unit is written yet.
            self.read_any_text()
            return self.answer(unit)
        except SagalogError as refusal:
            return refusal
        if decided.appends or decided.blobs:
            self._carry_out(decided, numbers)
        for id in decided.unreadable:
            self._put_aside(id)
        return decided.answer

    def _carry_out(self, decided: Decided, numbers: dict[str, int]) -> None:
        """Write what a unit has decided."""
        for blob in decided.blobs:
            self._write(rows.INSERT_BLOB, (blob.digest, blob.data))
        for append in decided.appends:
            self.wrote = True
            self._append(append, numbers)
        # Once all is there: who began to wait in this very unit is told too.
        for append in decided.appends:
            if isinstance(append.fold, TaskFold) and append.fold.is_terminal:
                self._wake(append.fold.id)

    # --- reading --------------------------------------------------------------------------------------------------

    def load(self, id: str) -> Loaded | None:
        """A task by id; None if there is no such stream. Raises as `View.task`."""
        if id in self._loaded:
            return self._loaded[id]
        loaded = self._kept.get(id)
        if loaded is None:
            row = self.execute(rows.TASK_BY_ID, (id,)).fetchone()
            loaded = None if row is None else rows.load(self.execute, row)
        self._loaded[id] = loaded
        return loaded

    def claim(self, claim: Claim) -> list[TaskFold]:
        """The tasks that a claim selects; one that cannot be read is put aside and the next one taken. [LOG-5]"""
        while True:
            found = [
                self._at_gate(number)
                for number in selection.candidates(self.execute, claim, claim.limit, self._estimates)
            ]
            readable = [task for task in found if task is not None]
            if len(readable) == len(found):
                return readable

    def let_in(self, due: Due, later: list[str]) -> int:
        """Let in the tasks of these queues whose time has come, at most `limit`; how many. [UPKEEP-2]"""
        numbers = selection.due_later(self.execute, later, self.now_ms, due.limit) if later else []
        for number in numbers:
            self._let_in(number)
        return len(numbers)

    def over(self, due: Due, leased: list[str], waited: list[str]) -> list[TaskFold]:
        """The tasks of these queues whose lease is over, then those whose wait may be, at most `limit` of each."""
        found: list[TaskFold | None] = []
        if leased:
            found += [self._over(number) for number in selection.over(self.execute, leased, self.now_ms, due.limit)]
        if waited:
            over = selection.waits_over(self.execute, waited, self.now_ms, due.limit)
            found += [self._waited(number) for number in over]
        return [task for task in found if task is not None]

    def event(self, id: str, version: int) -> Recordable:
        """One event of a task's stream; raises as `View.event`."""
        loaded = self._loaded.get(id)
        if loaded is None:
            row = self.execute(rows.OF_NAME, (rows.TASK, id, version)).fetchone()
        elif version == 1 and loaded.created is not None:
            return decode(loaded.created)
        else:
            row = self.execute(rows.OF_VERSION, (loaded.number, version)).fetchone()
        if row is None:
            raise rows.absent_event(id, version)
        return read(Envelope(*row))

    def keyed(self, idempotency_key: str) -> list[Envelope]:
        """All events that carry an idempotency key. [REPEAT-4]"""
        return [Envelope(*row) for row in self.execute(rows.OF_IDEMPOTENCY_KEY, (idempotency_key,))]

    def _by_number(self, number: int) -> Loaded | None:
        """A task by its stream's number; None, and put aside, if it cannot be read. [LOG-5]"""
        kept = self._kept.numbered(number)
        if kept is not None:
            self._loaded[kept.fold.id] = kept
            return kept
        row = self.execute(rows.TASK_BY_NUMBER, (number,)).fetchone()
        if row is None:
            # A projection of nothing: the log wins.
            self._write(rows.DELETE_TASK, (number,))
            return None
        id = row[1]
        loaded = self._loaded.get(id)
        if loaded is None:
            try:
                loaded = self._loaded[id] = rows.load(self.execute, row)
            except rows.UNFOLDABLE:
                self._write(rows.PUT_ASIDE, (number,))
                return None
        return loaded

    def _at_gate(self, number: int) -> TaskFold | None:
        """A claim's candidate; None where its row was not what the log gives, and has been put right."""
        loaded = self._by_number(number)
        if loaded is None:
            return None
        if loaded.is_row_sound and loaded.gate in OPEN:
            return loaded.fold
        # A gate that was opened stays open where the clock has stepped back since.
        gate = gate_of(loaded.fold, max(self.now_ms, loaded.fold.run_at_ms))
        if rows.says(loaded.fold, gate) == loaded.row:
            loaded.is_row_sound = True
            return loaded.fold
        self._save(loaded, loaded.fold)
        return None

    def _over(self, number: int) -> TaskFold | None:
        """A task whose lease is over; None where that was not what the log gives, and has been put right."""
        loaded = self._by_number(number)
        if loaded is None:
            return None
        lease = loaded.fold.lease
        if lease is not None and lease.expires_ms is not None and lease.expires_ms <= self.now_ms:
            return loaded.fold
        self._save(loaded, loaded.fold)
        return None

    def _waited(self, number: int) -> TaskFold | None:
        """A task whose wait may be over; None where its row was not what the log gives, and has been put right.

        It is looked at now, and again only when another task that it waits for has ended.
        """
        loaded = self._by_number(number)
        if loaded is None:
            return None
        waiting = loaded.fold.waiting
        if loaded.gate == "waking" and waiting is not None and waiting.after:
            self._write(rows.LOOKED_AT, (number,))
            loaded.stands_at("waiting")
            return loaded.fold
        if waiting is None or waiting.until_ms is None or waiting.until_ms > self.now_ms:
            self._save(loaded, loaded.fold)
            return None
        return loaded.fold

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
            if not self._estimates.is_due(queue, self.now_ms):
                continue
            first = execute(selection.FIRST_DUE, (queue,)).fetchone()
            assert first is not None
            expires_ms, run_at_ms, until_ms, waking = first
            self._estimates.keep_due(queue, first)
            if waking is not None or (until_ms is not None and until_ms <= self.now_ms):
                waited.append(queue)
            if expires_ms is not None and expires_ms <= self.now_ms:
                leased.append(queue)
            if run_at_ms is not None and run_at_ms <= self.now_ms:
                later.append(queue)
        return leased, later, waited

    # --- writing --------------------------------------------------------------------------------------------------

    def _standing(self, appends: Sequence[Append]) -> dict[str, int]:
        """The number of each stream to append to (0: a new one), once all were found where they are expected. [LOG-2]

        Raises:
            VersionConflict: a stream has moved on.
            SchemaMismatch: the store is founded in another format than this one writes.
        """
        numbers: dict[str, int] = {}
        if not appends:
            return numbers
        versions: dict[str, int] = {}
        for append in appends:
            stream = append.stream
            if stream not in numbers:
                numbers[stream], versions[stream] = self._stands_at(stream)
            if versions[stream] != append.expected:
                raise VersionConflict(
                    f"{stream} stands at version {versions[stream]}, not {append.expected}: load it again",
                    stream=stream,
                    expected=append.expected,
                    actual=versions[stream],
                )
            versions[stream] += len(append.envelopes)
            if type(append.fold) is StoreFold and append.fold.format != FORMAT:
                raise SchemaMismatch(
                    f"a store of format {append.fold.format} was to be founded in a file of format {FORMAT}",
                    found=append.fold.format,
                    supported=FORMAT,
                )
        return numbers

    def _stands_at(self, stream: str) -> tuple[int, int]:
        category, _, id = stream.partition("/")
        if category == rows.TASK and id in self._loaded:
            loaded = self._loaded[id]
            return (0, 0) if loaded is None else (loaded.number, loaded.fold.version)
        row = self.execute(rows.STANDING, (category, id)).fetchone()
        return (0, 0) if row is None else (row[0], row[1] or 0)

    def _append(self, append: Append, numbers: dict[str, int]) -> None:
        execute = self.execute
        number = numbers[append.stream]
        if number == 0:
            category, _, id = append.stream.partition("/")
            execute(INSERT_STREAM, (category, id))
            number = numbers[append.stream] = self._connection.last_insert_rowid()
        version = append.expected
        for one in append.envelopes:
            version += 1
            if one.version != version:
                raise ValueError(f"{one.name} was to be appended as version {version} of {append.stream}")
            execute(
                INSERT_EVENT,
                (number, version, one.at_ms, one.type, one.schema, one.actor, one.cause, one.idempotency_key,
                 one.data_key, one.body, one.digest),
            )  # fmt: skip
        reach("commit.after_events")
        fold = append.fold
        if isinstance(fold, StoreFold):
            rows.update_store(execute, fold)
            self.store = fold
        else:
            self._save_appended(append, number, fold)
        reach("commit.after_fold")

    def _save_appended(self, append: Append, number: int, fold: TaskFold) -> None:
        loaded = self._loaded.get(fold.id)
        before = None if append.expected == 0 or loaded is None else loaded.fold
        if append.expected == 0 and fold.tags:
            rows.tag(self.execute, number, fold)
        if append.expected == 0 or loaded is None:
            # New, or decided without having been loaded: the row is written whole, whatever it was.
            created = append.envelopes[0] if append.expected == 0 else None
            loaded = self._loaded[fold.id] = Loaded(number, fold, None, created)
        if fold.waiting is not None or (before is not None and before.waiting is not None):
            rows.await_tasks(self.execute, number, before, fold)
            self._estimates.is_awaited = None
        self._save(loaded, fold)

    def _wake(self, ended: str) -> None:
        """[WAIT-3] Have the next upkeep look at the tasks that wait for one that has ended."""
        estimates = self._estimates
        if estimates.is_awaited is None:
            estimates.is_awaited = bool(self.execute(rows.IS_AWAITED).fetchone()[0])
        if not estimates.is_awaited:
            return
        self.execute(rows.WAKE, (ended,))
        if self._connection.changes():
            estimates.forget_due()
            for one in (*self._loaded.values(), *self._kept):
                waiting = None if one is None or one.gate != "waiting" else one.fold.waiting
                if one is not None and waiting is not None and ended in waiting.after:
                    one.stands_at("waking")

    def _save(self, loaded: Loaded, fold: TaskFold) -> None:
        self.wrote = True
        gate = gate_next(fold, self.now_ms, loaded.gate, loaded.fold.run_at_ms)
        loaded.row = rows.save(self.execute, loaded.number, fold, gate, loaded.row)
        loaded.fold = fold
        loaded.is_row_sound = True
        self._estimates.note(loaded.row)

    def _let_in(self, number: int) -> None:
        """[UPKEEP-2] Open the gate of a task whose time has come."""
        loaded = self._by_number(number)
        if loaded is not None:
            self._save(loaded, loaded.fold)

    def _put_aside(self, id: str) -> None:
        """[LOG-5] No claim selects the task any more, until it can be read again and is rebuilt."""
        loaded = self._loaded.pop(id, None)
        self._kept.drop(id)
        if loaded is not None:
            self._write(rows.PUT_ASIDE, (loaded.number,))

    def _write(self, statement: str, values: tuple[Any, ...]) -> None:
        self.wrote = True
        self.execute(statement, values)


class UnitView:
    """The port's view: what one unit sees of the transaction. Selections are made when they are first asked for."""

    __slots__ = ("_claimed", "_let_in", "_over", "_queues", "_transaction", "_unit", "epoch", "now_ms", "store")

    def __init__(self, transaction: Transaction, unit: Unit) -> None:
        self._transaction = transaction
        self._unit = unit
        self._claimed: list[TaskFold] | None = None
        self._queues: tuple[list[str], list[str], list[str]] | None = None
        self._let_in: int | None = None
        self._over: list[TaskFold] | None = None
        self.now_ms = transaction.now_ms
        self.store = transaction.store
        self.epoch = 0 if transaction.store is None else transaction.store.epoch

    @property
    def claimed(self) -> Sequence[TaskFold]:
        """The tasks that the unit's `claim` selects, in its order."""
        if self._claimed is None:
            assert self._unit.claim is not None
            self._claimed = self._transaction.claim(self._unit.claim)
        return self._claimed

    @property
    def due(self) -> Sequence[TaskFold]:
        """Tasks of the unit's `due` whose lease or wait is over, in the port's order; what is merely due is let in.

        A wait is looked at by this, so a unit that only lets in leaves it for whoever looks.
        """
        if self._over is None:
            due, (leased, _, waited) = self._look_for_due()
            self._over = self._transaction.over(due, leased, waited)
        return self._over

    @property
    def let_in(self) -> int:
        """How many tasks the unit's `due` let in."""
        self._look_for_due()
        assert self._let_in is not None
        return self._let_in

    def _look_for_due(self) -> tuple[Due, tuple[list[str], list[str], list[str]]]:
        due = self._unit.due
        assert due is not None
        if self._queues is None:
            self._queues = self._transaction.queues_due(due)
            self._let_in = self._transaction.let_in(due, self._queues[1])
        return due, self._queues

    def task(self, id: str) -> TaskFold | None:
        """The fold of a task; None if there is no such stream."""
        loaded = self._transaction.load(id)
        return None if loaded is None else loaded.fold

    def event(self, id: str, version: int) -> Recordable:
        """One event of a task's stream; raises as `View.event`."""
        return self._transaction.event(id, version)

    def keyed(self, idempotency_key: str) -> Sequence[Envelope]:
        """All events that carry this idempotency key, in order of position."""
        return self._transaction.keyed(idempotency_key)

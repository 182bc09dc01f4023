"""The store: turns, transactions, and what becomes of a commit that fails.

Its one rule: a commit is whole or nothing, and its callers are told which, or that nobody can know. On every way out
the transaction is ended and the turn given back. What units see and write stands in `view`; which calls share a
transaction, in `grouping`; where files come from, in `opening`.
"""

from __future__ import annotations

import ctypes
import os
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Final, TypeVar

import apsw

from sagalog.errors import Closed, SagalogError, Unavailable
from sagalog.failpoints import reach
from sagalog.ports import FIRST_TAG, Clock, Tag, Unit
from sagalog_sqlite import rebuilding, subscriptions
from sagalog_sqlite.changes import Changes
from sagalog_sqlite.checkpoints import Checkpoints
from sagalog_sqlite.connecting import connect
from sagalog_sqlite.failures import told, told_of_commit
from sagalog_sqlite.grouping import Call, Group, Line
from sagalog_sqlite.kept import Kept
from sagalog_sqlite.reading import Readers
from sagalog_sqlite.rows import store_row
from sagalog_sqlite.snapshot import SqliteSnapshot
from sagalog_sqlite.ticket import Ticket, TurnTimeout
from sagalog_sqlite.view import Transaction

T = TypeVar("T")

# Who closes does not wait long for a turn: without the last checkpoint the WAL keeps what it has.
_CLOSE_WAIT_MS: Final = 5_000


class SqliteStore:
    """The port's store on one SQLite file. Safe to share between threads; in a forked child it refuses everything.

    path, durability    as it was opened
    checkpoints         the policy that keeps the WAL short, and what it has seen
    """

    def __init__(self, path: str, ticket: Ticket, clock: Clock, durability: str, turn_timeout_ms: int) -> None:
        self.path = path
        self.durability = durability
        self.checkpoints = Checkpoints(path)
        self._ticket = ticket
        self._clock = clock
        self._turn_timeout_ms = turn_timeout_ms
        self._line = Line(turn_timeout_ms)
        self._kept = Kept()
        self._refusal: str | None = None
        self._turn_of: int | None = None  # the thread that has the turn
        # Every connection that is open, so that a fork can keep the child from ever closing one.
        self._connections: weakref.WeakSet[apsw.Connection] = weakref.WeakSet()
        self._writer: apsw.Connection | None = self._connect(writing=True)
        self._readers = Readers(self._connect, path)
        self._changes = Changes(self._connect, path)
        _STORES.add(self)

    # --- writing --------------------------------------------------------------------------------------------------

    def commit(self, units: Sequence[Unit]) -> list[Any]:
        """Run the units in order in one transaction. Returns and raises as the port says.

        Calls of other threads that have come before the turn are run in the same transaction, each as if alone.
        """
        self._refuse_within_a_unit()
        call = Call(units)
        try:
            if self._line.come(call):
                self._lead(call)
        except TurnTimeout as error:
            raise self._no_turn(error, call) from error
        finally:
            try:
                self._line.leave(call)
            except BaseException:
                # As with the turn: a second time does what is left.
                self._line.leave(call)
                raise
        return call.result()

    def save_checkpoint(self, name: str, expected: int | None, position: int) -> bool:
        """Move a subscription's checkpoint, if it stands where it is expected. Returns and raises as the port says."""
        return self._write(partial(subscriptions.save, name=name, expected=expected, position=position))

    def rebuild(self) -> int:
        """Fold every projection afresh from the log; the number of tasks. Raises as the port says."""
        newest = self._write(rebuilding.begin)
        tasks, after = 0, 0
        while after < newest:
            folded, after = self._write(partial(rebuilding.rebuild_streams, after=after, newest=newest))
            tasks += folded
        tag: Tag | None = FIRST_TAG
        while tag is not None:
            tag = self._write(partial(rebuilding.sweep_tags, after=tag))
        return tasks

    def _lead(self, call: Call) -> None:
        """Commit the call and those that wait behind it.

        Where the function of one of those has failed, that one is told, and the others are run again without it: first
        this call by itself, so that it waits for one failure of others at most, then they, led by one of them.
        """
        group = Group(call, self.path)
        try:
            if self._line.company > 1:
                self._line.gather()
            self._write(group.run, group, self._line.take)
            return
        except BaseException as error:
            if not group.failed_by_another(error):
                raise
        self._line.end(group)
        group = Group(call, self.path)
        self._write(group.run, group, self._line.take_alone)

    def _write(
        self, work: Callable[[Transaction], T], group: Group | None = None, take: Callable[[Group], None] | None = None
    ) -> T:
        """One turn: one transaction around `work`, and a checkpoint if it is time.

        A group is filled by `take` once the turn has come, so that nobody waits who could be in it, and before the
        clock is read, so that time never runs backwards for a caller.
        """
        if group is None:
            self._refuse_within_a_unit()
            group = Group(Call(()), self.path)
        try:
            connection = self._take_turn(group.leader)
            self._turn_of = group.leader.thread
            if take is not None:
                take(group)
            result, wrote = self._transact(connection, work, group)
            if wrote:
                self.checkpoints.after_commit(connection, self._turn_timeout_ms)
        finally:
            try:
                self._end_turn()
            except BaseException:
                # An interrupt may strike at its door; a second time it does what is left, if anything.
                self._end_turn()
                raise
        if wrote:
            self._changes.announce()
        return result

    def _transact(self, connection: apsw.Connection, work: Callable[[Transaction], T], group: Group) -> tuple[T, bool]:
        committing = False
        try:
            reach("commit.before_begin")
            connection.execute("BEGIN IMMEDIATE")
            reach("commit.after_begin")
            transaction = Transaction(connection, self._clock.now_ms(), self._kept)
            result = work(transaction)
            reach("commit.before_commit")
            committing = transaction.wrote
            group.written = None if committing else False
            connection.execute("COMMIT")
            group.written = True
            transaction.keep()
            reach("commit.after_commit")
        except apsw.Error as error:
            self._kept.forget()
            raise self._failure(connection, error, committing) from error
        except BaseException:
            self._kept.forget()
            if self._roll_back(connection):
                group.written = False
            raise
        return result, transaction.wrote

    def _take_turn(self, call: Call) -> apsw.Connection:
        """The turn, and the connection for writing, outside a transaction; what the call has waited counts as well."""
        self._require_open()
        left_ms = self._turn_timeout_ms
        if call.parked is not None:
            left_ms = max(0, left_ms - call.waited_ms())
        try:
            self._ticket.acquire(left_ms)
        except TurnTimeout as error:
            raise self._no_turn(error, call) from error
        except OSError as error:
            raise Unavailable(f"{self.path}: its lock files fail ({error}); mend that", path=self.path) from error
        except RuntimeError:
            self._require_open()
            raise
        self._require_open()
        if self._writer is not None and self._writer.in_transaction:
            # Whatever has left it open, nobody waits for its commit any more.
            self._roll_back(self._writer)
        if self._writer is None:
            self._writer = self._connect(writing=True)
        return self._writer

    def _no_turn(self, error: TurnTimeout, call: Call) -> Unavailable:
        holder = "unknown" if error.holder_pid is None else error.holder_pid
        return Unavailable(
            f"{self.path}: no turn to write within {call.waited_ms()} ms (holder: process {holder}); "
            "see what that process is doing, then repeat the call",
            path=self.path,
            holder_pid=error.holder_pid,
        )

    def _end_turn(self) -> None:
        """Give the turn back, whatever was reached; nothing if this thread does not have it."""
        if self._turn_of == threading.get_ident():
            if self._writer is not None and self._writer.in_transaction:
                self._roll_back(self._writer)
            self._turn_of = None
        self._ticket.release()

    def _failure(self, connection: apsw.Connection, error: apsw.Error, committing: bool) -> SagalogError:
        """End the transaction that `error` has ended or left open; what to tell the caller."""
        self._roll_back(connection)
        if isinstance(error, apsw.IOError):
            # What this connection believes about the file may be wrong now.
            self._drop_writer()
        if not committing:
            return told(error, self.path)
        failure = told_of_commit(error, self.path)
        if failure.code == "unknown":
            self._drop_writer()
        return failure

    def _roll_back(self, connection: apsw.Connection) -> bool:
        """Undo what is open; whether there was anything, so that it was certainly not committed."""
        if connection not in self._connections:
            return False  # A child on its way out of its parent's transaction.
        try:
            if not connection.in_transaction:
                return False
            connection.execute("ROLLBACK")
        except apsw.Error:
            self._drop_writer()
        return True

    def _drop_writer(self) -> None:
        """Close the connection for writing; the next turn opens another, with all guards."""
        self._kept.forget()
        connection, self._writer = self._writer, None
        if connection is not None:
            with suppress(apsw.Error):
                connection.close()

    # --- reading --------------------------------------------------------------------------------------------------

    @contextmanager
    def read(self) -> Iterator[SqliteSnapshot]:
        """A consistent snapshot for the block. Raises as the port says."""
        self._require_open()
        connection = self._readers.take()
        try:
            yield SqliteSnapshot(connection, self.path, self._require_open, self._clock.monotonic_ms)
        finally:
            if connection in self._connections:
                self._readers.give_back(connection)

    def changes(self) -> int:
        """A number that differs once anybody has committed since."""
        self._require_open()
        return self._changes.number()

    def wait_change(self, since: int, timeout_ms: int) -> None:
        """Return when `changes()` differs from `since`, or when the time is over."""
        self._require_open()
        self._changes.wait(since, timeout_ms)
        self._require_open()

    @property
    def checkpoint_error(self) -> SagalogError | None:
        """What the last checkpoint met, for whoever looks after the store's health; None if it went well."""
        return self.checkpoints.error

    # --- its own life ---------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Checkpoint and give everything back; a second time does nothing. What cannot be done then is left undone."""
        if self._refusal is not None:
            return
        self._refuse_within_a_unit()
        self._refusal = f"the store {self.path} was closed; open it again"
        self._changes.close()
        self._readers.close()
        try:
            with suppress(TurnTimeout, OSError):
                self._ticket.acquire(min(self._turn_timeout_ms, _CLOSE_WAIT_MS))
                self._empty_wal()
        finally:
            self._drop_writer()
            self._ticket.release()
            self._ticket.close()

    def abandon(self) -> None:
        """In a forked child: refuse everything from now on, touch no connection and no lock, and close neither.

        They are the parent's: rolled back, or closed at the end of the child, they would write into what both share.
        """
        self._refusal = f"the store {self.path} was opened before this process was forked: open it again in the child"
        for connection in list(self._connections):
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))
        self._connections.clear()
        self._writer = None
        self._line.abandon()
        self._ticket.abandon()

    def _empty_wal(self) -> None:
        connection = self._writer
        if connection is None:
            return
        self._roll_back(connection)
        with suppress(apsw.Error):
            if self.checkpoints.at_close(connection):
                # Nothing is left to move, so nothing can fail unseen: let the last one out remove the -wal.
                connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0)

    def _connect(self, writing: bool = False) -> apsw.Connection:
        connection = connect(self.path, self.durability, self._turn_timeout_ms, writing)
        self._connections.add(connection)
        if writing:
            try:
                store_row(connection.execute)
                self.checkpoints.watch(connection)
            except apsw.Error as error:
                connection.close()
                raise told(error, self.path) from error
            except SagalogError:
                connection.close()
                raise
        return connection

    def _refuse_within_a_unit(self) -> None:
        if self._turn_of == threading.get_ident():
            raise RuntimeError("a unit's function only reads its view: it may not touch the store that runs it")

    def _require_open(self) -> None:
        if self._refusal is not None:
            raise Closed(self._refusal, path=self.path)


_STORES: Final[weakref.WeakSet[SqliteStore]] = weakref.WeakSet()


def _abandon_all() -> None:
    for store in list(_STORES):
        store.abandon()


os.register_at_fork(after_in_child=_abandon_all)

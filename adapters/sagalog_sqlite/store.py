"""The store: turns, transactions, and what becomes of a commit that fails.

Its one rule: a commit is whole or nothing, and the store tells its callers which, or that it cannot know. On every
way out the transaction is ended and the turn given back. What operations see is in `view`, what they write in
`transaction`; which calls share a transaction, in `commit_queue`; where files come from, in `opening`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Final, TypeVar

import apsw

from sagalog.errors import Closed, SagalogError, Unavailable
from sagalog.store import FIRST_TAG, Clock, FileHealth, Operation, Progress, Tag, armed, reach
from sagalog_sqlite import fork_hooks, rebuild, subscriptions
from sagalog_sqlite.changes import Changes
from sagalog_sqlite.checkpoints import Checkpoints
from sagalog_sqlite.commit_queue import CommitGroup, CommitQueue, PendingCommit, PendingWork
from sagalog_sqlite.connections import Connections
from sagalog_sqlite.failures import name_of, told, told_of_commit
from sagalog_sqlite.file_guard import Refusal
from sagalog_sqlite.file_health import file_health
from sagalog_sqlite.file_identity import Identity
from sagalog_sqlite.fold_cache import FoldCache
from sagalog_sqlite.fork_barrier import BARRIER, Place
from sagalog_sqlite.rows import store_row
from sagalog_sqlite.snapshot import SqliteSnapshot
from sagalog_sqlite.ticket_lock import TicketLock, TurnTimeout
from sagalog_sqlite.transaction import Transaction
from sagalog_sqlite.turns import Turns

T = TypeVar("T")

# Who closes does not wait long for a turn: without the last checkpoint the WAL keeps what it has.
_CLOSE_WAIT_MS: Final = 5_000


class SqliteStore:
    """The port's store on one SQLite file. Safe to share between threads, and to go on with in a forked child. [FORK-1]

    path, durability    as it was opened
    checkpoints         the policy that keeps the WAL short, and what it has seen
    """

    def __init__(self, path: str, ticket: TicketLock, clock: Clock, durability: str, turn_timeout_ms: int) -> None:
        self.path = path
        self.durability = durability
        self.checkpoints = Checkpoints(path, clock)
        self._clock = clock
        self._turn_timeout_ms = turn_timeout_ms
        self._refusal: str | None = None
        self._is_closed = False
        self._refused: Refusal | None = None
        self._connections = Connections(path, durability, turn_timeout_ms, self._settle)
        self._connections.for_writing()
        self._begin(ticket)
        # A store that has not written anything leaves the last checkpoint to others.
        self._leaves_wal = False
        fork_hooks.takes_part(self)

    def _begin(self, ticket: TicketLock | None) -> None:
        """What belongs to the threads of one process."""
        self._turns = Turns(self.path, ticket)
        self._line = CommitQueue(self._turn_timeout_ms, self.path)
        self._fold_cache = FoldCache()
        self._turn_of: int | None = None  # the thread that has the turn
        self._changes = Changes(self._connections.connect, self.path)

    # --- writing --------------------------------------------------------------------------------------------------

    def commit(self, operations: Sequence[Operation]) -> list[Any]:
        """Carry the operations out in order in one transaction. Returns and raises as the port says.

        Calls of other threads that have come before the turn are run in the same transaction, each as if alone.
        """
        self._refuse_within_an_operation()
        call = PendingCommit(operations)
        try:
            if self._line.come(call):
                self._lead(call)
        except TurnTimeout as error:
            raise self._turns.refused(error, call.waited_ms()) from error
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
        return self._do(partial(subscriptions.save, name=name, expected=expected, position=position))

    def rebuild(self, progress: Progress | None = None) -> int:
        """Fold every projection afresh from the log; the number of tasks. Calls and raises as the port says."""
        newest = self._do(rebuild.begin)
        tasks, after = 0, 0
        while after < newest:
            if progress is not None:
                progress(after, newest)
            folded, after = self._do(partial(rebuild.rebuild_streams, after=after, newest=newest))
            tasks += folded
        tag: Tag | None = FIRST_TAG
        while tag is not None:
            tag = self._do(partial(rebuild.sweep_tags, after=tag))
        if progress is not None:
            progress(newest, newest)
        return tasks

    def _lead(self, call: PendingCommit) -> None:
        """Commit the call and those that wait behind it.

        Where the function of one of those has failed, that one is told, and the others are run again without it: first
        this call by itself, so that it waits for one failure of others at most, then they, led by one of them.
        """
        if self._line.company > 1:
            self._line.gather()
        try:
            self._write(call, self._line.take)
            return
        except BaseException as error:
            group = call.group
            if group is None or not group.failed_by_another(error):
                raise
        self._line.end(group)
        call.group = None
        self._write(call)

    def _do(self, work: Callable[[Transaction], T]) -> T:
        """Something else to be written, in a turn of its own."""
        self._refuse_within_an_operation()
        pending = PendingWork(work)
        self._write(pending)
        return pending.answer

    def _write(
        self, call: PendingCommit, take: Callable[[PendingCommit], PendingCommit | CommitGroup] | None = None
    ) -> None:
        """One turn: one transaction around what the call has to write, and a checkpoint if it is time.

        With which others it shares the transaction is left to `take`, which is asked once the turn has come, so that
        every call is in the group that could be, and before the clock is read, so that time never runs backwards for a
        caller. Without it the call has a transaction of its own.
        """
        place = Place(BARRIER, self.path)
        try:
            connection = self._take_turn(call, place)
            self._turn_of = call.thread
            wrote = self._transact(connection, call if take is None else take(call))
            if wrote:
                self.checkpoints.after_commit(connection, self._turn_timeout_ms)
        finally:
            try:
                self._end_turn(place)
            except BaseException:
                # An interrupt may strike at its door; a second time it does what is left, if anything.
                self._end_turn(place)
                raise
            if self._refused is not None:
                self._mend()
        if wrote:
            self._changes.announce()

    def _transact(self, connection: apsw.Connection, calls: PendingCommit | CommitGroup) -> bool:
        """One transaction around one call or several, begun anew as long as one asks for what it had not declared.

        Returns whether anything was written.
        """
        committing = False
        try:
            while True:
                if armed:
                    reach("commit.before_begin")
                connection.execute("BEGIN IMMEDIATE")
                if armed:
                    reach("commit.after_begin")
                transaction = Transaction(connection, self._clock.now_ms(), self._fold_cache)
                calls.run(transaction)
                if not transaction.is_void:
                    break
                connection.execute("ROLLBACK")
                # What was only read is kept, as after a commit; what was written, as after none.
                if transaction.wrote:
                    self._fold_cache.forget()
                else:
                    transaction.keep()
            if armed:
                reach("commit.before_commit")
            self._require_sound()
            committing = transaction.wrote
            calls.written = None if committing else False
            connection.execute("COMMIT")
            calls.written = True
            transaction.keep()
            if armed:
                reach("commit.after_commit")
        except apsw.Error as error:
            self._fold_cache.forget()
            raise self._failure(connection, error, committing) from error
        except BaseException:
            self._fold_cache.forget()
            if self._roll_back(connection):
                calls.written = False
            raise
        return transaction.wrote

    def _require_sound(self) -> None:
        """Refuse to commit where that would not be found again. [FILE-1]"""
        if self._turn_of is None:
            self._require_open()  # a forked child that has come back into its parent's transaction
        self._refused = self._connections.guard.refusal(writing=True)
        if self._refused is not None:
            raise Unavailable(self._refused.text, path=self.path)

    def _mend(self) -> None:
        """After a commit that was refused: where only locks are gone, the next one has connections with new ones."""
        refused, self._refused = self._refused, None
        # Without our locks others may have moved our WAL and taken it away: then nothing stands in it alone.
        if (
            refused is not None
            and refused.what == "locks"
            and (refused.wal == "same" or self._connections.is_all_moved())
        ):
            fork_hooks.renew(self.identity)

    def _take_turn(self, call: PendingCommit, place: Place) -> apsw.Connection:
        """The turn, and the connection for writing, outside a transaction; what the call has waited counts as well."""
        self._require_open()
        left_ms = self._turn_timeout_ms
        if call.parked is not None:
            left_ms = max(0, left_ms - call.waited_ms())
        try:
            self._turns.take(place, left_ms, call.waited_ms)
        except RuntimeError:
            self._require_open()
            raise
        self._require_open()
        self._leaves_wal = False
        writer = self._connections.writer
        if writer is not None:
            if not writer.in_transaction:
                return writer
            # Whatever has left it open, no caller waits for its commit any more.
            self._roll_back(writer)
        return self._connections.for_writing()

    def _end_turn(self, place: Place) -> None:
        """Give the turn back, whatever was reached; nothing if this thread does not have it."""
        if self._turn_of == threading.get_ident():
            writer = self._connections.writer
            if writer is not None and writer.in_transaction:
                self._roll_back(writer)
            self._turn_of = None
        self._turns.give_back(place)

    def _failure(self, connection: apsw.Connection, error: apsw.Error, committing: bool) -> SagalogError:
        """End the transaction that `error` has ended or left open; what to tell the caller."""
        if connection not in self._connections:
            self._require_open()  # as above: there SQLite refuses whatever it is asked
        self._roll_back(connection)
        if isinstance(error, apsw.IOError) or name_of(error) == "SQLITE_BUSY_SNAPSHOT":
            # What this connection believes about the file may be wrong now; or a statement was left half-read, by which
            # it would go on reading what was there before another connection committed.
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
        self._fold_cache.forget()
        self._connections.drop_writer()

    # --- reading --------------------------------------------------------------------------------------------------

    @contextmanager
    def read(self) -> Iterator[SqliteSnapshot]:
        """A consistent snapshot for the block. Raises as the port says."""
        with BARRIER.place(self.path):
            self._require_open()
            connection = self._connections.readers.take()
            try:
                yield SqliteSnapshot(connection, self.path, self._require_open, self._clock.monotonic_ms)
            finally:
                if connection in self._connections:
                    self._connections.readers.give_back(connection)

    def changes(self) -> int:
        """A number that differs once anybody has committed since."""
        self._require_open()
        return self._changes.number()

    def wait_change(self, since: int, timeout_ms: int) -> None:
        """Return when `changes()` differs from `since`, or when the time is over."""
        self._require_open()
        self._changes.wait(since, timeout_ms)
        self._require_open()

    def file_health(self) -> FileHealth:
        """How the file and its disk stand. Raises as the port says."""
        self._require_open()
        return file_health(self.path, self.durability, self.checkpoints)

    # --- its own life ---------------------------------------------------------------------------------------------

    @property
    def identity(self) -> Identity:
        """Which file it has opened: device and inode."""
        return self._connections.guard.identity

    def links(self) -> int:
        """How many names the file has: one. Under another name it would get another WAL; 0: its own name is gone."""
        return self._connections.guard.links()

    def close(self) -> None:
        """Checkpoint and give everything back; a second time does nothing. What cannot be done then is left undone.

        Interrupted at any place it leaves the turn free, and a second time does what is left.
        """
        if self._is_closed:
            return
        self._refuse_within_an_operation()
        if self._refusal is None:
            self._refusal = f"the store {self.path} was closed; open it again"
        has_place = self._turns.has_place()
        try:
            with BARRIER.place(self.path):
                self._close()
        except BaseException:
            if not has_place:
                self._turns.release()
            raise

    def _close(self) -> None:
        """Each line bears being done again, wherever an interrupt has struck."""
        self._changes.close()
        self._connections.readers.close()
        if not self._leaves_wal:
            with suppress(TurnTimeout, OSError):
                self._turns.take_last(min(self._turn_timeout_ms, _CLOSE_WAIT_MS))
                self._empty_wal()
        self._drop_writer()
        self._turns.release()
        self._turns.close()
        self._connections.guard.detach()
        fork_hooks.ends(self)
        self._is_closed = True

    def let_go(self) -> bool:
        """Close every connection, while no thread uses one: before a fork, and where locks were lost. [FORK-1]"""
        self._fold_cache.forget()
        self._changes.let_go()
        return self._connections.let_go()

    def begin_anew(self, refusal: str | None) -> None:
        """In a forked child: the parent's threads and what they have are forgotten, and nothing of it is touched."""
        self._connections.leave_to_parent(is_writing=self._turn_of == threading.get_ident())
        if self._refusal is None:
            self._refusal = refusal
        self._refused = None
        self._leaves_wal = True
        self._begin(None)

    def _empty_wal(self) -> None:
        with suppress(apsw.Error, SagalogError):
            connection = self._connections.for_writing()
            self._roll_back(connection)
            if self._is_newest() and self.checkpoints.at_close(connection):
                # Nothing is left to move, so nothing can fail unseen: let the last one out remove the -wal.
                connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0)

    def _is_newest(self) -> bool:
        """Whether nothing newer can stand in the file than in the WAL in use, so that it may be moved there.

        Also where that WAL has lost its name, as long as no process could begin another in its place.
        """
        refusal = self._connections.guard.refusal(writing=False)
        return refusal is None or (refusal.what, refusal.wal) == ("wal", "nothing")

    def _settle(self, connection: apsw.Connection) -> None:
        """A new connection for writing: the format is one that we know, and its WAL is watched."""
        store_row(connection.execute)
        self.checkpoints.watch(connection)

    def _refuse_within_an_operation(self) -> None:
        if self._turn_of == threading.get_ident():
            raise RuntimeError("an operation's function only reads its view: it may not touch the store that runs it")

    def _require_open(self) -> None:
        if self._refusal is not None:
            raise Closed(self._refusal, path=self.path)

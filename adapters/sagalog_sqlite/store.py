"""The store: turns, transactions, and what happens after a commit that fails.

Rule: a commit is whole or nothing, and the store says to its callers which, or that it cannot know. On every way out it
ends the transaction and gives the turn back. `view` is what operations see, `transaction` what they write,
`commit_queue` decides which calls share a transaction, and `opening` makes or checks the file. It must not know what
operations decide.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Final, TypeVar

import apsw

from sagalog.errors import Closed, SagalogError, Unavailable
from sagalog.store import FIRST_TAG, AccountFold, Clock, FileHealth, Kept, Operation, Progress, Tag, armed, reach
from sagalog_sqlite import fork_hooks, kept, rebuild, references
from sagalog_sqlite.changes import Changes
from sagalog_sqlite.checkpoints import Checkpoints
from sagalog_sqlite.commit_queue import CommitGroup, CommitQueue, PendingCommit, PendingWork
from sagalog_sqlite.connections import Connections
from sagalog_sqlite.failures import commit_error, name_of, store_error
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

# A thread that closes does not wait long for a turn: without the last checkpoint the WAL keeps what it has.
_CLOSE_WAIT_MS: Final = 5_000


class SqliteStore:
    """The port's store on one SQLite file. Threads may share it, and a forked child may continue to use it. [FORK-1]

    path, durability    as the caller opened it
    checkpoints         the policy that keeps the WAL short, and what it has seen
    """

    def __init__(self, path: str, ticket_lock: TicketLock, clock: Clock, durability: str, turn_timeout_ms: int) -> None:
        self.path = path
        self.durability = durability
        self.checkpoints = Checkpoints(path, clock)
        self._clock = clock
        self._turn_timeout_ms = turn_timeout_ms
        self._refusal: str | None = None
        self._is_closed = False
        self._refused: Refusal | None = None
        self._connections = Connections(path, durability, turn_timeout_ms, self._prepare_writer)
        self._connections.for_writing()
        self._start(ticket_lock)
        # A store that has written nothing leaves the last checkpoint to others.
        self._leaves_wal = False
        fork_hooks.register(self)

    def _start(self, ticket_lock: TicketLock | None) -> None:
        """Set up what belongs to the threads of one process."""
        self._turns = Turns(self.path, ticket_lock)
        self._commit_queue = CommitQueue(self._turn_timeout_ms, self.path)
        self._fold_cache = FoldCache()
        self._turn_of: int | None = None  # the thread that has the turn
        self._changes = Changes(self._connections.connect, self.path)

    # --- writing --------------------------------------------------------------------------------------------------

    def commit(self, operations: Sequence[Operation]) -> list[Any]:
        """Carry the operations out in order in one transaction. Returns and raises as the port says.

        Calls of other threads that arrive before the turn run in the same transaction, each as if alone.
        """
        self._refuse_within_an_operation()
        call = PendingCommit(operations)
        try:
            if self._commit_queue.enqueue(call):
                self._lead(call)
        except TurnTimeout as error:
            raise self._turns.refused(error, call.waited_ms()) from error
        finally:
            try:
                self._commit_queue.dequeue(call)
            except BaseException:
                # After an interrupt, as with the turn, a second call does the rest.
                self._commit_queue.dequeue(call)
                raise
        return call.result()

    def keep(self, space: str, name: str, expected: str | None, value: str | None) -> bool:
        """Keep a value under a name if `expected` is there now. Returns and raises as the port says."""
        return self._run_alone(partial(kept.exchange, expected=expected, one=Kept(space, name, value)))

    def rebuild(self, progress: Progress | None = None) -> int:
        """Fold every projection afresh from the log; return the number of tasks. Calls and raises as the port says."""
        newest = self._run_alone(rebuild.begin)
        total = newest + (0 if progress is None else self._tag_count())

        def report(done: int) -> None:
            if progress is not None:
                progress(min(done, total), total)

        tasks = after = swept = 0
        # The streams whose dedupe keys are to be put back once no wrong row is left.
        all_lacking: list[int] = []
        prunings = references.Prunings()
        while after < newest:
            report(after)
            lacking: list[int] = []
            slice = partial(rebuild.rebuild_streams, after=after, newest=newest, lacking=lacking, prunings=prunings)
            folded, after = self._run_alone(slice)
            tasks += folded
            all_lacking += lacking
        for at in range(0, len(all_lacking), rebuild.SLICE):
            self._run_alone(partial(rebuild.put_dedupes_back, lacking=all_lacking[at : at + rebuild.SLICE]))
        self._run_alone(rebuild.put_pruned_back)
        waiting: int | None = 0
        while waiting is not None:
            waiting = self._run_alone(partial(rebuild.sweep_edges, after=waiting))
        tag: Tag | None = FIRST_TAG
        while tag is not None:
            report(newest + swept)
            tag = self._run_alone(partial(rebuild.sweep_tags, after=tag))
            swept += rebuild.SLICE
        self._rebuild_accounts()
        report(total)
        return tasks

    def _rebuild_accounts(self) -> None:
        """Fold the accounts from the log, most of it by snapshots, so that the last transaction is short."""
        with self.read() as snapshot:
            head, after = snapshot.head()[1], 0
        fold = AccountFold()
        while after < head:
            with self.read() as snapshot:
                envelopes = snapshot.counting(after, rebuild.EVENTS)
            for envelope in envelopes:
                fold.take(envelope)
            if not envelopes:
                break
            after = envelopes[-1].position
        self._run_alone(partial(rebuild.rebuild_accounts, fold=fold, after=after))

    def _tag_count(self) -> int:
        with self.read() as snapshot:
            return snapshot.tag_count()

    def _lead(self, call: PendingCommit) -> None:
        """Commit the call and those that wait behind it.

        If the function of one of those fails, only its thread gets that error, and the others run again without it.
        This call runs first and alone, so that it waits for one failure of others at most; then one of the others leads
        the rest.
        """
        if self._commit_queue.last_length > 1:
            self._commit_queue.let_callers_arrive()
        try:
            self._write(call, self._commit_queue.take)
            return
        except BaseException as error:
            group = call.group
            if group is None or not group.failed_by_another(error):
                raise
        self._commit_queue.end(group)
        call.group = None
        self._write(call)

    def _run_alone(self, work: Callable[[Transaction], T]) -> T:
        """Write something other than operations, in a turn of its own."""
        self._refuse_within_an_operation()
        pending = PendingWork(work)
        self._write(pending)
        return pending.answer

    def _write(
        self, call: PendingCommit, take: Callable[[PendingCommit], PendingCommit | CommitGroup] | None = None
    ) -> None:
        """Take one turn: one transaction around what the call has to write, and a checkpoint if one is due.

        `take` decides which other calls share the transaction; without it the call has one of its own. The store asks
        it after the turn has come, so that the group holds every call that could be in it. The store asks it before it
        reads the clock, so that time never runs backwards for a caller.
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
                # An interrupt may come before its first statement; a second call does the rest, if any.
                self._end_turn(place)
                raise
            if self._refused is not None:
                self._renew_locks()
        if wrote:
            self._changes.announce()

    def _transact(self, connection: apsw.Connection, calls: PendingCommit | CommitGroup) -> bool:
        """Run one transaction around one call or several; begin again as long as one asks for what it has not declared.

        Returns:
            Whether anything was written.
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
                # The cache keeps what the transaction has only read; it forgets all if the transaction wrote.
                if transaction.wrote:
                    self._fold_cache.forget()
                else:
                    transaction.keep()
            if transaction.kept is not None:
                kept.write(transaction.execute, transaction.kept)
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
        """Refuse to commit where no process would find the commit again. [FILE-1]"""
        if self._turn_of is None:
            self._require_open()  # a forked child that has returned into its parent's transaction
        self._refused = self._connections.guard.refusal(writing=True)
        if self._refused is not None:
            raise Unavailable(self._refused.text, path=self.path)

    def _renew_locks(self) -> None:
        """Open new connections, with new locks, after a refused commit, if only the locks are gone."""
        refused, self._refused = self._refused, None
        # Without these locks other processes may have moved the WAL and removed it: then it alone holds nothing.
        if (
            refused is not None
            and refused.what == "locks"
            and (refused.wal == "same" or self._connections.is_all_moved())
        ):
            fork_hooks.renew(self.identity)

    def _take_turn(self, call: PendingCommit, place: Place) -> apsw.Connection:
        """Take the turn; return the connection for writing, outside a transaction. What the call has waited counts."""
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
            # An earlier turn left it open, and no caller waits for its commit any more.
            self._roll_back(writer)
        return self._connections.for_writing()

    def _end_turn(self, place: Place) -> None:
        """Give the turn back, however far the call got; do nothing if this thread does not have it."""
        if self._turn_of == threading.get_ident():
            writer = self._connections.writer
            if writer is not None and writer.in_transaction:
                self._roll_back(writer)
            self._turn_of = None
        self._turns.give_back(place)

    def _failure(self, connection: apsw.Connection, error: apsw.Error, committing: bool) -> SagalogError:
        """End the transaction that `error` has ended or left open; return the error for the caller."""
        if connection not in self._connections:
            self._require_open()  # as above: there SQLite refuses every statement
        self._roll_back(connection)
        if isinstance(error, apsw.IOError) or name_of(error) == "SQLITE_BUSY_SNAPSHOT":
            # The connection's knowledge of the file may be wrong now. Or a statement is half-read, so that the
            # connection would continue to read the state before another connection's commit.
            self._drop_writer()
        if not committing:
            return store_error(error, self.path)
        failure = commit_error(error, self.path)
        if failure.code == "unknown":
            self._drop_writer()
        return failure

    def _roll_back(self, connection: apsw.Connection) -> bool:
        """Roll back an open transaction; tell whether one was open, so that it was certainly not committed."""
        if connection not in self._connections:
            return False  # A child leaves its parent's transaction.
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
        """Yield a consistent snapshot for the block. Raises as the port says."""
        with BARRIER.place(self.path):
            self._require_open()
            connection = self._connections.readers.take()
            try:
                yield SqliteSnapshot(connection, self.path, self._require_open, self._clock.monotonic_ms)
            finally:
                if connection in self._connections:
                    self._connections.readers.give_back(connection)

    def changes(self) -> int:
        """Return a number that differs after any writer has committed."""
        self._require_open()
        return self._changes.number()

    def wait_change(self, since: int, timeout_ms: int) -> None:
        """Return when `changes()` differs from `since`, or when the time is over."""
        self._require_open()
        self._changes.wait(since, timeout_ms)
        self._require_open()

    def file_health(self) -> FileHealth:
        """Return the health of the file and its disk. Raises as the port says."""
        self._require_open()
        return file_health(self.path, self.durability, self.checkpoints)

    # --- its own life ---------------------------------------------------------------------------------------------

    @property
    def identity(self) -> Identity:
        """Return which file the store has opened: device and inode."""
        return self._connections.guard.identity

    def links(self) -> int:
        """Return how many names the file has: one; 0 if its own is gone. By another name it would get another WAL."""
        return self._connections.guard.links()

    def close(self) -> None:
        """Checkpoint and give everything back, as far as possible; a second call does nothing.

        If an interrupt comes, the turn is free afterwards, and a second call does the rest.
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
        """Close everything; after an interrupt at any statement, the caller can repeat all of them."""
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
        fork_hooks.unregister(self)
        self._is_closed = True

    def disconnect(self) -> bool:
        """Close every connection while no thread uses one: before a fork, and after locks were lost. [FORK-1]"""
        self._fold_cache.forget()
        self._changes.disconnect()
        return self._connections.disconnect()

    def begin_anew(self, refusal: str | None) -> None:
        """Forget the parent's threads and what they have, in a forked child, and touch nothing of it."""
        self._connections.leave_to_parent(is_writing=self._turn_of == threading.get_ident())
        if self._refusal is None:
            self._refusal = refusal
        self._refused = None
        self._leaves_wal = True
        self._start(None)

    def _empty_wal(self) -> None:
        with suppress(apsw.Error, SagalogError):
            connection = self._connections.for_writing()
            self._roll_back(connection)
            if self._is_newest() and self.checkpoints.at_close(connection):
                # Nothing is left to move, so nothing can fail unseen: the last connection may remove the -wal.
                connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0)

    def _is_newest(self) -> bool:
        """Tell whether the file can hold nothing newer than the WAL in use, so that a checkpoint may move the WAL.

        That is also so if the WAL has lost its name, as long as no process could begin another in its place.
        """
        refusal = self._connections.guard.refusal(writing=False)
        return refusal is None or (refusal.what, refusal.wal) == ("wal", "nothing")

    def _prepare_writer(self, connection: apsw.Connection) -> None:
        """Check on a new connection for writing that this version knows the format; watch the length of its WAL."""
        store_row(connection.execute)
        self.checkpoints.watch(connection)

    def _refuse_within_an_operation(self) -> None:
        if self._turn_of == threading.get_ident():
            raise RuntimeError("an operation's function only reads its view: it may not touch the store that runs it")

    def _require_open(self) -> None:
        if self._refusal is not None:
            raise Closed(self._refusal, path=self.path)

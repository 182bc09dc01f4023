"""The commit queue: the leader takes the calls that arrive during a commit into the next commit, all together.

Rule: the call at the front leads, and the threads of all calls behind it are parked. A thread that leaves (answered,
refused, timed out, interrupted) makes the next call the front and wakes its thread. So the queue needs no thread of its
own, and a call that is alone waits for no other. A call stays in the queue until it is settled, so the next leader
finds the calls that have to run again where they are.

An interrupt may cut any step below short, and the caller then repeats the step from its start; no call is lost or
answered twice. It must not know files, turns or how a transaction begins and ends.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, Final, Generic, TypeVar

import apsw

from sagalog.errors import SagalogError, Unavailable, Unknown
from sagalog.store import Execution, Operation
from sagalog_sqlite.ticket_lock import TurnTimeout
from sagalog_sqlite.transaction import Transaction

T = TypeVar("T")

# The most that one turn carries out, so that other processes need not wait long. A larger call runs alone.
CALLS_MAX: Final = 64
OPERATIONS_MAX: Final = 1_000


class PendingCommit:
    """One caller's operations, and the group in which they run; None: they run alone.

    began      when the caller arrived, on the monotonic clock, in seconds
    written    of a call that ran alone: whether the transaction was committed; None: not known
    settled    the group has ended and the call has left the queue: `result` has the outcome
    withdrawn  the caller no longer waits for it
    """

    # A call that is alone leaves these as they are.
    group: CommitGroup | None = None
    written: bool | None = False
    parked: threading.Lock | None = None
    settled = False
    withdrawn = False

    def __init__(self, operations: Sequence[Operation]) -> None:
        self.executions = list(map(Execution, operations))
        self.answers: list[Any] = []
        self.began = time.monotonic()
        self.thread = threading.get_ident()

    def run(self, transaction: Transaction) -> None:
        """Carry out the operations."""
        self.answers = list(map(transaction.answer, self.executions))

    def result(self) -> list[Any]:
        """Return the answers once the operations are committed or the group has ended.

        Raises:
            SagalogError: the operations were not committed, or the outcome is not known.
        """
        # Call and group refer to each other. Without this cut every commit would be work for the garbage collector.
        group, self.group = self.group, None
        if group is None or group.written:
            return self.answers
        raise group.error_for(self)

    def waited_ms(self) -> int:
        """Return how long the caller has waited, in milliseconds."""
        return round((time.monotonic() - self.began) * 1000)

    def wake(self) -> None:
        """Let the call's thread continue if it is parked. The queue's lock is held; a second call does nothing."""
        if self.parked is not None and self.parked.locked():
            self.parked.release()


class PendingWork(PendingCommit, Generic[T]):
    """Other work that takes a turn of its own: `work` in place of operations, and its `answer`."""

    answer: T

    def __init__(self, work: Callable[[Transaction], T]) -> None:
        super().__init__(())
        self._work = work

    def run(self, transaction: Transaction) -> None:
        """Do the work."""
        self.answer = self._work(transaction)


class CommitGroup:
    """The calls that share one transaction, the leader's first, and their outcome.

    written    whether the transaction was committed; None: not known
    error      what ended the group, if it failed as a whole
    culprit    the call whose own function raised `fault`, which is no refusal; the other calls have no part in it
    """

    written: bool | None = False
    error: BaseException | None = None
    culprit: PendingCommit | None = None
    fault: Exception | None = None

    def __init__(self, leader: PendingCommit, calls: Sequence[PendingCommit], path: str) -> None:
        self.leader = leader
        self.calls = calls
        self._path = path

    def run(self, transaction: Transaction) -> None:
        """Carry out every call's operations, in order of arrival."""
        for call in self.calls:
            try:
                call.run(transaction)
            except apsw.Error:
                raise
            except Exception as error:
                # An interrupt passes through: it is meant for the thread in which it is raised, the leader's.
                self.fault, self.culprit = error, call
                raise

    def failed_by_another(self, error: BaseException) -> bool:
        """Tell whether a call that only followed raised `error`; if not, keep it as what ended the group."""
        if error is self.fault:
            return self.culprit is not self.leader
        self.error = error
        return False

    def is_to_run_again(self, call: PendingCommit) -> bool:
        """Tell whether another call ended the group, so that this call is still undecided."""
        return self.culprit is not None and self.culprit is not call

    def error_for(self, call: PendingCommit) -> BaseException:
        """Make the error to raise in a call's thread if nothing was committed: each thread gets an error of its own."""
        if self.fault is not None and self.culprit is call:
            return self.fault
        if isinstance(self.error, SagalogError):
            own = type(self.error)(self.error.message, **self.error.fields)
            own.__cause__ = self.error.__cause__
            return own
        if self.written is None:
            return Unknown(
                f"{self._path}: the thread that committed for this one was interrupted and the commit may have been "
                "written; repeat the call with the same identity",
                path=self._path,
            )
        return Unavailable(
            f"{self._path}: the thread that wrote for this one was interrupted and nothing was written; "
            "repeat the call",
            path=self._path,
        )


class CommitQueue:
    """The calls of one store's threads, in order of arrival. Those of the group that runs are at the head.

    last_length  how many calls were in the queue when the last group, or the last call that ran alone, ended
    """

    def __init__(self, timeout_ms: int, path: str) -> None:
        self._timeout_s = timeout_ms / 1000
        self._path = path
        # An RLock: a signal's handler may call in here while its own thread holds the lock.
        self._guard = threading.RLock()
        self._calls: deque[PendingCommit] = deque()
        self._taken: CommitGroup | None = None
        self.last_length = 1

    def enqueue(self, call: PendingCommit) -> bool:
        """Join the queue: True once the call is at the front and leads, False once another thread has settled it.

        Whatever this raises, the caller has to `dequeue` the call.

        Raises:
            TurnTimeout: no group took the call in time.
            RuntimeError: this thread is in the queue already.
        """
        with self._guard:
            if not self._calls:
                self._calls.append(call)
                return True
            if any(one.thread == call.thread and not one.withdrawn for one in self._calls):
                raise RuntimeError("this thread has the turn, or waits for it, already")
            call.parked = threading.Lock()
            call.parked.acquire()
            self._calls.append(call)
        left_s = call.began + self._timeout_s - time.monotonic()
        if not call.parked.acquire(timeout=max(0.0, left_s)) and self._is_taken_at_last(call):
            call.parked.acquire()
        return not call.settled

    def let_callers_arrive(self) -> None:
        """Yield to the threads that the last group has answered, as long as each look finds one more call.

        Those threads want to run now in any case. During a transaction, they would take turns with each of its
        statements. A call that was alone last time need not look.
        """
        seen = 0
        while seen < len(self._calls) < self.last_length:
            seen = len(self._calls)
            time.sleep(0)

    def take(self, leader: PendingCommit) -> PendingCommit | CommitGroup:
        """Take a leader's group: it and the calls behind it that fit into one turn; the call itself if it is alone."""
        if len(self._calls) == 1:
            # The call may come from a group that failed.
            leader.group = None
            return leader
        operations = 0
        calls: list[PendingCommit] = []
        with self._guard:
            for call in islice(self._calls, CALLS_MAX):
                operations += len(call.executions)
                if calls and operations > OPERATIONS_MAX:
                    break
                calls.append(call)
            group = CommitGroup(leader, calls, self._path)
            for call in calls:
                call.group = group
            self._taken = group
            return group

    def end(self, group: CommitGroup) -> None:
        """Answer the calls that followed in a group; the leader's, and those to run again, keep their places."""
        with self._guard:
            self.last_length = len(self._calls)
            for call in group.calls:
                if call is group.leader:
                    continue
                if not group.is_to_run_again(call):
                    call.settled = True
                    call.wake()
                if call.settled or call.withdrawn:
                    self._remove(call)
            self._taken = None

    def dequeue(self, call: PendingCommit) -> None:
        """Leave the queue from any place: at the front, end the group first, then let the next call lead.

        If no group has taken the call, its operations are withdrawn and will not be written.
        """
        if call.settled:
            return
        calls = self._calls
        with self._guard:
            if len(calls) == 1 and calls[0] is call:
                self._taken, self.last_length = None, 1
                calls.clear()
                return
            call.withdrawn = True
            group = self._taken
            if group is not None and group.leader is call:
                self.end(group)
            elif self._calls and self._calls[0] is call:
                self.last_length = len(self._calls)
            if not self._is_taken(call):
                self._remove(call)
            if self._calls:
                # This does nothing if that call leads already.
                self._calls[0].wake()

    def _is_taken(self, call: PendingCommit) -> bool:
        return self._taken is not None and call.group is self._taken

    def _is_taken_at_last(self, call: PendingCommit) -> bool:
        """Tell, at the deadline, whether the call is in the group that runs, so that its answer is on the way.

        Raises:
            TurnTimeout: it still waits for a turn, which this process has.
        """
        with self._guard:
            if call.settled or self._calls[0] is call:
                return False
            if self._is_taken(call):
                return True
            # Remove it now: until the caller dequeues it, a leader could still take it and write it.
            self._remove(call)
        raise TurnTimeout(call.waited_ms(), os.getpid())

    def _remove(self, call: PendingCommit) -> None:
        if call in self._calls:
            self._calls.remove(call)

"""The line of calls: what arrives while a commit runs is taken together into the next one.

Its one rule: the caller at the front of the line leads and every caller behind it is parked; a caller that goes
(answered, refused, timed out, interrupted) makes the next one the front and wakes it. So no thread beside the callers
is needed, and a caller that is alone waits for no other. Calls stay in the line until their fate is settled: what is
run again needs no moving.

Each step below may be cut short by an interrupt and then be done once more from its beginning; nothing is lost or
answered twice by that. It must not know files, turns or how a transaction begins and ends.
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

# What one turn may take, so that other processes are not kept waiting. A call with more operations goes alone.
CALLS_MAX: Final = 64
OPERATIONS_MAX: Final = 1_000


class PendingCommit:
    """What one caller wants written: its operations, and in which group they are run; None: by themselves.

    began      when it came, on the monotonic clock, in seconds
    written    by itself, whether the transaction was committed; None: it cannot be known
    settled    its group has ended and it has left the line: `result` tells what became of it
    gone       its caller waits for it no more
    """

    # As a call that is alone leaves them.
    group: CommitGroup | None = None
    written: bool | None = False
    parked: threading.Lock | None = None
    settled = False
    gone = False

    def __init__(self, operations: Sequence[Operation]) -> None:
        self.executions = list(map(Execution, operations))
        self.answers: list[Any] = []
        self.began = time.monotonic()
        self.thread = threading.get_ident()

    def run(self, transaction: Transaction) -> None:
        """Carry out its operations."""
        self.answers = list(map(transaction.answer, self.executions))

    def result(self) -> list[Any]:
        """The answers of its operations, once it is committed or its group has ended; raises what became of that."""
        # The two refer to each other: left so, every commit would be work for the garbage collector.
        group, self.group = self.group, None
        if group is None or group.written:
            return self.answers
        raise group.error_for(self)

    def waited_ms(self) -> int:
        """How long it has been here."""
        return round((time.monotonic() - self.began) * 1000)

    def wake(self) -> None:
        """Let its thread go on, if it is parked; called under the line's guard, so once more does nothing."""
        if self.parked is not None and self.parked.locked():
            self.parked.release()


class PendingWork(PendingCommit, Generic[T]):
    """Something else that is written in a turn of its own: `work`, in place of operations, and its `answer`."""

    answer: T

    def __init__(self, work: Callable[[Transaction], T]) -> None:
        super().__init__(())
        self._work = work

    def run(self, transaction: Transaction) -> None:
        """Do the work."""
        self.answer = self._work(transaction)


class CommitGroup:
    """Several calls that share one transaction, the leader's first, and what became of them.

    written    whether the transaction was committed; None: it cannot be known
    error      what ended the group, where it has failed as a whole
    culprit    the call whose own function raised `fault`, which is no refusal; the others have no part in that
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
                # Not an interrupt, which is meant for the thread that it strikes: the leader.
                self.fault, self.culprit = error, call
                raise

    def failed_by_another(self, error: BaseException) -> bool:
        """Whether `error` is the fault of a call that only followed; keeps it as what ended the group."""
        if error is self.fault:
            return self.culprit is not self.leader
        self.error = error
        return False

    def is_to_run_again(self, call: PendingCommit) -> bool:
        """Whether the group's end is no fault of this call's and has decided nothing about it."""
        return self.culprit is not None and self.culprit is not call

    def error_for(self, call: PendingCommit) -> BaseException:
        """What to raise in a call's thread if nothing was committed: an error of its own, never one for several."""
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
    """The calls of one store's threads, in order of arrival; those of the group that is run are at its head.

    `company` is how many stood in line when the last group ended, or the last call that was run by itself.
    """

    def __init__(self, timeout_ms: int, path: str) -> None:
        self._timeout_s = timeout_ms / 1000
        self._path = path
        # An RLock, for what a signal's handler calls while its own thread is in here.
        self._guard = threading.RLock()
        self._calls: deque[PendingCommit] = deque()
        self._taken: CommitGroup | None = None
        self.company = 1

    def come(self, call: PendingCommit) -> bool:
        """Stand in line: True once the call is at the front and leads, False once it was answered by another.

        Raises TurnTimeout if it was not taken into a group in time; RuntimeError if this thread is in the line already.
        Whatever is raised, the caller has to `leave`.
        """
        with self._guard:
            if not self._calls:
                self._calls.append(call)
                return True
            if any(one.thread == call.thread and not one.gone for one in self._calls):
                raise RuntimeError("this thread has the turn, or waits for it, already")
            call.parked = threading.Lock()
            call.parked.acquire()
            self._calls.append(call)
        left_s = call.began + self._timeout_s - time.monotonic()
        if not call.parked.acquire(timeout=max(0.0, left_s)) and self._is_taken_at_last(call):
            call.parked.acquire()
        return not call.settled

    def gather(self) -> None:
        """Let those whom the last group has answered come back first, as long as each look finds one more.

        They want to run now in any case; while a transaction runs, they would take turns with each of its statements.
        Who was alone last time need not look.
        """
        seen = 0
        while seen < len(self._calls) < self.company:
            seen = len(self._calls)
            time.sleep(0)

    def take(self, leader: PendingCommit) -> PendingCommit | CommitGroup:
        """A leader's group, with those behind it, as many as fit into one turn; the call itself if it is alone."""
        if len(self._calls) == 1:
            # The call may have been in a group that failed.
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
        """Answer those that followed in a group; what is to run again, or leads, stays where it stands."""
        with self._guard:
            self.company = len(self._calls)
            for call in group.calls:
                if call is group.leader:
                    continue
                if not group.is_to_run_again(call):
                    call.settled = True
                    call.wake()
                if call.settled or call.gone:
                    self._remove(call)
            self._taken = None

    def leave(self, call: PendingCommit) -> None:
        """Go, from wherever the call stands: from the front, end its group first, then the next one leads.

        Operations that were not taken into a group are withdrawn and will not be written.
        """
        if call.settled:
            return
        calls = self._calls
        with self._guard:
            if len(calls) == 1 and calls[0] is call:
                self._taken, self.company = None, 1
                calls.clear()
                return
            call.gone = True
            group = self._taken
            if group is not None and group.leader is call:
                self.end(group)
            elif self._calls and self._calls[0] is call:
                self.company = len(self._calls)
            if not self._is_taken(call):
                self._remove(call)
            if self._calls:
                # Where it leads already, that does nothing.
                self._calls[0].wake()

    def _is_taken(self, call: PendingCommit) -> bool:
        return self._taken is not None and call.group is self._taken

    def _is_taken_at_last(self, call: PendingCommit) -> bool:
        """At the deadline: whether the call is in the group that is run, so that its answer comes.

        Raises TurnTimeout if it still waits for a turn: this process has it.
        """
        with self._guard:
            if call.settled or self._calls[0] is call:
                return False
            if self._is_taken(call):
                return True
            # Here and not when it leaves: in between it could still be taken, and written.
            self._remove(call)
        raise TurnTimeout(call.waited_ms(), os.getpid())

    def _remove(self, call: PendingCommit) -> None:
        if call in self._calls:
            self._calls.remove(call)

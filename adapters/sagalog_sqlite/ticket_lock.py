"""The ticket lock: fair turns for all threads and processes that write to one file.

Rule: threads and processes take turns in order of arrival, and a writer that ends (returns, raises, times out, forks,
dies) leaves no lock behind. The ticket lock gives fairness and not safety. SQLite's own lock stays behind it, for
writers that do not know the ticket lock, and in case a program or an operator removes a lock file.

A process waits for the lock `next`, the head of the queue. Then, as the only one, it waits for `turn`, the right to
write, and frees `next` once it has it. A process that has just finished cannot overtake: to return it needs `next`,
which the process behind it keeps until `turn` is free. The threads of a process share its descriptors, which do not
exclude one another. So the threads queue among themselves first, and only the front goes to the files.

No caller can end a blocked flock, and a holder may be stopped without dying. So a caller takes only a turn that is
free; for any other turn a second thread waits in its place. That costs two switches of threads a turn. A head that
polls for the turn itself, or that is woken through a pipe, was no faster when we measured it.

It must not know what a caller writes or what a transaction is, nor anything of SQLite.
"""

import threading
import time
from collections import OrderedDict
from contextlib import suppress

from sagalog_sqlite.descriptors import close_in_children
from sagalog_sqlite.lock_files import LockFiles


class TurnTimeout(Exception):
    """The turn did not come within the caller's time.

    waited_ms   how long the caller waited
    holder_pid  the process that has the turn, as its lock file names it; while the turn is free, the head of the queue
                that does not take it (most likely it is stopped). This process's own if another of its threads has the
                turn; None if no process is known
    """

    def __init__(self, waited_ms: int, holder_pid: int | None) -> None:
        whose = "its holder is unknown" if holder_pid is None else f"process {holder_pid} is in the way"
        super().__init__(f"no turn to write within {waited_ms} ms: {whose}")
        self.waited_ms = waited_ms
        self.holder_pid = holder_pid


class TicketLock:
    """A fair lock for all threads and processes that name the same path. One per process and path.

    `path` is the guarded file, spelled alike by all who share it (links resolved). The lock makes `<path>.next` and
    `<path>.turn` beside it, mode 0600 whatever the umask, and leaves them there. OSErrors pass through.

    Used like this, an exception at any statement leaves nothing locked:

        try:
            ticket_lock.acquire(timeout_ms)
            ...
        finally:
            ticket_lock.release()
    """

    def __init__(self, path: str) -> None:
        self._files = LockFiles(path)
        self._threads = _ThreadQueue()
        self._file_waiter = _FileWaiter(self._files)
        self._closed = False
        self._abandoned = False
        close_in_children(self)

    def acquire(self, timeout_ms: int) -> None:
        """Wait for the turn, `timeout_ms` at most; with 0, take it only if it is free.

        Whatever this raises, KeyboardInterrupt too, the caller holds nothing. The process keeps its place in the queue
        for its next call. If the turn comes and no thread waits for it, the turn goes at once to the process behind.

        Raises:
            TurnTimeout: at the deadline, whatever the holder does.
            OSError: the system refuses a lock.
            RuntimeError: the ticket lock is closed or abandoned, or this thread has the turn already.
        """
        if self._abandoned or self._closed:
            self._refuse_unless_open()
        threads = self._threads
        if threads.front is not None and threads.has_place():
            raise RuntimeError("this thread has the turn, or waits for it, already")
        try:
            if not (threads.try_enter() and self._take_if_free()):
                self._wait(timeout_ms)
        except BaseException:
            self._withdraw()
            raise

    @property
    def is_closed(self) -> bool:
        """Tell whether it gives no more turns."""
        return self._closed

    def has_place(self) -> bool:
        """Tell whether the calling thread has the turn, or waits for it."""
        return self._threads.has_place()

    def release(self) -> None:
        """Give the turn to the next in the queue.

        Do nothing if the calling thread does not have it: after an `acquire` that raised, and in a forked child, where
        the turn is the parent's.
        """
        threads = self._threads
        if self._abandoned or threads.front != threading.get_ident():
            return
        try:
            self._files.free_turn()
        finally:
            threads.leave()
            if self._closed:
                self._close_if_empty()

    def close_unread(self) -> None:
        """Close the inherited descriptors in a forked child, and refuse every later `acquire`.

        The parent keeps its locks, because only the last descriptor of an open file drops its lock. If the child kept
        its copies open, they would hold the locks after the parent's death.
        """
        # Take no lock of this object: the thread that had it at the fork does not exist in the child.
        self._abandoned = True
        self._files.close()

    def close(self) -> None:
        """End the second thread and close the descriptors; threads that wait get a RuntimeError. May be called again.

        A thread that has the turn keeps it, and the second thread cannot leave the queue of processes. Then the
        descriptors are closed at the release, or when that thread gets its turn.
        """
        self._closed = True
        self._close_if_empty()

    def __del__(self) -> None:
        # A caller may drop it without closing it; the second thread, once started, and the files would stay for ever.
        with suppress(AttributeError, OSError):
            self.close()

    def _refuse_unless_open(self) -> None:
        if self._abandoned:
            raise RuntimeError("this ticket lock was opened before a fork: open it again in the child")
        if self._closed:
            raise RuntimeError("this ticket lock is closed")

    def _take_if_free(self) -> bool:
        # Ask again at the front of the queue, where no other thread can close the files any more.
        if self._abandoned or self._closed:
            self._refuse_unless_open()
        return not self._file_waiter.is_waiting and self._files.try_turn()

    def _wait(self, timeout_ms: int) -> None:
        began = time.monotonic()
        deadline = began + timeout_ms / 1000
        if self._threads.enter(deadline):
            if self._take_if_free():
                return
            if self._file_waiter.wait(deadline):
                self._files.sign_turn()
                return
        raise TurnTimeout(round((time.monotonic() - began) * 1000), self._files.holder_pid())

    def _withdraw(self) -> None:
        """Undo what a failed `acquire` has done."""
        try:
            if self._threads.at_front() and self._file_waiter.cancel():
                self._files.drop()
        finally:
            self._threads.leave()
            if self._closed:
                self._close_if_empty()

    def _close_if_empty(self) -> None:
        # Tried after `_closed` is set, and again whenever a thread leaves: so the last one closes the files.
        if not self._abandoned and self._threads.try_enter():
            try:
                self._file_waiter.end()
            finally:
                self._threads.leave()


class _ThreadQueue:
    """The threads of this process in order of arrival; only the one at the front may go to the files.

    Each waiting thread is parked on a lock of its own. A thread that leaves makes the next one the front before it
    wakes it, so no newcomer can overtake. If an interrupt cuts that short, the next one finds at its deadline that it
    is the front.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self.front: int | None = None  # its thread
        self._waiting: OrderedDict[int, threading.Lock] = OrderedDict()

    def at_front(self) -> bool:
        return self.front == threading.get_ident()

    def has_place(self) -> bool:
        me = threading.get_ident()
        return self.front == me or me in self._waiting

    def try_enter(self) -> bool:
        with self._guard:
            if self.front is not None:
                return False
            self.front = threading.get_ident()
            return True

    def enter(self, deadline: float) -> bool:
        """Come to the front, or stay there; False if the deadline (monotonic, in seconds) comes first."""
        me = threading.get_ident()
        parked = _locked()
        with self._guard:
            if self.front is None or self.front == me:
                self.front = me
                return True
            self._waiting[me] = parked
        return parked.acquire(timeout=_left_s(deadline)) or self.at_front()

    def leave(self) -> None:
        """Leave from any place; at the front, make the next thread the front."""
        me = threading.get_ident()
        with self._guard:
            if self.front != me:
                self._waiting.pop(me, None)
            elif not self._waiting:
                self.front = None
            else:
                self.front = next(iter(self._waiting))
                self._waiting.pop(self.front).release()


class _FileWaiter:
    """The thread that waits in the queue of processes in a caller's place. It starts when it is first needed.

    Only the front of the threads calls it. While it `is_waiting`, the files belong to it, because they would not
    exclude the caller from what it has. If a caller gives up, it stays in the queue, and the next caller takes over the
    place.
    """

    def __init__(self, files: LockFiles) -> None:
        self.is_waiting = False
        self._files = files
        # An RLock: the garbage collector may close a dropped ticket lock in this very thread.
        self._guard = threading.RLock()
        self._wakeup = _locked()
        self._thread: threading.Thread | None = None
        self._call: _WaitingCall | None = None
        self._ended = False

    def wait(self, deadline: float) -> bool:
        """Have it wait for the turn: True when the caller has it, False at the deadline. Raises the OSError it met.

        After False or an error the caller has to `cancel`: the turn may have come in the last instant.
        """
        if _left_s(deadline) == 0:
            return False
        call = _WaitingCall()
        with self._guard:
            self._start()
            self._call = call
            if not self.is_waiting:
                self.is_waiting = True
                self._wakeup.release()
        if not call.answered.acquire(timeout=_left_s(deadline)):
            return False
        if call.error is not None:
            raise call.error
        return True

    def cancel(self) -> bool:
        """Wait for it no longer. True if the files, and a turn that it may have got, are the caller's."""
        with self._guard:
            self._call = None
            return not self.is_waiting

    def end(self) -> None:
        """Close the files and end the thread: at once or, if it waits, when its turn comes."""
        with self._guard:
            if not self._ended:
                self._ended = True
                if not self.is_waiting:
                    self._files.close()
                    self._wakeup.release()

    def _start(self) -> None:
        # A daemon: the interpreter's exit cannot wait for a flock.
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="ticket lock waiter", daemon=True)
            thread.start()
            self._thread = thread

    def _run(self) -> None:
        while not self._ended:
            self._wakeup.acquire()
            if self.is_waiting:
                self._answer(self._wait_turn())

    def _wait_turn(self) -> OSError | None:
        try:
            self._files.wait_turn()
        except OSError as error:
            return error
        return None

    def _answer(self, error: OSError | None) -> None:
        with self._guard:
            call, self._call = self._call, None
            if call is None and error is None:
                self._files.free_turn()
            if self._ended:
                self._files.close()
            self.is_waiting = False  # not before: from here on the files are the caller's
            if call is not None:
                call.error = error
                call.answered.release()


class _WaitingCall:
    """One caller's wait for the second thread."""

    def __init__(self) -> None:
        self.answered = _locked()
        self.error: OSError | None = None


def _locked() -> threading.Lock:
    """Make a lock on which to park: the waking thread releases it."""
    lock = threading.Lock()
    lock.acquire()
    return lock


def _left_s(deadline: float) -> float:
    return max(0.0, deadline - time.monotonic())

"""The ticket: fair turns for all threads and processes that write to one file.

Its one rule: turns are taken in order of arrival, and a writer that ends (returns, raises, times out, forks, dies)
leaves no lock behind. It gives fairness and never safety: the lock of the thing that is written stays behind it,
for writers that do not know the ticket and for a lock file that another program or an operator removed.

A process waits for the lock `next`, the head of the queue, then, as the only one, for `turn`, the right to write,
and lets go of `next` once it has it. Who has just finished cannot overtake: to come back it needs `next`, which the
one behind it keeps until `turn` is free. The threads of a process share its descriptors, which do not exclude one
another; so they stand in a line of their own first, and only its front goes to the files.

A blocked flock cannot be called off, and a holder may be stopped without dying. So a caller takes only a turn that
is free; for any other, a thread (the usher) waits in its place. That costs two switches of threads a turn. A head
that polls for the turn itself, or is woken through a pipe, was measured too and was no faster.

It must not know what is written or what a transaction is, nor anything of SQLite.
"""

import threading
import time
from collections import OrderedDict
from contextlib import suppress

from sagalog_sqlite.descriptors import closes_in_children
from sagalog_sqlite.lock_files import LockFiles


class TurnTimeout(Exception):
    """The turn did not come within the time that the caller gave.

    `waited_ms` is how long it waited. `holder_pid` is the process in the way, as its lock file has it: the holder
    of the turn or, while the turn is free, the head of the queue that does not take it (stopped, most likely). It is
    this process's own where another of its threads is the holder; None where no process is known.
    """

    def __init__(self, waited_ms: int, holder_pid: int | None) -> None:
        whose = "its holder is unknown" if holder_pid is None else f"process {holder_pid} is in the way"
        super().__init__(f"no turn to write within {waited_ms} ms: {whose}")
        self.waited_ms = waited_ms
        self.holder_pid = holder_pid


class TicketLock:
    """A fair lock over all threads and processes that name the same path. One per process and path.

    `path` is the file that is guarded, spelled alike by all who share it (links resolved). `<path>.next` and
    `<path>.turn` are created beside it, mode 0600 whatever the umask, and stay. Raises OSError as it comes.

    Used like this, an exception at any line leaves nothing locked:

        try:
            ticket.acquire(timeout_ms)
            ...
        finally:
            ticket.release()
    """

    def __init__(self, path: str) -> None:
        self._files = LockFiles(path)
        self._line = _Line()
        self._usher = _Usher(self._files)
        self._closed = False
        self._abandoned = False
        closes_in_children(self)

    def acquire(self, timeout_ms: int) -> None:
        """Wait for the turn, at most `timeout_ms`; with 0, take it only if it is free.

        Raises TurnTimeout at the deadline, whatever the holder does; OSError where the system refuses a lock;
        RuntimeError if the ticket is closed or abandoned, or if this thread has the turn already. Whatever is raised,
        KeyboardInterrupt too, the caller holds nothing. The process keeps its place in the queue for its next
        call; if the turn comes and no thread waits for it, the turn goes straight to the process behind.
        """
        if self._abandoned or self._closed:
            self._refuse_unless_open()
        line = self._line
        if line.front is not None and line.has_place():
            raise RuntimeError("this thread has the turn, or waits for it, already")
        try:
            if not (line.try_enter() and self._take_if_free()):
                self._wait(timeout_ms)
        except BaseException:
            self._withdraw()
            raise

    @property
    def is_closed(self) -> bool:
        """Whether it gives no more turns."""
        return self._closed

    def has_place(self) -> bool:
        """Whether the calling thread has the turn, or waits for it."""
        return self._line.has_place()

    def release(self) -> None:
        """Give the turn to the next in the queue.

        Does nothing where the calling thread does not have it: after an `acquire` that raised, and in a forked
        child, where the turn is the parent's.
        """
        line = self._line
        if self._abandoned or line.front != threading.get_ident():
            return
        try:
            self._files.free_turn()
        finally:
            line.leave()
            if self._closed:
                self._close_if_empty()

    def close_unread(self) -> None:
        """In a forked child: close the inherited descriptors, and refuse every later `acquire`.

        The parent's locks stay the parent's, since only the last descriptor of an open file drops its lock; kept
        open, the child's copies would hold them after the parent's death.
        """
        # No lock of this object is touched: who had it at the moment of the fork does not exist in the child.
        self._abandoned = True
        self._files.close()

    def close(self) -> None:
        """End the usher and close the descriptors; threads that wait get a RuntimeError. May be called again.

        A turn is not taken from a thread that has it, nor can an usher be called back from the queue: then the
        descriptors are closed at the release, or when the usher's turn comes.
        """
        self._closed = True
        self._close_if_empty()

    def __del__(self) -> None:
        # Dropped and never closed: an usher that once had to be sent would keep its thread and the files for ever.
        with suppress(AttributeError, OSError):
            self.close()

    def _refuse_unless_open(self) -> None:
        if self._abandoned:
            raise RuntimeError("this ticket was opened before a fork: open it again in the child")
        if self._closed:
            raise RuntimeError("this ticket is closed")

    def _take_if_free(self) -> bool:
        # Asked again at the front of the line, where no other thread can close the files any more.
        if self._abandoned or self._closed:
            self._refuse_unless_open()
        return not self._usher.under_way and self._files.try_turn()

    def _wait(self, timeout_ms: int) -> None:
        began = time.monotonic()
        deadline = began + timeout_ms / 1000
        if self._line.enter(deadline):
            if self._take_if_free():
                return
            if self._usher.fetch(deadline):
                self._files.sign_turn()
                return
        raise TurnTimeout(round((time.monotonic() - began) * 1000), self._files.holder_pid())

    def _withdraw(self) -> None:
        """Undo as much as a failed `acquire` had reached."""
        try:
            if self._line.at_front() and self._usher.dismiss():
                self._files.drop()
        finally:
            self._line.leave()
            if self._closed:
                self._close_if_empty()

    def _close_if_empty(self) -> None:
        # Tried after `_closed` is set and again after every leaving: so the last one out closes the files.
        if not self._abandoned and self._line.try_enter():
            try:
                self._usher.end()
            finally:
                self._line.leave()


class _Line:
    """First come, first served among the threads of this process; the one at its front may go to the files.

    Each waiting thread is parked on a lock of its own. The front is made over before its new owner is woken, so no
    newcomer can slip in between, and a hand-over that an interrupt cuts short is found at the deadline.
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
        """Go, from wherever this thread stands; from the front, hand it to the next."""
        me = threading.get_ident()
        with self._guard:
            if self.front != me:
                self._waiting.pop(me, None)
            elif not self._waiting:
                self.front = None
            else:
                self.front = next(iter(self._waiting))
                self._waiting.pop(self.front).release()


class _Usher:
    """The thread that waits in the queue of processes in a caller's place. It starts when first needed.

    Only the front of the line calls it. While it is `under_way` the files are its own, since they would not exclude
    the caller from what it has; a caller that gives up leaves it there, and the next one takes up the place.
    """

    def __init__(self, files: LockFiles) -> None:
        self.under_way = False
        self._files = files
        # Entered twice where the garbage collector closes a dropped ticket in the usher's own thread.
        self._guard = threading.RLock()
        self._bell = _locked()
        self._thread: threading.Thread | None = None
        self._call: _AcquireCall | None = None
        self._ended = False

    def fetch(self, deadline: float) -> bool:
        """Send it for the turn: True when the turn is ours, False at the deadline. Raises the OSError it met.

        After False or an error the caller has to `dismiss` it: the turn may have come in the last instant.
        """
        if _left_s(deadline) == 0:
            return False
        call = _AcquireCall()
        with self._guard:
            self._start()
            self._call = call
            if not self.under_way:
                self.under_way = True
                self._bell.release()
        if not call.answered.acquire(timeout=_left_s(deadline)):
            return False
        if call.error is not None:
            raise call.error
        return True

    def dismiss(self) -> bool:
        """Wait for it no longer. True if the files, and a turn that it may have brought, are the caller's."""
        with self._guard:
            self._call = None
            return not self.under_way

    def end(self) -> None:
        """Close the files and end the thread: at once or, if it is under way, when its turn comes."""
        with self._guard:
            if not self._ended:
                self._ended = True
                if not self.under_way:
                    self._files.close()
                    self._bell.release()

    def _start(self) -> None:
        # A daemon, because the interpreter's exit cannot wait for a flock either.
        if self._thread is None:
            thread = threading.Thread(target=self._serve, name="ticket usher", daemon=True)
            thread.start()
            self._thread = thread

    def _serve(self) -> None:
        while not self._ended:
            self._bell.acquire()
            if self.under_way:
                self._answer(self._walk())

    def _walk(self) -> OSError | None:
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
            self.under_way = False  # not before: from here on the files are the caller's
            if call is not None:
                call.error = error
                call.answered.release()


class _AcquireCall:
    """One caller's wait for the usher."""

    def __init__(self) -> None:
        self.answered = _locked()
        self.error: OSError | None = None


def _locked() -> threading.Lock:
    """A lock to park on: who wakes the sleeper releases it."""
    lock = threading.Lock()
    lock.acquire()
    return lock


def _left_s(deadline: float) -> float:
    return max(0.0, deadline - time.monotonic())

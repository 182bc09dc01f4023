"""The news that a writer has committed, in this process or in another.

Its one rule: what is asked is the file, by its data version; being told that a process writes only says when to ask. A
writer is seen before its commit is visible, so a waiter that was told asks again for a little while. It must not know
what was committed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import apsw

from sagalog_sqlite.change_waiter import POLL_S, ChangeWaiter
from sagalog_sqlite.failures import told
from sagalog_sqlite.fork_barrier import BARRIER

Connect = Callable[[], apsw.Connection]

# When a write is heard of, its commit is asked for after these pauses: a sync takes from a tenth of a millisecond on.
_PAUSES_S: Final = (0.0001, 0.0002, 0.0004, 0.0008, 0.0016, 0.0032, 0.0064)
# And then now and then for so long, if it still does not come.
_EXPECTED_S: Final = 2.0


class Changes:
    """A number that differs once anybody has committed since, and a way to sleep until it does.

    Waiting is done in real time, whatever the store's clock says: it is the machine that waits.
    """

    def __init__(self, connect: Connect, path: str) -> None:
        self._connect = connect
        self._path = path
        # An RLock, for what a signal's handler calls while its own thread is in here.
        self._guard = threading.RLock()
        self._asker: apsw.Connection | None = None
        self._askers = 0
        self._waiting: list[ChangeWaiter] = []
        self._idle: list[ChangeWaiter] = []
        self._closed = False

    def number(self) -> int:
        """The number as it is now.

        Raises:
            Unavailable, Corrupt: it cannot be read.
        """
        with BARRIER.place(self._path), self._guard:
            asker = self._asker
            if asker is None:
                asker = self._asker = self._connect()
                self._askers += 1
            try:
                version = int(asker.execute("PRAGMA data_version").get)
            except apsw.Error as error:
                _close(asker)
                self._asker = None
                raise told(error, self._path) from error
            # A version says nothing to another connection than the one that gave it.
            return self._askers << 32 | version

    def let_go(self) -> None:
        """Close the connection, which no thread uses; the next question opens another, and finds something new."""
        asker, self._asker = self._asker, None
        if asker is not None:
            _close(asker)

    def announce(self) -> None:
        """Wake the threads that wait in this process."""
        if self._waiting:
            with self._guard:
                for waiter in self._waiting:
                    waiter.wake()

    def wait(self, since: int, timeout_ms: int) -> None:
        """Return when the number differs from `since`, when the time is over, or when this is closed."""
        until_s = time.monotonic() + timeout_ms / 1_000
        if self._differs(since):
            return
        waiter = self._begin()
        try:
            expected_until_s = 0.0
            # Once more: a writer may have committed before there was a waiter to tell.
            while not self._differs(since):
                now_s = time.monotonic()
                if now_s >= until_s:
                    return
                # A slow disk shows a commit long after the write was heard of, and the system does not tell of that.
                slice_s = POLL_S if now_s < expected_until_s else until_s - now_s
                if waiter.wait(min(slice_s, until_s - now_s)) and waiter.is_told:
                    if self._comes(since):
                        return
                    expected_until_s = time.monotonic() + _EXPECTED_S
        finally:
            self._end(waiter)

    def close(self) -> None:
        """Wake the threads that wait and close the connection."""
        with self._guard:
            self._closed = True
            for waiter in self._waiting:
                waiter.wake()
            # One by one, so that an interrupt leaves the rest to the next call that closes.
            while self._idle:
                self._idle[-1].close()
                self._idle.pop()
            self.let_go()

    def _differs(self, since: int) -> bool:
        return self._closed or self.number() != since

    def _comes(self, since: int) -> bool:
        """Whether a commit becomes visible that a process is writing now."""
        for pause_s in _PAUSES_S:
            if self._differs(since):
                return True
            time.sleep(pause_s)
        return False

    def _begin(self) -> ChangeWaiter:
        with self._guard:
            waiter = self._idle.pop() if self._idle else None
        if waiter is None or not waiter.is_told:
            if waiter is not None:
                waiter.close()
            # A fork waits for that: the child has to know of every descriptor.
            with BARRIER.place(self._path):
                waiter = ChangeWaiter(f"{self._path}-wal")
        with self._guard:
            self._waiting.append(waiter)
        return waiter

    def _end(self, waiter: ChangeWaiter) -> None:
        with self._guard:
            self._waiting.remove(waiter)
            if not self._closed:
                self._idle.append(waiter)
                return
        waiter.close()


def _close(connection: apsw.Connection) -> None:
    # There is nothing in it to lose, and no caller could do anything about it.
    with suppress(apsw.Error):
        connection.close()

"""The number that changes when a writer commits, in this process or in another, and a way to sleep until it does.

Rule: only the file itself, by its data version, says whether a writer has committed; a report of a write only says when
to ask. The report comes before the commit is visible, so a waiter then asks again for a little while. It must not know
what a writer commits.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import apsw

from sagalog_sqlite.change_waiter import POLL_S, ChangeWaiter
from sagalog_sqlite.failures import store_error
from sagalog_sqlite.fork_barrier import BARRIER

Connect = Callable[[], apsw.Connection]

# After the report of a write, a waiter asks for the commit after each of these pauses: a sync takes 0.1 ms or more.
_PAUSES_S: Final = (0.0001, 0.0002, 0.0004, 0.0008, 0.0016, 0.0032, 0.0064)
# If the commit is not visible then, the waiter polls for so long.
_EXPECTED_S: Final = 2.0


class Changes:
    """The number of one store's file, and the threads of this process that wait until it changes.

    A wait uses real time, whatever the store's clock says: the machine itself waits.
    """

    def __init__(self, connect: Connect, path: str) -> None:
        self._connect = connect
        self._path = path
        # An RLock: a signal's handler may call in here while its own thread holds the lock.
        self._guard = threading.RLock()
        self._connection: apsw.Connection | None = None
        self._connections_opened = 0
        self._waiting: list[ChangeWaiter] = []
        self._idle: list[ChangeWaiter] = []
        self._closed = False

    def number(self) -> int:
        """Read the number as it is now.

        Raises:
            Unavailable, Corrupt: SQLite cannot read it.
        """
        with BARRIER.place(self._path), self._guard:
            connection = self._connection
            if connection is None:
                connection = self._connection = self._connect()
                self._connections_opened += 1
            try:
                version = int(connection.execute("PRAGMA data_version").get)
            except apsw.Error as error:
                _close(connection)
                self._connection = None
                raise store_error(error, self._path) from error
            # Versions can be compared only if the same connection gave them.
            return self._connections_opened << 32 | version

    def disconnect(self) -> None:
        """Close the connection, which no thread uses. The next question opens another one, and its number differs."""
        connection, self._connection = self._connection, None
        if connection is not None:
            _close(connection)

    def announce(self) -> None:
        """Wake the threads that wait in this process."""
        if self._waiting:
            with self._guard:
                for waiter in self._waiting:
                    waiter.wake()

    def wait(self, since: int, timeout_ms: int) -> None:
        """Return when the number differs from `since`, when the time is over, or when this object is closed."""
        until_s = time.monotonic() + timeout_ms / 1_000
        if self._differs(since):
            return
        waiter = self._begin()
        try:
            expected_until_s = 0.0
            # Ask once more: a writer may have committed before this waiter existed.
            while not self._differs(since):
                now_s = time.monotonic()
                if now_s >= until_s:
                    return
                # On a slow disk a commit becomes visible long after its write, and the system does not report that.
                slice_s = POLL_S if now_s < expected_until_s else until_s - now_s
                if waiter.wait(min(slice_s, until_s - now_s)) and waiter.is_notified:
                    if self._becomes_visible(since):
                        return
                    expected_until_s = time.monotonic() + _EXPECTED_S
        finally:
            self._end(waiter)

    def close(self) -> None:
        """Wake the threads that wait, and close the connection."""
        with self._guard:
            self._closed = True
            for waiter in self._waiting:
                waiter.wake()
            # Close one by one: after an interrupt, the next call of `close` closes the rest.
            while self._idle:
                self._idle[-1].close()
                self._idle.pop()
            self.disconnect()

    def _differs(self, since: int) -> bool:
        return self._closed or self.number() != since

    def _becomes_visible(self, since: int) -> bool:
        """Tell whether a commit that a process is writing now becomes visible during the pauses."""
        for pause_s in _PAUSES_S:
            if self._differs(since):
                return True
            time.sleep(pause_s)
        return False

    def _begin(self) -> ChangeWaiter:
        with self._guard:
            waiter = self._idle.pop() if self._idle else None
        if waiter is None or not waiter.is_notified:
            if waiter is not None:
                waiter.close()
            # A fork waits for this block: the child has to know every descriptor.
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
    # The connection holds nothing to lose, and no caller could act on an error.
    with suppress(apsw.Error):
        connection.close()

"""Connections for reading, and the news that somebody has committed.

Its one rule: a connection is used by one thread at a time and holds no transaction while it waits in the pool. Nothing
here writes. It must not know what a snapshot is asked.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import apsw

from sagalog_sqlite.failures import told

IDLE_MAX: Final = 4

# How soon another process's commit is seen; a commit of this process wakes at once.
POLL_S: Final = 0.005

Connect = Callable[[], apsw.Connection]


class Readers:
    """A pool of connections that only read."""

    def __init__(self, connect: Connect, path: str) -> None:
        self._connect = connect
        self._path = path
        self._idle: list[apsw.Connection] = []
        self._closed = False

    def take(self) -> apsw.Connection:
        """A connection within a read transaction, to be given back by `give_back`.

        Raises:
            Unavailable, Corrupt: it cannot be had.
        """
        try:
            # Taking from a list and adding to it are whole by themselves, for threads too.
            connection = self._idle.pop()
        except IndexError:
            connection = self._connect()
        try:
            connection.execute("BEGIN")
        except apsw.Error as error:
            _close(connection)
            raise told(error, self._path) from error
        return connection

    def give_back(self, connection: apsw.Connection) -> None:
        """End the read transaction; keep the connection if it is sound and there is room."""
        try:
            connection.execute("COMMIT")
        except apsw.Error:
            _close(connection)
            return
        if self._closed or len(self._idle) >= IDLE_MAX:
            _close(connection)
        else:
            self._idle.append(connection)

    def close(self) -> None:
        """Close those that wait; those in use are closed when they are given back."""
        self._closed = True
        while self._idle:
            _close(self._idle.pop())


class Changes:
    """A number that differs once anybody has committed since, and a way to sleep until it does.

    Waiting is done in real time, whatever the store's clock says: it is the machine that waits.
    """

    def __init__(self, connect: Connect, path: str) -> None:
        self._connect = connect
        self._path = path
        self._condition = threading.Condition()
        self._watcher: apsw.Connection | None = None
        self._watchers = 0
        self._waiting = 0
        self._closed = False

    def number(self) -> int:
        """The number as it is now.

        Raises:
            Unavailable, Corrupt: it cannot be read.
        """
        with self._condition:
            if self._watcher is None:
                self._watcher = self._connect()
                self._watchers += 1
            try:
                version = int(self._watcher.execute("PRAGMA data_version").get)
            except apsw.Error as error:
                _close(self._watcher)
                self._watcher = None
                raise told(error, self._path) from error
            # A version says nothing to another connection than the one that gave it.
            return self._watchers << 32 | version

    def announce(self) -> None:
        """Wake whoever waits in this process."""
        if self._waiting:
            with self._condition:
                self._condition.notify_all()

    def wait(self, since: int, timeout_ms: int) -> None:
        """Return when the number differs from `since`, when the time is over, or when this is closed."""
        until = time.monotonic() + timeout_ms / 1_000
        with self._condition:
            self._waiting += 1
            try:
                while not self._closed and self.number() == since:
                    left = until - time.monotonic()
                    if left <= 0:
                        return
                    self._condition.wait(min(left, POLL_S))
            finally:
                self._waiting -= 1

    def close(self) -> None:
        """Wake whoever waits and close the connection."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()
            if self._watcher is not None:
                _close(self._watcher)
                self._watcher = None


def _close(connection: apsw.Connection) -> None:
    # There is nothing in it to lose, and nobody could do anything about it.
    with suppress(apsw.Error):
        connection.close()

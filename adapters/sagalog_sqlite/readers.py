"""The pool of connections that only read.

Rule: one thread at a time uses a connection, and a connection that waits in the pool has no transaction. It must not
know what a snapshot asks.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Final

import apsw

from sagalog_sqlite.failures import store_error

IDLE_MAX: Final = 4

Connect = Callable[[], apsw.Connection]


class Readers:
    """A pool of connections that only read."""

    def __init__(self, connect: Connect, path: str) -> None:
        self._connect = connect
        self._path = path
        self._idle: list[apsw.Connection] = []
        self._closed = False

    def take(self) -> apsw.Connection:
        """Take a connection within a read transaction; the caller gives it back by `give_back`.

        Raises:
            Unavailable, Corrupt: SQLite cannot open or read the file.
        """
        try:
            # A list takes and adds an element atomically, for threads too.
            connection = self._idle.pop()
        except IndexError:
            connection = self._connect()
        try:
            connection.execute("BEGIN")
        except apsw.Error as error:
            _close(connection)
            raise store_error(error, self._path) from error
        return connection

    def give_back(self, connection: apsw.Connection) -> None:
        """End the read transaction; keep the connection if it is sound and the pool has room."""
        try:
            connection.execute("COMMIT")
        except apsw.Error:
            _close(connection)
            return
        if self._closed or len(self._idle) >= IDLE_MAX:
            _close(connection)
        else:
            self._idle.append(connection)

    def close_idle(self) -> None:
        """Close the connections that wait, while no thread uses one; a reader opens another when it needs one."""
        while self._idle:
            _close(self._idle.pop())

    def close(self) -> None:
        """Close the connections that wait; `give_back` closes those in use."""
        self._closed = True
        self.close_idle()


def _close(connection: apsw.Connection) -> None:
    # The connection holds nothing to lose, and no caller could act on an error.
    with suppress(apsw.Error):
        connection.close()

"""Connections for reading.

Its one rule: a connection is used by one thread at a time and holds no transaction while it waits in the pool. Nothing
here writes. It must not know what a snapshot is asked.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Final

import apsw

from sagalog_sqlite.failures import told

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

    def let_go(self) -> None:
        """Close those that wait, while none is in use; others are opened when they are asked for."""
        while self._idle:
            _close(self._idle.pop())

    def close(self) -> None:
        """Close those that wait; those in use are closed when they are given back."""
        self._closed = True
        self.let_go()


def _close(connection: apsw.Connection) -> None:
    # There is nothing in it to lose, and no caller could do anything about it.
    with suppress(apsw.Error):
        connection.close()

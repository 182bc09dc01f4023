"""All connections of one store to its file, and the guard over what they write.

Rule: each connection leads to the file that the store has opened, and `disconnect` reports truly whether all are
closed. A child never closes a connection that a fork has carried into it. It must not know turns or transactions.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Final

import apsw

from sagalog.errors import SagalogError, Unavailable
from sagalog_sqlite.connection import connect
from sagalog_sqlite.failures import store_error, system_error
from sagalog_sqlite.file_guard import FileGuard
from sagalog_sqlite.file_identity import identity_of
from sagalog_sqlite.readers import Readers


class Connections:
    """The connection for writing, those for reading, and every other one that the store has opened.

    writer     the one for writing, for the thread that has the turn; None: the next turn opens another, with all guards
    readers    the pool of those for reading
    guard      says whether a process would find what is committed
    """

    def __init__(
        self, path: str, durability: str, busy_timeout_ms: int, prepare_writer: Callable[[apsw.Connection], None]
    ) -> None:
        """Open none yet; `prepare_writer` gets every new connection for writing, and may raise."""
        self._path: Final = path
        self._durability: Final = durability
        self._busy_timeout_ms: Final = busy_timeout_ms
        self._prepare_writer: Final = prepare_writer
        self._all: weakref.WeakSet[apsw.Connection] = weakref.WeakSet()
        self.writer: apsw.Connection | None = None
        self.readers = Readers(self.connect, path)
        identity = identity_of(path)
        if identity is None:
            raise Unavailable(f"{path} was taken away while it was opened; open it again", path=path)
        self.guard = FileGuard(path, identity)

    def __iter__(self) -> Iterator[apsw.Connection]:
        return iter(list(self._all))

    def __contains__(self, connection: apsw.Connection) -> bool:
        """Tell whether a connection belongs to this process, to use and to end."""
        return connection in self._all

    def connect(self, writing: bool = False) -> apsw.Connection:
        """Open another connection to the same file; raises Unavailable, Corrupt."""
        # If no connection was left, other processes may have removed the -wal and made another.
        self.guard.detach()
        self.guard.require_same_file()
        connection = connect(self._path, self._durability, self._busy_timeout_ms, writing)
        try:
            # Look again, now that SQLite has opened the file.
            self.guard.require_same_file()
            if writing:
                self._prepare_writer(connection)
            self.guard.attach()
        except apsw.Error as error:
            connection.close()
            raise store_error(error, self._path) from error
        except OSError as error:
            connection.close()
            raise system_error(error, self._path) from error
        except SagalogError:
            connection.close()
            raise
        self._all.add(connection)
        return connection

    def for_writing(self) -> apsw.Connection:
        """Return the connection for writing; open it if it is closed."""
        if self.writer is None:
            self.writer = self.connect(writing=True)
        return self.writer

    def drop_writer(self) -> None:
        """Close the connection for writing."""
        connection, self.writer = self.writer, None
        if connection is not None:
            with suppress(apsw.Error):
                connection.close()

    def is_all_moved(self) -> bool:
        """Tell whether the file holds everything that is in the WAL in use, which may have lost its name."""
        if self.writer is None:
            return False
        try:
            pages, moved = self.writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)
        except apsw.Error:
            return False
        return pages == moved

    def disconnect(self) -> bool:
        """Close the connections that wait for use, while no thread uses one; tell whether none is left."""
        self.readers.close_idle()
        self.drop_writer()
        self.guard.detach()
        # The owner of any other connection closes it.
        return not any(is_open(one) for one in list(self._all))

    def leave_to_parent(self, is_writing: bool) -> None:
        """Give up every connection in a forked child: never use one again, nor close it.

        A rollback, or the close at the end of the child, would write into the file that parent and child share.
        `is_writing`: this very thread was in a transaction, and may return to it; then SQLite refuses every statement.
        """
        if is_writing and self.writer is not None:
            self.writer.authorizer = _deny
        for connection in list(self._all):
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))
        self._all = weakref.WeakSet()
        self.writer = None
        self.readers = Readers(self.connect, self._path)


def is_open(connection: apsw.Connection) -> bool:
    """Tell whether a connection is still open."""
    return connection in apsw.connections()


def _deny(*_: Any) -> int:
    return apsw.SQLITE_DENY

"""All connections of one store to its file, and the guard over what they write.

Its one rule: each leads to the file that the store has opened, and who asks for all to be closed can be sure of it. One
that a fork has carried over is never closed in the child. It must not know turns or transactions.
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
from sagalog_sqlite.failures import told, told_by_system
from sagalog_sqlite.file_guard import FileGuard
from sagalog_sqlite.file_identity import identity_of
from sagalog_sqlite.readers import Readers


class Connections:
    """The one for writing, those for reading, and who else has asked for one.

    writer     the one for writing, for the thread that has the turn; None: the next turn opens another, with all guards
    readers    the pool of those for reading
    guard      says whether what is committed would be found again
    """

    def __init__(
        self, path: str, durability: str, busy_timeout_ms: int, settle: Callable[[apsw.Connection], None]
    ) -> None:
        """`settle` is called with every new connection for writing, and may raise."""
        self._path: Final = path
        self._durability: Final = durability
        self._busy_timeout_ms: Final = busy_timeout_ms
        self._settle: Final = settle
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
        """Whether it is this process's to use and to end."""
        return connection in self._all

    def connect(self, writing: bool = False) -> apsw.Connection:
        """Another connection to the same file; raises Unavailable, Corrupt."""
        # Where none was left, others may have taken the -wal away, and made another.
        self.guard.detach()
        self.guard.require_same_file()
        connection = connect(self._path, self._durability, self._busy_timeout_ms, writing)
        try:
            # Again, for what it was opened to.
            self.guard.require_same_file()
            if writing:
                self._settle(connection)
            self.guard.attach()
        except apsw.Error as error:
            connection.close()
            raise told(error, self._path) from error
        except OSError as error:
            connection.close()
            raise told_by_system(error, self._path) from error
        except SagalogError:
            connection.close()
            raise
        self._all.add(connection)
        return connection

    def for_writing(self) -> apsw.Connection:
        """The one for writing, opened if there is none."""
        if self.writer is None:
            self.writer = self.connect(writing=True)
        return self.writer

    def drop_writer(self) -> None:
        """Close the one for writing."""
        connection, self.writer = self.writer, None
        if connection is not None:
            with suppress(apsw.Error):
                connection.close()

    def is_all_moved(self) -> bool:
        """Whether all that stands in the WAL in use, which may have no name any more, stands in the file too."""
        if self.writer is None:
            return False
        try:
            pages, moved = self.writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)
        except apsw.Error:
            return False
        return pages == moved

    def let_go(self) -> bool:
        """Close those that wait to be used, while none is in use; whether none is left."""
        self.readers.let_go()
        self.drop_writer()
        self.guard.detach()
        # What another owner has asked for is closed by that one.
        return not any(is_open(one) for one in list(self._all))

    def leave_to_parent(self, is_writing: bool) -> None:
        """In a forked child: never touch one again, nor close it.

        Rolled back, or closed at the end of the child, it would write into what both share. `is_writing`: this very
        thread was in a transaction, and may come back to it; then SQLite is told to refuse whatever it asks for.
        """
        if is_writing and self.writer is not None:
            self.writer.authorizer = _deny
        for connection in list(self._all):
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))
        self._all = weakref.WeakSet()
        self.writer = None
        self.readers = Readers(self.connect, self._path)


def is_open(connection: apsw.Connection) -> bool:
    """Whether it was not closed yet."""
    return connection in apsw.connections()


def _deny(*_: Any) -> int:
    return apsw.SQLITE_DENY

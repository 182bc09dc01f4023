"""The descriptors through which this process asks which process has the locks on a store's files.

Rule: the system drops all POSIX locks of a process on a file as soon as the process closes any descriptor of it. So one
set of descriptors exists per process and file, and is closed only when no connection of the process to the file is
left. [FILE-2] The descriptors lock nothing; the system answers for the process and not for the descriptor.

It must not know what follows from an answer.
"""

from __future__ import annotations

import fcntl
import os
import struct
import threading
import weakref
from contextlib import AbstractContextManager, suppress
from functools import cache
from typing import Final

import apsw

from sagalog_sqlite.descriptors import close_in_children
from sagalog_sqlite.file_identity import Identity, identity_of

Range = tuple[int, int]  # start and length

# Where SQLite locks. In the database: the range that every open connection to a store holds shared. In the -shm: the
# byte of the one writer, and that of every process that uses the -shm.
SHARED: Final[Range] = (0x4000_0002, 510)
WRITER: Final[Range] = (120, 1)
IN_USE: Final[Range] = (128, 1)

# Held while a thread opens a connection, and while a thread sees that none is left and closes the descriptors.
_opening = threading.RLock()

# `struct flock` as the system lays it out: type, whence, start, length, pid.
_FLOCK: Final = struct.Struct("hhqqi0q")
_GETLK: Final[int] = getattr(fcntl, "F_OFD_GETLK", -1)
_ask: Final = fcntl.fcntl
_UNLOCKED: Final = struct.pack("h", fcntl.F_UNLCK)
_ASK_SHARED, _ASK_WRITER, _ASK_IN_USE = (
    _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, *one, 0) for one in (SHARED, WRITER, IN_USE)
)


class FileLocks:
    """The two descriptors of one file, for all stores of this process that have it open.

    path   the name under which a store opened it first
    wal    which -wal the process's connections use; None: it has none
    """

    def __init__(self, path: str, identity: Identity) -> None:
        self.wal: Identity | None = None
        self.path = path
        self._identity = identity
        self._database = self._shm = -1
        close_in_children(self)

    def open(self) -> None:
        """Open the descriptors that are closed; a connection was just opened, so SQLite has made all files.

        Raises:
            OSError: as the system raises it, for example when the process has too many open files.
        """
        with _opening:
            if self.wal is None:
                self.wal = identity_of(f"{self.path}-wal")
            if not are_answered():
                return
            if self._database < 0:
                self._database = _open_descriptor(self.path)
            shm = f"{self.path}-shm"
            if self._shm >= 0 and _identity_of_descriptor(self._shm) != identity_of(shm):
                # This one belonged to a connection that is gone; another file has the name now.
                old, self._shm = self._shm, -1
                os.close(old)
            if self._shm < 0:
                self._shm = _open_descriptor(shm)

    @property
    def is_open(self) -> bool:
        """Tell whether it has descriptors."""
        return self._database >= 0

    def are_held(self, writing: bool) -> bool:
        """Tell whether this process holds the locks of an open connection; with `writing` those of the one writer.

        Where the system does not answer, the result is True.

        Many processes may share a lock, and the system names one holder, which may be another process: then that one
        answers for this process. As long as that process has the file open, no process removes the -wal; after it has
        closed the file, the next look finds no holder. Only one process holds the writer's lock.
        """
        if not are_answered():
            return True
        # This runs before every commit, so it calls the system directly.
        database, shm = self._database, self._shm
        if _ask(database, _GETLK, _ASK_SHARED)[:2] == _UNLOCKED or _ask(shm, _GETLK, _ASK_IN_USE)[:2] == _UNLOCKED:
            return False
        return not writing or _FLOCK.unpack(_ask(shm, _GETLK, _ASK_WRITER))[4] == os.getpid()

    def close(self) -> None:
        """Close both, unless this process has a connection left that would lose its locks."""
        with _opening:
            if not is_connected(self.path, self._identity):
                self.close_unread()
                self.wal = None

    def close_unread(self) -> None:
        """Close both: in a forked child, which has no locks to lose, and after the last connection."""
        descriptors = (self._database, self._shm)
        self._database = self._shm = -1
        for descriptor in descriptors:
            if descriptor >= 0:
                os.close(descriptor)

    def __del__(self) -> None:
        # A caller dropped the store without closing it; its connections may be garbage that is not yet collected.
        with suppress(Exception):
            self.close()
            if self._database >= 0:
                _unclosed.append(self)


_unclosed: Final[list[FileLocks]] = []
_known: Final[weakref.WeakValueDictionary[Identity, FileLocks]] = weakref.WeakValueDictionary()
_names: Final[weakref.WeakKeyDictionary[apsw.Connection, str]] = weakref.WeakKeyDictionary()


def locks_of(path: str, identity: Identity) -> FileLocks:
    """Return the one set of this process for a file."""
    with _opening:
        for one in list(_unclosed):
            one.close()
            if not one.is_open:
                _unclosed.remove(one)
        known = _known.get(identity)
        if known is None or (known.path != path and not known.is_open):
            # A second name: a file that is gone had this inode number, which the system gives again.
            known = _known[identity] = FileLocks(path, identity)
        return known


def opening() -> AbstractContextManager[object]:
    """Return a context for opening a connection, in which no thread closes descriptors; SQLite locks at first use."""
    return _opening


def begin_anew() -> None:
    """Replace the lock in a forked child: a thread of the parent may have held it."""
    global _opening
    _opening = threading.RLock()


def note_path(connection: apsw.Connection, path: str) -> None:
    """Note the file of a connection that was just opened: while the connection is busy, it does not say."""
    _names[connection] = path


def is_connected(path: str, identity: Identity) -> bool:
    """Tell whether apsw has, or may have, a connection to a file in this process, under this name or another."""
    return any(_leads_to(one, path, identity) for one in apsw.connections())


def _leads_to(connection: apsw.Connection, path: str, identity: Identity) -> bool:
    name = _names.get(connection)
    if name is None:
        # The program opened this connection itself, without a store.
        try:
            name = connection.filename
        except apsw.ConnectionClosedError:
            return False
        except apsw.Error:
            # Another thread uses it, perhaps on this file.
            return True
    return bool(name) and (name == path or identity_of(name) == identity)


@cache
def are_answered() -> bool:
    """Tell whether the system answers such questions, and names this process for a lock of its own."""
    if _GETLK < 0 or not hasattr(os, "memfd_create"):
        return False
    with suppress(OSError):
        ours = os.memfd_create("sagalog")
        try:
            fcntl.lockf(ours, fcntl.LOCK_EX)
            other = _open_descriptor(f"/proc/self/fd/{ours}")
            try:
                answer = _FLOCK.unpack(fcntl.fcntl(other, _GETLK, _ASK_WRITER))
                return (answer[0], answer[4]) == (fcntl.F_WRLCK, os.getpid())
            finally:
                os.close(other)
        finally:
            os.close(ours)
    return False


def _open_descriptor(path: str) -> int:
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def _identity_of_descriptor(descriptor: int) -> Identity:
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino

"""Whose locks there are on a store's files, asked through descriptors that this process keeps for it.

Its one rule: POSIX locks of a process fall as soon as it closes any descriptor of the file; so these are closed only
when no connection of the process to it is left, and there is one set of them per process and file. [FILE-2] They lock
nothing: only questions are asked, which the system answers for the process and not for the descriptor.

It must not know what an answer is taken for.
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

from sagalog_sqlite.descriptors import closes_in_children
from sagalog_sqlite.file_identity import Identity, identity_of

Range = tuple[int, int]  # start and length

# Where SQLite locks. In the database: what every connection to a store holds shared for as long as it is open. In the
# -shm: the byte of the one writer, and that of all who use the -shm.
SHARED: Final[Range] = (0x4000_0002, 510)
WRITER: Final[Range] = (120, 1)
IN_USE: Final[Range] = (128, 1)

# Held while a connection is opened, and while it is seen that there is none and the descriptors are closed.
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

    path   the name under which it was opened first
    wal    which -wal the process's connections use; None: it has none
    """

    def __init__(self, path: str, identity: Identity) -> None:
        self.wal: Identity | None = None
        self.path = path
        self._identity = identity
        self._database = self._shm = -1
        closes_in_children(self)

    def open(self) -> None:
        """Open what is not open; a connection has just been opened, so SQLite has all files.

        Raises:
            OSError: as the system says it, such as for want of descriptors.
        """
        with _opening:
            if self.wal is None:
                self.wal = identity_of(f"{self.path}-wal")
            if not are_told():
                return
            if self._database < 0:
                self._database = _opened(self.path)
            shm = f"{self.path}-shm"
            if self._shm >= 0 and _identity_of_descriptor(self._shm) != identity_of(shm):
                # Kept for a connection that is gone; by now the name is another file's.
                old, self._shm = self._shm, -1
                os.close(old)
            if self._shm < 0:
                self._shm = _opened(shm)

    @property
    def is_open(self) -> bool:
        """Whether it has descriptors."""
        return self._database >= 0

    def are_had(self, writing: bool) -> bool:
        """Whether this process may have the locks of an open connection; with `writing` those of the one writer.

        True where the system does not tell.

        Of the locks that many processes share, the system names one holder, which may be another: then that one answers
        for this process. As long as it has the file open no process takes the -wal away, and when it has closed it the
        next look finds none. The writer's lock is had by one process alone.
        """
        if not are_told():
            return True
        # Before every commit: so nothing stands between these questions and the system.
        database, shm = self._database, self._shm
        if _ask(database, _GETLK, _ASK_SHARED)[:2] == _UNLOCKED or _ask(shm, _GETLK, _ASK_IN_USE)[:2] == _UNLOCKED:
            return False
        return not writing or _FLOCK.unpack(_ask(shm, _GETLK, _ASK_WRITER))[4] == os.getpid()

    def close(self) -> None:
        """Close both, unless a connection of this process is left whose locks would fall."""
        with _opening:
            if not is_connected(self.path, self._identity):
                self.close_unread()
                self.wal = None

    def close_unread(self) -> None:
        """In a forked child, which has no locks that could fall, and after the last connection."""
        descriptors = (self._database, self._shm)
        self._database = self._shm = -1
        for descriptor in descriptors:
            if descriptor >= 0:
                os.close(descriptor)

    def __del__(self) -> None:
        # Of a store that was dropped and never closed; its connections may be garbage that is not yet collected.
        with suppress(Exception):
            self.close()
            if self._database >= 0:
                _unclosed.append(self)


_unclosed: Final[list[FileLocks]] = []
_known: Final[weakref.WeakValueDictionary[Identity, FileLocks]] = weakref.WeakValueDictionary()
_names: Final[weakref.WeakKeyDictionary[apsw.Connection, str]] = weakref.WeakKeyDictionary()


def locks_of(path: str, identity: Identity) -> FileLocks:
    """The one set of this process for a file."""
    with _opening:
        for one in list(_unclosed):
            one.close()
            if not one.is_open:
                _unclosed.remove(one)
        known = _known.get(identity)
        if known is None or (known.path != path and not known.is_open):
            # Or one that is gone had this number, which the system gives again.
            known = _known[identity] = FileLocks(path, identity)
        return known


def opening() -> AbstractContextManager[object]:
    """Within the block a connection is opened and no thread closes descriptors; its locks come with its first use."""
    return _opening


def begin_anew() -> None:
    """In a forked child: a thread of the parent may have been opening."""
    global _opening
    _opening = threading.RLock()


def note(connection: apsw.Connection, path: str) -> None:
    """Note to which file a connection leads that has just been opened: while it is busy it does not tell."""
    _names[connection] = path


def is_connected(path: str, identity: Identity) -> bool:
    """Whether apsw has, or may have, a connection to a file in this process, under this name or another."""
    return any(_leads_to(one, path, identity) for one in apsw.connections())


def _leads_to(connection: apsw.Connection, path: str, identity: Identity) -> bool:
    name = _names.get(connection)
    if name is None:
        # Another caller's connection, opened past the stores.
        try:
            name = connection.filename
        except apsw.ConnectionClosedError:
            return False
        except apsw.Error:
            # It is at work in another thread, and perhaps on this file.
            return True
    return bool(name) and (name == path or identity_of(name) == identity)


@cache
def are_told() -> bool:
    """Whether the system answers such questions, and names this process for a lock of its own."""
    if _GETLK < 0 or not hasattr(os, "memfd_create"):
        return False
    with suppress(OSError):
        ours = os.memfd_create("sagalog")
        try:
            fcntl.lockf(ours, fcntl.LOCK_EX)
            other = _opened(f"/proc/self/fd/{ours}")
            try:
                answer = _FLOCK.unpack(fcntl.fcntl(other, _GETLK, _ASK_WRITER))
                return (answer[0], answer[4]) == (fcntl.F_WRLCK, os.getpid())
            finally:
                os.close(other)
        finally:
            os.close(ours)
    return False


def _opened(path: str) -> int:
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def _identity_of_descriptor(descriptor: int) -> Identity:
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino

"""The guard of a store's file: each commit goes into the file that the store opened, under locks that this process has.

Rule: the guard refuses every other commit. [FILE-1] SQLite itself would acknowledge it: SQLite goes on in a file that
another program has moved, replaced or unlinked. Nor does it notice when its locks fall, as they do when this process
opens a file of the store by hand and closes it again. The guard does not see what happens between its look and the
commit. It must not know what is committed.
"""

from __future__ import annotations

import os
from typing import Literal, NamedTuple

from sagalog.errors import Unavailable
from sagalog_sqlite.file_identity import Identity, Name, identity_of
from sagalog_sqlite.file_locks import locks_of


class Refusal(NamedTuple):
    """The reason why the store may commit nothing.

    text            what is wrong, and what to do about it
    what            what is not as it was: the file itself, this process's locks on it, or its -wal
    wal             what has the name of the -wal that this process writes: that one, nothing, or another
    """

    text: str
    what: Literal["file", "locks", "wal"]
    wal: Literal["same", "nothing", "another"] = "same"


class FileGuard:
    """The guard of one store, by the identity that its file had when the store was opened."""

    def __init__(self, path: str, identity: Identity) -> None:
        self.identity = identity
        self._path = path
        self._file = Name(path)
        self._wal = Name(f"{path}-wal")
        self._locks = locks_of(path, identity)

    def attach(self) -> None:
        """Take note of a new connection: from now on the -wal has to be the one that the first of them uses.

        Raises:
            OSError: the system does not let this process look at the files.
        """
        self._locks.open()

    def detach(self) -> None:
        """Take note of closed connections; the locks see whether they were the last."""
        self._locks.close()

    def require_same_file(self) -> None:
        """Refuse a connection that would lead to another file, or to another -wal than the rest; raises Unavailable."""
        found = identity_of(self._path)
        if found != self.identity:
            raise Unavailable(_moved(self._path, found), path=self._path)
        if self._locks.wal is not None and identity_of(f"{self._path}-wal") != self._locks.wal:
            raise Unavailable(_without_wal(self._path), path=self._path)

    def refusal(self, writing: bool) -> Refusal | None:
        """Return why nothing may be committed now; None if it may. For the thread that has the turn.

        `writing`: this process has to be SQLite's one writer.
        """
        found, there = self._file.identity(), self._wal.identity()
        if found == self.identity and there == self._locks.wal and self._locks.are_held(writing):
            return None
        if found != self.identity:
            return Refusal(_moved(self._path, found), "file")
        wal: Literal["same", "nothing", "another"] = (
            "same" if there == self._locks.wal else "nothing" if there is None else "another"
        )
        if not self._locks.are_held(writing):
            return Refusal(_unlocked(self._path), "locks", wal)
        return Refusal(_without_wal(self._path), "wal", wal)

    def links(self) -> int:
        """Return how many names the file has; 0 where its own is gone, or another file has it now."""
        try:
            now = os.stat(self._path)
        except OSError:
            return 0
        return now.st_nlink if (now.st_dev, now.st_ino) == self.identity else 0


def _moved(path: str, found: Identity | None) -> str:
    what = "is gone" if found is None else "is another file now"
    return (
        f"{path} {what}: it was moved, replaced or removed while it was open, and nothing is written into a file that "
        "no process would find; bring it back with its -wal, or close the engine and open the store where it is"
    )


def _without_wal(path: str) -> str:
    return (
        f"{path}-wal was removed or replaced while it was open, and nothing is written into one that no process "
        "would find; close every engine on the store, in all processes, which moves what was committed into the file "
        "if no other -wal is there by then; then open it again"
    )


def _unlocked(path: str) -> str:
    return (
        f"{path}: this process has no locks on it any more, because something in it has opened and closed the file or "
        "its -shm by hand (a copy, a hash), so nothing was written; copy a store from another process; repeat the "
        "call; if that does not help, close every engine on it in this process and open it again"
    )

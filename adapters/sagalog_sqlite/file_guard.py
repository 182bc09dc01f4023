"""The guard of a store's file: what is committed goes into the file that was opened, under locks that this process has.

Its one rule: a commit for which that is not so is refused. [FILE-1] SQLite itself would acknowledge it: it goes on in a
file that was moved, replaced or unlinked, and it is not told when its locks fall, which they do when this process opens
a file of the store by hand and closes it again. What happens between this look and the commit is not seen.

It must not know what is committed.
"""

from __future__ import annotations

import os
from typing import Literal, NamedTuple

from sagalog.errors import Unavailable
from sagalog_sqlite.file_identity import Identity, Name, identity_of
from sagalog_sqlite.file_locks import locks_of


class Refusal(NamedTuple):
    """Why nothing may be committed.

    text            what is wrong, and what to do about it
    what            what is not as it was: the file itself, this process's locks on it, or its -wal
    wal             what stands in the place of the -wal that this process writes: that one, nothing, or another
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
        """A connection has just been opened: from now on the -wal has to be the one that the first of them uses.

        Raises:
            OSError: the system does not let us look at the files.
        """
        self._locks.open()

    def detach(self) -> None:
        """Connections were closed; whether they were the last is for the locks to see."""
        self._locks.close()

    def require_same_file(self) -> None:
        """Refuse a connection that would lead elsewhere, or to another -wal than the others; raises Unavailable."""
        found = identity_of(self._path)
        if found != self.identity:
            raise Unavailable(_moved(self._path, found), path=self._path)
        if self._locks.wal is not None and identity_of(f"{self._path}-wal") != self._locks.wal:
            raise Unavailable(_without_wal(self._path), path=self._path)

    def refusal(self, writing: bool) -> Refusal | None:
        """Why nothing may be committed now, if so; for the thread that has the turn.

        `writing`: SQLite's one writer has to be this process.
        """
        found, there = self._file.identity(), self._wal.identity()
        if found == self.identity and there == self._locks.wal and self._locks.are_had(writing):
            return None
        if found != self.identity:
            return Refusal(_moved(self._path, found), "file")
        wal: Literal["same", "nothing", "another"] = (
            "same" if there == self._locks.wal else "nothing" if there is None else "another"
        )
        if not self._locks.are_had(writing):
            return Refusal(_unlocked(self._path), "locks", wal)
        return Refusal(_without_wal(self._path), "wal", wal)

    def links(self) -> int:
        """How many names the file has; 0 where its own is gone, or is another file's by now."""
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
        "if no other -wal stands there by now; then open it again"
    )


def _unlocked(path: str) -> str:
    return (
        f"{path}: this process has no locks on it any more, because something in it has opened and closed the file or "
        "its -shm by hand (a copy, a hash), so nothing was written; copy a store from another process; repeat the "
        "call; if that does not help, close every engine on it in this process and open it again"
    )

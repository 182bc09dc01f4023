"""A waiter: sleeps until a process writes to a file, is woken by its own process, or runs out of time.

Its one rule: waking too often is harmless and waking never is not; so where the system tells nothing of writes, or
stops telling, a waiter sleeps shortly. On Linux it is told by inotify, called by `ctypes` since the standard library
has no name for it: no thread polls, and a sleeping process costs nothing. It must not know what is written.
"""

from __future__ import annotations

import ctypes
import os
import select
import struct
import sys
from contextlib import suppress
from typing import Any, Final

from sagalog_sqlite.descriptors import closes_in_children

# How long a waiter sleeps at most: where it is told of writes, and where it is not.
TOLD_S: Final = 0.25
POLL_S: Final = 0.005

_IN_MODIFY: Final = 0x2
_IN_GONE: Final = 0x8000 | 0x400 | 0x800  # ignored; deleted; moved
_EVENT: Final = struct.Struct("iIII")


class ChangeWaiter:
    """For one thread at a time. `wake` may be called from any other."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._own = os.pipe()
        for end in self._own:
            os.set_blocking(end, False)
        self._watch = watch(path)
        self._open = [one for one in (*self._own, self._watch) if one >= 0]
        self._poll = select.poll()
        self._poll.register(self._own[0], select.POLLIN)
        if self._watch >= 0:
            self._poll.register(self._watch, select.POLLIN)
        closes_in_children(self)

    @property
    def is_told(self) -> bool:
        """Whether the system tells it of writes."""
        return self._watch >= 0

    def wait(self, timeout_s: float) -> bool:
        """Sleep until a process writes or a thread wakes it, at most so long; whether one has."""
        timeout_s = min(timeout_s, TOLD_S if self.is_told else POLL_S)
        ready = self._poll.poll(max(1.0, timeout_s * 1_000))
        for descriptor, _ in ready:
            self._take(descriptor)
        return bool(ready)

    def wake(self) -> None:
        """End its sleep."""
        with suppress(BlockingIOError):
            os.write(self._own[1], b"\0")

    def close(self) -> None:
        """Give its descriptors back."""
        self._watch = -1
        # Each is forgotten as it is closed: its number may be given to another file at any moment.
        while self._open:
            os.close(self._open.pop())

    def close_unread(self) -> None:
        """In a forked child: the news are the parent's, who would not be told what is read here."""
        self.close()

    def _take(self, descriptor: int) -> None:
        with suppress(BlockingIOError):
            told = os.read(descriptor, 65_536)
            if descriptor == self._watch and _is_gone(told):
                # The file was taken away under the store; what that means is not for a waiter to say.
                self._poll.unregister(descriptor)
                self._watch = -1
                self._open.remove(descriptor)
                os.close(descriptor)


def watch(path: str) -> int:
    """A descriptor that becomes readable when a process writes to the file; -1 where there is no such thing."""
    library = _library()
    if library is None:
        return -1
    descriptor = library.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
    if descriptor < 0:
        return -1
    if library.inotify_add_watch(descriptor, os.fsencode(path), _IN_MODIFY | 0x400 | 0x800) < 0:
        os.close(descriptor)
        return -1
    return int(descriptor)


def _library() -> Any:
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "inotify_init1") else None


def _is_gone(told: bytes) -> bool:
    at = 0
    while at + _EVENT.size <= len(told):
        _, mask, _, length = _EVENT.unpack_from(told, at)
        if mask & _IN_GONE:
            return True
        at += _EVENT.size + length
    return False

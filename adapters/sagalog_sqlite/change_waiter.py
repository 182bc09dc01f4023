"""The sleep of one thread until a process writes to a file, its own process wakes it, or its time is over.

Rule: a waiter may wake too often, and never too late. Where the system does not report writes, or stops doing so, the
waiter polls. On Linux it uses inotify, which it calls by `ctypes` because the standard library has no function for it.
So no thread polls there, and a sleeping process costs nothing. It must not know what a process writes.
"""

from __future__ import annotations

import ctypes
import os
import select
import struct
import sys
from contextlib import suppress
from typing import Any, Final

from sagalog_sqlite.descriptors import close_in_children

# How long a waiter sleeps at most: where the system reports writes, and where it does not.
NOTIFIED_S: Final = 0.25
POLL_S: Final = 0.005

_IN_MODIFY: Final = 0x2
_IN_GONE: Final = 0x8000 | 0x400 | 0x800  # ignored; deleted; moved
_EVENT: Final = struct.Struct("iIII")


class ChangeWaiter:
    """A sleeper for one thread at a time. Any other thread may call `wake`."""

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
        close_in_children(self)

    @property
    def is_notified(self) -> bool:
        """Tell whether the system reports writes to this waiter."""
        return self._watch >= 0

    def wait(self, timeout_s: float) -> bool:
        """Sleep until a process writes, a thread wakes this one, or `timeout_s` is over.

        Returns:
            Whether a process wrote, or a thread called `wake`.
        """
        timeout_s = min(timeout_s, NOTIFIED_S if self.is_notified else POLL_S)
        ready = self._poll.poll(max(1.0, timeout_s * 1_000))
        for descriptor, _ in ready:
            self._drain(descriptor)
        return bool(ready)

    def wake(self) -> None:
        """End the sleep of the thread that waits here."""
        with suppress(BlockingIOError):
            os.write(self._own[1], b"\0")

    def close(self) -> None:
        """Close the descriptors."""
        self._watch = -1
        # The list drops each number before the close: the system may give it to another file at any moment.
        while self._open:
            os.close(self._open.pop())

    def close_unread(self) -> None:
        """Close the descriptors in a forked child, which would take the parent's news if it read them."""
        self.close()

    def _drain(self, descriptor: int) -> None:
        with suppress(BlockingIOError):
            content = os.read(descriptor, 65_536)
            if descriptor == self._watch and _says_gone(content):
                # Another program removed or moved the file. The guard of the file decides what that means.
                self._poll.unregister(descriptor)
                self._watch = -1
                self._open.remove(descriptor)
                os.close(descriptor)


def watch(path: str) -> int:
    """Open a descriptor that becomes readable when a process writes to the file; -1 where the system has none."""
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


def _says_gone(content: bytes) -> bool:
    at = 0
    while at + _EVENT.size <= len(content):
        _, mask, _, length = _EVENT.unpack_from(content, at)
        if mask & _IN_GONE:
            return True
        at += _EVENT.size + length
    return False

"""Which file a name stands for: its device and inode.

Its one rule: what is written by every commit is never asked for its times. Since Linux 6.13 a file that was asked for
them is given new ones, down to the nanosecond, by its next write; then the sync behind that write takes a third as long
again. `os.stat` always asks for them. It must not know what a file is used for.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Callable
from typing import Any, Final

Identity = tuple[int, int]  # device and inode

# Of `statx` and its answer, as they are on every processor that Linux runs on.
_BELOW_WORKING_FOLDER: Final = -100
_INODE_ALONE: Final = 0x100
_BYTES: Final = 256
_INODE_AT: Final = 32 // 8
_DEVICE_AT: Final = 136 // 8
_MAJOR_MINOR: Final = struct.Struct("=II")


def identity_of(path: str) -> Identity | None:
    """Which file a name stands for now, links followed; None: none that can be seen."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


class Name:
    """A name that is asked often, for a file that is written all the time; by one thread at a time."""

    def __init__(self, path: str) -> None:
        self._path = path
        # Kept here, and ready to be handed over: made anew for each question, they would cost more than it.
        self._encoded = ctypes.c_char_p(os.fsencode(path))
        self._answer = ctypes.create_string_buffer(_BYTES)
        self._into = ctypes.c_void_p(ctypes.addressof(self._answer))
        # The answer as words of 8 bytes: of a device both numbers, major and minor, stand in one.
        self._words = memoryview(self._answer).cast("B").cast("Q")
        self._last: Identity | None = None
        self._last_words = (-1, -1)

    def identity(self) -> Identity | None:
        """As `identity_of`; it falls back to that where the system knows no such question, or refuses it."""
        if _ask is None or _ask(_BELOW_WORKING_FOLDER, self._encoded, 0, _INODE_ALONE, self._into) != 0:
            return identity_of(self._path)
        words = (self._words[_DEVICE_AT], self._words[_INODE_AT])
        # Nearly always the same as last time, which need not be spelled anew.
        if words != self._last_words:
            self._last_words = words
            self._last = (os.makedev(*_MAJOR_MINOR.unpack(words[0].to_bytes(8, sys.byteorder))), words[1])
        return self._last


def _statx() -> Callable[..., Any] | None:
    """The function of the system's own library; None where there is none."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        found: Callable[..., Any] = ctypes.CDLL(None).statx
    except (OSError, AttributeError):
        return None
    return found


_ask: Final = _statx()

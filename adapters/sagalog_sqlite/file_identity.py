"""The identity of the file behind a name: its device and inode.

Rule: no question asks for the times of a file that every commit writes. Since Linux 6.13 the next write of a file whose
times were asked for gives it new ones, down to the nanosecond, and the sync after that write takes a third longer.
`os.stat` always asks for times. It must not know what a file is for.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Callable
from typing import Any, Final

Identity = tuple[int, int]  # device and inode

# Constants of `statx` and places in its answer; they are the same on every processor that Linux runs on.
_BELOW_WORKING_FOLDER: Final = -100
_INODE_ALONE: Final = 0x100
_BYTES: Final = 256
_INODE_AT: Final = 32 // 8
_DEVICE_AT: Final = 136 // 8
_MAJOR_MINOR: Final = struct.Struct("=II")


def identity_of(path: str) -> Identity | None:
    """Return the identity of the file behind a name now, links followed; None: the system shows no file."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


class Name:
    """A name of a file that is written all the time, for frequent questions; for one thread at a time."""

    def __init__(self, path: str) -> None:
        self._path = path
        # Made once: to make these arguments anew for each question would cost more than the question.
        self._encoded = ctypes.c_char_p(os.fsencode(path))
        self._answer = ctypes.create_string_buffer(_BYTES)
        self._into = ctypes.c_void_p(ctypes.addressof(self._answer))
        # The answer as words of 8 bytes; one word holds both numbers of a device, major and minor.
        self._words = memoryview(self._answer).cast("B").cast("Q")
        self._last: Identity | None = None
        self._last_words = (-1, -1)

    def identity(self) -> Identity | None:
        """Return the same as `identity_of`; call that where the system has no such question, or refuses it."""
        if _ask is None or _ask(_BELOW_WORKING_FOLDER, self._encoded, 0, _INODE_ALONE, self._into) != 0:
            return identity_of(self._path)
        words = (self._words[_DEVICE_AT], self._words[_INODE_AT])
        # Nearly always the words are the same as last time, and so is the answer.
        if words != self._last_words:
            self._last_words = words
            self._last = (os.makedev(*_MAJOR_MINOR.unpack(words[0].to_bytes(8, sys.byteorder))), words[1])
        return self._last


def _statx() -> Callable[..., Any] | None:
    """Return the function of the system's own library; None where the library has none."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        found: Callable[..., Any] = ctypes.CDLL(None).statx
    except (OSError, AttributeError):
        return None
    return found


_ask: Final = _statx()

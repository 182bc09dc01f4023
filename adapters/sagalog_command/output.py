"""Output of a command: an excerpt of each stream, its head and its tail.

Rule: memory is bounded by the limits given, whatever the stream holds. This module knows neither processes nor secrets:
the redactor has been over the bytes.
"""

from __future__ import annotations

from typing import Final

# How many bytes at the end of a stream are its last words.
TAIL_BYTES: Final = 8_192

_CHARACTER_BYTES_MAX: Final = 4


class _Tail:
    """The last bytes of a stream."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._data = bytearray()

    def feed(self, data: bytes) -> None:
        self._data += data[-self._bytes_max :] if self._bytes_max else b""
        # Cut only now and then: each cut moves the rest.
        if len(self._data) > 2 * self._bytes_max + TAIL_BYTES:
            del self._data[: len(self._data) - self._bytes_max]

    def read(self) -> bytes:
        return bytes(self._data[-self._bytes_max :]) if self._bytes_max else b""


class Excerpt:
    """The head and the tail of a stream, at most `bytes_max` bytes together, and how many bytes there were."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_seen = 0
        self._head_max = bytes_max - bytes_max // 2
        self._bytes_max = bytes_max
        self._head = bytearray()
        self._tail = _Tail(bytes_max // 2)
        self._last = _Tail(TAIL_BYTES)

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        self.bytes_seen += len(data)
        self._last.feed(data)
        missing = self._head_max - len(self._head)
        if missing > 0:
            self._head += data[:missing]
            data = data[missing:]
        self._tail.feed(data)

    @property
    def is_cut(self) -> bool:
        """Whether bytes were left out."""
        return self.bytes_seen > self._bytes_max

    def read(self) -> bytes:
        """Give the excerpt; where bytes are left out, a line says how many."""
        head, tail = bytes(self._head), self._tail.read()
        if not self.is_cut:
            return head + tail
        head, tail = _without_end(head), _without_beginning(tail)
        left_out = self.bytes_seen - len(head) - len(tail)
        return b"%s\n[... %d bytes left out ...]\n%s" % (head, left_out, tail)

    def tail(self) -> str:
        """Give the last words as text, at most `TAIL_BYTES` bytes of the stream."""
        return self._last.read().decode(errors="replace").replace("\0", "\ufffd")


def _without_end(data: bytes) -> bytes:
    """Leave out a character whose last bytes were cut off."""
    for count in range(1, min(_CHARACTER_BYTES_MAX, len(data)) + 1):
        byte = data[-count]
        if byte < 0x80:
            return data
        if byte >= 0xC0:
            wanted = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return data if count >= wanted else data[:-count]
    return data


def _without_beginning(data: bytes) -> bytes:
    """Leave out the rest of a character whose first byte was cut off."""
    count = 0
    while count < min(_CHARACTER_BYTES_MAX - 1, len(data)) and 0x80 <= data[count] < 0xC0:
        count += 1
    return data[count:]

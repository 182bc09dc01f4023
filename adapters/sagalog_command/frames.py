"""Frames: the JSON objects in a stream, one a line, in an array, or spread over many lines.

Rule: memory is bounded by the limits given, whatever the stream holds. A reader passes over what is no JSON, and reads
what follows. This module knows neither processes nor secrets: the redactor has been over the bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

# An object that is longer is no frame: it is passed over.
LINE_BYTES_MAX: Final = 1_048_576

# Only a line that begins so can be a frame, or begin one.
_CANDIDATE: Final = re.compile(rb"^[ \t\r]*[{\[]", re.MULTILINE)
_ARRAY: Final = re.compile(rb"[ \t\r]*\[[ \t]*\{")
_BETWEEN: Final = re.compile(rb"[\s,]*")
_OUTSIDE: Final = re.compile(rb'["{}\[\]\n]')
_IN_TEXT: Final = re.compile(rb'["\\\n]')

Take = Callable[[Mapping[str, Any]], None]


class FrameReader:
    """A reader of one stream; it hands on each object as soon as the object has ended."""

    def __init__(self, take: Take) -> None:
        self._take = take
        self._line = bytearray()
        self._is_passed_over = False
        self._document: _Document | None = None

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        at = 0
        while at < len(data):
            if self._document is None:
                at = self._feed_line(data, at)
                continue
            at = self._document.feed(data, at)
            if self._document.is_over:
                # What follows an array in its line belongs to nothing.
                self._is_passed_over = not self._document.is_at_line_begin
                self._document = None

    def end(self) -> None:
        """Take the last line, which may lack its line break."""
        self._document = None
        self._end_line()

    def _feed_line(self, data: bytes, at: int) -> int:
        """Take the rest of a line, or what has come of it; give the place behind it."""
        if not self._line and not self._is_passed_over:
            found = _CANDIDATE.search(data, at)
            # The last line may not be all there yet.
            at = found.start() if found is not None else max(at, data.rfind(b"\n") + 1)
        end = data.find(b"\n", at)
        piece = data[at:] if end < 0 else data[at:end]
        if self._is_passed_over or len(self._line) + len(piece) > LINE_BYTES_MAX:
            self._is_passed_over = True
            self._line.clear()
        else:
            self._line += piece
        if (begun := _ARRAY.match(self._line)) is not None:
            head = bytes(self._line[begun.end() - 1 :])
            self._line.clear()
            self._document = _Document(self._take, is_array=True)
            self.feed(head)
            return len(data) if end < 0 else end
        if end < 0:
            return len(data)
        self._end_line()
        return end + 1

    def _end_line(self) -> None:
        line, self._line = bytes(self._line).strip(), bytearray()
        was_passed_over, self._is_passed_over = self._is_passed_over, False
        if line in (b"{", b"["):
            self._document = _Document(self._take, is_array=line == b"[")
        elif line.startswith(b"{") and not was_passed_over:
            _hand_on(line, self._take)


class _Document:
    """An array of objects, or one object, that may be spread over many lines; `is_over` once it has ended.

    A line break inside a text, or a line that begins with a brace inside an object, is no JSON as programs print it:
    then it was something else, and what follows is read line by line again.
    """

    def __init__(self, take: Take, *, is_array: bool) -> None:
        self.is_over = False
        self._take = take
        self._is_array = is_array
        self._object = bytearray() if is_array else bytearray(b"{")
        self._depth = 0 if is_array else 1
        self._is_in_text = False
        self._is_escaped = False
        self._is_line_begin = not is_array
        self._is_too_long = False

    @property
    def is_at_line_begin(self) -> bool:
        """Whether what follows begins a line."""
        return self._is_line_begin

    def feed(self, data: bytes, at: int) -> int:
        """Take the bytes from a place on; give the place behind the last one that was taken."""
        while at < len(data) and not self.is_over:
            at = self._between(data, at) if self._depth == 0 else self._inside(data, at)
        return at

    def _between(self, data: bytes, at: int) -> int:
        """Go on to the next object of the array; give the place from which on nothing is read yet."""
        found = _BETWEEN.match(data, at)
        assert found is not None
        at = found.end()
        if at == len(data):
            return at
        if data[at : at + 1] != b"{":
            self.is_over = True
            return at + (data[at : at + 1] == b"]")
        self._object, self._is_too_long, self._depth, self._is_line_begin = bytearray(b"{"), False, 1, False
        return at + 1

    def _inside(self, data: bytes, at: int) -> int:
        if self._is_line_begin and data[at : at + 1] == b"{":
            self.is_over = True
            return at
        self._is_line_begin = False
        if self._is_escaped:
            self._is_escaped = False
            self._keep(data[at : at + 1])
            return at + 1
        found = (_IN_TEXT if self._is_in_text else _OUTSIDE).search(data, at)
        end = len(data) if found is None else found.end()
        self._keep(data[at:end])
        if found is not None:
            self._step(found[0])
        return end

    def _step(self, mark: bytes) -> None:
        if mark == b"\n":
            self.is_over = self._is_in_text
            self._is_line_begin = True
        elif mark == b"\\":
            self._is_escaped = True
        elif mark == b'"':
            self._is_in_text = not self._is_in_text
        elif mark in b"{[":
            self._depth += 1
        else:
            self._depth -= 1
            if self._depth == 0:
                self._end_object()

    def _keep(self, piece: bytes) -> None:
        if self._is_too_long or len(self._object) + len(piece) > LINE_BYTES_MAX:
            self._is_too_long = True
            self._object.clear()
        else:
            self._object += piece

    def _end_object(self) -> None:
        if not self._is_too_long:
            _hand_on(bytes(self._object), self._take)
        self.is_over = not self._is_array


def _hand_on(text: bytes, take: Take) -> None:
    try:
        frame = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return
    if isinstance(frame, dict):
        take(frame)

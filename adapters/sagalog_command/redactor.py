"""Redactor of secrets in a stream of bytes.

Rule: no secret leaves whole, however the stream is cut: the redactor holds back as many bytes as could begin one. This
module does not know where the bytes come from or go to.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping


class Redactor:
    """A redactor of one stream; it writes `[secret NAME]` for each value, also where JSON spells it otherwise."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._marks = {form: f"[secret {name}]".encode() for name, value in values.items() for form in _forms(value)}
        longest_first = sorted(self._marks, key=len, reverse=True)
        self._longest = len(longest_first[0]) if longest_first else 0
        self._pattern = re.compile(b"|".join(map(re.escape, longest_first))) if longest_first else None
        self._first_bytes = frozenset(form[0] for form in self._marks)
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes; give those that can leave."""
        return self._pass(data, is_last=False)

    def end(self) -> bytes:
        """Give the bytes that were held back, at the end of the stream."""
        return self._pass(b"", is_last=True)

    def whole(self, text: str) -> str:
        """Give a whole text without the values."""
        if self._pattern is None:
            return text
        cleaned = self._pattern.sub(self._mark, text.encode(errors="surrogateescape"))
        return cleaned.decode(errors="replace")

    def _pass(self, data: bytes, *, is_last: bool) -> bytes:
        if self._pattern is None:
            return data
        data = self._held + data
        parts: list[bytes] = []
        done = 0
        kept_from = len(data) if is_last else self._undecided_from(data, done)
        for found in self._pattern.finditer(data):
            if found.start() >= kept_from:
                break
            parts += (data[done : found.start()], self._mark(found))
            done = found.end()
            if done > kept_from:
                kept_from = self._undecided_from(data, done)
        parts.append(data[done:kept_from])
        self._held = data[kept_from:]
        return b"".join(parts)

    def _undecided_from(self, data: bytes, begin: int) -> int:
        """Give the place where a value may begin that ends in bytes that have not come yet."""
        for place in range(max(begin, len(data) - self._longest + 1), len(data)):
            if data[place] in self._first_bytes:
                rest = data[place:]
                if any(len(form) > len(rest) and form.startswith(rest) for form in self._marks):
                    return place
        return len(data)

    def _mark(self, found: re.Match[bytes]) -> bytes:
        return self._marks[found[0]]


def _forms(value: str) -> Iterator[bytes]:
    """Give the bytes in which a value may appear."""
    # A variable may hold bytes that are no UTF-8; Python spells them as lone surrogates.
    yield value.encode(errors="surrogateescape")
    for is_ascii in (True, False):
        inner = json.dumps(value, ensure_ascii=is_ascii)[1:-1]
        yield inner.encode(errors="surrogateescape")
        yield inner.replace("/", "\\/").encode(errors="surrogateescape")

"""Audits: what `verify` asks beside reading: every stream, and what is saved beside none."""

from __future__ import annotations

from typing import Final, Protocol

import msgspec

# A tag as a store finds tasks by it: its name, its text, and the number of the stream; in this order.
Tag = tuple[str, str, int]
FIRST_TAG: Final[Tag] = ("", "", 0)


class StreamHead(msgspec.Struct, frozen=True):
    """One stream of the log, for audits: its number inside this store, its name, its newest version."""

    number: int
    stream: str
    version: int


class Audit(Protocol):
    """The store from end to end, a bounded slice at a time."""

    def streams(self, after: int, limit: int) -> list[StreamHead]:
        """Streams by number beyond `after`."""
        ...

    def strays(self) -> list[str]:
        """Rows of tasks and waits whose stream is not in the log, each in words."""
        ...

    def tag_count(self) -> int:
        """How many tags there are by which tasks are found, strays among them."""
        ...

    def stray_tags(self, after: Tag, limit: int, /) -> tuple[list[tuple[str | None, str]], Tag | None]:
        """Look at the next tags beyond `after`, at most `limit`, for those that their task does not carry.

        A task whose saved fold cannot be read is left out.

        Returns:
            For each such tag the name of its stream (None: there is none) and what is wrong, in words; and the last tag
            that was looked at, None at the end.
        """
        ...

    def check(self) -> list[str]:
        """What the store's own integrity check finds wrong; empty if nothing."""
        ...

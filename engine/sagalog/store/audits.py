"""Audits: what `verify` asks beside reading: every stream, and what is saved beside none."""

from __future__ import annotations

from typing import Any, Final, NamedTuple, Protocol

import msgspec

from sagalog.codec import StoredEvent
from sagalog.store.row import Row

# A tag as a store finds tasks by it: its name, its text, and the number of the stream; in this order.
Tag = tuple[str, str, int]
FIRST_TAG: Final[Tag] = ("", "", 0)


class StreamHead(msgspec.Struct, frozen=True):
    """One stream of the log, for audits: its number inside this store, its name, its newest version."""

    number: int
    stream: str
    version: int


class AuditedTask(NamedTuple):
    """What is saved of a task beside the log, right or not.

    content    the bytes of its fold; None where no reader takes them, since another format or version stands with them
    row        the columns by which it is found
    awaited    the sorted ids of those whose end has the task looked at [WAIT-3]
    """

    content: bytes | None
    row: Row
    awaited: tuple[str, ...]


class AuditedStream(NamedTuple):
    """One stream with everything that an audit compares, but its tags.

    number     inside this store; grows with creation
    stream     its name
    events     all its events, as they are found, each as the fields of its `Envelope` in their order, with the number
               of the stream in place of its name
    saved      of a task: what is saved beside the log; None: nothing is
    fold       of a stream that is neither a task's nor the store's: its saved fold; None: there is none that is sound
    """

    number: int
    stream: str
    events: list[StoredEvent]
    saved: AuditedTask | None
    fold: Any = None


class Audit(Protocol):
    """The store from end to end, a bounded slice at a time."""

    def streams(self, after: int, limit: int) -> list[StreamHead]:
        """Streams by number beyond `after`."""
        ...

    def audited(self, after: int, limit: int) -> list[AuditedStream]:
        """Streams by number beyond `after`, each with all its events, by a few questions for them all.

        At most `limit`, and none only where there are no more: a store gives fewer where their events are many.
        """
        ...

    def tagged(self, name: str, value: str, first: int, last: int) -> frozenset[int]:
        """Numbers of the streams from `first` to `last`, both included, that are found by this tag."""
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

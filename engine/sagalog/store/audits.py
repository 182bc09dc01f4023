"""Audits: the questions of `verify` beside reading: every stream, and what is saved without a stream.

Rule: an audit shows what the store has, right or not. Knows no event.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple, Protocol

import msgspec

from sagalog.codec import Envelope, StoredEvent
from sagalog.kernel.accounts import Account
from sagalog.kernel.references import Reference
from sagalog.store.dedupe_keys import DedupeRow
from sagalog.store.limit_uses import LimitUse
from sagalog.store.row import Row

# A tag by which a store finds tasks: its name, its text, and the number of the stream; in this order.
Tag = tuple[str, str, int]
FIRST_TAG: Final[Tag] = ("", "", 0)


class StreamHead(msgspec.Struct, frozen=True):
    """One stream of the log, for audits: its number inside this store, its name, its newest version."""

    number: int
    stream: str
    version: int


class AuditedTask(NamedTuple):
    """The saved projections of a task, right or not.

    content    the bytes of its fold; None where no reader uses them, since they were saved with another format or
               version
    row        the columns by which the store finds it
    awaited    the sorted ids of the tasks to which it has edges: those whose ends it awaits [WAIT-3]
    limit_uses its places under limits, sorted [LIMIT-5]
    dedupe     the row of the dedupe key that it has [DEDUPE-1]
    """

    content: bytes | None
    row: Row
    awaited: tuple[str, ...]
    limit_uses: tuple[LimitUse, ...] = ()
    dedupe: DedupeRow | None = None


class AuditedStream(NamedTuple):
    """One stream with everything that an audit compares, except its tags.

    number     inside this store; grows with creation
    stream     its name
    events     all its events, unchecked, each as the fields of its `Envelope` in their order, with the number of the
               stream in place of its name
    saved      of a task: its saved projections; None: there are none
    fold       of a stream that is neither a task's nor the store's: its saved fold; None: there is none that is sound
    references those that are saved of it, sorted [PRUNE-2]
    """

    number: int
    stream: str
    events: list[StoredEvent]
    saved: AuditedTask | None
    fold: Any = None
    references: tuple[Reference, ...] = ()


class Audit(Protocol):
    """The store from end to end, a bounded slice at a time."""

    def streams(self, after: int, limit: int) -> list[StreamHead]:
        """List the streams by number beyond `after`."""
        ...

    def audited(self, after: int, limit: int) -> list[AuditedStream]:
        """List the streams by number beyond `after`, each with all its events, by a few statements for them all.

        At most `limit`, and none only where there are no more: a store gives fewer where their events are many.
        """
        ...

    def tagged(self, name: str, value: str, first: int, last: int) -> frozenset[int]:
        """Return the numbers of the streams from `first` to `last`, both included, that have this tag."""
        ...

    def dependants_due(self) -> frozenset[str]:
        """Return the ids of tasks that have ended, and of which edges are still to be deleted. [WAIT-3]"""
        ...

    def children_due(self) -> frozenset[str]:
        """Return the ids of tasks of which children may still have to be cancelled. [CANCEL-4]"""
        ...

    def pruned_count(self) -> int:
        """Count the digests that are kept as pruned. [PRUNE-4]"""
        ...

    def strays(self) -> list[str]:
        """List the rows of tasks and waits whose stream is not in the log, each in words."""
        ...

    def tag_count(self) -> int:
        """Count the saved tags, strays among them."""
        ...

    def stray_tags(self, after: Tag, limit: int, /) -> tuple[list[tuple[str | None, str]], Tag | None]:
        """Look at the next tags beyond `after`, at most `limit`, for those that their task does not carry.

        They leave out a task whose saved fold cannot be read.

        Returns:
            For each such tag the name of its stream (None: there is none) and what is wrong, in words; and the last tag
            of this slice, None at the end.
        """
        ...

    def accounts(self, after: str, limit: int) -> list[tuple[str, Account | None]]:
        """List the saved accounts by name beyond `after`; None in place of one that cannot be read. [LIMIT-7]"""
        ...

    def counting(self, after: int, limit: int) -> list[Envelope]:
        """List the events of the types `COUNTING` with positions beyond `after`: those that change accounts."""
        ...

    def check(self) -> list[str]:
        """Run the store's own integrity check, and return what it finds wrong; empty if nothing."""
        ...

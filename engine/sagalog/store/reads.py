"""Reads: what an engine asks of a consistent state, without writing.

Rule: a snapshot blocks no writer; it raises as `View.saved` where a stream cannot be folded.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol

import msgspec

from sagalog.codec import Envelope
from sagalog.kernel.state import StoreFold, TaskFold
from sagalog.store.row import Row


class Query(msgspec.Struct, frozen=True):
    """Which tasks to list, in order of creation: those that fit all that is given. None: no restriction.

    queues, states  any of these
    tags            all of these
    after           the `order` of the last one that was listed: only tasks beyond it; 0: from the first one on
    waiting         the name of the wait that it is parked for, or True for any
    parent          the task that created it as a child
    since_ms        its newest event came at this time or later
    newest_first    in the opposite order; then `after` 0 is from the newest one on
    """

    queues: tuple[str, ...] | None = None
    kind: str | None = None
    states: tuple[str, ...] | None = None
    tags: tuple[tuple[str, str], ...] = ()
    after: int = 0
    limit: int | None = None
    waiting: str | Literal[True] | None = None
    parent: str | None = None
    correlation_id: str | None = None
    since_ms: int | None = None
    newest_first: bool = False


class Listed(msgspec.Struct, frozen=True):
    """One row of a listing: `order` grows with creation and is where the next page goes on."""

    order: int
    fold: TaskFold


class SavedTask(msgspec.Struct, frozen=True):
    """What is saved of a task beside the log, right or not.

    fold       None where its format is not this version's
    row        the columns by which it is found
    awaited    the sorted ids of those whose end has the task looked at [WAIT-3]
    tags       those of the fold by which it is found; what it is found by and does not carry `stray_tags` gives
    """

    fold: TaskFold | None
    row: Row
    awaited: tuple[str, ...]
    tags: dict[str, str]


class Reads(Protocol):
    """Single tasks, listings, the log, and how far its subscriptions are."""

    def task(self, id: str) -> TaskFold | None:
        """The fold of a task, or None; of one that was put aside it is made afresh, which mostly raises."""
        ...

    def fold(self, stream: str) -> Any:
        """The fold of a stream of any category but a task's, by its name; None: it has no events."""
        ...

    def recorded(self, id: str, version: int) -> Envelope:
        """One event of a task's stream, as it is found; raises LogDamaged where it is not there."""
        ...

    def blob(self, digest: str) -> bytes | None:
        """The bytes that are kept under a digest, as they are found; None if there are none. [BLOB-1]"""
        ...

    def history(self, stream: str, after: int = 0, limit: int | None = None) -> list[Envelope]:
        """Events of one stream with versions beyond `after`."""
        ...

    def events(self, after: int, limit: int) -> list[Envelope]:
        """Events of the whole log with positions beyond `after`."""
        ...

    def find(self, query: Query) -> list[Listed]:
        """Tasks in order of creation, or newest first. A task that cannot be folded is left out; see `unreadable`."""
        ...

    def ids_with_prefix(self, prefix: str, limit: int) -> list[str]:
        """The first `limit` ids of tasks, in order of code points, that begin so; also of tasks that cannot be read."""
        ...

    def unreadable(self) -> list[str]:
        """Ids of tasks whose gate is `unreadable`, in order of creation. [LOG-5]"""
        ...

    def counts(self, queue: str | None) -> dict[str, dict[str, int]]:
        """Queue -> state -> number of tasks; one that cannot be folded counts where it was last known to be."""
        ...

    def store(self) -> StoreFold | None:
        """The store's own stream, folded."""
        ...

    def head(self) -> tuple[int, int]:
        """How many events there are, and the newest position."""
        ...

    def saved(self, stream: str) -> SavedTask | None:
        """A task as it is saved beside the log; None: it is not."""
        ...

    def checkpoint(self, name: str) -> int | None:
        """The position up to which the subscription of this name has read; None: no such name is on record."""
        ...

    def checkpoints(self) -> dict[str, int]:
        """Every subscription's checkpoint, by name."""
        ...

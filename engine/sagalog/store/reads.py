"""Reads: the questions that an engine asks of a consistent state, without writing.

Rule: a snapshot blocks no writer; it raises as `View.saved` where a stream cannot be folded. Knows no database.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import msgspec

from sagalog.codec import Envelope
from sagalog.kernel.accounts import Account
from sagalog.kernel.state import StoreFold, TaskFold
from sagalog.store.dependencies import Ends
from sagalog.store.limit_uses import Candidate, Place
from sagalog.store.references import ReferenceReads
from sagalog.store.row import Row


class Query(msgspec.Struct, frozen=True):
    """The restrictions of a listing, in order of creation: a task must fit every one. None: no restriction.

    queues, states  any of these
    tags            all of these
    after           the `order` of the last one that was listed: only tasks beyond it; 0: from the first one on
    waiting         the name of the wait that the task is parked for, or True for any
    parent          the task that created it as a child
    since_ms        its newest event is of this time or later
    newest_first    in the opposite order; then `after` 0 means from the newest one on
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
    """One row of a listing: `order` grows with creation; the next page continues after it."""

    order: int
    fold: TaskFold


class SavedTask(msgspec.Struct, frozen=True):
    """The saved projections of a task, right or not.

    fold       None where its format is not this version's
    row        the columns by which a store finds it
    awaited    the sorted ids of the tasks to which it has edges: those whose ends it awaits [WAIT-3]
    tags       those of the fold by which the store finds it; `stray_tags` gives those that the fold does not carry
    """

    fold: TaskFold | None
    row: Row
    awaited: tuple[str, ...]
    tags: dict[str, str]


class Reads(ReferenceReads, Protocol):
    """The reads of single tasks, listings, references, the log, and what is kept beside it."""

    def task(self, id: str) -> TaskFold | None:
        """Return the fold of a task, or None; fold again a task that was put aside, which mostly raises."""
        ...

    def fold(self, stream: str) -> Any:
        """Return the fold of a stream of any category but a task's, by its name; None: it has no events."""
        ...

    def recorded(self, id: str, version: int) -> Envelope:
        """Return one event of a task's stream, unchecked; raises LogDamaged where it is not there."""
        ...

    def blob(self, digest: str) -> bytes | None:
        """Return the bytes that the store keeps under a digest, unchecked; None if there are none. [BLOB-1]"""
        ...

    def pruned(self, digest: str) -> int | None:
        """Return the version of the `pruned` by which bytes are gone; None: they are not, or were kept again."""
        ...

    def digest_count(self) -> int:
        """Count the digests to which streams refer."""
        ...

    def history(self, stream: str, after: int = 0, limit: int | None = None) -> list[Envelope]:
        """List the events of one stream with versions beyond `after`."""
        ...

    def events(self, after: int, limit: int) -> list[Envelope]:
        """List the events of the whole log with positions beyond `after`."""
        ...

    def find(self, query: Query) -> list[Listed]:
        """List tasks in order of creation, or newest first, without those that cannot be folded; see `unreadable`."""
        ...

    def ids_with_prefix(self, prefix: str, limit: int) -> list[str]:
        """List the first `limit` ids of tasks with this prefix, by code points; also of tasks that cannot be read."""
        ...

    def unreadable(self) -> list[str]:
        """List the ids of tasks whose gate is `unreadable`, in order of creation. [LOG-5]"""
        ...

    def ends(self, ids: Sequence[str]) -> Ends:
        """Return the ends of up to `AFTER_MAX` tasks, without a fold of each; one may be named twice. [WAIT-3]"""
        ...

    def counts(self, queue: str | None) -> dict[str, dict[str, int]]:
        """Count: queue -> state -> number of tasks; one that cannot be folded counts in its last known state."""
        ...

    def account(self, name: str) -> Account | None:
        """Return an account as the store has it, without what the time since has given back; None: there is none."""
        ...

    def ids(self, category: str, after: str, limit: int) -> list[str]:
        """List the ids of the streams of a category of settings, sorted by code points, beyond `after`."""
        ...

    def holders(self, account: str, limit: int) -> list[tuple[str, int]]:
        """List the ids of the tasks whose leases have units of an account, and how many each has, oldest task first."""
        ...

    def placed(self, account: str, place: Place, limit: int, section: str | None = None) -> int:
        """Count the tasks that have this place under an account, no further than `limit`; of a section, or of all."""
        ...

    def in_line(self, account: str, place: Place, section: str, limit: int, /) -> Sequence[Candidate]:
        """List the first tasks of a section that have this place under an account, in its order. [LIMIT-5]"""
        ...

    def is_governed(self, queue: str) -> bool:
        """Check whether a queue has a stream of its own, that is, settings."""
        ...

    def store(self) -> StoreFold | None:
        """Return the store's own stream, folded."""
        ...

    def head(self) -> tuple[int, int]:
        """Return how many events there are, and the newest position."""
        ...

    def saved(self, stream: str) -> SavedTask | None:
        """Return a task's saved projections; None: there are none."""
        ...

    def kept(self, space: str, name: str) -> str | None:
        """Return what is kept under a name; None: nothing. [KEEP-1]

        Raises:
            Corrupt: another program has changed it since it was kept.
        """
        ...

    def kept_in(self, space: str, after: str, limit: int) -> list[tuple[str, str]]:
        """List the first `limit` names of a space beyond `after`, by code points, with what is kept under each.

        "" is before every name. It leaves out what another program has changed: `check` of an audit tells of that.
        """
        ...

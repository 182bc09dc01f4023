"""What the engine needs from outside: time, chance, and a store.

Rule: methods are operations of the domain and state their promise and their errors; small enough that `memory` stays
short. Nothing here knows a database. Polling is always right; being woken only makes it sooner.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final, Protocol

import msgspec

from sagalog.codec import Envelope
from sagalog.kernel.events import Recordable
from sagalog.kernel.state import StoreFold, TaskFold
from sagalog.kernel.values import Purpose, Suspects


class Clock(Protocol):
    """Time in ints of milliseconds. [TIME-1]"""

    def now_ms(self) -> int:
        """Wall clock since 1970-01-01 UTC; may step."""
        ...

    def monotonic_ms(self) -> int:
        """A clock that never steps back; only differences within one process mean anything."""
        ...


class Chance(Protocol):
    """Where ids and jitter come from."""

    def token_bytes(self, count: int) -> bytes:
        """`count` random bytes that no other process draws."""
        ...

    def fraction(self) -> float:
        """A number in [0, 1)."""
        ...


class Claim(msgspec.Struct, frozen=True):
    """Which tasks a claim would take: `limit` of the ready ones, affinities asked for first, then priority, then age.

    kinds   for work: task kinds; for undo: the compensation kinds the claimer knows, all that a task owes must be among
            them [UNDO-1]; None: every kind
    suspects   "alone": where a suspect is the first of all that fit, it is taken and nothing else, else all are looked
               past; "never": all are looked past; "only": the first of them is taken and nothing else [LEASE-5]
    """

    queues: tuple[str, ...]
    purpose: Purpose
    limit: int
    kinds: frozenset[str] | None = None
    affinities: tuple[str, ...] = ()
    suspects: Suspects = "alone"


class Due(msgspec.Struct, frozen=True):
    """Upkeep to look for in some queues (None: all): leases that are over, and tasks whose time has come. [UPKEEP-2]"""

    queues: tuple[str, ...] | None
    limit: int


class Blob(msgspec.Struct, frozen=True, gc=False):
    """Bytes beside the log, under their SHA-256 in hex, by which events name them. [BLOB-1]"""

    digest: str
    data: bytes


class Append(msgspec.Struct, frozen=True, gc=False):
    """Events to append to one stream that stands at version `expected`, and the fold after them. [LOG-2]"""

    stream: str
    expected: int
    envelopes: tuple[Envelope, ...]
    fold: TaskFold | StoreFold


class Decided(msgspec.Struct, frozen=True, gc=False):
    """What a unit came to: what to append, and the answer to hand back once that is committed.

    `unreadable` are ids of tasks whose events could not be read: no claim is to select them any more. [LOG-5]
    `blobs` are the bytes that the appended events name; one that is kept already is not written again. [BLOB-1]
    """

    appends: tuple[Append, ...]
    answer: Any
    unreadable: tuple[str, ...] = ()
    blobs: tuple[Blob, ...] = ()


class View(Protocol):
    """What a unit's function sees: a consistent state that is locked until the commit."""

    @property
    def now_ms(self) -> int:
        """The store's clock, read once, after the write lock was taken. [TIME-1]"""
        ...

    @property
    def epoch(self) -> int:
        """The store's epoch. [FENCE-1]"""
        ...

    @property
    def store(self) -> StoreFold | None:
        """The store's own stream, folded; None before it was founded."""
        ...

    @property
    def claimed(self) -> Sequence[TaskFold]:
        """The tasks that the unit's `claim` selects, in its order."""
        ...

    @property
    def due(self) -> Sequence[TaskFold]:
        """Tasks of the unit's `due` that need a decision; those that are merely due by now are let in.

        First those whose lease is over, oldest expiry first; then those whose wait may be over because a task that it
        names has ended, in order of creation; then those whose wait has lasted until its time, oldest time first. At
        most the limit of each.
        """
        ...

    @property
    def let_in(self) -> int:
        """How many tasks the unit's `due` let in; fewer than its limit: there are no more. [UPKEEP-2]"""
        ...

    def task(self, id: str) -> TaskFold | None:
        """The fold of a task that the unit named in `tasks`, or of another of which only an end matters; None: absent.

        Raises:
            UnknownEvent, LogDamaged: the stream cannot be folded.
        """
        ...

    def event(self, id: str, version: int) -> Recordable:
        """One event of a task's stream, decoded anew at each call, so that no two callers share its values.

        Raises:
            LogDamaged, UnknownEvent: as `codec.read`; what this process has just written itself need not be compared.
        """
        ...

    def keyed(self, idempotency_key: str) -> Sequence[Envelope]:
        """All events that carry this idempotency key, in order of position. [REPEAT-4]"""
        ...


class Unit(msgspec.Struct, frozen=True):
    """One thing to write: what it reads, and a pure function of that. Stands or falls alone within its commit.

    tasks    ids of the tasks it may write, and so locks
    claim    tasks to select for leasing
    due      upkeep to look for
    decide   from what was read to what is appended; raises a refusal; may be run again
    """

    decide: Callable[[View], Decided]
    tasks: tuple[str, ...] = ()
    claim: Claim | None = None
    due: Due | None = None


class Query(msgspec.Struct, frozen=True):
    """Which tasks to list, in order of creation; None: no restriction. All `tags` given must match."""

    queue: str | None = None
    kind: str | None = None
    state: str | None = None
    tags: tuple[tuple[str, str], ...] = ()
    after: int = 0
    limit: int | None = None


class Listed(msgspec.Struct, frozen=True):
    """One row of a listing: `order` grows with creation and is where the next page goes on."""

    order: int
    fold: TaskFold


# A tag as a store finds tasks by it: its name, its text, and the number of the stream; in this order.
Tag = tuple[str, str, int]
FIRST_TAG: Final[Tag] = ("", "", 0)


class StreamHead(msgspec.Struct, frozen=True):
    """One stream of the log, for audits: its number inside this store, its name, its newest version."""

    number: int
    stream: str
    version: int


class FileHealth(msgspec.Struct, frozen=True):
    """How the file of a store and its disk stand.

    path, durability    as the store was opened
    wal_bytes           what is written and not moved into the file yet; some megabytes, more while a reader stays long
    checkpointed_ms     when a checkpoint of any process last wrote the file, by the system's clock
    checkpoint_error    what the last checkpoint of this process met; None if that went well, or there was none
    links               names of the file; with more than one, each has locks and a WAL of its own, and writes are lost
    free_bytes          room on the disk that the user of this process may fill
    """

    path: str
    durability: str
    wal_bytes: int
    checkpointed_ms: int
    checkpoint_error: str | None
    links: int
    free_bytes: int


class UnclaimedUndo(msgspec.Struct, frozen=True):
    """Undos of one kind that are due in a queue and that no worker has leased.

    tasks       how many tasks owe one; at most `UNCLAIMED_MAX` of those that owe the same kinds are counted
    since_ms    when the one that waits longest became due
    """

    queue: str
    kind: str
    tasks: int
    since_ms: int


# Counting goes on no further, so that asking costs the same however many there are.
UNCLAIMED_MAX: Final = 1_000


class Snapshot(Protocol):
    """A consistent view for reading; blocks no writer. Raises as `View.task` where a stream cannot be folded."""

    def task(self, id: str) -> TaskFold | None:
        """The fold of a task, or None."""
        ...

    def recorded(self, id: str, version: int) -> Envelope:
        """One event of a task's stream."""
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
        """Tasks in order of creation. A task that cannot be folded is left out; `unreadable` names it."""
        ...

    def unreadable(self) -> list[str]:
        """Ids of tasks whose gate is `unreadable`. [LOG-5]"""
        ...

    def counts(self, queue: str | None) -> dict[str, dict[str, int]]:
        """Queue -> state -> number of tasks."""
        ...

    def over(self, now_ms: int, limit: int | None = None) -> list[TaskFold]:
        """Live tasks whose lease is over by the clock and was not ended yet."""
        ...

    def behind(self, now_ms: int, queues: tuple[str, ...] | None = None) -> list[TaskFold]:
        """Leased tasks whose last renewal lies in the future of `now_ms`: the clock has stepped back. [TIME-3]"""
        ...

    def standing(self, claim: Claim) -> list[str]:
        """Ids of the tasks that such a claim would take now, in its order, without any upkeep."""
        ...

    def delayed(self, now_ms: int, limit: int) -> list[TaskFold]:
        """Tasks that wait for a time, and whose last event lies in the future of `now_ms`. [TIME-3]

        They are found among the first `limit` whose due time lies ahead, and the first `limit` whose wait ends by time,
        each in order of that time.
        """
        ...

    def ready_kinds(self, queues: tuple[str, ...], limit: int) -> list[str]:
        """The kinds of the tasks that stand ready in these queues, at most `limit` of each queue, sorted."""
        ...

    def latest_ms(self, count: int) -> int:
        """The latest time of the newest `count` events; 0 where there are none."""
        ...

    def claimable_ms(self, claim: Claim) -> int | None:
        """From when on such a claim may find something, as far as can be told now; None: not before somebody commits.

        0 where something stands at an open gate, or a wait may be over; else the earliest time at which a task of its
        queues becomes due or a lease or wait there is over, perhaps of another kind than is claimed.
        """
        ...

    def waits_over(self, now_ms: int, limit: int | None = None) -> list[TaskFold]:
        """Tasks whose wait may be over, as `View.due` gives them."""
        ...

    def undoing(
        self,
        now_ms: int,
        queues: tuple[str, ...] | None = None,
        unknown: frozenset[str] = frozenset(),
        known: frozenset[str] | None = None,
    ) -> list[str]:
        """Ids of the compensating tasks that no worker holds and that upkeep gives up, in order of creation. [UNDO-2]

        Those whose undo has waited for longer than their policy allows, and those that owe a kind which is among
        `unknown`, or not among `known` (None: all are).
        """
        ...

    def unclaimed(self, now_ms: int) -> list[UnclaimedUndo]:
        """Undos that are due and that no worker has leased, by queue, then kind.

        It costs by queues and kinds, not by tasks.
        """
        ...

    def store(self) -> StoreFold | None:
        """The store's own stream, folded."""
        ...

    def head(self) -> tuple[int, int]:
        """How many events there are, and the newest position."""
        ...

    def streams(self, after: int, limit: int) -> list[StreamHead]:
        """Streams by number beyond `after`."""
        ...

    def saved(self, stream: str) -> tuple[TaskFold | None, dict[str, object]] | None:
        """A task's projection as it is saved: its fold, and what is searched; None if none.

        The fold is None where its format is not this version's. What is searched are the columns with `gate`, `tags`
        and `awaited`: `tags` are those of the fold by which the task is found (what it is found by and does not carry
        is given by `stray_tags`), `awaited` the sorted ids of those whose end has the task looked at. [WAIT-3]
        """
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

    def checkpoint(self, name: str) -> int | None:
        """The position up to which the subscription of this name has read; None: no such name is on record."""
        ...

    def checkpoints(self) -> dict[str, int]:
        """Every subscription's checkpoint, by name."""
        ...


class Store(Protocol):
    """Keeps the log and the projections, and moves them together or not at all."""

    def commit(self, units: Sequence[Unit]) -> list[Any]:
        """Run the units in order in one transaction, all durable when this returns.

        Returns:
            For each unit its answer, or the SagalogError by which it was refused; a refusal undoes nothing else.

        Raises:
            Unavailable: nothing of any unit was written; wait and repeat.
            Unknown: it may have been written; repeat with the same identities.
            Corrupt: the file is damaged or of a newer format; nothing was written.
        """
        ...

    def read(self) -> AbstractContextManager[Snapshot]:
        """A snapshot, to be used within the block.

        Raises:
            Unavailable, Corrupt: as `commit`.
        """
        ...

    def rebuild(self) -> int:
        """Throw away every projection and fold it afresh from the log; the number of tasks.

        Raises:
            Unavailable, Corrupt: as `commit`. A stream that cannot be folded gets the gate `unreadable`.
        """
        ...

    def save_checkpoint(self, name: str, expected: int | None, position: int) -> bool:
        """Move the checkpoint of a subscription from `expected` (None: none yet) to `position`, durably. [SUBSCRIBE-3]

        Returns:
            Whether it was moved; False: it stands elsewhere, and nothing was written.

        Raises:
            Unavailable, Unknown, Corrupt: as `commit`.
        """
        ...

    def changes(self) -> int:
        """A number that differs once anybody has committed since."""
        ...

    def wait_change(self, since: int, timeout_ms: int) -> None:
        """Return when `changes()` differs from `since`, or when the time is over."""
        ...

    def file_health(self) -> FileHealth | None:
        """How its file and disk stand; None where there is no file.

        Raises:
            Unavailable: it was moved or taken away.
        """
        ...

    def close(self) -> None:
        """Give everything back; a second time does nothing."""
        ...


class OpenStore(Protocol):
    """What an entry point of the group `sagalog.stores` names."""

    def __call__(self, url: str, *, create: bool, clock: Clock, durability: str) -> Store:
        """Open the store that `url` names; an absent one is made if `create`.

        Raises:
            Unavailable, Corrupt: it cannot be opened, or is not a store this version can write.
            ValueError: the URL or the durability is not of this store's form.
        """
        ...

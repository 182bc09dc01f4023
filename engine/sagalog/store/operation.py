"""Operations: what a store carries out in a commit, what they see of it, and what they give back to be written.

Rule: a store executes and decides nothing. An operation declares every stream and idempotency key that it reads or
writes, and its function is pure in what its view shows; what the view does not show it cannot depend on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec

from sagalog.codec import Envelope
from sagalog.kernel.events import Recordable
from sagalog.kernel.state import StoreFold
from sagalog.kernel.values import Purpose, Suspects
from sagalog.store.projection import Projection
from sagalog.store.row import Row


class Claim(msgspec.Struct, frozen=True):
    """Which tasks a claim would take: the first `limit` of the ready ones, of all its queues in one order.

    Affinities that are asked for come first, in the order asked; then the smaller priority; then the older task, which
    is the one that was created first.

    kinds   for work: task kinds; for undo: the compensation kinds the claimer knows, all that a task owes must be among
            them [UNDO-1]; None: every kind
    affinities   for work; a claim for undo has no regard to them
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
    """Maintenance to look for in some queues (None: all), at most `limit` tasks of each sort. [UPKEEP-2]"""

    queues: tuple[str, ...] | None
    limit: int


class Blob(msgspec.Struct, frozen=True, gc=False):
    """Bytes beside the log, under their SHA-256 in hex, by which events name them. [BLOB-1]"""

    digest: str
    data: bytes


class Saved(msgspec.Struct, frozen=True, gc=False):
    """A stream as the store has it: its fold, and the row by which it is found.

    fold    folded from the whole stream; None: it cannot be read by this version [LOG-5]
    row     as it is saved, right or not; None: there is none, as for every stream that is no task's. Of a task that was
            put aside it may be left out
    """

    stream: str
    fold: Any
    row: Row | None = None


class Append(msgspec.Struct, frozen=True, gc=False):
    """Events to append to one stream that has `expected` events by now, and its projection after them. [LOG-2]

    Where a result holds several for one stream, each expects what those before it leave.
    """

    stream: str
    expected: int
    envelopes: tuple[Envelope, ...]
    projection: Projection


class Result(msgspec.Struct, frozen=True, gc=False):
    """What an operation decided: everything that is to be written, and the answer to hand back once it is committed.

    answer         for the caller of the commit
    appends        events, a stream at a time, in this order
    projections    by stream: projections to save where nothing is appended, for a row that time has moved or that was
                   not what the log gives
    ended          ids of tasks that have ended in it. After all that it writes, the store moves every task that awaits
                   one of them from the gate `waiting` to `waking`; no other gate is moved by a store. [WAIT-3]
    aside          streams that cannot be read, declared or selected: they go to the gate `unreadable` until they are
                   written again, where no claim and no maintenance finds them; queue, kind and state stay, for `counts`
                   [LOG-5]
    blobs          the bytes that the appended events name; one that is kept already is not written again [BLOB-1]
    """

    answer: Any
    appends: tuple[Append, ...] = ()
    projections: tuple[tuple[str, Projection], ...] = ()
    ended: tuple[str, ...] = ()
    aside: tuple[str, ...] = ()
    blobs: tuple[Blob, ...] = ()


class Undeclared(Exception):
    """An operation asked for streams or idempotency keys that it had not declared.

    The store ends the whole transaction, and begins it again with these declared as well, so that everything is always
    locked in the order of names. It is no refusal: an operation does not catch it.
    """

    def __init__(self, streams: Sequence[str] = (), keys: Sequence[str] = ()) -> None:
        super().__init__(f"not declared: {[*streams, *keys]}")
        self.streams: tuple[str, ...] = tuple(streams)
        self.keys: tuple[str, ...] = tuple(keys)

    def __bool__(self) -> bool:
        return bool(self.streams or self.keys)

    def and_also(self, other: Undeclared) -> Undeclared:
        """Both together, so that one round is enough for them."""
        return Undeclared(
            tuple(dict.fromkeys((*self.streams, *other.streams))), tuple(dict.fromkeys((*self.keys, *other.keys)))
        )


class View(Protocol):
    """What the function of an operation sees: a consistent state, locked until the commit, as far as it is declared.

    Declared are the streams of `writes` and `reads`, all that are reached from `along` over waits, the tasks that
    `claim` and `due` select, what those wait for, and the streams of the events of `keys`. Asking for another stream or
    key raises `Undeclared`. Of the streams in `fold.sources` of a task that was shown, `event` alone may be asked for.
    What operations before it in the same commit have written is shown as well.
    """

    @property
    def now_ms(self) -> int:
        """The store's clock, read once, after the locks were taken. [TIME-1]"""
        ...

    @property
    def store(self) -> StoreFold | None:
        """The store's own stream, folded; None before it was founded. Every operation may read it."""
        ...

    @property
    def epoch(self) -> int:
        """The store's epoch. [FENCE-1]"""
        ...

    def saved(self, stream: str, /) -> Saved | None:
        """A stream with its fold and its row; None: it has no events.

        Raises:
            UnknownEvent, LogDamaged, SchemaMismatch: the stream cannot be folded.
        """
        ...

    def event(self, stream: str, version: int, /) -> Recordable:
        """One event of a stream, decoded anew at each call, so that no two callers share its values.

        Raises:
            LogDamaged, UnknownEvent: as `codec.read`; what this process has just written itself need not be compared.
        """
        ...

    def keyed(self, key: str, /) -> Sequence[Envelope]:
        """All events that carry this idempotency key, in order of position. [REPEAT-4]

        Those of operations before in the same commit come last; their position may be 0 still.
        """
        ...

    @property
    def claimed(self) -> Sequence[Saved]:
        """The tasks that the operation's `claim` selects, in its order; asked for only where it has one.

        What is selected, here or below, may be appended to without being among `writes`. Those that cannot be read come
        with the others, without a fold, and do not count against the limit. Behind many of them a store may show fewer
        than there are; the engine puts them aside, and a claim looks again.
        """
        ...

    @property
    def expired(self) -> Sequence[Saved]:
        """Of the operation's `due`, as all below: leased tasks whose check time has come by their row, oldest first.

        At most its `limit` and `LEASE_CHECKS_MAX` more: most of them are alive, and are found again at their expiry.
        """
        ...

    @property
    def waits_over(self) -> Sequence[Saved]:
        """Of the operation's `due`: tasks whose wait may be over by their row.

        First those at the gate `waking`, in order of creation; then those at `waiting` whose `run_at_ms` has come,
        oldest first. The limit is for both together.
        """
        ...

    @property
    def promotable(self) -> Sequence[Saved]:
        """Of the operation's `due`: tasks at the gate `later` whose time has come, oldest due time first."""
        ...


class EventOf(Protocol):
    """The events of the stream that a `Plain` is given."""

    def __call__(self, version: int, /) -> Recordable:
        """One of them; raises as `View.event`."""
        ...


class Plain(Protocol):
    """The plain case of an operation: one stream says all."""

    def __call__(self, saved: Saved | None, now_ms: int, epoch: int, event_of: EventOf, /) -> Result | None:
        """What is to be written: one append with its blobs and ends, or nothing; None where a view is needed.

        Args:
            saved: the stream, as the view would show it; None: there is none.
            now_ms, epoch: as of the view.
            event_of: the events of that stream.

        Raises:
            SagalogError: a refusal, which the operation's `decide` says again with a view.
        """
        ...


class Operation(msgspec.Struct, frozen=True):
    """One thing to write: what it reads, and a pure function of that. Stands or falls alone within its commit.

    decide    from what was read to what is written; raises a refusal; may be run again
    writes    streams that it may append to, existing or not
    reads     streams that it reads beside them; all are locked
    along     ids of tasks whose waits it follows: they, and all tasks that are reached from them over waits, are read
              and locked. The store finds them by one look at who waits for whom.
    keys      idempotency keys that it looks for, and may put on record; locked as well, for no stream stands for them
    claim     tasks to select for leasing
    due       maintenance to look for
    drawn     streams among `writes` whose ids were drawn for it, which it begins where they are absent. A store may
              take them for absent without a look; where one then exists, it carries the operation out anew with a look
    plain     as `decide`, for the plain case that one stream says all: the one of `writes`, or the only task that
              `claim` selects. It is given that stream as the view would show it, None where there is none, and for
              `due` None, where nothing is due. A store may ask it first and needs no view then; where it answers None,
              or raises, `decide` says what comes of the operation
    """

    decide: Callable[[View], Result]
    writes: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    along: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    claim: Claim | None = None
    due: Due | None = None
    drawn: tuple[str, ...] = ()
    plain: Plain | None = None

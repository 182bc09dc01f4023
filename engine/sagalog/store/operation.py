"""Operations: what a store carries out in a commit, what it shows to them, and the results that it writes.

Rule: a store executes and decides nothing. An operation declares every stream and idempotency key that it reads or
writes, and its function depends only on what its view shows. Knows no store.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol

import msgspec

from sagalog.codec import Envelope
from sagalog.kernel.accounts import Account
from sagalog.kernel.events import Recordable
from sagalog.kernel.references import Reference
from sagalog.kernel.state import StoreFold
from sagalog.kernel.values import Purpose, Suspects
from sagalog.store.dedupe_keys import DedupeRow
from sagalog.store.dependencies import Ends
from sagalog.store.limit_uses import Candidate, Place
from sagalog.store.projection import Projection
from sagalog.store.references import Pruning, ReferenceReads
from sagalog.store.row import Row


class Claim(msgspec.Struct, frozen=True):
    """The selection of a claim: the first `limit` of the ready tasks, of all its queues in one order.

    Affinities come first, in the order of the claim; then the smaller priority; then the task that was created earlier.

    kinds   for work: task kinds; for undo: the compensation kinds that the claimer can undo; all that a task owes must
            be among them [UNDO-1]; None: every kind
    affinities   for work; a claim for undo ignores them
    excluded   kinds that it passes over, for work: those that are paused [PAUSE-1]
    build   the one that the claimer names: for work, the tasks pinned to it, and those that are pinned to none; None:
            only the latter. A claim for undo ignores it [BUILD-1]
    affinity_due   by queue, for work: its tasks whose `Row.affinity_ms` is not after this time come before all others,
            the smallest first, then the task that was created earlier [ORDER-2]
    suspects   "alone": the claim takes a suspect and nothing else where that is the first of all that fit, and passes
               over suspects otherwise; "never": it passes over all; "only": it takes the first suspect and nothing else
               [LEASE-5]
    """

    queues: tuple[str, ...]
    purpose: Purpose
    limit: int
    kinds: frozenset[str] | None = None
    affinities: tuple[str, ...] = ()
    suspects: Suspects = "alone"
    excluded: frozenset[str] = frozenset()
    build: str | None = None
    affinity_due: tuple[tuple[str, int], ...] = ()


class Due(msgspec.Struct, frozen=True):
    """Maintenance to look for in some queues (None: all), at most `limit` tasks of each sort. [UPKEEP-2]

    Accounts, and leases with units of named limits, are looked at whatever their queue: tasks of these queues may wait
    for them. [LIMIT-5]
    """

    queues: tuple[str, ...] | None
    limit: int


class Blob(msgspec.Struct, frozen=True, gc=False):
    """Bytes beside the log, under their SHA-256 in hex, by which events name them. [BLOB-1]"""

    digest: str
    data: bytes


class Kept(msgspec.Struct, frozen=True, gc=False):
    """A value to keep beside the log, under a name of a space, whatever is kept there now. None: keep none. [KEEP-2]"""

    space: str
    name: str
    value: str | None


class Saved(msgspec.Struct, frozen=True, gc=False):
    """A stream as the store has it: its fold, and the row by which the store finds it.

    fold    folded from the whole stream; None: this version cannot read it [LOG-5]
    row     as it is saved, right or not; None: there is none, as for every stream that is no task's. A store may leave
            out that of a task that was put aside
    """

    stream: str
    fold: Any
    row: Row | None = None


class Append(msgspec.Struct, frozen=True, gc=False):
    """Events to append to one stream that has `expected` events by now, and its projection after them. [LOG-2]

    Where a result holds several for one stream, each expects what those before it leave. `references` are all to which
    these events refer; the store keeps those that the stream does not have yet. [PRUNE-2]
    """

    stream: str
    expected: int
    envelopes: tuple[Envelope, ...]
    projection: Projection
    references: tuple[Reference, ...] = ()


class Result(msgspec.Struct, frozen=True, gc=False):
    """The decision of an operation: everything that the store writes, and the answer that it returns after the commit.

    answer         for the caller of the commit
    appends        events, a stream at a time, in this order
    projections    by stream: projections to save where nothing is appended, because time has moved the row or the row
                   was not what the log gives
    ended          ids of tasks that have ended, in it or before. After all that it writes, the store deletes the edges
                   to each of them, those of its first `DEPENDANTS_LIMIT` dependants in order of creation, and keeps its
                   name for `View.dependants_due` while there are more. It moves every task that then has no edge left
                   from the gate `waiting` to `waking`; a store moves no other gate. A store may delete edges and move
                   gates later, if nothing can be claimed or answered meanwhile as if it had not. [WAIT-3]
    aside          streams that cannot be read, declared or selected: the store moves them to the gate `unreadable`
                   until it writes them again; there no claim and no maintenance finds them. Queue, kind and state stay,
                   for `counts` [LOG-5]
    blobs          the bytes that the appended events name; the store does not write again what it keeps already
                   [BLOB-1]
    accounts       by name: the accounts as they are now, in place of what the store has [LIMIT-7]
    kept           values to keep beside the log, in the same transaction; the store writes them last, after those of
                   all operations, in the order of space and name. Of one name the last value counts [KEEP-2]
    children_left  ids of tasks of which children are still to be cancelled: the store keeps the names for
                   `View.children_due` [CANCEL-4]
    children_done  ids of tasks of which none is: the store forgets these names, before it keeps those above
    dedupes_freed  rows of dedupe keys that the store deletes, where the key is still that task's [DEDUPE-1]
    dedupes_taken  rows of dedupe keys as they are now, after those are deleted: in place of any other of the same key
    pruned         bytes that the store deletes after all else, with every reference to them; it keeps the names as
                   pruned until it keeps such bytes again [PRUNE-1]
    if_childless   only of a plain way: the result holds only where no task is cancelled with its parent, by
                   `Row.follows`; where one may be, the store takes it for None
    """

    answer: Any
    appends: tuple[Append, ...] = ()
    projections: tuple[tuple[str, Projection], ...] = ()
    ended: tuple[str, ...] = ()
    aside: tuple[str, ...] = ()
    blobs: tuple[Blob, ...] = ()
    accounts: tuple[tuple[str, Account], ...] = ()
    kept: tuple[Kept, ...] = ()
    children_left: tuple[str, ...] = ()
    children_done: tuple[str, ...] = ()
    if_childless: bool = False
    dedupes_freed: tuple[DedupeRow, ...] = ()
    dedupes_taken: tuple[DedupeRow, ...] = ()
    pruned: Pruning | None = None


class Undeclared(Exception):
    """The signal that an operation asked for streams, idempotency keys or dedupe keys that it had not declared.

    The store ends the whole transaction and begins it again with these declared as well, so that it always locks
    everything in the order of names. It is no refusal: an operation does not catch it.
    """

    def __init__(
        self, streams: Sequence[str] = (), keys: Sequence[str] = (), dedupes: Sequence[tuple[str, str]] = ()
    ) -> None:
        super().__init__(f"not declared: {[*streams, *keys, *dedupes]}")
        self.streams: tuple[str, ...] = tuple(streams)
        self.keys: tuple[str, ...] = tuple(keys)
        self.dedupes: tuple[tuple[str, str], ...] = tuple(dedupes)

    def __bool__(self) -> bool:
        return bool(self.streams or self.keys or self.dedupes)

    def and_also(self, other: Undeclared) -> Undeclared:
        """Return both together, so that one round is enough for them."""
        return Undeclared(
            tuple(dict.fromkeys((*self.streams, *other.streams))),
            tuple(dict.fromkeys((*self.keys, *other.keys))),
            tuple(dict.fromkeys((*self.dedupes, *other.dedupes))),
        )


class View(ReferenceReads, Protocol):
    """The consistent state that an operation's function sees: what it has declared, locked until the commit.

    Declared are the streams of `writes` and `reads`, all that are reached from `along` over edges, the tasks that
    `claim`, `due` and `followers` select, the streams of the events of `keys`, and those of the tasks that have the
    keys of `dedupes`. A request for another stream or key raises `Undeclared`; `ends` answers for all tasks. For the
    streams in `fold.sources` of a task that it has shown, it answers only `event`.
    An account is declared with the stream that says what it allows. Declared too are the tasks that a question about
    accounts finds, and the streams of the limits and queues of all tasks that it has shown; a store that cannot lock
    these in the order of names may still raise `Undeclared`.
    An operation that `prunes` may ask for every task, and for all references: no other operation adds a reference, or
    a task that has one, before the commit. Every operation may ask for the size of bytes, and read them.
    It also shows what earlier operations of the same commit have written.
    """

    @property
    def now_ms(self) -> int:
        """The store's clock, read once, after the store has taken the locks. [TIME-1]"""
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
        """Return a stream with its fold and its row; None: it has no events.

        Raises:
            UnknownEvent, LogDamaged, SchemaMismatch: the stream cannot be folded.
        """
        ...

    def event(self, stream: str, version: int, /) -> Recordable:
        """Return one event of a stream, decoded again at each call, so that no two callers share its values.

        Raises:
            LogDamaged, UnknownEvent: as `codec.read`; a store need not compare what this process has just written.
        """
        ...

    def blob(self, digest: str, /) -> bytes | None:
        """Return the bytes that the store keeps under a digest, unchecked; None: it keeps none. [BLOB-1]"""
        ...

    def keyed(self, key: str, /) -> Sequence[Envelope]:
        """Return all events that carry this idempotency key, in order of position. [REPEAT-4]

        Those of earlier operations in the same commit come last; their position may still be 0.
        """
        ...

    def dedupe(self, kind: str, key: str, /) -> DedupeRow | None:
        """Return the row of a dedupe key of a kind, whether its period is over or not; None: no task has it. [DEDUPE-1]

        The key and the stream of that task are locked, so no other operation takes or frees it before the commit. A
        store locks the key first, then reads the row, locks the stream, and reads the row again: the operation that
        ends the task frees its key under the lock of its stream alone.
        """
        ...

    def dedupes_over(self, limit: int, /) -> Sequence[DedupeRow]:
        """List rows of dedupe keys whose period is over, the earliest first, at most `limit`. [DEDUPE-4]

        Only for an operation that declares a dedupe key. A store need not lock them: it deletes one of `dedupes_freed`
        only where the key is still that task's.
        """
        ...

    def select(self, claim: Claim, /) -> Sequence[Saved]:
        """Return the tasks that a claim selects, in its order; only for an operation that has one.

        It is the operation's own `claim`, or one with fewer queues, more excluded kinds, another limit, or times of
        `affinity_due`. The
        operation may append to what the store selects, here or below, without declaring it among `writes`. Tasks that
        cannot be read come with the others, without a fold, and do not count against the limit. Behind many of them a
        store may show fewer than there are; the engine puts them aside, and a claim looks again.
        """
        ...

    @property
    def expired(self) -> Sequence[Saved]:
        """Of the operation's `due`, as all below: leased tasks whose check time has come by their row, oldest first.

        At most its `limit` and `LEASE_CHECKS_MAX` more: most are alive, and the store finds them again at their expiry.
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
    def deadlines_over(self) -> Sequence[Saved]:
        """Of the operation's `due`: tasks whose `cancel_ms` has come by their row, the earliest first. [DEADLINE-2]"""
        ...

    @property
    def promotable(self) -> Sequence[Saved]:
        """Of the operation's `due`: tasks at the gate `later` whose time has come, oldest due time first."""
        ...

    @property
    def due_accounts(self) -> Sequence[str]:
        """Of the operation's `due`: the names of the accounts whose `due_ms` has come, the earliest first.

        Those of limits and of schedules, `schedule/<name>`. [LIMIT-5] [SCHEDULE-6]
        """
        ...

    # --- limits ---------------------------------------------------------------------------------------------------

    def is_governed(self, queue: str, /) -> bool:
        """Check whether a queue has a stream of its own, that is, settings; every operation may ask."""
        ...

    def account(self, name: str, /) -> Account | None:
        """Return an account as the store has it; None: there is none. [LIMIT-7]"""
        ...

    def in_line(self, account: str, place: Place, section: str, limit: int, /) -> Sequence[Candidate]:
        """List the tasks at a place of one section under an account, in their order: by priority, then by age.

        At most `limit`. Only tasks whose rows say so: an operation that moves one looks at it first.
        """
        ...

    def count_ready(self, account: str, section: str, without: Collection[str], limit: int, /) -> int:
        """Count the tasks at the place `ready` of a section under an account, without some; at most `limit`."""
        ...

    def last_ready(self, account: str, section: str, without: Collection[str], /) -> Candidate | None:
        """Return the task that is last in their line, of those that `count_ready` counts; None: there is none."""
        ...

    def sections(self, account: str, limit: int, /) -> Sequence[str]:
        """List the sections that have tasks at the place `held` under an account, at most `limit`, in order."""
        ...

    def any_of(self, account: str, /) -> str | None:
        """Return the stream of a task that uses a limit, by its account; None: no task does.

        Of several it is the first by place, section, priority and creation.
        """
        ...

    def accounts_held(self, prefix: str, after: str, limit: int, /) -> Sequence[str]:
        """List the accounts with tasks at `held` whose name begins with `prefix`, beyond `after`, in order."""
        ...

    def order(self, stream: str, /) -> int | None:
        """Return a number that grows with the creation of a declared stream; None: it does not exist."""
        ...

    def running(self, queue: str, /) -> Sequence[Saved]:
        """List the running tasks of a queue; only for an operation that writes the stream of that queue."""
        ...

    @property
    def dependants_due(self) -> Sequence[str]:
        """For the operation's `due`: the first id of a task that has ended and has edges left, of any queue. [WAIT-3]

        So a look deletes at most `DEPENDANTS_LIMIT` edges.
        """
        ...

    @property
    def children_due(self) -> Sequence[Saved]:
        """For the operation's `due`: tasks of which children may still have to be cancelled, of any queue. [CANCEL-4]

        At most its limit. One that cannot be read has no fold.
        """
        ...

    def ends(self, ids: Sequence[str], /) -> Ends:
        """Return the ends of up to `AFTER_MAX` tasks, without a fold of each; one may be named twice. [WAIT-3]

        Of one that it shows as live, the end finds every edge that this operation writes, in whichever order they
        commit.
        """
        ...

    def edges(self, ids: Sequence[str], limit: int, /) -> Sequence[tuple[str, str]]:
        """Return edges of these tasks, at most `limit`: each the id of one, and of a task that it awaits. [WAIT-4]

        Until the commit no other operation adds one to them: for tasks that are not declared, a store that does not
        lock the whole raises `Undeclared`.
        """
        ...

    def followers(self, parent: str, adopted: Sequence[str], limit: int, /) -> Sequence[Saved]:
        """Select tasks that are cancelled with a parent, by `Row.follows`: its own, and those of the ids `adopted`.

        At most `limit`, in order of creation; the operation may append to them. [CANCEL-4]
        """
        ...


class EventOf(Protocol):
    """The events of the stream that a `Plain` gets."""

    def __call__(self, version: int, /) -> Recordable:
        """Return one of them; raises as `View.event`."""
        ...


class Plain(Protocol):
    """The plain case of an operation: one stream alone decides it."""

    def __call__(
        self,
        saved: Saved | None,
        now_ms: int,
        epoch: int,
        event_of: EventOf,
        may_hold_back: Callable[[str], bool] | None,
        /,
    ) -> Result | None:
        """Return what the store writes: one append with its blobs and ends, or nothing; None where it needs a view.

        Args:
            saved: the stream, as the view would show it; None: there is none.
            now_ms, epoch: as in the view.
            event_of: the events of that stream.
            may_hold_back: whether settings may count for a task of a queue: those of the queue, or a paused kind; None:
                the store has no settings.

        Raises:
            SagalogError: a refusal, which the operation's `decide` gives again with a view.
        """
        ...


class Operation(msgspec.Struct, frozen=True):
    """One unit that a store writes: its declarations, and a pure function of what it reads.

    It succeeds or fails independently of the other operations of its commit.

    decide    view -> the result to write; raises a refusal; the store may run it again
    writes    streams that it may append to, existing or not
    reads     streams that it reads beside them; the store locks all
    along     ids of tasks whose waits it follows: the store locks them, and all tasks that are reached from them over
              edges, so that two operations cannot each miss an edge or an end of the other. A store that locks the
              whole for a commit need not look for them before it is asked
    keys      idempotency keys that it looks for, and may put on record; the store locks them too, since no stream
              represents them
    claim     tasks to select for leasing; the operation reads the streams of its queues too
    due       maintenance to look for
    prunes    whether it deletes bytes that nothing needs: then the store locks all references [PRUNE-1]
    dedupes   dedupe keys that it looks for, each behind its kind; the store locks them too, and the tasks that have
              them [DEDUPE-1]
    drawn     streams among `writes` whose ids were drawn for it, which it begins where they are absent. A store may
              take them for absent without a look; where one exists after all, it runs the operation again with a look
    plain     as `decide`, for the plain case that one stream decides alone: the one of `writes`, or the only task that
              `claim` selects. It gets that stream as the view would show it, None where there is none; for `due` it
              gets None, where nothing is due. A store may ask it first and then needs no view; where it returns None,
              or raises, `decide` gives the result of the operation
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
    dedupes: tuple[tuple[str, str], ...] = ()
    prunes: bool = False

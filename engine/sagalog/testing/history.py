"""A checker of histories: the properties of every log, whichever process wrote it and whatever went wrong meanwhile.

    violations = check(engine.events())
    assert not violations, explain(violations)

Rule: the checker trusts no other code. It reads the recorded events only, so that a mistake in other code cannot hide
itself. Each property is one function that walks the log by itself: without it exactly its own violations pass. Knows no
fold, no reducer and no table.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count
from typing import Final

import msgspec

from sagalog.codec import Recorded
from sagalog.kernel import events as e
from sagalog.kernel.bounds import FENCE_EPOCH
from sagalog.kernel.values import TERMINAL
from sagalog.testing.breaker_history import breakers
from sagalog.testing.builds import builds
from sagalog.testing.deadlines import amendments, deadlines
from sagalog.testing.dedupe_history import dedupe_periods, dedupes
from sagalog.testing.dependencies import awaited, cancelled_children
from sagalog.testing.inheritance import Found, children, handed_over, inheritance, streams
from sagalog.testing.journal_history import journals
from sagalog.testing.limit_history import pauses, rates, slots, units
from sagalog.testing.obligations import Obligations, settles
from sagalog.testing.prune_history import named_in, prunings
from sagalog.testing.schedule_history import schedules


class Violation(msgspec.Struct, frozen=True):
    """One broken property: its name, the event at which it shows (`task/01K…@7`), and what is wrong in words."""

    property: str
    event: str
    text: str


def check(events: Iterable[Recorded], properties: Iterable[str] | None = None) -> list[Violation]:
    """Find every violation in a log, from its first event on, in the order of the properties and then of the log.

    Args:
        events: the whole log in order of position, as `Engine.events` gives it page by page.
        properties: names out of `PROPERTIES`; None: all of them.

    Raises:
        KeyError: there is no property of that name.
    """
    log = list(events)
    names = PROPERTIES if properties is None else properties
    return [Violation(name, at.name, text) for name in names for at, text in PROPERTIES[name](log)]


def explain(violations: Iterable[Violation]) -> str:
    """Write one line a violation, for the message of an assertion."""
    return "\n".join(f"{one.event} breaks {one.property!r}: {one.text}" for one in violations)


def _dense(log: Sequence[Recorded]) -> Found:
    """Check that positions and versions are 1, 2, 3, … [LOG-1]"""
    newest: dict[str, int] = {}
    for place, event in enumerate(log, start=1):
        if event.position != place:
            yield event, f"it is at position {event.position} and {place} was next"
        expected = newest.get(event.stream, 0) + 1
        if event.version != expected:
            yield event, f"version {expected} was next in its stream"
        newest[event.stream] = event.version


def _fenced(log: Sequence[Recorded]) -> Found:
    """Check that fences rise with every lease, and that a holder's writes carry its fence. [FENCE-1] [FENCE-2]"""
    for stream in streams(log):
        last = 0
        for event in stream:
            if isinstance(event.event, e.Leased):
                fence = event.event.fence
                if fence <= last or fence % FENCE_EPOCH != last % FENCE_EPOCH + 1:
                    yield event, f"fence {fence} follows fence {last}"
                last = fence
            elif (carried := _fence_of(event.event)) is not None and carried != last:
                yield event, f"it carries fence {carried} and the newest lease has {last}"


def _one_lease(log: Sequence[Recorded]) -> Found:
    """Check that at most one lease is open; an event ends it, and the clock only if it is over. [LEASE-1] [LEASE-4]"""
    for stream in streams(log):
        held: e.Leased | None = None
        expires_ms: int | None = None
        for event in stream:
            now = event.event
            if isinstance(now, e.Leased):
                if held is not None:
                    yield event, f"the lease of fence {held.fence}, held by {held.owner!r}, has not ended"
                held, expires_ms = now, now.expires_ms
            elif isinstance(now, e.Heartbeat):
                expires_ms = now.expires_ms
            if _needs_lease(now) and held is None:
                yield event, "no worker holds the task"
            by_clock = isinstance(now, e.LeaseExpired) and now.why == "clock"
            if by_clock and (expires_ms is None or event.at_ms < expires_ms):
                yield event, f"the lease runs until {expires_ms} and it is {event.at_ms}"
            if _ends_lease(now):
                held = None
            elif _ends_task(now) and held is not None:
                yield event, f"it leaves the lease of fence {held.fence} open"


def _terminal(log: Sequence[Recorded]) -> Found:
    """Check that only notes follow the end. [TERM-1]"""
    for stream in streams(log):
        ended: Recorded | None = None
        for event in stream:
            if ended is not None and not isinstance(event.event, e.Noted):
                yield event, f"the task ended with {ended.type!r} at version {ended.version}"
            if ended is None and _ends_task(event.event):
                ended = event


def _settled(log: Sequence[Recorded]) -> Found:
    """Check that only `quarantined` leaves something owed; each undo is registered and settled once. [COMP-6]"""
    for stream in streams(log):
        books = Obligations()
        completed: Recorded | None = None
        for event in stream:
            now = event.event
            if isinstance(now, e.CompensationRegistered) and now.id in books.standing and now.id not in books.inherited:
                yield event, f"compensation {now.id!r} is on record already"
            books.owe(now)
            if isinstance(now, e.Completed):
                completed = event
                if list(now.left) != books.left():
                    yield event, f"it leaves {list(now.left)}, and nothing replaces {books.left()}"
                for id in books.owed():
                    if id not in now.left:
                        books.settle(id)
            for id in settles(now):
                if not books.settle(id):
                    yield event, f"compensation {id!r} is not open: never registered, or settled before"
            owed = books.owed()
            if _ends_task(now) and not isinstance(now, e.Quarantined | e.Completed) and owed:
                yield event, f"{owed} are still owed"
            if isinstance(now, e.Quarantined) and list(now.owed) != owed:
                yield event, f"it names {list(now.owed)} as owed, and owed are {owed}"
        if completed is not None and books.owed():
            yield completed, f"{books.owed()} were left to no task"


def _in_reverse(log: Sequence[Recorded]) -> Found:
    """Check that a worker always undoes the last that is owed: none before its turn, none that never began. [COMP-5]"""
    for stream in streams(log):
        books = Obligations()
        for event in stream:
            now = event.event
            books.owe(now)
            last = books.owed()[-1:]
            if isinstance(now, e.CompensationDone) and now.id not in last:
                yield event, f"{now.id!r} was undone and the last that is owed is {last or 'none'}"
            for id in settles(now):
                books.settle(id)


def _steps(log: Sequence[Recorded]) -> Found:
    """Check that a step is recorded once per task, never if it was kept, and not if named as unrecorded. [STEP-1]"""
    for stream in streams(log):
        first: dict[str, Recorded] = {}
        for event in stream:
            if isinstance(event.event, e.Created):
                first = {one.name: event for one in event.event.steps}
            if isinstance(event.event, e.StepCompleted):
                name = event.event.name
                if name in first:
                    yield event, f"the step {name!r} is on record at version {first[name].version}"
                first.setdefault(name, event)
            elif isinstance(event.event, e.Quarantined):
                for step in event.event.steps:
                    if step.name in first:
                        yield event, f"it names the step {step.name!r} as unrecorded, and the step has a record"


def _waits(log: Sequence[Recorded]) -> Found:
    """Check that no worker leases a waiting task; waits of a name follow one another, each ends once.

    [WAIT-1] [WAIT-5]
    """
    for stream in streams(log):
        begun: defaultdict[str, set[int]] = defaultdict(set)
        open_: tuple[str, int] | None = None
        for event in stream:
            now = event.event
            if isinstance(now, e.Created):
                for one in now.waits:
                    begun[one.name] = {number for number, _ in one.numbered()}
                if now.after:
                    open_ = ("after", 0)
            elif isinstance(now, e.Parked):
                if open_ is not None:
                    yield event, f"it waits already, for {open_}"
                elif now.number != (first := next(one for one in count(1) if one not in begun[now.name])):
                    yield event, f"wait {now.number} of {now.name!r} begins, where {first} of that name is next"
                begun[now.name].add(now.number)
                open_ = (now.name, now.number)
            elif isinstance(now, e.Unblocked):
                if (now.wait, now.number) != open_:
                    yield event, f"wait {now.number} of {now.wait!r} is over, and open is {open_ or 'none'}"
                open_ = None
            elif isinstance(now, e.Leased) and open_ is not None:
                yield event, f"its wait {open_!r} is not over"
            elif _ends_work(now):
                open_ = None


def _signals(log: Sequence[Recorded]) -> Found:
    """Check that a wait takes a signal of its name, the oldest that no other wait has taken. [WAIT-2]"""
    for stream in streams(log):
        kept: list[tuple[int, str]] = []
        wanted: str | None = None
        for event in stream:
            now = event.event
            if isinstance(now, e.Signalled):
                kept.append((event.version, now.name))
            elif isinstance(now, e.Parked):
                wanted = now.signal
            elif isinstance(now, e.Unblocked) and now.by == "signal":
                oldest = next((one for one in kept if one[1] == wanted), None)
                if oldest is None or oldest[0] != now.signal_version:
                    yield event, f"it takes the signal at version {now.signal_version}, and next was {oldest or 'none'}"
                kept = [one for one in kept if one[0] != now.signal_version]


def _blobs(log: Sequence[Recorded]) -> Found:
    """Check that a SHA-256 in hex names bytes, and always means as many of them. [BLOB-1]"""
    sizes: dict[str, int] = {}
    for event in log:
        for digest, size_bytes in named_in(event.event):
            if not _SHA_256.fullmatch(digest):
                yield event, f"{digest!r} is no SHA-256 in hex"
            elif sizes.setdefault(digest, size_bytes) != size_bytes:
                yield event, f"{digest} is said to be {size_bytes} bytes, and was {sizes[digest]} before"


PROPERTIES: Final[Mapping[str, Callable[[Sequence[Recorded]], Found]]] = {
    "dense": _dense,
    "fenced": _fenced,
    "one_lease": _one_lease,
    "terminal": _terminal,
    "settled": _settled,
    "in_reverse": _in_reverse,
    "handed_over": handed_over,
    "inheritance": inheritance,
    "children": children,
    "steps": _steps,
    "waits": _waits,
    "signals": _signals,
    "awaited": awaited,
    "cancelled_children": cancelled_children,
    "blobs": _blobs,
    "prunings": prunings,
    "slots": slots,
    "units": units,
    "rates": rates,
    "pauses": pauses,
    "breakers": breakers,
    "deadlines": deadlines,
    "amendments": amendments,
    "builds": builds,
    "dedupes": dedupes,
    "dedupe_periods": dedupe_periods,
    "schedules": schedules,
    "journals": journals,
}


def _fence_of(event: e.Recordable) -> int | None:
    fence = getattr(event, "fence", None)
    assert fence is None or isinstance(fence, int)
    return fence


_HELD: Final = (
    e.Heartbeat,
    e.Released,
    e.LeaseExpired,
    e.StepCompleted,
    e.ArtifactPut,
    e.ChildAdopted,
    e.CompensationRegistered,
    e.Retried,
    e.Parked,
    e.CompensationDone,
    e.CompensationFailed,
    e.Completed,
    e.Used,
)
_ENDINGS: Final = (e.Released, e.LeaseExpired, e.Retried, e.Parked, e.CompensationFailed, e.Compensated, e.Completed)
_SHA_256: Final = re.compile("[0-9a-f]{64}")


def _needs_lease(event: e.Recordable) -> bool:
    return isinstance(event, _HELD) or (
        isinstance(event, e.Failed | e.Cancelled | e.Quarantined) and event.fence is not None
    )


def _ends_lease(event: e.Recordable) -> bool:
    return isinstance(event, _ENDINGS) or (
        isinstance(event, e.Failed | e.Cancelled | e.Quarantined) and event.fence is not None
    )


def _ends_work(event: e.Recordable) -> bool:
    return isinstance(event, e.Failed | e.Cancelled) or _ends_task(event)


def _ends_task(event: e.Recordable) -> bool:
    if isinstance(event, e.Failed | e.Cancelled):
        return event.to in TERMINAL
    return isinstance(event, e.Compensated | e.Completed | e.Quarantined)

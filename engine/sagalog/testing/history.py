"""A checker of histories: what must hold of any log, whoever wrote it and whatever went wrong meanwhile.

    violations = check(engine.events())
    assert not violations, explain(violations)

Rule: believes nobody. It reads the recorded events only, neither the folds of a store nor the reducer or the table of
the kernel, so that a mistake in those cannot hide itself. Each property is one function that walks the log by itself:
leaving one out lets exactly its own violations pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from sagalog.codec import Recorded
from sagalog.kernel import events as e
from sagalog.kernel.bounds import FENCE_EPOCH
from sagalog.kernel.values import TERMINAL, State


class Violation(msgspec.Struct, frozen=True):
    """One broken property: its name, the event at which it shows (`task/01K…@7`), and what is wrong in words."""

    property: str
    event: str
    text: str


Found = Iterator[tuple[Recorded, str]]


def check(events: Iterable[Recorded], properties: Iterable[str] | None = None) -> list[Violation]:
    """Every violation in a log, from its first event on, in the order of the properties and then of the log.

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
    """One line a violation, for the message of an assertion."""
    return "\n".join(f"{one.event} breaks {one.property!r}: {one.text}" for one in violations)


def _dense(log: Sequence[Recorded]) -> Found:
    """[LOG-1] Positions and versions are 1, 2, 3, …"""
    newest: dict[str, int] = {}
    for place, event in enumerate(log, start=1):
        if event.position != place:
            yield event, f"it stands at position {event.position} and {place} was next"
        expected = newest.get(event.stream, 0) + 1
        if event.version != expected:
            yield event, f"version {expected} was next in its stream"
        newest[event.stream] = event.version


def _fenced(log: Sequence[Recorded]) -> Found:
    """[FENCE-1] [FENCE-2] Fences rise with every lease, and what a lease's holder writes carries its fence."""
    for stream in _tasks(log):
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
    """[LEASE-1] [LEASE-4] At most one lease is open; it ends by an event, and by the clock only when it is over."""
    for stream in _tasks(log):
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
                yield event, "nobody holds the task"
            by_clock = isinstance(now, e.LeaseExpired) and now.why == "clock"
            if by_clock and (expires_ms is None or event.at_ms < expires_ms):
                yield event, f"the lease runs until {expires_ms} and it is {event.at_ms}"
            if _ends_lease(now):
                held = None
            elif _ends_task(now) and held is not None:
                yield event, f"it leaves the lease of fence {held.fence} open"


def _terminal(log: Sequence[Recorded]) -> Found:
    """[TERM-1] After the end there are only notes."""
    for stream in _tasks(log):
        ended: Recorded | None = None
        for event in stream:
            if ended is not None and not isinstance(event.event, e.Noted):
                yield event, f"the task ended with {ended.type!r} at version {ended.version}"
            if ended is None and _ends_task(event.event):
                ended = event


def _settled(log: Sequence[Recorded]) -> Found:
    """[COMP-6] Nothing is owed in `failed`, `cancelled` or `compensated`; each is registered and settled once."""
    for stream in _tasks(log):
        open_: list[str] = []
        planned: list[str] = []
        known: set[str] = set()
        for event in stream:
            now = event.event
            if isinstance(now, e.CompensationRegistered) and now.id in known:
                yield event, f"compensation {now.id!r} is on record already"
            _owe(now, open_, planned)
            known.update(open_, planned)
            for id in _settles(now):
                if id not in open_ and id not in planned:
                    yield event, f"compensation {id!r} is not open: never registered, or settled before"
                open_, planned = [one for one in open_ if one != id], [one for one in planned if one != id]
            if _ends_task(now) and not isinstance(now, e.Quarantined | e.Completed) and open_:
                yield event, f"{open_} are still owed"
            if isinstance(now, e.Quarantined) and list(now.owed) != open_:
                yield event, f"it names {list(now.owed)} as owed, and owed are {open_}"


def _in_reverse(log: Sequence[Recorded]) -> Found:
    """[COMP-5] What is undone is the last that is owed: nothing before its turn, nothing that never began."""
    for stream in _tasks(log):
        open_: list[str] = []
        planned: list[str] = []
        for event in stream:
            now = event.event
            _owe(now, open_, planned)
            if isinstance(now, e.CompensationDone) and now.id not in open_[-1:]:
                yield event, f"{now.id!r} was undone and the last that is owed is {open_[-1:] or 'none'}"
            gone = _settles(now)
            open_, planned = [one for one in open_ if one not in gone], [one for one in planned if one not in gone]


PROPERTIES: Final[Mapping[str, Callable[[Sequence[Recorded]], Found]]] = {
    "dense": _dense,
    "fenced": _fenced,
    "one_lease": _one_lease,
    "terminal": _terminal,
    "settled": _settled,
    "in_reverse": _in_reverse,
}


def _tasks(log: Sequence[Recorded]) -> Iterable[list[Recorded]]:
    streams: dict[str, list[Recorded]] = {}
    for event in log:
        if event.stream.startswith("task/"):
            streams.setdefault(event.stream, []).append(event)
    return streams.values()


def _owe(event: e.Recordable, open_: list[str], planned: list[str]) -> None:
    """Keep the books of what is owed, in order of registration; planned ones are owed from the first lease on."""
    if isinstance(event, e.Created):
        owed_at_once = event.to is State.COMPENSATING
        (open_ if owed_at_once else planned).extend(one.id or "" for one in event.compensations)
    elif isinstance(event, e.Leased):
        open_[:0], planned[:] = planned, []
    elif isinstance(event, e.CompensationRegistered):
        open_.append(event.id)


def _settles(event: e.Recordable) -> tuple[str, ...]:
    if isinstance(event, e.CompensationDone | e.CompensationWaived):
        return (event.id,)
    return event.settles if isinstance(event, e.Noted) else ()


def _fence_of(event: e.Recordable) -> int | None:
    fence = getattr(event, "fence", None)
    assert fence is None or isinstance(fence, int)
    return fence


_HELD: Final = (
    e.Heartbeat,
    e.Released,
    e.LeaseExpired,
    e.CompensationRegistered,
    e.Retried,
    e.CompensationDone,
    e.CompensationFailed,
    e.Completed,
)
_ENDINGS: Final = (e.Released, e.LeaseExpired, e.Retried, e.CompensationFailed, e.Compensated, e.Completed)


def _needs_lease(event: e.Recordable) -> bool:
    return isinstance(event, _HELD) or (
        isinstance(event, e.Failed | e.Cancelled | e.Quarantined) and event.fence is not None
    )


def _ends_lease(event: e.Recordable) -> bool:
    return isinstance(event, _ENDINGS) or (
        isinstance(event, e.Failed | e.Cancelled | e.Quarantined) and event.fence is not None
    )


def _ends_task(event: e.Recordable) -> bool:
    if isinstance(event, e.Failed | e.Cancelled):
        return event.to in TERMINAL
    return isinstance(event, e.Compensated | e.Completed | e.Quarantined)

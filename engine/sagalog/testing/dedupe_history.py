"""The properties of dedupe keys in a history: of one kind, one task at most has a key, computed from the events alone.

Rule: it trusts no other module. A clock that has stepped back lets a period end earlier, and no event need show the
step: the caller leaves out `dedupe_periods` where its clock may have. [DEDUPE-4] Knows no row.
"""

from __future__ import annotations

from collections.abc import Sequence

from sagalog.codec import Recorded
from sagalog.kernel import events as e
from sagalog.kernel.values import TERMINAL
from sagalog.testing.inheritance import Found


def dedupes(log: Sequence[Recorded]) -> Found:
    """Check that no task is created with a key that a live task has, or that one has for ever. [DEDUPE-1]"""
    held: dict[tuple[str, str], Recorded] = {}
    of_stream: dict[str, tuple[str, str]] = {}
    for event in log:
        now = event.event
        if isinstance(now, e.Created) and now.dedupe is not None:
            place = (now.kind, now.dedupe.key)
            holder = held.get(place)
            if holder is not None and holder.stream != f"task/{now.predecessor}" and not _is_of_period(holder):
                yield event, f"{holder.stream} has the dedupe key {now.dedupe.key!r} of the kind {now.kind!r}"
            held[place], of_stream[event.stream] = event, place
        elif _ends_task(now):
            ended = of_stream.get(event.stream)
            holder = None if ended is None else held.get(ended)
            if ended is not None and holder is not None and holder.stream == event.stream and _is_live(holder):
                del held[ended]


def dedupe_periods(log: Sequence[Recorded]) -> Found:
    """Check that no task is created with a key before the period of another is over. [DEDUPE-1] [DEDUPE-4]

    An event that is older than one before it shows that the clock has stepped back.
    """
    held: dict[tuple[str, str], tuple[str, int]] = {}
    latest_ms = 0
    for event in log:
        now = event.event
        if event.at_ms < latest_ms:
            held.clear()
        latest_ms = max(latest_ms, event.at_ms)
        if not isinstance(now, e.Created) or now.dedupe is None:
            continue
        place = (now.kind, now.dedupe.key)
        stream, until_ms = held.pop(place, ("", 0))
        if event.at_ms < until_ms and stream != f"task/{now.predecessor}":
            yield event, f"{stream} has the dedupe key {now.dedupe.key!r} of the kind {now.kind!r} until {until_ms}"
        if now.dedupe.period_ms is not None:
            # By the creation, not as the event says.
            until_ms = until_ms if now.predecessor is not None and until_ms else event.at_ms + now.dedupe.period_ms
            held[place] = (event.stream, until_ms)


def _scope_of(created: Recorded) -> str | None:
    assert isinstance(created.event, e.Created)
    return None if created.event.dedupe is None else created.event.dedupe.scope


def _is_live(created: Recorded) -> bool:
    return _scope_of(created) == "live"


def _is_of_period(created: Recorded) -> bool:
    return _scope_of(created) == "period"


def _ends_task(event: e.Recordable) -> bool:
    if isinstance(event, e.Failed | e.Cancelled):
        return event.to in TERMINAL
    return isinstance(event, e.Compensated | e.Completed | e.Quarantined)

"""The history of one task, as checks read it: its leases, and what was owed, undone and given as the result.

Rule: only events are read, and no fold of the engine, since a check that asked the engine would prove nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from sagalog import Recorded
from sagalog.kernel import events as e

E = TypeVar("E", bound=e.Recordable)

# Which events end a lease, listed once more on purpose.
_ENDING: Final = (
    e.Released,
    e.Parked,
    e.LeaseExpired,
    e.Retried,
    e.Failed,
    e.Cancelled,
    e.CompensationFailed,
    e.Compensated,
    e.Completed,
    e.Quarantined,
)


@dataclass(frozen=True)
class RecordedLease:
    """One lease as the log tells it: how it began, what was written under it, and how it ended (None: it did not)."""

    leased: Recorded
    lease: e.Leased
    written: tuple[Recorded, ...] = ()
    ended: Recorded | None = None


def leases_of(history: Iterable[Recorded]) -> list[RecordedLease]:
    """List the leases of one task, in order; where one began before the last had ended, the last stays open."""
    found: list[RecordedLease] = []
    for one in history:
        if isinstance(one.event, e.Leased):
            found.append(RecordedLease(one, one.event))
        elif found and found[-1].ended is None:
            last = found[-1]
            ended = one if isinstance(one.event, _ENDING) else None
            found[-1] = RecordedLease(last.leased, last.lease, (*last.written, one), ended)
    return found


def of_type(kind: type[E], events: Iterable[Recorded]) -> Iterator[E]:
    """Give the events of one type."""
    return (one.event for one in events if isinstance(one.event, kind))


def types_of(events: Iterable[Recorded]) -> list[str]:
    """List the types of the events, in order."""
    return [one.type for one in events]


def created(events: Iterable[Recorded]) -> e.Created:
    """Give the event that created the task."""
    return next(of_type(e.Created, events))


def result_of(events: Iterable[Recorded]) -> Mapping[str, Any]:
    """Give the result of the task; empty if it has not completed."""
    return next((one.result for one in of_type(e.Completed, events)), {})


def owed(events: Sequence[Recorded]) -> list[str]:
    """List the ids of the compensations that were registered, in order."""
    return [one.id for one in of_type(e.CompensationRegistered, events)]


def undone(events: Sequence[Recorded]) -> list[str]:
    """List the ids of the compensations that were done, in order."""
    return [one.id for one in of_type(e.CompensationDone, events)]

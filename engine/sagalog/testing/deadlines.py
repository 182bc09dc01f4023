"""The properties of deadlines and amendments in a log: what came when, and what was changed under whose lease.

Rule: as in `history`, a property reads events alone. Knows no fold.
"""

from __future__ import annotations

from collections.abc import Sequence

from sagalog.codec import Recorded
from sagalog.kernel import events as e
from sagalog.kernel.values import DEADLINE_CODES, State
from sagalog.testing.inheritance import Found, streams

_ENDINGS = (e.Released, e.LeaseExpired, e.Retried, e.Parked, e.CompensationFailed, e.Compensated, e.Completed)
# What a worker's lease holds as it is.
_HELD = ("queue", "priority", "run_at_ms", "payload", "affinity", "key", "build", "uses")


class _Times:
    """The deadlines of one task so far, and whether the one to start still counts."""

    def __init__(self) -> None:
        self.deadline_ms: int | None = None
        self.start_by_ms: int | None = None
        self.has_begun = False
        self.asked: str | None = None

    def see(self, event: e.Recordable) -> None:
        """Take what an event says of them."""
        if isinstance(event, e.Created):
            self.deadline_ms, self.start_by_ms = event.deadline_ms, event.start_by_ms
        elif isinstance(event, e.Amended):
            for name in ("deadline_ms", "start_by_ms"):
                given = getattr(event, name)
                if given is not None or name in event.removes:
                    setattr(self, name, given)
        elif isinstance(event, e.Leased):
            self.has_begun = True
        elif isinstance(event, e.CancelRequested):
            self.asked = event.code

    def come(self, at_ms: int) -> list[str]:
        """List the codes of those that have come by a time."""
        times = {"deadline": self.deadline_ms, "start_by": None if self.has_begun else self.start_by_ms}
        return [code for code, of_ms in times.items() if of_ms is not None and of_ms <= at_ms]


def deadlines(log: Sequence[Recorded]) -> Found:
    """Check that no work begins after a deadline, and that the engine names one which has come. [DEADLINE-1]"""
    for stream in streams(log):
        times, is_asked = _Times(), False
        for event in stream:
            now, come = event.event, times.come(event.at_ms)
            if isinstance(now, e.Leased) and now.purpose == "work" and come:
                yield event, f"a worker begins, and {come} had come at {event.at_ms}"
            if isinstance(now, e.CancelRequested):
                if is_asked:
                    yield event, "its holder was asked to stop before"
                is_asked = True
            if isinstance(now, e.Cancelled | e.CancelRequested) and now.code in _untimely(times, come):
                yield event, f"it names {now.code!r}, and {come or 'no deadline'} had come at {event.at_ms}"
            times.see(now)


def _untimely(times: _Times, come: Sequence[str]) -> set[str]:
    """Return the codes of deadlines that have not come, and for which no holder was asked to stop."""
    return set(DEADLINE_CODES) - {times.asked, *come}


def amendments(log: Sequence[Recorded]) -> Found:
    """Check that nothing changes under a lease which that holds, nor the payload after the first one. [AMEND-2]"""
    for stream in streams(log):
        is_held, leases, undoing = False, 0, False
        for event in stream:
            now = event.event
            if isinstance(now, e.Amended):
                changed = [name for name in _HELD if getattr(now, name) is not None or name in now.removes]
                changed += ["payload"] if now.payload_blob is not None else []
                if is_held and changed:
                    yield event, f"a worker holds the task, and {changed} change"
                if "payload" in changed and (leases or undoing):
                    yield event, "a worker has leased the task with another payload"
            elif isinstance(now, e.Leased):
                is_held, leases = True, leases + 1
            elif isinstance(now, _ENDINGS) or getattr(now, "verb", None) is not None:
                is_held = False
            undoing = undoing or getattr(now, "to", None) is State.COMPENSATING

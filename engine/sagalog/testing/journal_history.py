"""The property of journals in a history: numbers without a gap, and only what their writers may write.

Rule: it trusts no other module. Knows no fold.
"""

from __future__ import annotations

from collections.abc import Sequence

from sagalog.codec import Recorded
from sagalog.kernel import events as e
from sagalog.testing.inheritance import Found


def journals(log: Sequence[Recorded]) -> Found:
    """Check numbers, owners, fences and ends of journals. [JOURNAL-1] [JOURNAL-2] [JOURNAL-3]"""
    newest: dict[str, int] = {}
    owners: dict[str, str | None] = {}
    fences: dict[str, int] = {}
    closed: set[str] = set()
    # The fence of the lease that is open, by task.
    leases: dict[str, int] = {}
    for event in log:
        category, _, id = event.stream.partition("/")
        now = event.event
        if category == "task":
            _see_lease(leases, id, now)
        if category != "journal":
            continue
        if id in closed:
            yield event, "the journal was closed"
        if isinstance(now, e.JournalClosed):
            closed.add(id)
        elif isinstance(now, e.JournalAppended):
            expected = newest.get(id, 0) + 1
            if now.first != expected or now.entries < 1:
                yield event, f"it begins with entry {now.first}, has {now.entries}, and entry {expected} was next"
            if owners.setdefault(id, now.task) != now.task:
                yield event, f"it is of task {now.task!r}, and the journal of {owners[id]!r}"
            if now.task is not None and leases.get(now.task) != now.fence:
                yield event, f"it carries fence {now.fence}, and the open lease is {leases.get(now.task)}"
            if (now.fence or 0) < fences.get(id, 0):
                yield event, f"fence {now.fence} follows fence {fences[id]}"
            newest[id], fences[id] = now.first + now.entries - 1, now.fence or 0


def _see_lease(leases: dict[str, int], task: str, event: e.Recordable) -> None:
    """Take what an event says of the lease of its task: every event with a verb ends it."""
    if isinstance(event, e.Leased):
        leases[task] = event.fence
    elif isinstance(event, e.LeaseExpired | e.Cancelled | e.Quarantined) or getattr(event, "verb", None) is not None:
        leases.pop(task, None)

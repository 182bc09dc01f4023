"""What holds back the tasks of a listing: as much of an explanation as costs little for each of them.

Rule: what is read of settings, pauses and breakers is read once a listing; of a task that uses no limit nothing is
read. As of the whole package.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, Final, cast

from sagalog.engine.accounts import Accounts
from sagalog.engine.explanation import Reason
from sagalog.engine.explanations import of_breakers, of_limits, of_pauses
from sagalog.engine.explanations.subject import ReadView, Subject
from sagalog.engine.task import Task
from sagalog.kernel.state import TaskFold
from sagalog.store import Snapshot, View

# In the order of an explanation.
_REASONS: Final = (
    of_pauses.kind,
    of_pauses.queue,
    of_pauses.key,
    of_pauses.limits,
    of_limits.settings_unreadable,
    of_breakers.breakers,
)


class _Once:
    """A snapshot that is asked each question about settings once."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self.store = cache(snapshot.store)
        self.history = cache(snapshot.history)
        self.is_governed = cache(snapshot.is_governed)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._snapshot, name)


def held_back(snapshot: Snapshot, tasks: Iterable[Task], now_ms: int) -> dict[str, tuple[Reason, ...]]:
    """Return why tasks that are pending and due may not start, by id, without those that nothing holds back."""
    once = cast(Snapshot, _Once(snapshot))
    accounts = Accounts(cast(View, ReadView(once, now_ms)))
    found = {
        task.id: tuple(_reasons(Subject(once, cast(TaskFold, task), now_ms, accounts)))
        for task in tasks
        if task.state == "pending" and task.waiting is None and task.run_at_ms <= now_ms
    }
    return {id: reasons for id, reasons in found.items() if reasons}


def _reasons(subject: Subject) -> Iterator[Reason]:
    for sort in _REASONS:
        yield from sort(subject)
    if subject.asked and (held := subject.held) is not None:
        yield Reason("held", of_limits.named(held))

"""The categories of streams: the first part of a stream's name, its events, and how they are folded.

Rule: one record a category, and all code that handles streams of several categories asks the record. A stream is named
`<category>/<id>`. Knows no command: those of tasks are in `decide`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from sagalog.kernel import events as e
from sagalog.kernel.bounds import CARRY_EVENTS, JOURNAL_CARRY_EVENTS
from sagalog.kernel.evolve import evolve, evolve_store, fold
from sagalog.kernel.journals import carried_journal, evolve_journal
from sagalog.kernel.lifecycle import (
    JOURNAL_LIFE,
    LIMIT_LIFE,
    QUEUE_LIFE,
    SCHEDULE_LIFE,
    STORE_LIFE,
    TASK_LIFE,
    Lifecycle,
)
from sagalog.kernel.settings import (
    carried_limit,
    carried_queue,
    carried_schedule,
    evolve_limit,
    evolve_queue,
    evolve_schedule,
)
from sagalog.kernel.state import JournalFold, LimitFold, QueueFold, ScheduleFold, StoreFold, TaskFold

Fold = TypeVar("Fold")
# (event, version, at_ms)
Placed = tuple[e.Recordable, int, int]


@dataclass(frozen=True, slots=True)
class Category(Generic[Fold]):
    """The events, fold and table that all streams of one category share.

    name         what their names begin with
    events       the types of the events that they hold, and their names; no two categories share one
    fold_type    the type of their folds
    begin        id -> the fold of a stream without events
    evolve       fold, event, version, at_ms -> the fold after that event, or LogDamaged
    life         which event may follow in which state
    at_once      id and events -> the fold of a whole stream, where that is faster than event by event
    carry        fold -> the event that holds all of it, for streams without an end [CARRY-1]; None: they have an end
    carry_events after so many events such a stream carries it
    """

    name: str
    events: Mapping[type[e.Recordable], str]
    fold_type: type[Fold]
    begin: Callable[[str], Fold]
    evolve: Callable[[Fold, e.Recordable, int, int], Fold]
    life: Lifecycle
    at_once: Callable[[str, Iterable[Placed]], Fold] | None = None
    carry: Callable[[Fold], e.Recordable] | None = None
    carry_events: int = CARRY_EVENTS

    def stream(self, id: str) -> str:
        """Return the name of a stream."""
        return f"{self.name}/{id}"

    def fold(self, id: str, events: Iterable[Placed]) -> Fold:
        """Fold a whole stream; raises LogDamaged."""
        if self.at_once is not None:
            return self.at_once(id, events)
        folded = self.begin(id)
        for event, version, at_ms in events:
            folded = self.evolve(folded, event, version, at_ms)
        return folded


def _named(kinds: Iterable[type[e.Recordable]]) -> Mapping[type[e.Recordable], str]:
    return {kind: e.NAMES[kind] for kind in kinds}


TASK: Final = Category("task", _named(e.TASK_EVENTS), TaskFold, TaskFold, evolve, TASK_LIFE, at_once=fold)
STORE: Final = Category("store", _named(e.STORE_EVENTS), StoreFold, StoreFold, evolve_store, STORE_LIFE)
LIMIT: Final = Category(
    "limit", _named(e.LIMIT_EVENTS), LimitFold, LimitFold, evolve_limit, LIMIT_LIFE, carry=carried_limit
)
QUEUE: Final = Category(
    "queue", _named(e.QUEUE_EVENTS), QueueFold, QueueFold, evolve_queue, QUEUE_LIFE, carry=carried_queue
)
SCHEDULE: Final = Category(
    "schedule",
    _named(e.SCHEDULE_EVENTS),
    ScheduleFold,
    ScheduleFold,
    evolve_schedule,
    SCHEDULE_LIFE,
    carry=carried_schedule,
)

JOURNAL: Final = Category(
    "journal",
    _named(e.JOURNAL_EVENTS),
    JournalFold,
    JournalFold,
    evolve_journal,
    JOURNAL_LIFE,
    carry=carried_journal,
    carry_events=JOURNAL_CARRY_EVENTS,
)

CATEGORIES: Final[Mapping[str, Category[Any]]] = {
    one.name: one for one in (TASK, STORE, LIMIT, QUEUE, SCHEDULE, JOURNAL)
}


def category_of(stream: str) -> Category[Any] | None:
    """Return the category of a stream, by its name; None: this version knows none."""
    return CATEGORIES.get(stream.partition("/")[0])

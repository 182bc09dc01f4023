"""The reasons in what a task is parked for, or was created to wait for: a signal, the ends of other tasks, a time.

Rule: as of the whole package. A wait may end by any of the three. [WAIT-3]
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sagalog.codec import read
from sagalog.engine.explanation import Reason
from sagalog.engine.explanations.subject import Subject
from sagalog.errors import Corrupt
from sagalog.kernel.events import awaited_tasks
from sagalog.kernel.state import Waiting
from sagalog.kernel.values import Parameters

# How many of the tasks that it waits for are named.
NAMED_MAX: Final = 64


def waits(subject: Subject) -> Iterator[Reason]:
    """What its wait is for, or that it is over. [WAIT-1] [WAIT-5]"""
    waiting = subject.task.waiting
    if waiting is None:
        return
    live = _live(subject, waiting)
    is_over = waiting.until_ms is not None and waiting.until_ms <= subject.now_ms
    if is_over or (waiting.tasks and not live):
        yield Reason("wait_over", {"wait": waiting.name})
        return
    common: Parameters = {"wait": waiting.name}
    if waiting.until_ms is not None:
        common["until_ms"] = waiting.until_ms
    if waiting.is_sleep:
        yield Reason("sleeps", common)
    if waiting.signal is not None:
        yield Reason("waits_for_signal", {"task": subject.task.id, **common, "signal": waiting.signal})
    if waiting.tasks:
        named = tuple(live[:NAMED_MAX])
        yield Reason("waits_for_tasks", {**common, "tasks": waiting.tasks, "live": len(live), "ids": named})


def _live(subject: Subject, waiting: Waiting) -> list[str]:
    """Return the ids of the tasks that it waits for and that have not ended, or cannot be read, in its order."""
    if not waiting.tasks:
        return []
    snapshot = subject.snapshot
    try:
        ids = awaited_tasks(read(snapshot.recorded(subject.task.id, waiting.version)))
    except Corrupt:
        # The store's own edges name those that it still awaits.
        ids = () if subject.saved is None else subject.saved.awaited
    ended = snapshot.ends(ids).ended
    return [id for id in ids if id not in ended]

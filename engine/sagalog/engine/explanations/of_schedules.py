"""Why a schedule creates no task now: it has stopped, is paused, or is not due, or its nominal time has no task.

Rule: what the next claim does with it, the functions of maintenance say; nothing is decided here anew. As of the whole
package. [SCHEDULE-2] [SCHEDULE-7]
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from sagalog.codec import read
from sagalog.engine.explanation import Explanation, Reason
from sagalog.engine.explanations.of_pauses import parameters_of
from sagalog.engine.pauses import pause_at
from sagalog.engine.schedule_times import asked_of, no_schedule
from sagalog.errors import Corrupt
from sagalog.kernel import commands as c
from sagalog.kernel import events as e
from sagalog.kernel.decide.settings import decide_setting
from sagalog.kernel.state import ScheduleFold
from sagalog.kernel.values import Parameters, Schedule, Stopped
from sagalog.store import Snapshot

# The event that has stopped a schedule is among its newest: only a pause and a carried fold may follow.
_NEWEST: Final = 3


def explained_schedule(snapshot: Snapshot, name: str, now_ms: int) -> Explanation:
    """Return why a schedule creates no task at `now_ms`; raises NotFound."""
    stream = f"schedule/{name}"
    try:
        fold: ScheduleFold | None = snapshot.fold(stream)
    except Corrupt as error:
        return _answer(name, [Reason("unreadable", {"stream": stream, "error": error.message})])
    if fold is None or fold.is_removed or fold.schedule is None:
        raise no_schedule(name)
    if fold.due_ms is None:
        return _answer(name, [*_stopped(snapshot, fold, fold.schedule), *_paused(snapshot, fold)])
    match asked_of(fold, now_ms):
        case c.StopSchedule() as stop:
            # It is due, and the first claim of a process such as this one stops it.
            return _answer(name, [_stop(name, fold.schedule, stop.code, stop.parameters)])
        case c.FireSchedule() as fire:
            return _fired(snapshot, fold, fire)
        case c.ResetSchedule() as reset:
            return _answer(name, list(_ahead(snapshot, fold, reset.next_ms)))
        case _:
            return _answer(name, list(_ahead(snapshot, fold, fold.due_ms)))


def _answer(name: str, reasons: Sequence[Reason], notes: Sequence[Reason] = ()) -> Explanation:
    return Explanation(None, None, not reasons, tuple(reasons), tuple(notes), name)


def _stopped(snapshot: Snapshot, fold: ScheduleFold, schedule: Schedule) -> Iterator[Reason]:
    """It has stopped by itself, or none of its times is left. [SCHEDULE-7]"""
    if fold.stopped is None:
        if fold.next_ms is None:
            yield _stop(fold.id, schedule, "never_fires", None)
        return
    for envelope in reversed(snapshot.history(f"schedule/{fold.id}", max(0, fold.version - _NEWEST))):
        try:
            event = read(envelope)
        except Corrupt:
            break
        if isinstance(event, e.ScheduleStopped):
            yield _stop(fold.id, schedule, event.code, event.parameters, envelope.at_ms)
            return
    yield _stop(fold.id, schedule, fold.stopped, None)


def _stop(
    name: str, schedule: Schedule, code: Stopped, found: Parameters | None, since_ms: int | None = None
) -> Reason:
    """Return the reason of a stop, with what the process has found that stopped it."""
    parameters: Parameters = {"schedule": name}
    if code == "zone_unknown":
        parameters["zone"] = schedule.zone
    elif code == "task_refused":
        parameters |= found or {}
    elif schedule.cron is not None:
        parameters["cron"] = schedule.cron
        if found:
            # The record has the fields, and what was wrong with them behind.
            parameters["text"] = str(found["cron"]).removeprefix(f"{schedule.cron}: ")
    if since_ms is not None:
        parameters["since_ms"] = since_ms
    return Reason(code, parameters)


def _paused(snapshot: Snapshot, fold: ScheduleFold) -> Iterator[Reason]:
    """An operator has paused it. [PAUSE-1]"""
    pause = pause_at(snapshot, f"schedule/{fold.id}", fold.paused)
    if pause is not None:
        yield Reason("paused_schedule", {"schedule": fold.id, **parameters_of(pause)})


def _ahead(snapshot: Snapshot, fold: ScheduleFold, nominal_ms: int) -> Iterator[Reason]:
    """Its next nominal time has not come; and as it is now, that one would have no task. [SCHEDULE-5]"""
    yield Reason("not_due", {"until_ms": nominal_ms})
    assert fold.schedule is not None
    if fold.schedule.overlap == "skip" and fold.task is not None and _lives(snapshot, fold.task):
        yield Reason("overlap", {"task": fold.task, "nominal_ms": nominal_ms})


def _fired(snapshot: Snapshot, fold: ScheduleFold, fire: c.FireSchedule) -> Explanation:
    """Return what the next claim does with the nominal times that have come. [SCHEDULE-2]"""
    exists = tuple([id for id in fire.tasks if _exists(snapshot, id)])
    lives = fold.task is not None and _lives(snapshot, fold.task)
    events = decide_setting(fold, msgspec.structs.replace(fire, exists=exists, lives=lives))
    created = [event.task for event in events if isinstance(event, e.ScheduleFired)]
    if created:
        assert fold.due_ms is not None
        return _answer(fold.id, [], [Reason("due", {"since_ms": fold.due_ms, "task": created[-1]})])
    newest = events[-1]
    assert isinstance(newest, e.ScheduleSkipped)
    parameters: Parameters = {"nominal_ms": newest.nominal_ms}
    if newest.code == "overlap" and fold.task is not None:
        parameters["task"] = fold.task
    elif newest.code == "exists":
        parameters["task"] = fire.tasks[fire.due.index(newest.nominal_ms)]
    return _answer(fold.id, [Reason(newest.code, parameters)])


def _lives(snapshot: Snapshot, id: str) -> bool:
    """Check whether a task has not ended; one that cannot be read holds no schedule up. [LOG-5]"""
    try:
        task = snapshot.task(id)
    except Corrupt:
        return False
    return task is not None and not task.is_terminal


def _exists(snapshot: Snapshot, id: str) -> bool:
    try:
        return snapshot.task(id) is not None
    except Corrupt:
        return True

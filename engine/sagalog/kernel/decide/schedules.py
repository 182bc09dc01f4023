"""The commands on schedules: set, removed, paused and resumed by operators; fired, stopped and reset by maintenance.

Rule: which nominal times there are is an argument; what becomes of them is decided here, once for each
[SCHEDULE-2]. Knows no cron expression and no time zone.
"""

from __future__ import annotations

from typing import Final

from sagalog.errors import NotFound
from sagalog.kernel import commands as c
from sagalog.kernel import events as e
from sagalog.kernel.bounds import LATE_MS
from sagalog.kernel.decide.rules import cut
from sagalog.kernel.settings import is_same_schedule
from sagalog.kernel.state import ScheduleFold
from sagalog.kernel.values import Missed

Events = tuple[e.Recordable, ...]


def set_schedule(fold: ScheduleFold, command: c.SetSchedule) -> Events:
    """Set a schedule; one that has stopped goes on, also where it is the same. [SCHEDULE-1]"""
    is_set = fold.version > 0 and not fold.is_removed and fold.stopped is None
    if is_set and is_same_schedule(fold.schedule, command.schedule):
        return ()
    assert command.next_ms is not None
    return (e.ScheduleSet(command.schedule, command.anchor_ms, command.settled_ms, command.next_ms),)


def remove_schedule(fold: ScheduleFold, command: c.RemoveSchedule) -> Events:
    """Remove a schedule. [SCHEDULE-1]"""
    _require_schedule(fold, command)
    return (e.ScheduleRemoved(),)


def pause_schedule(fold: ScheduleFold, command: c.PauseSchedule) -> Events:
    """Pause a schedule. [PAUSE-1]"""
    _require_schedule(fold, command)
    return () if fold.paused else (e.SchedulePaused(cut(command.reason)),)


def resume_schedule(fold: ScheduleFold, command: c.ResumeSchedule) -> Events:
    """Resume a schedule that was paused, or has stopped. [PAUSE-1] [SCHEDULE-7]"""
    _require_schedule(fold, command)
    if not fold.paused and fold.stopped is None:
        return ()
    assert command.next_ms is not None
    return (e.ScheduleResumed(command.settled_ms, command.next_ms),)


def fire_schedule(fold: ScheduleFold, command: c.FireSchedule) -> Events:
    """Settle the nominal times that have come: each fires, or is skipped, once. [SCHEDULE-2]"""
    due_ms = fold.due_ms
    if fold.schedule is None or due_ms is None or not command.due or command.due[-1] < due_ms:
        return ()
    kept = _fired(fold.schedule.missed, command.due, command.now_ms)
    if not kept:
        # The newest is missed too; those before it begin with the one that was next on record.
        first_ms = due_ms if command.due[-1] > due_ms else None
        return (e.ScheduleSkipped(command.due[-1], "missed", command.next_ms, first_ms),)
    missed_ms = due_ms if kept[0] > due_ms else None
    found: list[e.Recordable] = []
    lives = command.lives
    ids = dict(zip(command.due, command.tasks, strict=True))
    for nominal_ms, next_ms in zip(kept, (*kept[1:], command.next_ms), strict=True):
        if lives and fold.schedule.overlap == "skip":
            found.append(e.ScheduleSkipped(nominal_ms, "overlap", next_ms, missed_ms))
        elif ids[nominal_ms] in command.exists:
            found.append(e.ScheduleSkipped(nominal_ms, "exists", next_ms, missed_ms))
        else:
            found.append(e.ScheduleFired(nominal_ms, ids[nominal_ms], next_ms, missed_ms))
            lives = True
        missed_ms = None
    return tuple(found)


def stop_schedule(fold: ScheduleFold, command: c.StopSchedule) -> Events:
    """Stop a schedule that cannot go on. [SCHEDULE-7]"""
    return () if fold.due_ms is None else (e.ScheduleStopped(command.code, command.parameters),)


def reset_schedule(fold: ScheduleFold, command: c.ResetSchedule) -> Events:
    """Begin a schedule anew that is ahead of the clock by more than its period. [SCHEDULE-3]"""
    if fold.due_ms is None or not fold.is_ahead(command.now_ms):
        return ()
    return (e.ScheduleReset(command.now_ms, command.next_ms),)


def _fired(missed: Missed, due: tuple[int, ...], now_ms: int) -> tuple[int, ...]:
    """Return the nominal times that are to fire, of those that have come. [SCHEDULE-4]"""
    match missed:
        case "all":
            return due
        case "one":
            return due[-1:]
        case "skip":
            return due[-1:] if now_ms - due[-1] <= LATE_MS else ()


def _require_schedule(fold: ScheduleFold, command: c.Setting) -> None:
    if not fold.version or fold.is_removed:
        raise NotFound(f"there is no schedule {command.id!r}; set it first, or check its name", schedule=command.id)


# Command, function, and the names of the events that it may write.
SCHEDULE_DECIDERS: Final = (
    (c.SetSchedule, set_schedule, frozenset({"schedule_set"})),
    (c.RemoveSchedule, remove_schedule, frozenset({"schedule_removed"})),
    (c.PauseSchedule, pause_schedule, frozenset({"schedule_paused"})),
    (c.ResumeSchedule, resume_schedule, frozenset({"schedule_resumed"})),
    (c.FireSchedule, fire_schedule, frozenset({"schedule_fired", "schedule_skipped"})),
    (c.StopSchedule, stop_schedule, frozenset({"schedule_stopped"})),
    (c.ResetSchedule, reset_schedule, frozenset({"schedule_reset"})),
)

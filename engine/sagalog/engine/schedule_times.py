"""What is to be done with a schedule now, by its fold and the time: a command, with the nominal times filled in.

Rule: it depends on the fold, the time and the machine's time zones, and on nothing else. A zone that this machine does
not know stops the schedule where maintenance meets it, and is refused where a caller does [SCHEDULE-7]. Knows no store.
"""

from __future__ import annotations

import msgspec

from sagalog import recurrence
from sagalog.errors import InvalidValue, NotFound
from sagalog.kernel import commands as c
from sagalog.kernel.bounds import MISSED_MAX
from sagalog.kernel.state import ScheduleFold
from sagalog.kernel.values import Schedule
from sagalog.validation.schedules import unknown_zone


def timed(
    fold: ScheduleFold, command: c.SetSchedule | c.ResumeSchedule, now_ms: int
) -> c.SetSchedule | c.ResumeSchedule:
    """Fill in the times of a schedule that begins, or goes on, now. [SCHEDULE-1]

    Raises:
        InvalidValue: this machine does not know its zone, or it has no time left.
    """
    is_new = isinstance(command, c.SetSchedule)
    schedule = command.schedule if isinstance(command, c.SetSchedule) else fold.schedule
    if schedule is None:
        # It was never set, and the kernel refuses to resume it.
        return command
    anchor_ms = now_ms if is_new else fold.anchor_ms
    settled_ms = fold.settled_at(now_ms)
    next_ms = first_after(schedule, anchor_ms, settled_ms)
    if next_ms is None:
        raise InvalidValue(f"schedule {command.id!r} has no time after this one left; set another", path="cron")
    filled = msgspec.structs.replace(command, settled_ms=settled_ms, next_ms=next_ms)
    return msgspec.structs.replace(filled, anchor_ms=anchor_ms) if isinstance(filled, c.SetSchedule) else filled


def first_after(schedule: Schedule, anchor_ms: int, after_ms: int) -> int | None:
    """Return the first nominal time behind another, for a caller; raises InvalidValue."""
    try:
        return recurrence.first_after(schedule, anchor_ms, after_ms)
    except recurrence.UnknownZone as error:
        raise unknown_zone(schedule.zone) from error
    except recurrence.InvalidCron as error:
        raise InvalidValue(f"cron: {schedule.cron!r} is no expression here: {error}", path="cron") from error


def no_schedule(name: str) -> NotFound:
    """Return the error of a query that names a schedule which was never set, or was removed."""
    return NotFound(f"there is no schedule {name!r}; set it first, or check its name", schedule=name)


def asked_of(fold: ScheduleFold, now_ms: int) -> c.Setting | None:
    """Return what maintenance has to do with a schedule now; None: nothing. [SCHEDULE-3] [SCHEDULE-4]"""
    schedule, due_ms = fold.schedule, fold.due_ms
    if schedule is None or due_ms is None:
        return None
    try:
        if fold.is_ahead(now_ms):
            first_ms = recurrence.first_after(schedule, fold.anchor_ms, now_ms)
            if first_ms is None:
                return c.StopSchedule(id=fold.id, code="never_fires")
            return c.ResetSchedule(id=fold.id, now_ms=now_ms, next_ms=first_ms)
        if now_ms < due_ms:
            return None
        due, next_ms = _come(schedule, fold.anchor_ms, due_ms, now_ms)
    except recurrence.UnknownZone:
        return c.StopSchedule(id=fold.id, code="zone_unknown", parameters={"zone": schedule.zone})
    except recurrence.InvalidCron as error:
        # A version of cronsim refuses what another one took.
        return c.StopSchedule(id=fold.id, code="never_fires", parameters={"cron": f"{schedule.cron}: {error}"})
    ids = tuple([task_id(fold.id, nominal_ms) for nominal_ms in due])
    return c.FireSchedule(id=fold.id, now_ms=now_ms, due=due, tasks=ids, next_ms=next_ms)


def task_id(schedule: str, nominal_ms: int) -> str:
    """Return the id of the task that a schedule creates for a nominal time. [SCHEDULE-2]"""
    return f"{schedule}@{recurrence.spelled(nominal_ms)}"


def _come(schedule: Schedule, anchor_ms: int, due_ms: int, now_ms: int) -> tuple[tuple[int, ...], int | None]:
    """Return the nominal times that may fire, from the one on record to now, and the one that comes next."""
    next_ms = recurrence.first_after(schedule, anchor_ms, due_ms)
    if next_ms is None or next_ms > now_ms:
        return (due_ms,), next_ms
    count = MISSED_MAX if schedule.missed == "all" else 1
    found = recurrence.newest(schedule, anchor_ms, due_ms, now_ms, count)
    due = found if len(found) == count else (due_ms, *found)
    return due, recurrence.first_after(schedule, anchor_ms, now_ms)

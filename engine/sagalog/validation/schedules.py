"""The validation of the calls on schedules: when they fire, and which task they create.

Rule: as for limits, a refusal names the argument and says what to give instead; an expression that never fires, or a
zone that this machine does not know, is refused when it is set [SCHEDULE-1]. Knows no state and no store.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeVar, get_args

import msgspec

from sagalog import recurrence
from sagalog.errors import InvalidValue, OverBound
from sagalog.kernel import bounds
from sagalog.kernel import commands as c
from sagalog.kernel.values import Missed, Overlap, Retry, Schedule, TaskTemplate
from sagalog.validation import commands as forms
from sagalog.validation.values import check_integer, check_name, check_text, shown

T = TypeVar("T")

# Any time: an expression that has none within 50 years of it never fires.
_SOME_TIME_MS: Final = 1_800_000_000_000


def check_schedule_name(name: object, path: str = "name") -> str:
    """Return the name of a schedule, which is the beginning of its tasks' ids; raises InvalidValue."""
    checked = check_name(name, path)
    if len(checked) > bounds.SCHEDULE_NAME_CHARACTERS_MAX:
        raise InvalidValue(
            f"{path}: at most {bounds.SCHEDULE_NAME_CHARACTERS_MAX} characters, since the id of each task adds its "
            f"time; found {len(checked)}",
            path=path,
        )
    return checked


def set_schedule(
    name: str,
    kind: str,
    payload: Any,
    *,
    cron: str | None,
    every_ms: int | None,
    zone: str,
    missed: Missed,
    overlap: Overlap,
    queue: str,
    priority: int,
    affinity: str | None,
    key: str | None,
    retry: Retry | None,
    waive_compensation: str | None,
    tags: Mapping[str, str] | None,
    correlation_id: str | None,
    uses: Mapping[str, int] | None,
) -> c.SetSchedule:
    """Make the command behind `Engine.set_schedule`; raises InvalidValue, OverBound."""
    id = check_schedule_name(name)
    task = forms.create(
        kind,
        payload,
        id=id,
        queue=queue,
        priority=priority,
        affinity=affinity,
        key=key,
        retry=retry,
        waive_compensation=waive_compensation,
        tags=tags,
        correlation_id=correlation_id,
        uses=uses,
    )
    template = TaskTemplate(
        task.kind,
        task.queue,
        task.priority,
        task.policy,
        task.payload,
        task.waiver,
        task.tags,
        task.affinity,
        task.key,
        task.correlation_id,
        task.uses,
    )
    schedule = Schedule(
        _zone(zone),
        _one_of(missed, "missed", get_args(Missed)),
        _one_of(overlap, "overlap", get_args(Overlap)),
        template,
        *_recurrence(cron, every_ms),
    )
    _require_fires(schedule)
    _require_fits(schedule)
    return c.SetSchedule(id=id, schedule=schedule)


def remove_schedule(name: str) -> c.RemoveSchedule:
    """Make the command behind `Engine.remove_schedule`; raises InvalidValue."""
    return c.RemoveSchedule(id=check_schedule_name(name))


def unknown_zone(zone: str, path: str = "zone") -> InvalidValue:
    """Return the refusal of a time zone that this machine does not know."""
    return InvalidValue(
        f"{path}: this machine knows no time zone {zone!r}; give an IANA name, as Europe/Berlin, or update tzdata",
        path=path,
    )


def _recurrence(cron: object, every_ms: object) -> tuple[str | None, int | None]:
    if (cron is None) == (every_ms is None):
        found = "both" if cron is not None else "neither"
        raise InvalidValue(f"cron, every_ms: expected one of the two, found {found}", path="cron")
    if every_ms is not None:
        return None, check_integer(every_ms, "every_ms", bounds.EVERY_MS_MIN, bounds.EVERY_MS_MAX)
    return check_text(cron, "cron", bounds.CRON_CHARACTERS_MAX), None


def _zone(zone: object) -> str:
    return check_name(zone, "zone")


def _one_of(given: T, path: str, allowed: tuple[str, ...]) -> T:
    if type(given) is not str or given not in allowed:
        raise InvalidValue(f"{path}: expected one of {', '.join(allowed)}, found {shown(given)}", path=path)
    return given


def _require_fires(schedule: Schedule) -> None:
    if schedule.cron is None:
        if schedule.zone != recurrence.UTC_ZONE:
            raise InvalidValue("zone: an interval has none; leave it out, or give cron=", path="zone")
        return
    try:
        recurrence.check(schedule)
        fires = recurrence.first_after(schedule, 0, _SOME_TIME_MS) is not None
    except recurrence.UnknownZone as error:
        raise unknown_zone(schedule.zone) from error
    except recurrence.InvalidDay:
        fires = False
    except recurrence.InvalidCron as error:
        raise InvalidValue(f"cron: {schedule.cron!r} is no expression: {error}", path="cron") from error
    if not fires:
        raise InvalidValue(f"cron: {schedule.cron!r} never fires; check the day and the month", path="cron")


def _require_fits(schedule: Schedule) -> None:
    size = len(msgspec.json.encode(schedule))
    if size > bounds.SCHEDULE_BYTES_MAX:
        raise OverBound(
            f"the schedule takes {size:,} bytes as JSON and the bound is {bounds.SCHEDULE_BYTES_MAX:,}; let the "
            "handler find what the payload holds",
            bound="schedule",
            maximum=bounds.SCHEDULE_BYTES_MAX,
        )

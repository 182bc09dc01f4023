"""The nominal times of schedules: cron expressions in time zones, and intervals, as milliseconds since 1970.

Rule: `cronsim` and the time zones are imported on first use, since few programs have schedules. Going forward defines
which times there are; going back only finds where to begin, so no look grows with the time that has passed
[SCHEDULE-4]. Knows no store, no clock and no fold.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from sagalog.kernel.values import Schedule

if TYPE_CHECKING:
    from datetime import datetime, tzinfo

# `cronsim` refuses these names.
_NAMES: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
NAMES: Final = tuple(_NAMES)
# The fields of an expression, and what each takes, in the words of a refusal.
_TAKEN: Final = (
    ("minute", "0 to 59"),
    ("hour", "0 to 23"),
    ("day of the month", "1 to 31, L or LW"),
    ("month", "1 to 12, or JAN to DEC"),
    ("day of the week", "0 to 7, or SUN to SAT"),
)
FIELDS: Final = len(_TAKEN)
UTC_ZONE: Final = "UTC"

# A clock that is set back by its zone repeats up to so much; going back begins behind it.
_REPEATED_MS: Final = 3 * 3_600_000
_SECOND_MS: Final = 1_000
# The last second of the year 9998: arithmetic in a zone may pass it by a day.
_LAST_MS: Final = 253_370_764_799_000


# What `cronsim` raises by mistake for some odd fields.
_FAULTS: Final = (ValueError, AssertionError, TypeError)


class UnknownZone(Exception):
    """The signal that this machine knows no time zone of a name."""


class InvalidCron(Exception):
    """The signal that a text is no cron expression of five fields, and why, in words."""


class InvalidDay(InvalidCron):
    """The signal that each field of an expression is one, and that no day has them together."""


def check(schedule: Schedule) -> None:
    """Check that a schedule can be computed here; raises InvalidCron, InvalidDay, UnknownZone."""
    if schedule.cron is not None:
        zone = _zone(schedule.zone)
        fields = _fields(schedule.cron)
        for place, field in enumerate(fields.split()):
            if not _is_taken(place, field):
                what, range = _TAKEN[place]
                raise InvalidCron(f"the {what} is {field!r}, which is not of {range}")
        try:
            next(_walk(fields, zone, 0), None)
        except (InvalidCron, *_FAULTS) as error:
            raise InvalidDay(str(error)) from error


def _is_taken(place: int, field: str) -> bool:
    """Check one field by itself: `cronsim` names neither the field nor its value."""
    fields = ["*"] * FIELDS
    fields[place] = field
    try:
        next(_ticks(" ".join(fields), _zone(UTC_ZONE), 0, reverse=False), None)
    except (InvalidCron, *_FAULTS):
        return False
    return True


def first_after(schedule: Schedule, anchor_ms: int, after_ms: int) -> int | None:
    """Return the first nominal time behind `after_ms`; None: there is none within 50 years. Raises UnknownZone."""
    if schedule.every_ms is not None:
        found = anchor_ms + ((after_ms - anchor_ms) // schedule.every_ms + 1) * schedule.every_ms
        return found if found <= _LAST_MS else None
    assert schedule.cron is not None
    if after_ms > _LAST_MS:
        return None
    following = next(_walk(_fields(schedule.cron), _zone(schedule.zone), after_ms), None)
    return following if following is not None and following <= _LAST_MS else None


def newest(schedule: Schedule, anchor_ms: int, after_ms: int, until_ms: int, count: int) -> tuple[int, ...]:
    """Return the newest nominal times behind `after_ms` and up to `until_ms`, at most `count`, oldest first.

    It looks at little more than `count` of them, however many there are. Raises UnknownZone.
    """
    until_ms = min(until_ms, _LAST_MS)
    if schedule.every_ms is not None:
        last_ms = anchor_ms + (until_ms - anchor_ms) // schedule.every_ms * schedule.every_ms
        times = range(last_ms, after_ms, -schedule.every_ms)[:count]
        return tuple(reversed(times))
    assert schedule.cron is not None
    fields, zone = _fields(schedule.cron), _zone(schedule.zone)
    begin_ms = max(after_ms, _before(fields, zone, until_ms, count))
    found: list[int] = []
    for at_ms in _walk(fields, zone, begin_ms):
        if at_ms > until_ms:
            break
        found.append(at_ms)
    return tuple(found[-count:])


def spelled(at_ms: int) -> str:
    """Return a time as the ids of tasks spell it, as in 2026-11-30T02:00:00Z."""
    from datetime import UTC, datetime

    seconds, rest = divmod(at_ms, _SECOND_MS)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{rest:03}Z" if rest else f"{text}Z"


def _fields(cron: str) -> str:
    """Return the five fields of an expression or of a name; raises InvalidCron."""
    text = cron.strip()
    if text.startswith("@"):
        fields = _NAMES.get(text.lower())
        if fields is None:
            raise InvalidCron(f"there is no {text!r}: give one of {', '.join(NAMES)}, or five fields")
        return fields
    parts = text.split()
    if len(parts) != FIELDS:
        raise InvalidCron(
            f"expected five fields (minute, hour, day of the month, month, day of the week), found {len(parts)}"
        )
    return " ".join(parts)


def _zone(name: str) -> tzinfo:
    """Return a time zone by its IANA name; raises UnknownZone."""
    from datetime import UTC

    if name == UTC_ZONE:
        return UTC
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UnknownZone(name) from error


def _walk(fields: str, zone: tzinfo, after_ms: int) -> Iterator[int]:
    """Yield the nominal times behind `after_ms`, each later than the one before; raises InvalidCron."""
    last_ms = after_ms
    for at_ms in _ticks(fields, zone, after_ms, reverse=False):
        # Where the zone's clock is set forward, several fall on the same time; where it is set back, some seem earlier.
        if at_ms > last_ms:
            last_ms = at_ms
            yield at_ms


def _before(fields: str, zone: tzinfo, until_ms: int, count: int) -> int:
    """Return a time with at least `count` nominal times between it and `until_ms`, or before all of them."""
    ahead_ms = min(until_ms + _REPEATED_MS, _LAST_MS)
    found = 0
    last_ms = until_ms
    for at_ms in _ticks(fields, zone, ahead_ms, reverse=True):
        if at_ms <= until_ms:
            found += at_ms < last_ms or found == 0
            last_ms = at_ms
            if found > count:
                break
    return last_ms - _SECOND_MS


def _ticks(fields: str, zone: tzinfo, from_ms: int, *, reverse: bool) -> Iterator[int]:
    """Yield what `cronsim` gives from a time on, forward or back; it gives up after 50 years without any."""
    from cronsim import CronSim, CronSimError

    try:
        for found in CronSim(fields, _moment(from_ms, zone), reverse=reverse):
            yield _milliseconds(found)
    except CronSimError as error:
        raise InvalidCron(str(error)) from error
    except OverflowError:
        # Beyond the years that Python knows.
        return


def _moment(at_ms: int, zone: tzinfo) -> datetime:
    from datetime import datetime

    return datetime.fromtimestamp(at_ms // _SECOND_MS, zone)


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp()) * _SECOND_MS

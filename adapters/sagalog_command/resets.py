"""From when on trying again makes sense, read from what a program says about it.

Rule: what cannot be read says nothing, so that a strange sentence costs a guess and never a task. Pure: the time,
and the zone of whoever wrote the sentence, are arguments.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from email.utils import parsedate_to_datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

# Above it a number of seconds since 1970 would lie in the year 5138: it is one of milliseconds.
_EPOCH_S_MAX: Final = 100_000_000_000
# A time of day that has just passed means now, not tomorrow: it is told in whole minutes, and clocks differ.
_JUST_PASSED: Final = timedelta(minutes=2)
# A date without a year that has passed by no more than this means now, not next year.
_DATE_PASSED: Final = timedelta(days=30)

_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_CLOCK: Final = re.compile(
    r"""
    (?: \b (?P<month> jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec ) [a-z]* \.? \s+
        (?P<day> \d{1,2} ) (?: st|nd|rd|th )? (?: ,? \s+ (?P<year> \d{4} ) )? ,? \s+ (?: at \s+ )? )?
    \b (?P<hour> \d{1,2} ) (?: : (?P<minute> \d{2} ) )? \s* (?P<half> [ap] ) \.? m \b \.?
    (?: \s* \( (?P<zone> [^()]+ ) \) )?
    """,
    re.VERBOSE | re.IGNORECASE,
)


def read_reset(form: str, value: Any, now_ms: int, zone: tzinfo, longest_ms: int) -> int | None:
    """Give the milliseconds to wait from `now_ms` on, from 0 to `longest_ms`; None if `value` does not tell.

    `zone` is the one of whoever wrote a time of day that names none.
    """
    readers = {
        "epoch": lambda: _epoch(value, now_ms),
        "clock": lambda: _clock(value, now_ms, zone),
        "date": lambda: _ms(_in_utc(datetime.fromisoformat(value))) - now_ms if isinstance(value, str) else None,
        "seconds": lambda: _number(value, 1_000),
        "milliseconds": lambda: _number(value, 1),
        "retry_after": lambda: _retry_after(value, now_ms),
    }
    try:
        wait_ms = readers[form]()
    except (ValueError, KeyError, OverflowError, OSError):
        return None
    return None if wait_ms is None else max(0, min(wait_ms, longest_ms))


def _number(value: Any, unit: int) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str):
        if not re.fullmatch(r"\s*\d{1,18}(\.\d{1,9})?\s*", value, re.ASCII):
            return None
        return round(float(value) * unit)
    return round(value * unit) if value >= 0 else None


def _epoch(value: Any, now_ms: int) -> int | None:
    since_ms = _number(value, 1)
    if since_ms is None:
        return None
    return (since_ms if since_ms > _EPOCH_S_MAX else since_ms * 1_000) - now_ms


def _retry_after(value: Any, now_ms: int) -> int | None:
    wait_ms = _number(value, 1_000)
    if wait_ms is not None or not isinstance(value, str):
        return wait_ms
    try:
        date = parsedate_to_datetime(value)
    except (TypeError, IndexError):  # what older versions of Python raise for no date at all
        return None
    return _ms(_in_utc(date)) - now_ms


def _clock(value: Any, now_ms: int, zone: tzinfo) -> int | None:
    found = _CLOCK.search(value) if isinstance(value, str) else None
    if found is None:
        return None
    if found["zone"]:
        zone = ZoneInfo(found["zone"])
    hour, minute = int(found["hour"]), int(found["minute"] or 0)
    if not 1 <= hour <= 12:
        return None
    hour = hour % 12 + (12 if found["half"] in "pP" else 0)
    now = datetime.fromtimestamp(now_ms / 1_000, zone)
    for moment, is_passed in _moments(found, now, hour, minute):
        if not is_passed:
            return _ms(moment) - now_ms
    return None


def _moments(found: re.Match[str], now: datetime, hour: int, minute: int) -> Iterator[tuple[datetime, bool]]:
    """Give what may be meant, earliest first, and whether it is too long ago to be meant."""
    if found["month"] is None:
        # On the wall, not in seconds: a day on which clocks change has another length.
        for days in (0, 1):
            date = now.date() + timedelta(days=days)
            moment = datetime(date.year, date.month, date.day, hour, minute, tzinfo=now.tzinfo)
            yield moment, _ms(moment) < _ms(now - _JUST_PASSED)
        return
    month, day = _MONTHS.index(found["month"].lower()) + 1, int(found["day"])
    for year in [int(found["year"])] if found["year"] else [now.year, now.year + 1]:
        moment = datetime(year, month, day, hour, minute, tzinfo=now.tzinfo)
        yield moment, not found["year"] and _ms(moment) < _ms(now - _DATE_PASSED)


def _in_utc(date: datetime) -> datetime:
    # A date without a zone is one in UTC: that of asctime has none to give.
    return date if date.tzinfo is not None else date.replace(tzinfo=UTC)


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000)

"""Times of day as programs tell them: "1pm (Europe/Lisbon)", "Jul 23rd, 2026 4:15 AM", "Mon 12:00am", "at 23:02".

Rule: a time of day means the next such moment on the wall, or one that has just passed and means now. A day on which
clocks change does not have 24 hours: an hour that comes twice means the first time that is still to come, and an hour
that is left out means the same distance from midnight. This module is pure: now and the zone of the writer are
arguments.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

# A time of day that has just passed means now, not tomorrow: it is told in whole minutes, and clocks differ.
_JUST_PASSED_MS: Final = 2 * 60_000
# A date without a year that has passed by no more than a month means now, not next year.
_DATE_PASSED_MS: Final = 31 * 86_400_000

_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
# Letters that mean one thing to a reader of English; any other zone has to be one of the tz database.
_LETTERS: Final = {
    **dict.fromkeys(("utc", "gmt", "z"), "UTC"),
    **dict.fromkeys(("pst", "pdt", "pt", "pacific time", "pacific"), "America/Los_Angeles"),
    **dict.fromkeys(("mst", "mdt", "mt", "mountain time"), "America/Denver"),
    **dict.fromkeys(("cdt", "ct", "central time"), "America/Chicago"),
    **dict.fromkeys(("est", "edt", "et", "eastern time", "eastern"), "America/New_York"),
    **dict.fromkeys(("cet", "cest"), "Europe/Paris"),
}

_MONTH: Final = rf"(?:{'|'.join(_MONTHS)})[a-z]*\.?"
_DATE: Final = rf"""
    (?: (?P<month> {_MONTH} ) \s+ (?P<day> \d{{1,2}} ) (?: st|nd|rd|th )? (?: ,? \s+ (?P<year> \d{{4}} ) )?
      | (?P<day_first> \d{{1,2}} ) (?: st|nd|rd|th )? \s+ (?P<month_last> {_MONTH} )
        (?: ,? \s+ (?P<year_last> \d{{4}} ) )?
      | (?P<weekday> {"|".join(_DAYS)} ) [a-z]* \.?
      | (?P<tomorrow> tomorrow ) )
"""
_ZONE: Final = rf"""
    (?: \s* \( (?P<zone> [^()]+ ) \)
      | \s* (?P<letters> (?: UTC|GMT )? [+-] \d{{1,2}} (?: :? \d{{2}} )? \b
                       | \b (?: {"|".join(sorted(_LETTERS, key=len, reverse=True))} ) \b ) )?
"""
_TWELVE: Final = re.compile(
    rf"""
    (?: \b {_DATE} ,? \s+ (?: at \s+ )? )?
    \b (?P<hour> \d{{1,2}} ) (?: : (?P<minute> \d{{2}} ) (?: : \d{{2}} )? )? \s* (?P<half> [ap] ) \.? m \b \.? {_ZONE}
    """,
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
_WORDS: Final = r"\b (?: at|on|resets?|until|till|after|by|available|renews? ) \s+ (?: at \s+ | on \s+ )?"
_TWENTY_FOUR: Final = re.compile(
    rf"""
    (?: {_WORDS} (?: {_DATE} ,? \s+ (?: at \s+ )? )? )
    (?P<hour> \d{{1,2}} ) : (?P<minute> \d{{2}} ) (?: : \d{{2}} )? (?! [\d:] ) (?P<half> ) {_ZONE}
    """,
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
_DAY_ALONE: Final = re.compile(
    rf"{_WORDS} {_DATE} \b (?P<hour> ) (?P<minute> ) (?P<half> ) {_ZONE}", re.VERBOSE | re.IGNORECASE | re.ASCII
)
_NOON: Final = ((re.compile(r"\bmidnight\b", re.IGNORECASE), "12am"), (re.compile(r"\bnoon\b", re.IGNORECASE), "12pm"))


def read_clock(text: str, now_ms: int, zone: tzinfo) -> int | None:
    """Give the milliseconds since 1970 of the moment that a sentence names; None if it names no moment.

    Raises:
        ValueError, KeyError, OSError, OverflowError: the sentence names a zone, an hour or a day that does not exist.
    """
    for pattern, word in _NOON:
        text = pattern.sub(word, text)
    found = _TWELVE.search(text) or _TWENTY_FOUR.search(text) or _DAY_ALONE.search(text)
    if found is None:
        return None
    zone = _zone(found, zone)
    hour, minute = _time_of_day(found)
    now = datetime.fromtimestamp(now_ms / 1_000, zone)
    for day, passed_ms in _days(found, now.date()):
        for moment_ms in _moments(day, hour, minute, zone):
            if passed_ms is None or moment_ms >= now_ms - passed_ms:
                return moment_ms
    return None


def _time_of_day(found: re.Match[str]) -> tuple[int, int]:
    hour, minute, half = int(found["hour"] or 0), int(found["minute"] or 0), found["half"].lower()
    if (half and not 1 <= hour <= 12) or hour > 23 or minute > 59:
        raise ValueError("no time of day")
    return (hour % 12 + (12 if half == "p" else 0) if half else hour), minute


def _days(found: re.Match[str], today: date) -> Iterator[tuple[date, int | None]]:
    """Give the days that may be meant, earliest first, and how long a moment may have passed to be meant at all."""
    month = found["month"] or found["month_last"]
    if month is not None:
        number, day = _MONTHS.index(month[:3].lower()) + 1, int(found["day"] or found["day_first"])
        year = found["year"] or found["year_last"]
        passed_ms = None if year else _DATE_PASSED_MS
        for each in [int(year)] if year else [today.year - 1, today.year, today.year + 1]:
            if (meant := _day(each, number, day)) is not None:
                yield meant, passed_ms
        return
    weekday = found["weekday"]
    for days in range(8) if weekday is not None else [1] if found["tomorrow"] else [-1, 0, 1]:
        each_day = today + timedelta(days=days)
        if weekday is None or each_day.weekday() == _DAYS.index(weekday[:3].lower()):
            yield each_day, _JUST_PASSED_MS


def _day(year: int, month: int, day: int) -> date | None:
    try:
        return date(year, month, day)
    except ValueError:  # the 29th of February, in most years
        return None


def _moments(day: date, hour: int, minute: int, zone: tzinfo) -> Iterator[int]:
    """Give a time of the wall in milliseconds since 1970, twice where the wall shows it twice."""
    first = datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone)
    yield round(first.timestamp() * 1_000)
    second = first.replace(fold=1)
    is_shown = second.astimezone(UTC).astimezone(zone).replace(tzinfo=None) == second.replace(tzinfo=None, fold=0)
    if second.utcoffset() != first.utcoffset() and is_shown:
        yield round(second.timestamp() * 1_000)


def _zone(found: re.Match[str], own: tzinfo) -> tzinfo:
    name = (found["zone"] or found["letters"] or "").strip()
    if not name or name.lower() in ("local", "local time", "your time"):
        return own
    if name.lower() in _LETTERS:
        return ZoneInfo(_LETTERS[name.lower()])
    offset = re.fullmatch(r"(?:UTC|GMT)?\s*([+-])(\d{1,2})(?::?(\d{2}))?", name, re.IGNORECASE | re.ASCII)
    if offset is not None:
        ahead = timedelta(hours=int(offset[2]), minutes=int(offset[3] or 0))
        return timezone(ahead if offset[1] == "+" else -ahead)
    return ZoneInfo(name)

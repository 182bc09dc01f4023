"""Resets: the moments from which on trying again makes sense, as programs tell them.

Rule: what cannot be read says nothing, so that a strange sentence costs a guess and never a task. This module is pure:
the time, and the zone of the program that wrote the sentence, are arguments.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any, Final, Literal, get_args

from sagalog_command.durations import DURATION, ceiling_ms, read_duration
from sagalog_command.times_of_day import read_clock

Form = Literal["sentence", "epoch", "clock", "date", "duration", "seconds", "milliseconds", "retry_after"]
FORMS: Final[tuple[str, ...]] = get_args(Form)

# Above it a number of seconds since 1970 would lie in the year 5138: it is one of milliseconds.
_EPOCH_S_MAX: Final = 100_000_000_000

_FLAGS: Final = re.IGNORECASE | re.ASCII
_NUMBER: Final = re.compile(r"\s*\d{1,18}(\.\d{1,18})?\s*", re.ASCII)
# "Claude AI usage limit reached|1750708800", and fields of JSON in a sentence.
_EPOCH_IN: Final = re.compile(r"(?:\||\breset[s_]?_?at[\"']?\s*[:=]\s*[\"']?)(\d{10,13})\b", _FLAGS)
# The word says that the wait is one until trying again makes sense: "timed out after 30 seconds" is none.
_DURATION_IN: Final = re.compile(
    rf"""\b(?:again|retry|retrying|reset|resets|renews?|refresh|refreshes|available|wait|waiting)\b[^.\n]{{0,40}}?
         \b(?:in|after|for|wait)\s+(?:about\s+|approximately\s+|around\s+|another\s+|at\s+least\s+|less\s+than\s+|~\s*)?
         (?P<duration>{DURATION})
       | \bwait\s+(?:about\s+|another\s+|at\s+least\s+|~\s*)?(?P<waited>{DURATION})
       | \bretry[-_ ]?(?:delay|after)["'\s:=]{{1,6}}(?P<delay>{DURATION})""".replace("\n", ""),
    _FLAGS | re.VERBOSE,
)
_SECONDS_IN: Final = re.compile(
    r"\b(?:retry[-_ ]?after|resets_in_seconds)(?:[-_ ]seconds)?[\"'\s:=]{1,6}(\d{1,9})\b", _FLAGS
)
_DATE_IN: Final = re.compile(
    r"\b(\d{4}-\d{2}-\d{2})(?:[T ]| at )(\d{2}:\d{2}(?::\d{2}(?:\.\d{1,6})?)?)"
    r"(?:(Z| ?UTC\b| ?GMT\b)|([+-]\d{2}:?\d{2}))?",
    _FLAGS,
)


def read_reset(form: str, value: Any, now_ms: int, zone: tzinfo, longest_ms: int) -> int | None:
    """Give the milliseconds to wait from `now_ms` on, from 0 to `longest_ms`; None if `value` does not tell.

    Args:
        form: one of `FORMS`; `Reset` describes each.
        value: a text or a number.
        now_ms: the time, in milliseconds since 1970.
        zone: the time zone of a time of day that names none.
        longest_ms: the longest wait that is believed, in milliseconds.
    """
    readers = {
        "sentence": lambda: _sentence(value, now_ms, zone),
        "epoch": lambda: _epoch(value, now_ms),
        "clock": lambda: _clock(value, now_ms, zone),
        "date": lambda: _date(value, now_ms),
        "duration": lambda: read_duration(value) if isinstance(value, str) else None,
        "seconds": lambda: _number(value, 1_000),
        "milliseconds": lambda: _number(value, 1),
        "retry_after": lambda: _retry_after(value, now_ms),
    }
    try:
        wait_ms = readers[form]()
    except (ValueError, KeyError, ArithmeticError, OSError):
        return None
    return None if wait_ms is None else max(0, min(wait_ms, longest_ms))


def _number(value: Any, unit: int) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str):
        return ceiling_ms(Decimal(value.strip()), unit) if _NUMBER.fullmatch(value) else None
    return ceiling_ms(Decimal(str(value)), unit) if value >= 0 else None


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
        moment = parsedate_to_datetime(value)
    except (TypeError, IndexError):  # what older versions of Python raise for no date at all
        return None
    return _until(moment, now_ms, UTC)


def _date(value: Any, now_ms: int) -> int | None:
    return _until(datetime.fromisoformat(value), now_ms, UTC) if isinstance(value, str) else None


def _clock(value: Any, now_ms: int, zone: tzinfo) -> int | None:
    moment_ms = read_clock(value, now_ms, zone) if isinstance(value, str) else None
    return None if moment_ms is None else moment_ms - now_ms


def _sentence(value: Any, now_ms: int, zone: tzinfo) -> int | None:
    """Read what a sentence tells: an epoch, a duration, a date, or a time of day."""
    if not isinstance(value, str):
        return None
    if (found := _EPOCH_IN.search(value)) is not None:
        return _epoch(found[1], now_ms)
    if (found := _DURATION_IN.search(value)) is not None:
        return read_duration(next(each for each in found.groups() if each))
    if (found := _SECONDS_IN.search(value)) is not None:
        return _number(found[1], 1_000)
    if (found := _DATE_IN.search(value)) is not None:
        date, time, is_utc, offset = found.groups()
        return _until(datetime.fromisoformat(f"{date}T{time}{'Z' if is_utc else offset or ''}"), now_ms, zone)
    return _clock(value, now_ms, zone)


def _until(moment: datetime, now_ms: int, zone: tzinfo) -> int:
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)
    return round(moment.timestamp() * 1_000) - now_ms

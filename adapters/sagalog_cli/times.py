"""Times and durations: what a person types -> milliseconds -> what a person reads.

Rule: the program has whole milliseconds only [TIME-1]; text is always UTC and says so. It reads no clock: now is an
argument.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS_MS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
# Sixteen digits hold every time that the engine takes; Python refuses to convert several thousand digits.
_DURATION: Final = re.compile(r"([0-9]{1,16})(ms|s|m|h|d|w)")
_DURATIONS: Final = re.compile(rf"(?:{_DURATION.pattern})+")
_MILLISECONDS: Final = re.compile(r"[0-9]{1,16}")


def parse_instant(text: str, now_ms: int) -> int:
    """Parse `1795301730740`, `2026-11-21T22:55:30Z` or `+1h30m` (from now) to milliseconds since 1970.

    Raises:
        ValueError: none of these forms, or a date and time without a zone.
    """
    if _MILLISECONDS.fullmatch(text):
        return int(text)
    if text.startswith("+") and _DURATIONS.fullmatch(text, 1):
        return now_ms + _summed_ms(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"{text!r} is no time; give milliseconds since 1970, ISO 8601 like 2026-11-21T22:55:30Z, or +10m "
            f"(units: {', '.join(_UNITS_MS)})"
        ) from None
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no zone; put Z behind a time in UTC, or an offset like +02:00")
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def parse_duration(text: str) -> int:
    """Parse `500ms`, `2s` or `1h30m` to milliseconds; `0` needs no unit.

    Raises:
        ValueError: none of these forms.
    """
    if text == "0":
        return 0
    if _DURATIONS.fullmatch(text):
        return _summed_ms(text)
    raise ValueError(f"{text!r} is no length of time; give one like 500ms, 2s or 1h30m (units: {', '.join(_UNITS_MS)})")


def _summed_ms(text: str) -> int:
    return sum(int(count) * _UNITS_MS[unit] for count, unit in _DURATION.findall(text))


def instant(time_ms: int) -> str:
    """Return ISO 8601 in UTC, as in `2026-11-21T22:55:30.740Z`; plain milliseconds after the year 9999."""
    try:
        moment = _EPOCH + timedelta(milliseconds=time_ms)
    except OverflowError:
        return f"{time_ms} ms"
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def duration(span_ms: int) -> str:
    """Return a length of time in its two largest units, as in `950ms`, `1.204s`, `2m03s`, `3h04m`, `5d06h`."""
    if span_ms < 0:
        return "-" + duration(-span_ms)
    if span_ms < 1_000:
        return f"{span_ms}ms"
    if span_ms < 60_000:
        return f"{span_ms // 1_000}.{span_ms % 1_000:03}s"
    for large, small in (("m", "s"), ("h", "m")):
        many, rest = divmod(span_ms, _UNITS_MS[large])
        if many < (60 if large == "m" else 24):
            return f"{many}{large}{rest // _UNITS_MS[small]:02}{small}"
    many, rest = divmod(span_ms, _UNITS_MS["d"])
    return f"{many}d{rest // _UNITS_MS['h']:02}h"


def exact_duration(span_ms: int) -> str:
    """Return a length of time in the largest unit that gives it whole, as `parse_duration` takes it: `1m`, `90s`."""
    if span_ms == 0:
        return "0s"
    unit = next(unit for unit in reversed(_UNITS_MS) if span_ms % _UNITS_MS[unit] == 0)
    return f"{span_ms // _UNITS_MS[unit]}{unit}"


def offset(span_ms: int) -> str:
    """Return a distance from a point in time, as in `+1.204s`; with a minus if the clock had stepped back."""
    return duration(span_ms) if span_ms < 0 else f"+{duration(span_ms)}"


def distance(time_ms: int, now_ms: int) -> str:
    """Return how far off a time is, as in `in 4m10s` or `12.000s ago`."""
    if time_ms > now_ms:
        return f"in {duration(time_ms - now_ms)}"
    return f"{duration(now_ms - time_ms)} ago"

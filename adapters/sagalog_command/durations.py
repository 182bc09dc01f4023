"""Durations as programs tell them: `8h44m7s`, `5 days 3 hours`, `15.002899939s`, "a minute".

Rule: a text that is not wholly a duration says nothing. A part of a millisecond counts as a whole one, since a call
that is a moment too early is refused again. This module is pure.
"""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal
from typing import Final

_UNITS_MS: Final = (
    (r"milliseconds?|millis|msecs?|ms", 1),
    (r"weeks?|wks?|w", 604_800_000),
    (r"days?|d", 86_400_000),
    (r"hours?|hrs?|h", 3_600_000),
    (r"minutes?|mins?|m", 60_000),
    (r"seconds?|secs?|s", 1_000),
)
_UNIT: Final = "|".join(names for names, _ in _UNITS_MS)
_PART: Final = rf"(?:\d{{1,12}}(?:\.\d{{1,18}})?\s*|\b(?:an?|one)\s+)(?:{_UNIT})(?![a-z])"
# There may be nothing between two parts: a digit ends a unit.
DURATION: Final = rf"{_PART}(?:,?\s*(?:and\s+)?{_PART})*"

_EACH: Final = re.compile(
    rf"(?:(?P<number>\d+(?:\.\d+)?)\s*|\b(?:an?|one)\s+)(?P<unit>{_UNIT})(?![a-z])", re.IGNORECASE | re.ASCII
)
_WHOLE: Final = re.compile(rf"\s*{DURATION}\s*\.?\s*", re.IGNORECASE | re.ASCII)
_BY_NAME: Final = tuple((re.compile(names, re.IGNORECASE), unit_ms) for names, unit_ms in _UNITS_MS)


def read_duration(text: str) -> int | None:
    """Give the milliseconds of a text that is a duration and nothing else; None if it is not."""
    if not _WHOLE.fullmatch(text):
        return None
    return sum(_part_ms(found["number"], found["unit"]) for found in _EACH.finditer(text))


def ceiling_ms(number: Decimal, unit_ms: int) -> int:
    """Give whole milliseconds; a part of one counts as one.

    Raises:
        ArithmeticError: the number is NaN or infinite.
    """
    return int((number * unit_ms).to_integral_value(ROUND_CEILING))


def _part_ms(number: str | None, unit: str) -> int:
    unit_ms = next(unit_ms for pattern, unit_ms in _BY_NAME if pattern.fullmatch(unit))
    return ceiling_ms(Decimal(number or 1), unit_ms)

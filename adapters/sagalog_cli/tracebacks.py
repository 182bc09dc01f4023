"""Tracebacks of failures for people: the lines that a worker has recorded, apart from other details.

Rule: only a list of lines counts as a traceback. Everything else that a handler has put into the details of a failure
is shown as JSON.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

_TRACEBACK: Final = "traceback"
# Under this name a worker keeps the details of a failure that it could not store as the handler gave them.
_SAID: Final = "said"
INDENT: Final = "  "


def lines_in(details: Any) -> list[str]:
    """Return the lines of the traceback in the details of a failure; none if there is no traceback."""
    if not isinstance(details, Mapping):
        return []
    lines = details.get(_TRACEBACK)
    if lines is not None and _is_lines(lines):
        return list(lines)
    return lines_in(details.get(_SAID))


def without(details: Any) -> Any:
    """Return the details of a failure without its traceback; None if nothing else is there."""
    if not lines_in(details):
        return details
    left = {name: value for name, value in details.items() if not (name == _TRACEBACK and _is_lines(value))}
    if len(left) == len(details):
        left[_SAID] = without(details[_SAID])
    return {name: value for name, value in left.items() if value is not None} or None


def clipped(lines: Sequence[str], lines_max: int | None, how: str = "--full") -> list[str]:
    """Return the first lines, indented, then how many more there are and `how` to see them; None: all of them."""
    kept = lines if lines_max is None or len(lines) <= lines_max else lines[:lines_max]
    left_out = len(lines) - len(kept)
    return [INDENT + line for line in (*kept, *([f"… ({left_out:,} lines more: {how})"] if left_out else ()))]


def _is_lines(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(line, str) for line in value)

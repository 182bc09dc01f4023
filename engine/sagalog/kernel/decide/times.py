"""The check of times that callers name: milliseconds since 1970, as the clock has them, and never seconds.

Rule: it refuses a time that can only be in another unit, before anything is decided. [TIME-5] Knows no task.
"""

from __future__ import annotations

from typing import Final

from sagalog.errors import InvalidValue
from sagalog.kernel import commands as c

# These are moments of March 1973 and of September 2001. In seconds the first would be in the year 5138.
_TOO_EARLY_MS: Final = 10**11
_MODERN_MS: Final = 10**12


def require_deadlines(command: c.Create | c.RetryAsNew | c.Amend, now_ms: int) -> None:
    """Refuse a deadline in seconds, as `require_milliseconds` does."""
    for name in ("deadline_ms", "start_by_ms"):
        require_milliseconds(command, name, now_ms)


def require_milliseconds(command: c.Command, name: str, now_ms: int) -> None:
    """Refuse a time in seconds, in the field `name`. 0 is the same moment in both units, and due at once.

    Raises:
        InvalidValue: naming the argument.
    """
    time_ms = getattr(command, name)
    if time_ms and time_ms < _TOO_EARLY_MS and now_ms > _MODERN_MS:
        raise InvalidValue(
            f"{name}: {time_ms} ms after 1970 is before 1974, and now is {now_ms} ms: this looks like seconds; give "
            "milliseconds, 1,000 times as many",
            path=name,
            task=command.task,
        )

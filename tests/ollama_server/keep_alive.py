"""`keep_alive` as Ollama reads it: seconds as a number, or a duration of Go as a string; negative is for ever."""

from __future__ import annotations

import math
import re
from typing import Any, Final

from tests.ollama_server.residency import FOREVER_S

_UNITS_S: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART: Final = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h)")


def seconds(value: Any) -> float | None:
    """Return the seconds, or None for a request that says nothing.

    Raises:
        ValueError: it is neither a number nor a duration.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"Unsupported type: {type(value).__name__!r}")
    given = _duration(value) if isinstance(value, str) else float(value)
    return FOREVER_S if given < 0 or math.isinf(given) else min(given, FOREVER_S)


def _duration(text: str) -> float:
    unsigned = text.removeprefix("-").removeprefix("+")
    parts = [*_PART.finditer(unsigned)]
    if unsigned != "0" and (not parts or "".join(part[0] for part in parts) != unsigned):
        raise ValueError(f'time: invalid duration "{text}"')
    length = sum(float(part[1]) * _UNITS_S[part[2]] for part in parts)
    return -length if text.startswith("-") else length

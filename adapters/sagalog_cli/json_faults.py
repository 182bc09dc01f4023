"""Why and where a text is no JSON: the reason in a few words, with line and column as an editor counts them.

Rule: a place is told exactly or not at all. Knows the messages of the decoder, and nothing of what is decoded.
"""

from __future__ import annotations

import json
import re
from typing import Final

import msgspec

_PLACED: Final = re.compile(r"(?:JSON is malformed: )?(.*) \(byte [0-9]+\)")
_TRUNCATED: Final = "Input data was truncated"
# The escape of the first half of a surrogate pair that no second half follows.
_HALF: Final = re.compile(r"(?<!\\)(?:\\\\)*(\\u[dD][89abAB][0-9a-fA-F]{2})(?!\\u[dD][c-fC-F][0-9a-fA-F]{2})")


class NoJson(ValueError):
    """A text that is no JSON; `line` and `column` count characters from 1, and are None where the place is unknown."""

    def __init__(self, reason: str, line: int | None = None, column: int | None = None) -> None:
        super().__init__(reason if line is None else f"{reason} (line {line}, column {column})")
        self.reason = reason
        self.line = line
        self.column = column

    def within(self, line: int) -> str:
        """Tell it of a text that is one line of many, the line of this number."""
        return f"line {line}: {self.reason}" + ("" if self.column is None else f" (column {self.column})")


def no_unicode(text: str | bytes) -> NoJson | None:
    """Find the first character that UTF-8 does not have; None: there is none."""
    try:
        text.encode() if isinstance(text, str) else text.decode()
    except (UnicodeEncodeError, UnicodeDecodeError) as error:
        return _at("this is no UTF-8, which JSON has to be", error.object[: error.start])
    return None


def no_json(text: str | bytes, error: msgspec.MsgspecError) -> NoJson:
    """Tell in words, and with the place, what the decoder has to say of a text that is UTF-8."""
    written = text if isinstance(text, str) else text.decode()
    if not written.strip():
        return NoJson("this is no JSON: it is empty")
    said = str(error)
    half = _HALF.search(written) if said == _TRUNCATED else None
    if half is not None:
        # Behind such an escape the decoder looks for more, also where the text is whole.
        return _at("this is no JSON: it has half of a surrogate pair", written[: half.start(1)])
    if said == _TRUNCATED:
        return _at("this is no JSON: it ends too early", written.rstrip())
    placed = _PLACED.fullmatch(said)
    if placed is None:
        return NoJson(f"this is no JSON: {said}")
    reason = f"this is no JSON: {placed[1]}"
    # Another decoder says where: the byte that this one names may lie behind what it complains of.
    try:
        json.loads(written, parse_int=str, parse_float=str, parse_constant=_refuse_constant)
    except json.JSONDecodeError as found:
        return NoJson(reason, found.lineno, found.colno)
    except _Constant as found:
        return NoJson(f"this is no JSON: it has no {found}")
    except RecursionError:
        pass
    return NoJson(reason)


class _Constant(Exception):
    """NaN or an infinity, which the other decoder would take."""


def _refuse_constant(name: str) -> None:
    raise _Constant(name)


def _at(reason: str, before: str | bytes) -> NoJson:
    """Name the place behind what comes before it."""
    text = before if isinstance(before, str) else before.decode(errors="ignore")
    return NoJson(reason, text.count("\n") + 1, len(text) - (text.rfind("\n") + 1) + 1)

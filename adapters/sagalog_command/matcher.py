"""Matcher of conditions: whether they hold for values, JSON objects and last words, and what their patterns find.

Rule: this module is pure, reads typographic apostrophes and spaces as plain ones, and knows no rule and no class.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from sagalog_command.conditions import FrameTest, Test, Tests, TextTest
from sagalog_command.wordings import Patterns

MISSING: Final = object()

_FOLDED: Final = str.maketrans({"\u2019": "'", "\u2018": "'", "\u00a0": " ", "\u202f": " "})
# "Connection error." says that there was one, and "Connection error handling" does not.
_CLAUSE_END: Final = re.compile(r"(?<=[^\w\s])|\s*(?:[^\w\s]|\Z|$)", re.MULTILINE)
# What a pattern looks at of each end of a text: what programs say is far shorter.
_END_CHARACTERS: Final = 4_096


def value_at(frame: Any, path: str) -> Any:
    """Give the value that the first of some paths (`a.b.0|c`) leads to; `MISSING` if none leads to one."""
    found: Any = MISSING
    for each in path.split("|"):
        found = _value_at(frame, each)
        if found is not MISSING and found is not None:
            return found
    return found


def _value_at(frame: Any, path: str) -> Any:
    for step in path.split("."):
        if isinstance(frame, Mapping) and step in frame:
            frame = frame[step]
        elif isinstance(frame, list) and step.isascii() and step.isdecimal() and int(step) < len(frame):
            frame = frame[int(step)]
        else:
            return MISSING
    return frame


def is_selected(frame: Mapping[str, Any], select: Tests) -> bool:
    """Tell whether a JSON object is one of those that `select` picks."""
    return all(_passes(test, value_at(frame, path)) is not None for path, test in select.items())


def last(frames: Sequence[Mapping[str, Any]], select: Tests) -> Mapping[str, Any] | None:
    """Give the last object that `select` picks."""
    return next((frame for frame in reversed(frames) if is_selected(frame, select)), None)


def find_in_frame(test: FrameTest, frame: Mapping[str, Any] | None) -> list[re.Match[str]] | None:
    """Give what the patterns have found if the object passes `where`, or None; leave `is_not` to the caller."""
    if frame is None:
        return None
    matches: list[re.Match[str]] = []
    for path, each in test.where.items():
        passed = _passes(each, value_at(frame, path))
        if passed is None:
            return None
        matches += passed
    return matches


def find_in_text(test: TextTest, text: str) -> re.Match[str] | None:
    """Give the first place of a text at which one of the patterns is found, if any."""
    return next(_places(test, folded(text)), None)


def find_last_in_text(test: TextTest, text: str) -> re.Match[str] | None:
    """Give the place of a text in the last line in which one of the patterns is found, if any."""
    return max(_places(test, folded(text)), key=lambda found: found.start(), default=None)


def find_in_sentence(patterns: Patterns, sentence: str) -> re.Match[str] | None:
    """Give the match of the first of the patterns that is found, if any."""
    return next((found for each in patterns if (found := each.search(sentence)) is not None), None)


def line_around(found: re.Match[str]) -> str:
    """Give the line of a match."""
    begin = found.string.rfind("\n", 0, found.start()) + 1
    end = found.string.find("\n", found.start())
    return found.string[begin : end if end >= 0 else None].strip()


def folded(text: str) -> str:
    """Give a text with plain apostrophes and spaces; of a long one, both ends."""
    if len(text) > 2 * _END_CHARACTERS:
        text = f"{text[:_END_CHARACTERS]}\n…\n{text[-_END_CHARACTERS:]}"
    return text.translate(_FOLDED)


def _passes(test: Test, value: Any) -> list[re.Match[str]] | None:
    """Give what the patterns have found if a value passes, or None."""
    if value is MISSING or value is None:
        return [] if test.is_missing else None
    # True is no 1 here, as it is none in JSON.
    if any(value == wanted and isinstance(value, bool) == isinstance(wanted, bool) for wanted in test.one_of):
        return []
    found = find_in_sentence(test.patterns, folded(value)) if isinstance(value, str) else None
    return None if found is None else [found]


def _places(test: TextTest, text: str) -> Iterator[re.Match[str]]:
    begin, end = 0, len(text)
    if test.line != "any":
        spans = _lines(text)
        if not spans or (test.line == "only" and len(spans) > 1):
            return
        begin, end = spans[-1]
    for pattern in test.patterns:
        if test.says:
            yield from _at_line_begins(pattern, text, begin, end)
        else:
            yield from pattern.finditer(text, begin, end)


def _lines(text: str) -> list[tuple[int, int]]:
    """Give where each line that is not blank begins and ends."""
    found, begin = [], 0
    for line in text.split("\n"):
        if line.strip():
            found.append((begin, begin + len(line)))
        begin += len(line) + 1
    return found


def _at_line_begins(pattern: re.Pattern[str], text: str, begin: int, end: int) -> Iterator[re.Match[str]]:
    for line in re.compile(r"^[ \t]*(?=\S)", re.MULTILINE).finditer(text, begin, end):
        found = pattern.match(text, line.end(), end)
        if found is not None and _CLAUSE_END.match(text, found.end()) is not None:
            yield found

"""What the end of a command means: the first rule that holds.

Rule: pure, so the same end means the same for ever; and what a model wrote is no evidence, so only those fields of
frames and those last words count which a rule names. Typographic apostrophes and spaces are read as plain ones.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from typing import Any, Final

from sagalog_command.resets import read_reset
from sagalog_command.rules import BY_STATUS, Class, Classifier, FrameTest, Rule, Test

_FOLDED: Final = str.maketrans({"\u2019": "'", "\u2018": "'", "\u00a0": " ", "\u202f": " "})
_SHELL_SIGNAL: Final = 128
_MISSING: Final = object()
# What a pattern looks at: the limits of a text are long before this.
_TEXT_CHARACTERS_MAX: Final = 8_192


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended.

    status        the exit status, or the negative number of the signal that ended it
    frames        the lines of JSON that matter, in order of arrival; see `Classifier.selections`
    stdout_tail   the last words of each stream
    stderr_tail
    is_over_time  it was ended because its time was over: then `status` says nothing
    zone          of the times of day that it printed
    """

    status: int
    frames: Sequence[Mapping[str, Any]] = ()
    stdout_tail: str = ""
    stderr_tail: str = ""
    is_over_time: bool = False
    zone: tzinfo = UTC


@dataclass(frozen=True, slots=True)
class Verdict:
    """What it means.

    rule            the name of the rule that held, or None if none did
    message         a sentence for people
    retry_after_ms  how long to wait before trying again, if that was said
    fields          what the classifier takes into the result; absent where the command did not print it
    """

    class_: Class
    rule: str | None
    message: str
    retry_after_ms: int | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)


def classify(classifier: Classifier, ended: Ended, now_ms: int) -> Verdict:
    """Say what an end means, at the time `now_ms`; where no rule holds, it is `unknown`."""
    fields = {}
    for name, wanted in classifier.fields.items():
        frame = _last(ended.frames, wanted.select)
        value = value_at(frame, wanted.path) if frame is not None else _MISSING
        if value is not _MISSING and value is not None:
            fields[name] = value
    for rule in classifier.rules:
        held = _hold(rule, ended)
        class_ = _class(rule, held, classifier) if held is not None else None
        if held is None or class_ is None:
            continue
        return Verdict(
            class_, rule.name, _message(rule, held, ended), _wait_ms(rule, held, ended, now_ms, classifier), fields
        )
    return Verdict(Class.UNKNOWN, None, how(ended), None, fields)


def is_selected(frame: Mapping[str, Any], select: Mapping[str, Test]) -> bool:
    """Whether a line of JSON is one of those that `select` picks."""
    return all(_passes(test, value_at(frame, path)) is not None for path, test in select.items())


def value_at(frame: Any, path: str) -> Any:
    """Give what stands at a path of keys and numbers with dots between them; a marker if there is nothing."""
    for step in path.split("."):
        if isinstance(frame, Mapping) and step in frame:
            frame = frame[step]
        elif isinstance(frame, list) and step.isascii() and step.isdecimal() and int(step) < len(frame):
            frame = frame[int(step)]
        else:
            return _MISSING
    return frame


def how(ended: Ended) -> str:
    """Say how a command ended, with the last line of its complaint if there is one."""
    if ended.is_over_time:
        text = "its time was over"
    elif ended.status >= 0:
        text = f"exit {ended.status}"
    else:
        text = f"killed by {_signal_name(-ended.status)}"
    lines = ended.stderr_tail.split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f"{text}: {last}" if last else text


@dataclass(frozen=True, slots=True)
class _Held:
    """What the conditions of a rule have found."""

    subject: Mapping[str, Any] | None
    matches: Sequence[re.Match[str]]

    def group(self, name: str) -> str | None:
        return next((each[name] for each in self.matches if each.re.groupindex.get(name) and each[name]), None)


def _hold(rule: Rule, ended: Ended) -> _Held | None:
    """Whether all conditions hold: what they found, or None."""
    if rule.is_over_time is not None and rule.is_over_time != ended.is_over_time:
        return None
    if (rule.exits or rule.signals) and (ended.is_over_time or not _ended_so(rule, ended.status)):
        return None
    subject: Mapping[str, Any] | None = None
    matches: list[re.Match[str]] = []
    for test in rule.frames:
        frame = _last(ended.frames, test.select)
        found = _found(test, frame)
        if (found is None) != test.is_not:
            return None
        if not test.is_not:
            subject = frame if subject is None else subject
            matches += found or ()
    if rule.text is not None:
        tail = ended.stdout_tail if rule.text.stream == "stdout" else ended.stderr_tail
        match = rule.text.matches.search(_folded(tail))
        if match is None:
            return None
        matches.append(match)
    return _Held(subject, matches)


def _ended_so(rule: Rule, status: int) -> bool:
    numbers = {int(number) for number in rule.signals}
    return status in rule.exits or -status in numbers or status - _SHELL_SIGNAL in numbers


def _last(frames: Sequence[Mapping[str, Any]], select: Mapping[str, Test]) -> Mapping[str, Any] | None:
    return next((frame for frame in reversed(frames) if is_selected(frame, select)), None)


def _found(test: FrameTest, frame: Mapping[str, Any] | None) -> list[re.Match[str]] | None:
    """What the patterns have found if the line passes, or None."""
    if frame is None:
        return None
    matches: list[re.Match[str]] = []
    for path, each in test.where.items():
        passed = _passes(each, value_at(frame, path))
        if passed is None:
            return None
        matches += passed
    return matches


def _passes(test: Test, value: Any) -> list[re.Match[str]] | None:
    if test.is_missing:
        return [] if value is _MISSING or value is None else None
    if test.matches is not None:
        found = test.matches.search(_folded(value)) if isinstance(value, str) else None
        return None if found is None else [found]
    # True is no 1 here, as it is none in JSON.
    is_one = any(
        value == wanted and isinstance(value, bool) == isinstance(wanted, bool)
        for wanted in test.one_of
        if value is not _MISSING
    )
    return [] if is_one else None


def _class(rule: Rule, held: _Held, classifier: Classifier) -> Class | None:
    """The class of a rule that holds; None if its status of HTTP decides nothing."""
    if rule.class_ != BY_STATUS:
        return Class(rule.class_)
    status = value_at(held.subject, rule.status) if rule.status is not None else held.group("status")
    if isinstance(status, str) and re.fullmatch(r"\d{3}", status, re.ASCII):
        status = int(status)
    return classifier.statuses.get(status) if type(status) is int else None


def _message(rule: Rule, held: _Held, ended: Ended) -> str:
    said = value_at(held.subject, rule.message) if rule.message is not None else None
    if isinstance(said, str) and said.strip():
        return said.strip()
    if rule.text is not None and held.matches:
        found = held.matches[-1]
        return _line_around(found) or how(ended)
    return how(ended)


def _line_around(found: re.Match[str]) -> str:
    begin = found.string.rfind("\n", 0, found.start()) + 1
    end = found.string.find("\n", found.start())
    return found.string[begin : end if end >= 0 else None].strip()


def _wait_ms(rule: Rule, held: _Held, ended: Ended, now_ms: int, classifier: Classifier) -> int | None:
    if rule.reset is None:
        return None
    value: Any
    if rule.reset.path is not None:
        value = value_at(held.subject, rule.reset.path)
    else:
        value = held.group("reset") or (held.matches[-1][0] if held.matches else None)
    if isinstance(value, str):
        value = _folded(value)
    return read_reset(rule.reset.form, value, now_ms, ended.zone, classifier.reset_ms_max)


def _folded(text: str) -> str:
    return text[-_TEXT_CHARACTERS_MAX:].translate(_FOLDED)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"

"""What the end of a command means: the first rule that holds.

Rule: pure, so the same end means the same for ever; and what a model wrote is no evidence, so only those fields of
frames and those last words count which a rule or a source names.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sagalog_command.ended import Ended
from sagalog_command.matching import (
    MISSING,
    find_in_frame,
    find_in_sentence,
    find_in_text,
    find_last_in_text,
    folded,
    last,
    line_around,
    value_at,
)
from sagalog_command.resets import read_reset
from sagalog_command.rules import BY_STATUS, Class, Classifier, FrameTest, Rule, Source

_SHELL_SIGNAL: Final = 128
# Behind what a program says there may be a trace of where it said so.
_TRACE: Final = re.compile(r"\n\s+at \S")


@dataclass(frozen=True, slots=True)
class Verdict:
    """The meaning of an end.

    class_          its class
    rule            the name of the rule that held, or None if none did
    message         a sentence for people
    retry_after_ms  how long to wait before trying again, in milliseconds, if that was said
    fields          what the classifier takes into the result; absent where the command did not print it
    """

    class_: Class
    rule: str | None
    message: str
    retry_after_ms: int | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)


def classify(classifier: Classifier, ended: Ended, now_ms: int) -> Verdict:
    """Say what an end means; where no rule holds, it is `unknown`.

    Args:
        classifier: the rules.
        ended: how the command ended.
        now_ms: the time, in milliseconds since 1970, from which waits are counted.
    """
    fields = {}
    for name, wanted in classifier.fields.items():
        frame = last(ended.frames, wanted.select)
        value = value_at(frame, wanted.path) if frame is not None else MISSING
        if value is not MISSING and value is not None:
            fields[name] = value
    sentence = next((said for each in classifier.sources if (said := _said(each, ended))), None)
    for rule in classifier.rules:
        held = _hold(rule, ended, sentence)
        class_ = _class(rule, held, classifier) if held is not None else None
        if held is None or class_ is None:
            continue
        wait_ms = _wait_ms(rule, held, ended, now_ms, classifier)
        return Verdict(class_, rule.name, _message(rule, class_, held, ended), wait_ms, fields)
    return Verdict(Class.UNKNOWN, None, sentence or how(ended), None, fields)


def how(ended: Ended) -> str:
    """Say how a command ended, with the last line of its complaint if there is one."""
    if ended.is_over_time:
        text = "its time was over"
    elif ended.is_lingering:
        text = "it did not end after its last word"
    elif ended.status >= 0:
        text = f"exit {ended.status}"
    else:
        text = f"killed by {_signal_name(-ended.status)}"
    lines = ended.stderr_tail.split("\n")
    complaint = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f"{text}: {complaint}" if complaint else text


@dataclass(frozen=True, slots=True)
class _Held:
    """What the conditions of a rule have found."""

    subject: Mapping[str, Any] | None
    matches: Sequence[re.Match[str]]
    sentence: str | None

    def group(self, name: str) -> str | None:
        return next((each[name] for each in self.matches if each.re.groupindex.get(name) and each[name]), None)


def _hold(rule: Rule, ended: Ended, sentence: str | None) -> _Held | None:
    """Whether all conditions hold: what they found, or None."""
    if rule.is_over_time is not None and rule.is_over_time != ended.is_over_time:
        return None
    if not _ended_so(rule, ended):
        return None
    framed = _hold_frames(rule.frames, ended)
    if framed is None:
        return None
    subject, matches = framed
    if rule.error:
        found = find_in_sentence(rule.error, folded(sentence)) if sentence is not None else None
        if found is None:
            return None
        matches.append(found)
    if rule.text is not None:
        found = find_in_text(rule.text, _tail(rule.text.stream, ended))
        if found is None:
            return None
        matches.append(found)
    return _Held(subject, matches, sentence)


def _hold_frames(
    tests: Sequence[FrameTest], ended: Ended
) -> tuple[Mapping[str, Any] | None, list[re.Match[str]]] | None:
    """Whether all conditions on frames hold: their subject and what their patterns found, or None."""
    subject: Mapping[str, Any] | None = None
    matches: list[re.Match[str]] = []
    for test in tests:
        frame = last(ended.frames, test.select)
        found = find_in_frame(test, frame)
        if (found is None) != test.is_not:
            return None
        if not test.is_not:
            subject = frame if subject is None else subject
            matches += found or ()
    return subject, matches


def _ended_so(of: Rule | Source, ended: Ended) -> bool:
    if not of.exits and not of.signals:
        return True
    if ended.is_over_time or ended.is_lingering:
        return False
    numbers = {int(number) for number in of.signals}
    return ended.status in of.exits or -ended.status in numbers or ended.status - _SHELL_SIGNAL in numbers


def _said(source: Source, ended: Ended) -> str | None:
    """Give the sentence that stands at a source, if there is one."""
    framed = _hold_frames(source.frames, ended) if _ended_so(source, ended) else None
    if framed is None:
        return None
    if source.path is not None:
        value = value_at(framed[0], source.path)
        return value.strip() if isinstance(value, str) else None
    assert source.text is not None
    found = find_last_in_text(source.text, _tail(source.text.stream, ended))
    if found is None:
        return None
    if found.re.groupindex.get("error") and found["error"]:
        return found["error"].strip()
    said = found.string[found.string.rfind("\n", 0, found.start()) + 1 :]
    return _TRACE.split(said, maxsplit=1)[0].strip()


def _tail(stream: str, ended: Ended) -> str:
    return ended.stdout_tail if stream == "stdout" else ended.stderr_tail


def _class(rule: Rule, held: _Held, classifier: Classifier) -> Class | None:
    """The class of a rule that holds; None if its status of HTTP decides nothing."""
    if rule.class_ != BY_STATUS:
        return Class(rule.class_)
    status = value_at(held.subject, rule.status) if rule.status is not None else held.group("status")
    if isinstance(status, str) and re.fullmatch(r"\d{3}", status, re.ASCII):
        status = int(status)
    return classifier.statuses.get(status) if type(status) is int else None


def _message(rule: Rule, class_: Class, held: _Held, ended: Ended) -> str:
    said = value_at(held.subject, rule.message) if rule.message is not None else None
    if isinstance(said, str) and said.strip():
        return said.strip()
    if rule.text is not None and held.matches:
        return line_around(held.matches[-1]) or how(ended)
    if held.sentence is not None and class_ not in (Class.OK, Class.INTERRUPTED):
        return held.sentence
    return how(ended)


def _wait_ms(rule: Rule, held: _Held, ended: Ended, now_ms: int, classifier: Classifier) -> int | None:
    if rule.reset is None:
        return None
    value: Any
    if rule.reset.path is not None:
        value = value_at(held.subject, rule.reset.path)
    else:
        whole = held.sentence if rule.error else held.matches[-1][0] if held.matches else None
        value = held.group("reset") or whole
    if isinstance(value, str):
        value = folded(value)
    return read_reset(rule.reset.form, value, now_ms, ended.zone, classifier.reset_ms_max)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"

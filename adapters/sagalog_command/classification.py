"""Classification: what the end of a command means, by the first rule that holds.

Rule: this module is pure, so the same end means the same for ever. What a model wrote is no evidence: only those fields
of frames and those last words count which a rule or a source names.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sagalog_command.conditions import Conditions, FrameTest
from sagalog_command.ending import Ending
from sagalog_command.matcher import (
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
from sagalog_command.rules import BY_STATUS, Class, Classifier, Rule, Source

_SHELL_SIGNAL: Final = 128
# Behind what a program says there may be a trace of where it said so.
_TRACE: Final = re.compile(r"\n\s+at \S")


@dataclass(frozen=True, slots=True)
class Verdict:
    """The meaning of an end.

    class_          its class
    rule            the name of the rule that held, or None if none did
    message         a sentence for people
    retry_after_ms  how long to wait before trying again, in milliseconds; None if the command did not say
    fields          what the classifier takes into the result; a field that the command did not print is absent
    """

    class_: Class
    rule: str | None
    message: str
    retry_after_ms: int | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)


def classify(classifier: Classifier, ending: Ending, now_ms: int) -> Verdict:
    """Say what an end means; where no rule holds, its class is `unknown`.

    Args:
        classifier: the rules.
        ending: how the command ended.
        now_ms: the time, in milliseconds since 1970, from which waits are counted.
    """
    fields = {}
    for name, wanted in classifier.fields.items():
        frame = last(ending.frames, wanted.select)
        value = value_at(frame, wanted.path) if frame is not None else MISSING
        if value is not MISSING and value is not None:
            fields[name] = value
    sentence = next((said for each in classifier.sources if (said := _said(each, ending))), None)
    for rule in classifier.rules:
        findings = _hold(rule, ending, sentence)
        class_ = _class(rule, findings, classifier) if findings is not None else None
        if findings is None or class_ is None:
            continue
        wait_ms = _wait_ms(rule, findings, ending, now_ms, classifier)
        return Verdict(class_, rule.name, _message(rule, class_, findings, ending), wait_ms, fields)
    return Verdict(Class.UNKNOWN, None, sentence or how(ending), None, fields)


def how(ending: Ending) -> str:
    """Say how a command ended, with the last line of its complaint if there is one."""
    if ending.is_over_time:
        text = "its time was over"
    elif ending.is_lingering:
        text = "it did not end after its last word"
    elif ending.status >= 0:
        text = f"exit {ending.status}"
    else:
        text = f"killed by {_signal_name(-ending.status)}"
    lines = ending.stderr_tail.split("\n")
    complaint = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f"{text}: {complaint}" if complaint else text


@dataclass(frozen=True, slots=True)
class _Findings:
    """The findings of the conditions of a rule that holds."""

    subject: Mapping[str, Any] | None
    matches: Sequence[re.Match[str]]
    sentence: str | None

    def group(self, name: str) -> str | None:
        return next((each[name] for each in self.matches if each.re.groupindex.get(name) and each[name]), None)


def _hold(rule: Rule, ending: Ending, sentence: str | None) -> _Findings | None:
    """Give what the conditions of a rule have found, or None if not all of them hold."""
    if rule.is_over_time is not None and rule.is_over_time != ending.is_over_time:
        return None
    if not _ended_so(rule, ending):
        return None
    framed = _hold_frames(rule.frames, ending)
    if framed is None:
        return None
    subject, matches = framed
    if rule.error is not None:
        found = find_in_sentence(rule.error.patterns, folded(sentence)) if sentence is not None else None
        if found is None:
            return None
        matches.append(found)
    if rule.text is not None:
        found = find_in_text(rule.text, _tail(rule.text.stream, ending))
        if found is None:
            return None
        matches.append(found)
    return _Findings(subject, matches, sentence)


def _hold_frames(
    tests: Sequence[FrameTest], ending: Ending
) -> tuple[Mapping[str, Any] | None, list[re.Match[str]]] | None:
    """Give the subject of conditions and what their patterns have found, or None if not all of them hold."""
    subject: Mapping[str, Any] | None = None
    matches: list[re.Match[str]] = []
    for test in tests:
        frame = last(ending.frames, test.select)
        found = find_in_frame(test, frame)
        if (found is None) != test.is_not:
            return None
        if not test.is_not:
            subject = frame if subject is None else subject
            matches += found or ()
    return subject, matches


def _ended_so(of: Conditions, ending: Ending) -> bool:
    if not of.exits and not of.signals:
        return True
    if ending.is_over_time or ending.is_lingering:
        return False
    is_exit = any(ending.status in statuses for statuses in of.exits)
    return is_exit or -ending.status in of.signals or ending.status - _SHELL_SIGNAL in of.signals


def _said(source: Source, ending: Ending) -> str | None:
    """Give the sentence that a source holds, if there is one."""
    framed = _hold_frames(source.frames, ending) if _ended_so(source, ending) else None
    if framed is None:
        return None
    if source.path is not None:
        value = value_at(framed[0], source.path)
        return value.strip() if isinstance(value, str) else None
    assert source.text is not None
    found = find_last_in_text(source.text, _tail(source.text.stream, ending))
    if found is None:
        return None
    if found.re.groupindex.get("error") and found["error"]:
        return found["error"].strip()
    said = found.string[found.string.rfind("\n", 0, found.start()) + 1 :]
    return _TRACE.split(said, maxsplit=1)[0].strip()


def _tail(stream: str, ending: Ending) -> str:
    return ending.stdout_tail if stream == "stdout" else ending.stderr_tail


def _class(rule: Rule, findings: _Findings, classifier: Classifier) -> Class | None:
    """Give the class of a rule that holds; None if its status of HTTP decides nothing."""
    if rule.class_ != BY_STATUS:
        return Class(rule.class_)
    status = value_at(findings.subject, rule.status) if rule.status is not None else findings.group("status")
    if isinstance(status, str) and re.fullmatch(r"\d{3}", status, re.ASCII):
        status = int(status)
    return classifier.class_of(status) if type(status) is int else None


def _message(rule: Rule, class_: Class, findings: _Findings, ending: Ending) -> str:
    said = value_at(findings.subject, rule.message) if rule.message is not None else None
    if isinstance(said, str) and said.strip():
        return said.strip()
    if rule.text is not None and findings.matches:
        return line_around(findings.matches[-1]) or how(ending)
    if findings.sentence is not None and class_ not in (Class.OK, Class.INTERRUPTED):
        return findings.sentence
    return how(ending)


def _wait_ms(rule: Rule, findings: _Findings, ending: Ending, now_ms: int, classifier: Classifier) -> int | None:
    if rule.reset is None:
        return None
    value: Any
    if rule.reset.path is not None:
        value = value_at(findings.subject, rule.reset.path)
    else:
        whole = findings.sentence if rule.error is not None else findings.matches[-1][0] if findings.matches else None
        value = findings.group("reset") or whole
    if isinstance(value, str):
        value = folded(value)
    return read_reset(rule.reset.form, value, now_ms, ending.zone, classifier.reset_ms_max)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"

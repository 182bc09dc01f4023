"""Outcome of a run: the result of the task, or one of the exceptions that a worker knows.

Rule: the outcome is small and sound JSON, whatever a command printed. This module knows no process.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from sagalog import Failed, Interrupted, InvalidValue, Permanent, Quarantine, Transient
from sagalog.validation.json_values import check_json
from sagalog_command.classification import Verdict
from sagalog_command.ending import Ending
from sagalog_command.output import Excerpt
from sagalog_command.rules import Class, Classifier

_MESSAGE_CHARACTERS_MAX: Final = 1_000
_TEXT_CHARACTERS_MAX: Final = 4_096
_FIELDS_BYTES_MAX: Final = 32_768


@dataclass(frozen=True, slots=True)
class RunReport:
    """The time that a run took, in milliseconds, and what it printed."""

    duration_ms: int
    stdout: Excerpt
    stderr: Excerpt


def conclude(verdict: Verdict, ending: Ending, report: RunReport, classifier: Classifier) -> dict[str, Any]:
    """Give the result of a run of the class `ok`.

    Raises:
        Interrupted, Transient, Permanent, Failed, Quarantine: the run is of another class.
    """
    facts = _facts(verdict, ending, report)
    class_ = verdict.class_
    if class_ is Class.OK:
        return facts
    message = _sound(verdict.message[:_MESSAGE_CHARACTERS_MAX]) or str(class_)
    if class_ in classifier.quarantines:
        raise Quarantine(message, code=_code(class_, ending), details=facts)
    if class_ is Class.INTERRUPTED:
        raise Interrupted(message)
    if class_.startswith("transient."):
        raise Transient(
            message,
            code=_code(class_, ending),
            retry_after_ms=verdict.retry_after_ms,
            budget="quota" if class_ is Class.QUOTA else "transient",
            details=facts,
        )
    if class_.startswith("permanent."):
        raise Permanent(message, code=_code(class_, ending), details=facts)
    raise Failed(message, code=_code(class_, ending), details=facts)


def _code(class_: Class, ending: Ending) -> str:
    if class_ is not Class.UNKNOWN:
        return class_.rpartition(".")[2]
    if ending.is_over_time:
        return "time_limit"
    return "exit" if ending.status >= 0 else "signal"


def _facts(verdict: Verdict, ending: Ending, report: RunReport) -> dict[str, Any]:
    return {
        "class": str(verdict.class_),
        "rule": verdict.rule,
        "exit_status": ending.status,
        "lingered": ending.is_lingering,
        "duration_ms": report.duration_ms,
        "stdout_bytes": report.stdout.bytes_seen,
        "stderr_bytes": report.stderr.bytes_seen,
        "stdout_truncated": report.stdout.is_cut,
        "stderr_truncated": report.stderr.is_cut,
        "fields": _fields(verdict),
    }


def _fields(verdict: Verdict) -> dict[str, Any]:
    """Give the fields that are small and that every store keeps; cut long texts, leave out all else."""
    fields: dict[str, Any] = {}
    for name, value in verdict.fields.items():
        if isinstance(value, str):
            value = _sound(value if len(value) <= _TEXT_CHARACTERS_MAX else f"{value[: _TEXT_CHARACTERS_MAX - 1]}…")
        with suppress(InvalidValue):
            check_json({"fields": {**fields, name: value}}, "result", _FIELDS_BYTES_MAX)
            fields[name] = value
    return fields


def _sound(text: str) -> str:
    return text.replace("\0", "\ufffd").encode(errors="replace").decode()

"""The reason in the end of a task: when and why it has ended, by which other task, and what took its place.

Rule: as of the whole package. What cannot be read is left out, and hides nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

from sagalog.codec import read
from sagalog.engine.explanation import Reason
from sagalog.engine.explanations.subject import Subject
from sagalog.errors import Corrupt
from sagalog.kernel.events import NAMES, Noted
from sagalog.kernel.state import TaskFold
from sagalog.kernel.values import Parameters, State
from sagalog.sentences import reason_of, sentence, worded

# How many of the newest events are looked at for the one that ended a task: only notes come behind it.
_NOTES_MAX: Final = 64
# The codes of an end by another task, and the parameter of its event that names that one. [WAIT-5] [CANCEL-4]
_BY: Final = {"dependency_failed": "task", "parent_ended": "parent"}


def ended(subject: Subject) -> Iterator[Reason]:
    """It has ended, so nothing leases it again. [TERM-1]"""
    task = subject.task
    if not task.is_terminal:
        return
    parameters: Parameters = {"task": task.id, "state": str(task.state)}
    if (at_ms := _ended_ms(subject)) is not None:
        parameters["at_ms"] = at_ms
    parameters |= _cause(subject)
    if (successor := _successor(subject)) is not None:
        parameters["successor"] = successor
    elif _is_retriable(task):
        parameters["retriable"] = task.id
    yield Reason("ended", parameters)


def _cause(subject: Subject) -> Parameters:
    """Return why it has not completed: the code, the task that it ended by, the reason and the error."""
    task = subject.task
    if task.state is State.COMPLETED:
        return {}
    event, error = _read(subject, task.reason_version), getattr(_read(subject, task.error_version), "error", None)
    text = (None if event is None else reason_of(event)) or (None if task.code is None else sentence(task.code))
    given = getattr(event, "parameters", None) or {}
    found = {
        "code": task.code,
        "by": given.get(_BY.get(task.code or "", "")),
        "text": text,
        "error": None if error is None else f"{error.code}: {worded(error).message}",
    }
    return {name: value for name, value in found.items() if value is not None}


def _is_retriable(task: TaskFold) -> bool:
    """Check whether `retry_as_new` would take it: of what undid a completed task, while it owes more. [TERM-2]"""
    return task.state is not State.COMPLETED and (task.outcome != "completed" or bool(task.owed()))


def _ended_ms(subject: Subject) -> int | None:
    """Return when it ended; None: more notes have followed than are looked at."""
    stream, version = f"task/{subject.task.id}", subject.task.version
    newest = subject.snapshot.history(stream, max(0, version - _NOTES_MAX))
    return next((one.at_ms for one in reversed(newest) if one.type != NAMES[Noted]), None)


def _successor(subject: Subject) -> str | None:
    """Return its successor; None: it has none, or the note that names it cannot be read. [TERM-2]"""
    noted = _read(subject, subject.task.successor_version)
    return noted.successor if isinstance(noted, Noted) else None


def _read(subject: Subject, version: int) -> Any:
    """Return an event of the task; None: there is none (version 0), or it cannot be read."""
    with suppress(Corrupt):
        return read(subject.snapshot.recorded(subject.task.id, version)) if version else None
    return None

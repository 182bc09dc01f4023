"""The record of one command, its verb, registered once, beside the function that decides it.

Rule: all code that lists commands reads the verbs, so a new command is one record here and no row anywhere else. The
calls that make commands are the verbs of `sagalog.engine.verbs` and `holder_verbs`. A verb names the values in which a
repeat must agree; the engine decides which values are equal as JSON. [REPEAT-6] Knows no call.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sagalog.kernel import commands as c
from sagalog.kernel.decide.rules import Decision
from sagalog.kernel.state import TaskFold

Decider = Callable[[TaskFold | None, Any, int, int], Decision]
# The values that the command gives, and those on record under the same names.
Contents = tuple[dict[str, Any], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Verb:
    """One command, the function that decides it, and its other properties.

    command   its type
    decide    task, command, now_ms and epoch -> the events, a repeat, or a refusal
    writes    the names of the events that it can write
    marks     those of them in which it leaves its idempotency key, if callers may give it one [REPEAT-4]
    contents  command, the event on record and its task -> the values that a repeat compares; None: it has no identity
    time      its field that holds a moment and no length of time [TIME-5]; a decider looks at deadlines by itself
    """

    command: type[c.Command]
    decide: Decider
    writes: frozenset[str]
    marks: frozenset[str] = frozenset()
    contents: Callable[[Any, Any, TaskFold], Contents] | None = None
    time: str | None = None

    def __post_init__(self) -> None:
        assert self.marks <= self.writes


def names(*events: str) -> frozenset[str]:
    """Return the names of some events as a set."""
    return frozenset(events)


def fields(*pairs: tuple[str, str]) -> Callable[[Any, Any, TaskFold], Contents]:
    """Return the `contents` of a verb that compares single fields: (of the command, of the event)."""

    def contents(command: Any, event: Any, _: TaskFold) -> Contents:
        return (
            {mine: getattr(command, mine) for mine, _theirs in pairs},
            {mine: getattr(event, theirs, None) for mine, theirs in pairs},
        )

    return contents

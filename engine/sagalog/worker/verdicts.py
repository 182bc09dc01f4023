"""Ends of a lease in which the handler has no say: a quarantine, and a wait until what it needs can be read.

Rule: values only; what is written for each stands in `handling`. Knows a task as it was read.
"""

from __future__ import annotations

from typing import Final

import msgspec

from sagalog.engine.task import Task
from sagalog.errors import InvalidValue, Rejected
from sagalog.kernel.values import Failure, UnrecordedStep
from sagalog.outcomes import Park

# The name of the waits by which a task is held up, and how long each lasts.
HELD_UP: Final = "sagalog: a task that it needs cannot be read"
_HELD_UP_MS: Final = 60_000


def held_up(task: Task, now_ms: int) -> Park:
    """Park a task while another one that it needs cannot be read, as by a version that is older than its newest event.

    That is a wait of the engine's own, so it costs no budget of the task, and every caller that looks sees it.
    """
    return Park(HELD_UP, number=task.waits.get(HELD_UP, 0) + 1, until_ms=now_ms + _HELD_UP_MS)


class Verdict(msgspec.Struct, frozen=True):
    """Why a task is quarantined whatever its handler says, and the steps that had begun and have no record."""

    failure: Failure
    steps: tuple[UnrecordedStep, ...]


def unstorable(refusal: Rejected, what: str, step: str | None = None) -> Failure:
    """Why something that a handler gave cannot be stored: with the path of the value, and the bound that it passed."""
    code = "unstorable_result" if isinstance(refusal, InvalidValue) else refusal.code
    named = {"step": step} if step is not None else {}
    found = {name: refusal.fields[name] for name in ("path", "bound", "maximum") if name in refusal.fields}
    return Failure(code, f"{what} cannot be stored: {refusal.message}", {**named, **found} or None)

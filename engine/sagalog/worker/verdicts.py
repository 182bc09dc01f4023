"""Ends of a lease that the handler does not decide: a quarantine, and a wait for another task that cannot be read.

Rule: the worker states its own reasons by a code [RECORD-6]; `settlement` decides when each end is written.
"""

from __future__ import annotations

from typing import Final

import msgspec

from sagalog.actors import worker_actor
from sagalog.engine.batch import Batch
from sagalog.engine.entries import CommandEntry
from sagalog.engine.lease import Lease
from sagalog.engine.task import Task
from sagalog.errors import InvalidValue, Rejected
from sagalog.kernel.values import Failure, Parameters, UnrecordedStep
from sagalog.outcomes import Park
from sagalog.validation import commands as forms

# The name of the waits of a task that is held up, and how long each lasts.
HELD_UP: Final = "sagalog:held_up"
_HELD_UP_MS: Final = 60_000


def held_up(task: Task, now_ms: int) -> Park:
    """Park a task while a task that it needs cannot be read, as by a version older than that task's newest event.

    This is a wait of the engine's own, so it costs no budget of the task, and every caller can see it.
    """
    return Park(HELD_UP, number=task.waits.get(HELD_UP, 0) + 1, until_ms=now_ms + _HELD_UP_MS)


class Verdict(msgspec.Struct, frozen=True):
    """The reason to quarantine a task whatever its handler does, and the steps that have begun and have no record."""

    failure: Failure
    steps: tuple[UnrecordedStep, ...]


def unstorable(refusal: Rejected, parameters: Parameters) -> Failure:
    """Make the failure for something of a handler that cannot be stored, with the path of the value and its bound.

    `parameters` say what it is: the handler's `returned` value, the result of a `step`, or a `child` written with a
    step.
    """
    code = "unstorable_result" if isinstance(refusal, InvalidValue) else refusal.code
    named = {"step": parameters["step"]} if "step" in parameters else {}
    found = {name: refusal.fields[name] for name in ("path", "bound", "maximum") if name in refusal.fields}
    return Failure(code, refusal.message, {**named, **found} or None, parameters)


def give_back(batch: Batch, lease: Lease, code: str, text: str | None = None) -> None:
    """Record a release that has a code; `text` is what a handler has said. It burns no attempt."""
    command = forms.release(lease.task.id, lease.fence, text or None, None)
    release = msgspec.structs.replace(command, code=code)
    batch._append(CommandEntry(release, worker_actor(lease.owner), known=lease.task))

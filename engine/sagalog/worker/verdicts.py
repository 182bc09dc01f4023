"""Ends of a lease in which the handler has no say: a quarantine, and a wait until what it needs can be read.

Rule: what the worker itself has to say is a code [RECORD-6]; when each is written stands in `settlement`.
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

# The name of the waits by which a task is held up, and how long each lasts.
HELD_UP: Final = "sagalog:held_up"
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


def unstorable(refusal: Rejected, parameters: Parameters) -> Failure:
    """Why something that a handler gave cannot be stored: with the path of the value, and the bound that it passed.

    `parameters` say what it is: what the handler has `returned`, of a `step`, or a `child` that comes with one.
    """
    code = "unstorable_result" if isinstance(refusal, InvalidValue) else refusal.code
    named = {"step": parameters["step"]} if "step" in parameters else {}
    found = {name: refusal.fields[name] for name in ("path", "bound", "maximum") if name in refusal.fields}
    return Failure(code, refusal.message, {**named, **found} or None, parameters)


def give_back(batch: Batch, lease: Lease, code: str, text: str | None = None) -> None:
    """Record a release that a worker words by a code; `text` is what a handler has said. Burns no attempt."""
    command = forms.release(lease.task.id, lease.fence, text or None, None)
    release = msgspec.structs.replace(command, code=code)
    batch._append(CommandEntry(release, worker_actor(lease.owner), known=lease.task))

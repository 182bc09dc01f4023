"""The decisions: command + state + time -> events, a repeat, or a refusal. One plain function a command.

Rule: pure. `now_ms`, the epoch and drawn entropy are arguments; a refusal is an error of `sagalog.errors` and changes
nothing. A function checks in this order: does the task exist; who holds it, and is this a repeat; has the table of the
lifecycle a place for the event; then the conditions on data (budgets, what is owed, room), each with its rule.
Each module registers its commands in its `VERBS`; `VERBS` here is the one list of all. Knows no store and no adapter.
"""

from __future__ import annotations

from typing import Final

from sagalog.kernel import commands as c
from sagalog.kernel.decide import (
    amendments,
    compensations,
    interventions,
    leases,
    maintenance,
    recordings,
    successors,
    waits,
    work,
)
from sagalog.kernel.decide.maintenance import next_lease_fits
from sagalog.kernel.decide.rules import Decision, Repeat
from sagalog.kernel.decide.successors import keeps_steps, succeed, undo_left
from sagalog.kernel.decide.times import require_milliseconds
from sagalog.kernel.decide.verbs import Verb
from sagalog.kernel.state import TaskFold

__all__ = [
    "VERBS",
    "VERB_OF",
    "Decision",
    "Repeat",
    "Verb",
    "decide",
    "keeps_steps",
    "next_lease_fits",
    "succeed",
    "undo_left",
]

VERBS: Final[tuple[Verb, ...]] = (
    *leases.VERBS,
    *work.VERBS,
    *recordings.VERBS,
    *waits.VERBS,
    *compensations.VERBS,
    *interventions.VERBS,
    *successors.VERBS,
    *maintenance.VERBS,
    *amendments.VERBS,
)
VERB_OF: Final[dict[type[c.Command], Verb]] = {verb.command: verb for verb in VERBS}


def decide(task: TaskFold | None, command: c.Command, now_ms: int, epoch: int) -> Decision:
    """Decide what `command` does to `task` (None: no such stream) at `now_ms`, in the store's `epoch`.

    Returns:
        The events to append, perhaps none; or `Repeat`, where the identity is already on record.

    Raises:
        Rejected, Conflict: the refusal, naming the task, what was expected and what was found.
    """
    verb = VERB_OF[type(command)]
    if verb.time is not None:
        require_milliseconds(command, verb.time, now_ms)
    return verb.decide(task, command, now_ms, epoch)

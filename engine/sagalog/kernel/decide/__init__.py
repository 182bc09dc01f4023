"""Command + state + time -> events, a repeat, or a refusal. One plain function a command.

Rule: pure. `now_ms`, the epoch and drawn chance are arguments; a refusal is an error of `sagalog.errors` and changes
nothing. A command asks in this order: does the task exist; who holds it, and is this a repeat; has the table of the
lifecycle a place for it; then the conditions on data (budgets, what is owed, room), each with its rule.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from sagalog.kernel import commands as c
from sagalog.kernel.decide.leasing import acquire, beat, create, release
from sagalog.kernel.decide.operating import cancel, note, quarantine
from sagalog.kernel.decide.recording import adopt_child, complete_step, put_artifact
from sagalog.kernel.decide.rules import Decision, Repeat
from sagalog.kernel.decide.succeeding import keeps_steps, retry_as_new, succeed, undo_left
from sagalog.kernel.decide.tending import next_lease_fits, tend
from sagalog.kernel.decide.times import require_milliseconds
from sagalog.kernel.decide.undoing import fail_compensation, finish_compensation, waive
from sagalog.kernel.decide.waiting import park, signal
from sagalog.kernel.decide.working import complete, fail, give_up, register, try_again
from sagalog.kernel.state import TaskFold

__all__ = [
    "Decision",
    "Repeat",
    "acquire",
    "adopt_child",
    "beat",
    "cancel",
    "complete",
    "complete_step",
    "create",
    "decide",
    "fail",
    "fail_compensation",
    "finish_compensation",
    "give_up",
    "keeps_steps",
    "next_lease_fits",
    "note",
    "park",
    "put_artifact",
    "quarantine",
    "register",
    "release",
    "retry_as_new",
    "signal",
    "succeed",
    "tend",
    "try_again",
    "undo_left",
    "waive",
]

_DECIDERS: Final[dict[type[c.Command], Callable[[TaskFold | None, Any, int, int], Decision]]] = {
    c.Create: create,
    c.Acquire: acquire,
    c.Beat: beat,
    c.Register: register,
    c.CompleteStep: complete_step,
    c.PutArtifact: put_artifact,
    c.AdoptChild: adopt_child,
    c.Park: park,
    c.Release: release,
    c.TryAgain: try_again,
    c.Complete: complete,
    c.Fail: fail,
    c.GiveUp: give_up,
    c.FinishCompensation: finish_compensation,
    c.FailCompensation: fail_compensation,
    c.Cancel: cancel,
    c.Quarantine: quarantine,
    c.Signal: signal,
    c.Note: note,
    c.RetryAsNew: retry_as_new,
    c.Waive: waive,
    c.Tend: tend,
}


def decide(task: TaskFold | None, command: c.Command, now_ms: int, epoch: int) -> Decision:
    """What `command` does to `task` (None: no such stream) at `now_ms`, in the store's `epoch`.

    Returns:
        The events to append, perhaps none; or `Repeat`, where the identity is already on record.

    Raises:
        Rejected, Conflict: the refusal, naming the task, what was expected and what was found.
    """
    require_milliseconds(command, now_ms)
    return _DECIDERS[type(command)](task, command, now_ms, epoch)

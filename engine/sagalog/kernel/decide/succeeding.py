"""How another task takes the place of one that has ended: `retry_as_new`; or undoes what a completed one has left.

Rule: a terminal task never comes back to life [TERM-2]; what it still owes another owes from its first moment, so that
no effect is ever left without somebody who has to undo it [COMP-7]. What is handed over is handed over by reference,
so it always fits. Knows two streams, and writes to one.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from sagalog.errors import NotFound, ResultRequired, WrongState
from sagalog.kernel import commands as c
from sagalog.kernel import events as e
from sagalog.kernel.decide.rules import Decision, Repeat, existing
from sagalog.kernel.state import TakenSignal, TaskFold
from sagalog.kernel.values import Inherited, KeptStep, KeptWaits, Outcome, SignalEnd, State


def retry_as_new(task: TaskFold | None, command: c.RetryAsNew, now_ms: int, epoch: int) -> Decision:
    """The note by which an ended task hands over what it owes; a second time the same successor. [REPEAT-7]

    It always fits: a task is succeeded once. [BOUND-2]
    """
    task = existing(task, command.task)
    _require_retriable(task)
    if task.successor_version:
        return Repeat(task.successor_version)
    _require_results(task, command)
    return (
        e.Noted(
            text=f"retried as {command.successor}",
            settles=tuple(task.owed()),
            successor=command.successor,
            results=command.results or None,
            rerun=command.rerun,
        ),
    )


def succeed(task: TaskFold, created: e.Created, successor: str, given: Iterable[str] = ()) -> c.Create:
    """The creation of a task's successor: the same work, under budgets of its own. [TERM-2]

    Of a task that was quarantined in its forward work it keeps the steps [STEP-1], the sleeps that are over and the
    signals that were taken [WAIT-1]. Where the forward work was over and
    its undoing was left, the successor only undoes; it plans what the predecessor planned, for the day when it is
    retried itself. `task` is the fold before its note, and `given` are the steps whose results that note holds.
    """
    owed = task.owed()
    only_undoes = task.outcome is not None and bool(owed)
    create = _same_work(task, created, successor, owed)
    if only_undoes:
        return _only_undoing(create, task.outcome)
    if not keeps_steps(task):
        return create
    noted = tuple(KeptStep(name, task.id, task.version + 1, task.unrecorded_undo) for name in given)
    return msgspec.structs.replace(create, steps=_steps(task) + noted, waits=_waits(task))


def keeps_steps(task: TaskFold) -> bool:
    """Whether a successor goes on where this task stopped: it was quarantined in its forward work. [STEP-1]"""
    return task.state is State.QUARANTINED and task.outcome is None


def undo_left(task: TaskFold, created: e.Created, left: Iterable[str], undoer: str) -> c.Create:
    """The creation of the task that undoes what a completed one has left; it does none of its work. [COMP-7]"""
    create = _same_work(task, created, undoer, left)
    return _only_undoing(msgspec.structs.replace(create, compensations=()), "completed")


def _only_undoing(create: c.Create, outcome: Outcome | None) -> c.Create:
    return msgspec.structs.replace(create, to=State.COMPENSATING, outcome=outcome)


def _same_work(task: TaskFold, created: e.Created, id: str, owed: Iterable[str]) -> c.Create:
    return c.Create(
        task=id,
        kind=created.kind,
        queue=task.queue,
        priority=task.priority,
        run_at_ms=None,
        policy=created.policy,
        payload=created.payload,
        inputs=created.inputs,
        compensations=created.compensations,
        waiver=created.waiver,
        tags=created.tags,
        affinity=created.affinity,
        key=created.key,
        parent=created.parent,
        predecessor=task.id,
        correlation_id=created.correlation_id,
        trace=created.trace,
        inherited=tuple(_inherited(task, id) for id in owed),
    )


def _inherited(task: TaskFold, id: str) -> Inherited:
    record = task.compensations[id]
    return Inherited(id, record.kind, task.stream_of(record.source), record.version, record.index)


def _steps(task: TaskFold) -> tuple[KeptStep, ...]:
    return tuple(
        KeptStep(name, task.stream_of(record.source), record.version, record.compensation)
        for name, record in task.steps.items()
    )


def _waits(task: TaskFold) -> tuple[KeptWaits, ...]:
    """[WAIT-1] Its sleeps, and the signals that its waits took; what else ended is asked anew, under its number."""
    kept = [(name, ended.kept()) for name, ended in task.waits.items()]
    return tuple(KeptWaits(name, tuple([_kept_end(task, end) for end in ends])) for name, ends in kept if ends)


def _kept_end(task: TaskFold, end: int | TakenSignal) -> int | SignalEnd:
    return end if isinstance(end, int) else SignalEnd(task.stream_of(end.source), end.version)


def _require_results(task: TaskFold, command: c.RetryAsNew) -> None:
    """[STEP-1] An effect is never repeated unasked because its result did not fit."""
    unrecorded = task.unrecorded_step
    said = {*command.results, *command.rerun}
    for name in sorted(said - {unrecorded}):
        lacks = "every step of it is recorded" if unrecorded is None else f"only {unrecorded!r} is such a step"
        raise NotFound(
            f"task {task.id!r} has no step {name!r} that was carried out and could not be recorded: {lacks}",
            task=task.id,
            step=name,
        )
    if unrecorded is not None and not said:
        raise ResultRequired(
            f"cannot retry task {task.id!r} as new: its step {unrecorded!r} was carried out and its result could not "
            f"be recorded; give results={{{unrecorded!r}: ...}}, or rerun=[{unrecorded!r}] if its effect may come "
            "twice",
            task=task.id,
            step=unrecorded,
        )


def _require_retriable(task: TaskFold) -> None:
    """[TERM-2] Only what has ended, and not what has completed."""
    if not task.is_terminal:
        why = "it goes on by itself; wait for its end, or cancel it first"
    elif task.state is State.COMPLETED:
        why = "there is nothing to mend; create a new task for more of the same"
    elif task.outcome == "completed" and not (task.owed() or task.successor_version):
        why = "it undid what a completed task had left, and owes nothing more; create a new task for more of the same"
    else:
        return
    raise WrongState(
        f"cannot retry task {task.id!r} as new: it is {task.state} and {why}", task=task.id, state=str(task.state)
    )

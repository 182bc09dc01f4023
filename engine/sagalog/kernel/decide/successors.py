"""The successors: a task that replaces one that has ended (`retry_as_new`), or undoes what a completed one has left.

Rule: a terminal task never changes again [TERM-2]; the successor owes what it still owed from its creation on, so every
effect always has a task that undoes it [COMP-7]. The hand-over is by reference, so it always fits. Knows two streams,
and writes to one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from sagalog.errors import NotFound, ResultRequired, WrongState
from sagalog.kernel import commands as c
from sagalog.kernel import events as e
from sagalog.kernel.decide.rules import Decision, Repeat, existing, policy_of
from sagalog.kernel.decide.times import require_deadlines
from sagalog.kernel.decide.verbs import Contents, Verb, names
from sagalog.kernel.state import TakenSignal, TaskFold
from sagalog.kernel.values import Inherited, KeptStep, KeptWaits, Outcome, SignalEnd, State


def retry_as_new(task: TaskFold | None, command: c.RetryAsNew, now_ms: int, epoch: int) -> Decision:
    """Write the note by which an ended task hands over what it owes; a repeat gets the same successor. [REPEAT-7]

    It always fits: a task has one successor. [BOUND-2]
    """
    require_deadlines(command, now_ms)
    task = existing(task, command.task)
    _require_retriable(task)
    if task.successor_version:
        return Repeat(task.successor_version)
    _require_results(task, command)
    return (
        e.Noted(
            code="retried_as_new",
            settles=tuple(task.owed()),
            successor=command.successor,
            results=command.results or None,
            rerun=command.rerun,
        ),
    )


def succeed(
    task: TaskFold, created: e.Created, successor: str, given: Iterable[str] = (), rerun: Iterable[str] = ()
) -> c.Create:
    """Return the creation of a task's successor: the same work, under budgets of its own. [TERM-2]

    Of a task that was quarantined in its forward work it keeps the steps [STEP-1], the sleeps that are over and the
    signals that were taken [WAIT-1]. Where the forward work was over and undoing was left, the successor only undoes;
    it plans what the predecessor planned, in case it is retried as new itself. It takes over no deadline, and the
    dedupe key unless its period is over. [DEDUPE-3] It is pinned to the same build. [BUILD-2]
    If the tasks that it was created to wait for never let it go on, the successor waits for them. [WAIT-5]
    `created` has the newest payload; `task` is the fold before its note; `given` are the steps whose results that note
    holds. It drops the steps `rerun`.
    """
    owed = task.owed()
    only_undoes = task.outcome is not None and bool(owed)
    create = _same_work(task, created, successor, owed)
    if only_undoes:
        return _only_undoing(create, task.outcome)
    if task.is_blocked:
        create = msgspec.structs.replace(create, after=created.after, on_failed=created.on_failed)
    if not keeps_steps(task):
        return create
    return msgspec.structs.replace(create, steps=_steps(task, set(given), set(rerun)), waits=_waits(task))


def keeps_steps(task: TaskFold) -> bool:
    """Check whether a successor goes on where this task stopped: it was quarantined in its forward work. [STEP-1]"""
    return task.state is State.QUARANTINED and task.outcome is None


def undo_left(task: TaskFold, created: e.Created, left: Iterable[str], undoer: str) -> c.Create:
    """Return the creation of the task that undoes what a completed one has left; it does no forward work. [COMP-7]

    It has no dedupe key: it is no more of the same work. [DEDUPE-3]
    """
    create = _same_work(task, created, undoer, left)
    return _only_undoing(msgspec.structs.replace(create, compensations=(), dedupe=None), "completed")


def _only_undoing(create: c.Create, outcome: Outcome | None) -> c.Create:
    return msgspec.structs.replace(create, outcome=outcome)


def _same_work(task: TaskFold, created: e.Created, id: str, owed: Iterable[str]) -> c.Create:
    return c.Create(
        task=id,
        kind=created.kind,
        queue=task.queue,
        priority=task.priority,
        run_at_ms=None,
        policy=policy_of(task).plain(),
        payload=created.payload,
        inputs=created.inputs,
        compensations=created.compensations,
        waiver=created.waiver,
        tags=created.tags,
        affinity=task.affinity,
        key=task.key,
        parent=created.parent,
        predecessor=task.id,
        correlation_id=created.correlation_id,
        trace=created.trace,
        tracestate=created.tracestate,
        data_key=task.subject,
        uses=task.uses,
        on_parent_end=created.on_parent_end,
        inherited=tuple(_inherited(task, id) for id in owed),
        dedupe=task.dedupe,
        build=task.build,
    )


def _inherited(task: TaskFold, id: str) -> Inherited:
    record = task.compensations[id]
    return Inherited(id, record.kind, task.stream_of(record.source), record.version, record.index)


def _steps(task: TaskFold, given: set[str], rerun: set[str]) -> tuple[KeptStep, ...]:
    """Return the steps to keep: recorded ones in order, then the others; the coming note holds the results `given`."""
    recorded = [
        KeptStep(name, task.id, task.version + 1, record.compensation)
        if name in given
        else KeptStep(name, task.stream_of(record.source), record.version, record.compensation)
        for name, record in task.steps.items()
        if name not in rerun
    ]
    noted = [
        KeptStep(step.name, task.id, task.version + 1, step.compensation)
        for step in task.unrecorded_steps
        if step.name in given
    ]
    return (*recorded, *noted)


def _waits(task: TaskFold) -> tuple[KeptWaits, ...]:
    """Return the sleeps and the taken signals to keep; the successor repeats other waits, by their numbers. [WAIT-1]"""
    kept = [(name, ended.kept()) for name, ended in task.waits.items()]
    return tuple(KeptWaits(name, tuple([_kept_end(task, end) for end in ends])) for name, ends in kept if ends)


def _kept_end(task: TaskFold, end: int | TakenSignal) -> int | SignalEnd:
    return end if isinstance(end, int) else SignalEnd(task.stream_of(end.source), end.version)


def _require_results(task: TaskFold, command: c.RetryAsNew) -> None:
    """Require a choice for each step that is perhaps done, or perhaps undone by hand. [STEP-1]"""
    unrecorded, undone = _unrecorded(task), _undone_by_hand(task)
    chosen = {*command.results, *command.rerun}
    for name in sorted(chosen.difference(unrecorded, undone)):
        asked = f"only {_listed([*unrecorded, *undone])} may be named" if unrecorded or undone else "leave it out"
        raise NotFound(
            f"task {task.id!r} has no step {name!r} whose result is not on record, or whose undo was settled by a "
            f"note: {asked}",
            task=task.id,
            step=name,
        )
    lacking = [name for name in (*unrecorded, *undone) if name not in chosen]
    if not lacking:
        return
    why = []
    if begun := [name for name in lacking if name in unrecorded]:
        why.append(f"{_listed(begun)} (begun, and no result is on record)")
    if settled := [name for name in lacking if name in undone]:
        why.append(f"{_listed(settled)} (a note has settled the undo, so perhaps the effect is gone)")
    raise ResultRequired(
        f"cannot retry task {task.id!r} as new without a choice for its steps {' and '.join(why)}: for each, "
        f"results={{{lacking[0]!r}: ...}} keeps it with that result, and rerun=[{lacking[0]!r}] carries it out, "
        "perhaps once more",
        task=task.id,
        steps=lacking,
    )


def steps_to_say(task: TaskFold) -> list[str]:
    """Return the steps for which a caller that retries the task as new has to choose: a result, or a rerun. [STEP-1]"""
    return [*_unrecorded(task), *_undone_by_hand(task)]


def _unrecorded(task: TaskFold) -> list[str]:
    return [step.name for step in task.unrecorded_steps]


def _undone_by_hand(task: TaskFold) -> list[str]:
    """Return the steps that a successor would keep, and whose undos a note has settled after the end. [COMP-7]"""
    if not keeps_steps(task):
        return []
    return [
        name
        for name, step in task.steps.items()
        if (undo := task.compensations.get(step.compensation or "")) is not None and undo.status == "noted"
    ]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names)


def _require_retriable(task: TaskFold) -> None:
    """Require that the task has ended and has not completed. [TERM-2]"""
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


def _succeeded_contents(command: c.RetryAsNew, event: e.Noted, _: TaskFold) -> Contents:
    # The successor's id was drawn at random, so a repeat compares only that there is one.
    given: dict[str, Any] = {"retried": True}
    if command.results or command.rerun:
        given |= {"results": command.results, "rerun": sorted(command.rerun)}
    return given, {"retried": event.successor is not None, "results": event.results or {}, "rerun": sorted(event.rerun)}


VERBS: Final = (
    Verb(
        c.RetryAsNew,
        retry_as_new,
        names("noted"),
        marks=names("noted"),
        contents=_succeeded_contents,
    ),
)

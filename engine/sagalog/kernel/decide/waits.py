"""The commands park and signal, and the end of a wait.

Rule: a signal is kept until a wait of its name takes it, oldest first, each once [WAIT-2]; a wait, by name and number,
ends by one `unblocked` and never begins again [WAIT-1]. Knows one task: the operation, which reads the others, gives
their ends.
"""

from __future__ import annotations

from typing import Any, Final

from sagalog.errors import OverBound, Rejected, WaitOver
from sagalog.kernel import commands as c
from sagalog.kernel import events as e
from sagalog.kernel.bounds import ENDS_NAMED_MAX, SIGNALS_MAX, WAIT_NAMES_MAX, WAITS_MAX
from sagalog.kernel.decide.rules import (
    Decision,
    Events,
    cancelled_after,
    existing,
    in_place,
    quarantined,
    repeat_unless_held,
    require_room,
    state_after,
)
from sagalog.kernel.decide.verbs import Contents, Verb, fields, names
from sagalog.kernel.ends import counted, digest_of_ends, digest_of_ids
from sagalog.kernel.evolve import evolve
from sagalog.kernel.state import TaskFold, Waiting, shows_due
from sagalog.kernel.values import Parameters, State, TaskEnd, Unchanged


def park(task: TaskFold | None, command: c.Park, now_ms: int, epoch: int) -> Decision:
    """Give the lease back for a wait, which may be over at once. It counts as no attempt. [WAIT-1] [WAIT-3]

    It quarantines a task that has waited as often as it may, before it parks. A refusal would cost the task all its
    attempts, since each of them would park again. [BOUND-1]
    """
    task = existing(task, command.task)
    if repeat := repeat_unless_held(task, command.fence, epoch, "park"):
        return repeat
    in_place(task, "parked", "park")
    _require_next(task, command)
    if command.task in command.after:
        raise Rejected(f"task {task.id!r} cannot wait for its own end: name other tasks", task=task.id)
    parked = e.Parked(
        fence=command.fence,
        verb="park",
        name=command.name,
        number=command.number,
        signal=command.signal,
        after=command.after,
        until_ms=command.until_ms,
    )
    if task.cancel_version:
        return (parked, *cancelled_after(task))
    if (spent := _reached_bound(task, command.name)) is not None:
        return (quarantined(task, "bound", None, None, command.fence, "park", parameters=spent),)
    return (parked, *end_of_wait(evolve(task, parked, task.version + 1, now_ms), command.ended, now_ms))


def _require_next(task: TaskFold, command: c.Park) -> None:
    """Require that the wait is the next of its name. [WAIT-1]"""
    number = task.next_wait(command.name)
    if command.number < number:
        raise WaitOver(
            f"cannot park task {task.id!r}: wait {command.number} of the name {command.name!r} is over; its answer is "
            f"on record, so go on with that, or wait again as number {number} or under another name",
            task=task.id,
            wait=command.name,
            number=command.number,
            next=number,
        )
    if command.number > number:
        raise Rejected(
            f"cannot park task {task.id!r}: wait {command.number} of the name {command.name!r} comes after wait "
            f"{number}, which has not been; waits of one name are numbered from 1 without gaps",
            task=task.id,
            wait=command.name,
            number=command.number,
            next=number,
        )


def _reached_bound(task: TaskFold, name: str) -> Parameters | None:
    """Return why the task may not wait once more; None if it may. Waits of its predecessor do not count. [BOUND-1]"""
    if task.rounds >= WAITS_MAX:
        return {"waits": task.rounds, "maximum": WAITS_MAX}
    names = len(task.waits) - task.kept_wait_names
    if name not in task.waits and names >= WAIT_NAMES_MAX:
        return {"wait_names": names, "maximum": WAIT_NAMES_MAX}
    return None


def signal(task: TaskFold | None, command: c.Signal, now_ms: int, epoch: int) -> Decision:
    """Keep a signal; a wait for its name takes it in the same commit. [WAIT-2]

    A signal that a wait takes at once always fits, since it ends something: so no wait is for ever. [LIFE-2] [BOUND-2]
    """
    task = existing(task, command.task)
    in_place(task, "signalled", "signal")
    signalled = e.Signalled(name=command.name, data=command.data)
    ends = end_of_wait(evolve(task, signalled, task.version + 1, now_ms), (), now_ms)
    if task.waiting is not None and task.waiting.signal == command.name:
        return (signalled, *ends)
    require_room(task, "signal")
    if len(task.signals) >= SIGNALS_MAX:
        raise OverBound(
            f"task {task.id!r} keeps {len(task.signals)} signals that no wait has taken and the bound is "
            f"{SIGNALS_MAX}; is this the right task?",
            task=task.id,
            bound="signals",
            maximum=SIGNALS_MAX,
        )
    return (signalled, *ends)


def end_of_wait(task: TaskFold, ended: tuple[TaskEnd, ...], now_ms: int, unchanged: Unchanged | None = None) -> Events:
    """Return `unblocked`, if what the task waits for is there, and what follows. [WAIT-3] [WAIT-5] [TIME-3]

    It always fits: a task waits for one thing at a time. [BOUND-2] `ended` are ends of other tasks.
    """
    waiting = task.waiting
    if waiting is None:
        return ()
    if waiting.signal is not None:
        kept = next((one for one in task.signals if one.name == waiting.signal), None)
        if kept is not None:
            return (e.Unblocked(wait=waiting.name, number=waiting.number, by="signal", signal_version=kept.version),)
    if waiting.tasks and _are_all(waiting, ended):
        unblocked = e.Unblocked(
            wait=waiting.name,
            number=waiting.number,
            by="tasks",
            counts=counted(ended),
            digest=digest_of_ends(ended),
            ended=ended if len(ended) <= ENDS_NAMED_MAX else (),
        )
        return (unblocked, *_after_failures(task, waiting, ended))
    if waiting.until_ms is not None and now_ms >= waiting.until_ms:
        return (e.Unblocked(wait=waiting.name, number=waiting.number, by="time"),)
    if shows_due(task, unchanged, waiting.until_ms, now_ms):
        return (e.Unblocked(wait=waiting.name, number=waiting.number, by="time", seen=unchanged),)
    return ()


def _are_all(waiting: Waiting, ended: tuple[TaskEnd, ...]) -> bool:
    """Check whether these are the ends of all the tasks that a wait is for."""
    return len(ended) == waiting.tasks and digest_of_ids([one.task for one in ended]) == waiting.digest


def _after_failures(task: TaskFold, waiting: Waiting, ended: tuple[TaskEnd, ...]) -> Events:
    """Return how a task ends because one that it was created to wait for has not completed; else nothing. [WAIT-5]"""
    if waiting.on_failed not in ("cancel", "quarantine"):
        return ()
    failed = [one for one in ended if one.state is not State.COMPLETED]
    if not failed:
        return ()
    parameters: Parameters = {"task": failed[0].task, "state": str(failed[0].state), "failed": len(failed)}
    if waiting.on_failed == "quarantine":
        return (quarantined(task, "dependency_failed", parameters=parameters),)
    return (e.Cancelled(to=state_after(task, "cancelled"), code="dependency_failed", parameters=parameters),)


def _parked_contents(command: c.Park, event: Any, _: TaskFold) -> Contents:
    if isinstance(event, e.Quarantined):
        # The task would have waited more often than it may; the log does not hold what for.
        return {}, {}
    # The worker that parks computes from its clock how long the wait lasts, so a repeat may name another time.
    names = ("name", "number", "signal", "after")
    return {name: getattr(command, name) for name in names}, {name: getattr(event, name, None) for name in names}


VERBS: Final = (
    Verb(
        c.Park,
        park,
        names("parked", "unblocked", "cancelled", "quarantined"),
        contents=_parked_contents,
        time="until_ms",
    ),
    Verb(
        c.Signal,
        signal,
        names("signalled", "unblocked"),
        marks=names("signalled"),
        contents=fields(("name", "name"), ("data", "data")),
    ),
)

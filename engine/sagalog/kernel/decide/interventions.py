"""The commands of operators: cancel, quarantine, note. They work whether or not a worker holds the task.

Rule: the first commit wins; a repeated request writes nothing. [CANCEL-3] Knows no fence.
"""

from __future__ import annotations

from typing import Any, Final

from sagalog.errors import NotFound, WrongState
from sagalog.kernel import commands as c
from sagalog.kernel import events as e
from sagalog.kernel.decide.rules import (
    Decision,
    Repeat,
    cut,
    existing,
    in_place,
    quarantined,
    require_room,
    state_after,
)
from sagalog.kernel.decide.verbs import Contents, Verb, fields, names
from sagalog.kernel.state import TaskFold
from sagalog.kernel.values import Parameters, State, TheirCode


def cancel(task: TaskFold | None, command: c.Cancel, now_ms: int, epoch: int) -> Decision:
    """Cancel a pending task at once, and ask the worker of a running one, or with `now` cancel it too. [CANCEL-1]

    A compensating task needs no cancel.
    """
    task = existing(task, command.task)
    was_cancelled = task.state is State.COMPENSATED and task.outcome == "cancelled"
    if task.state in (State.COMPENSATING, State.CANCELLED) or was_cancelled:
        return ()
    in_place(task, "cancelled", "cancel")
    lease = task.lease
    if lease is not None and not command.now:
        return () if task.cancel_version else (e.CancelRequested(reason=cut(command.reason)),)
    return (
        e.Cancelled(
            to=state_after(task, "cancelled"),
            reason=cut(command.reason),
            fence=None if lease is None else lease.fence,
            verb=None if lease is None else "cancel",
        ),
    )


def cancel_child(task: TaskFold | None, command: c.CancelChild, now_ms: int, epoch: int) -> Decision:
    """Cancel a child whose parent was cancelled or has failed, as `cancel` does; else decide nothing. [CANCEL-4]"""
    task = existing(task, command.task)
    if not task.ends_with_parent or task.state not in (State.PENDING, State.RUNNING):
        return ()
    parameters: Parameters = {"parent": command.parent, "outcome": command.outcome}
    if task.lease is not None:
        return (e.CancelRequested(code="parent_ended", parameters=parameters),)
    return (e.Cancelled(to=state_after(task, "cancelled"), code="parent_ended", parameters=parameters),)


def quarantine(task: TaskFold | None, command: c.Quarantine, now_ms: int, epoch: int) -> Decision:
    """Quarantine the task, whether or not a worker holds it; the event names what it owes, for a human. [COMP-6]"""
    task = existing(task, command.task)
    if task.state is State.QUARANTINED and task.code == command.code:
        return Repeat(task.reason_version or task.error_version)
    in_place(task, "quarantined", "quarantine")
    lease = task.lease
    fence, verb = (None, None) if lease is None else (lease.fence, "quarantine")
    return (quarantined(task, TheirCode(command.code), command.reason, None, fence, verb),)


def note(task: TaskFold | None, command: c.Note, now_ms: int, epoch: int) -> Decision:
    """Record a remark, in every state; after the end it may settle what is still owed. [TERM-1] [COMP-6]"""
    task = existing(task, command.task)
    if not command.settles:
        # A note that settles always fits: each settles something that is owed, so they run out. [BOUND-2]
        require_room(task, "note something on")
    elif not task.is_terminal:
        raise WrongState(
            f"cannot settle compensations of task {task.id!r} by a note: it is {task.state}; use waive until it has "
            "ended",
            task=task.id,
            state=str(task.state),
        )
    owed = task.owed()
    for id in command.settles:
        if id not in owed:
            raise NotFound(
                f"task {task.id!r} does not owe compensation {id!r}; owed: {owed or 'none'}",
                task=task.id,
                compensation=id,
            )
    return (e.Noted(text=cut(command.text) or "", settles=tuple(dict.fromkeys(command.settles))),)


def _cancelled_contents(command: c.Cancel, event: Any, _: TaskFold) -> Contents:
    now = command.now
    if isinstance(event, e.CancelRequested):
        now = False
    elif event.fence is not None:
        # Without a lease the engine had no owner to ask; this event ended a lease.
        now = True
    return {"reason": command.reason, "now": command.now}, {"reason": event.reason, "now": now}


def _noted_contents(command: c.Note, event: e.Noted, _: TaskFold) -> Contents:
    given = {"text": command.text, "settles": command.settles, "successor": None}
    return given, {"text": event.text, "settles": event.settles, "successor": event.successor}


VERBS: Final = (
    Verb(
        c.Cancel,
        cancel,
        names("cancel_requested", "cancelled"),
        marks=names("cancel_requested", "cancelled"),
        contents=_cancelled_contents,
    ),
    Verb(c.CancelChild, cancel_child, names("cancel_requested", "cancelled")),
    Verb(
        c.Quarantine,
        quarantine,
        names("quarantined"),
        marks=names("quarantined"),
        contents=fields(("reason", "reason")),
    ),
    Verb(c.Note, note, names("noted"), marks=names("noted"), contents=_noted_contents),
)

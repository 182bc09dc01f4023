"""retry_as_new: how another task takes the place of one that has ended.

Rule: a terminal task never comes back to life [TERM-2]; what it still owed its successor owes from its first moment,
so that no effect is ever left without somebody who has to undo it [COMP-7]. Knows two streams, and writes to one.
"""

from __future__ import annotations

from sagalog.errors import WrongState
from sagalog.kernel import commands as c
from sagalog.kernel import events as e
from sagalog.kernel.decide.rules import Decision, Repeat, existing
from sagalog.kernel.state import TaskFold
from sagalog.kernel.values import Compensation, State


def retry_as_new(task: TaskFold | None, command: c.RetryAsNew, now_ms: int, epoch: int) -> Decision:
    """The note by which an ended task hands over what it owes; a second time the same successor. [REPEAT-7]

    It always fits: a task is succeeded once. [BOUND-2]
    """
    task = existing(task, command.task)
    if task.successor_version:
        return Repeat(task.successor_version)
    if not task.is_terminal:
        raise WrongState(
            f"cannot retry task {task.id!r} as new: it is {task.state} and goes on by itself; wait for its end, or "
            "cancel it first",
            task=task.id,
            state=str(task.state),
        )
    if task.state is State.COMPLETED:
        raise WrongState(
            f"cannot retry task {task.id!r} as new: it has completed and there is nothing to mend; create a new task "
            "for more of the same",
            task=task.id,
            state=str(task.state),
        )
    text = f"retried as {command.successor}"
    return (e.Noted(text=text, settles=tuple(task.owed()), successor=command.successor),)


def succeed(task: TaskFold, created: e.Created, owed: tuple[Compensation, ...], successor: str) -> c.Create:
    """The creation of a task's successor: the same work, under budgets of its own. [TERM-2]

    Where the forward work was over and its undoing was left, the successor only undoes; it plans what the predecessor
    planned, for the day when it is retried itself. `owed` are the undos in order of registration.
    """
    only_undoes = task.outcome is not None and bool(owed)
    return c.Create(
        task=successor,
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
        to=State.COMPENSATING if only_undoes else State.PENDING,
        inherited=owed,
        outcome=task.outcome if only_undoes else None,
    )

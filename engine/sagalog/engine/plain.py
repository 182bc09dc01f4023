"""The plain calls: one command on one task that depends on nothing else, decided without a unit of work.

Rule: the kernel, the draft and the Task are those of the unit of work; where anything but the one task could matter,
the answer is None and the unit of work decides. A store need not use this: random runs compare both ways. Knows no
view.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from operator import attrgetter
from typing import Any, Final

from sagalog.engine.drafts import Draft
from sagalog.engine.entries import CommandEntry
from sagalog.engine.idempotency import states_payload
from sagalog.engine.json_blobs import blob_left, blobs_in
from sagalog.engine.parents import WITHOUT_SUCCESS
from sagalog.engine.task import to_task
from sagalog.kernel import commands as c
from sagalog.kernel import events as e
from sagalog.kernel.deadlines import passed_deadline
from sagalog.kernel.decide import Repeat, decide
from sagalog.kernel.state import TaskFold
from sagalog.kernel.values import TERMINAL
from sagalog.store import EventOf, Plain, Result, Saved


class _NeedsBlobs(Exception):
    """An event that the Task shows has a value beside the log."""


def plain_command(step: CommandEntry) -> Plain | None:
    """Return the plain way of a command that names no other task and no dedupe key; None where it never has one.

    A key needs a search of all streams; undos and a payload on record need a comparison. [REPEAT-3] [REPEAT-4]
    """
    command = step.command
    depends = _DEPENDS.get(type(command))
    if step.idempotency_key is not None or (depends is not None and depends(command)):
        return None
    return partial(carry_out_plainly, step)


# The commands that may depend on more than their task, and the checks whether one does.
_DEPENDS: Final[Mapping[type[c.Command], Callable[[Any], bool]]] = {
    c.Create: attrgetter("uses"),
    c.Fail: attrgetter("compensations"),
    c.Amend: lambda command: command.uses is not None or states_payload(command),
    c.Register: lambda _: True,
}


def _queues_of(task: TaskFold, command: c.Command) -> tuple[str, ...]:
    """Return the queues of a task before and after a command; of a creation only the one that it names."""
    if not task.version:
        # For any other command than a creation the unit of work says that there is no such task.
        return (command.queue,) if isinstance(command, c.Create) else ()
    if isinstance(command, c.Amend) and command.queue is not None:
        return task.queue, command.queue
    return (task.queue,)


def carry_out_plainly(
    step: CommandEntry,
    saved: Saved | None,
    now_ms: int,
    epoch: int,
    event_of: EventOf,
    may_hold_back: Callable[[str], bool] | None,
) -> Result | None:
    """Carry out the command on its task, and answer with a list of the one Task; None: a unit of work decides.

    Raises:
        SagalogError: the refusal, as by `decide`. OverBound: the event or the fold would be too large.
        UnknownEvent, LogDamaged: an event that the Task shows cannot be read.
    """
    task = TaskFold(step.command.task) if saved is None else saved.fold
    if not isinstance(task, TaskFold) or task.sources or task.uses is not None:
        return None
    if may_hold_back is not None and any(map(may_hold_back, _queues_of(task, step.command))):
        return None
    if task.deadline_ms is not None and type(step.command) is c.Heartbeat and passed_deadline(task, now_ms) is not None:
        # [DEADLINE-2] The unit of work asks the holder to stop.
        return None
    decision = decide(None if saved is None else task, step.command, now_ms, epoch)
    if isinstance(decision, Repeat) or not decision:
        return None
    draft = Draft(saved, task)
    after = draft.take(decision, step, now_ms)
    if after.dedupe is not None and after.state in TERMINAL:
        # [DEDUPE-1] Its end may free its key.
        return None

    def read(version: int, source: str | None = None) -> e.Recordable:
        assert source is None, "a task without predecessors names no other stream"
        event = draft.event(version) if version > draft.expected else event_of(version)
        if blob_left(event) is not None:
            raise _NeedsBlobs
        return event

    try:
        answer = [to_task(after, read, step.known)]
    except _NeedsBlobs:
        # [BLOB-2] One stream alone does not have the value.
        return None
    # [WAIT-3] Maintenance has to look at the tasks that await one which has ended.
    ended = (after.id,) if after.state in TERMINAL else ()
    appends = (draft.append(now_ms),)
    blobs = (*step.blobs, *blobs_in(draft.blobs)) if draft.blobs else step.blobs
    if after.outcome in WITHOUT_SUCCESS and task.outcome is None and after.leases:
        # [CANCEL-4] Its work is over without success, and it may have children.
        return Result(answer, appends, (), ended, (), blobs, if_childless=True)
    return Result(answer, appends, (), ended, (), blobs)

"""Verbs of a lease's holder: each command once, with its whole signature and text; arguments -> entry.

Rule: the calls of `Lease`, `Batch` and `sagalog.aio` are made of these by adapters, and have no arguments and no texts
of their own. Every verb takes the executor, which gives what has to be drawn, and the task as it was leased: its lease
is the holder's, and carries the fence. [FENCE-2] Writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sagalog.actors import worker_actor
from sagalog.engine.entries import CommandEntry
from sagalog.engine.executor import Executor
from sagalog.engine.task import Task
from sagalog.kernel import commands as c
from sagalog.kernel.values import Budget, Compensation, Failure, UnrecordedStep
from sagalog.store import Blob
from sagalog.validation import arguments
from sagalog.validation import commands as forms


def heartbeat(executor: Executor, held: Task, ttl_ms: int | None = None, progress: Any = None) -> CommandEntry:
    """Renew the lease for `ttl_ms` (None: as before), perhaps with a small note of progress. [LEASE-3]

    Raises:
        LeaseLost: also when the lease is over by the clock, even if no other worker has taken over.
    """
    return _by_holder(held, forms.heartbeat(held.id, _fence(held), ttl_ms, progress))


def register(executor: Executor, held: Task, compensation: Compensation) -> CommandEntry:
    """Put an undo on record, **before** its effect. The same id again changes nothing. [COMP-1] [REPEAT-3]

    Raises:
        Conflict: the id is on record with other content.
        OverBound: too many compensations.
    """
    return _by_holder(held, forms.register(held.id, _fence(held), compensation))


def step(
    executor: Executor, held: Task, name: str, result: Any = None, compensation: str | Compensation | None = None
) -> CommandEntry:
    """Put the result of a named step on record, once for this attempt and all later ones. [STEP-1]

    Args:
        name: the step's own within its task.
        result: what later attempts get instead of carrying it out again.
        compensation: its undo, or the id of that, which is on record already. A successor that keeps the step owns
            the undo with it. [COMP-7]

    Raises:
        Conflict: the step is on record with another result or another undo.
        NotFound: the undo is not on record: `register` it before the step's effect.
        OverBound: too many steps.
    """
    return _by_holder(held, forms.step(held.id, _fence(held), name, result, compensation))


def put_artifact(
    executor: Executor, held: Task, name: str, data: bytes, media_type: str = "application/octet-stream"
) -> CommandEntry:
    """Keep something that the work has made, byte for byte; a later lease may put another under the name. [BLOB-1]

    Raises:
        Conflict: this lease has put another under this name.
        OverBound: larger than 16 MiB, or too many.
    """
    blob = arguments.blob(data, "data")
    return _by_holder(held, forms.put_artifact(held.id, _fence(held), name, blob, media_type), (blob,))


def adopt_child(executor: Executor, held: Task, name: str, child: str) -> CommandEntry:
    """Take over the child that a predecessor had under this name, for this attempt and all later ones. [STEP-2]

    Raises:
        NotFound: there is no such task.
        Rejected: its parent is none of the predecessors that this task goes on from.
        Conflict: another child is on record under this name.
    """
    return _by_holder(held, forms.adopt_child(held.id, _fence(held), name, child))


def park(
    executor: Executor,
    held: Task,
    name: str,
    signal: str | None = None,
    after: str | Sequence[str] = (),
    until_ms: int | None = None,
    number: int = 1,
) -> CommandEntry:
    """Give the lease back until something is there, which may be so at once. Burns no attempt. [WAIT-1]

    A task that has waited 3,000 times, or under 1,000 names, is quarantined instead (code `bound`).

    Args:
        name: the wait's name; its end is on record for all later attempts.
        signal: the name of a signal to wait for; or
        after: ids of tasks to wait for, until all have ended.
        until_ms: when the wait is over in any case; alone, a sleep.
        number: which of the waits of this name it is: one more than `task.waits` tells, from 1 on.

    Raises:
        WaitOver: this wait is over already; its fields `number` and `next` tell which is next.
        NotFound, Rejected: a task of `after` does not exist, or waits for this one; or `number` is not the next.
    """
    return _by_holder(held, forms.park(held.id, _fence(held), name, signal, after, until_ms, number))


def release(executor: Executor, held: Task, reason: str | None = None, run_at_ms: int | None = None) -> CommandEntry:
    """Give the lease back; the task is due again now or at `run_at_ms`. Burns no attempt. [ATTEMPT-2]"""
    return _by_holder(held, forms.release(held.id, _fence(held), reason, run_at_ms))


def retry(
    executor: Executor,
    held: Task,
    error: str | Failure,
    run_at_ms: int | None = None,
    budget: Budget = "attempt",
    retry_after_ms: int | None = None,
) -> CommandEntry:
    """Try again, or end where that spends the budget. [ATTEMPT-3]

    Due at `run_at_ms`; else after a backoff, and not before `retry_after_ms` and some draw from now. [ATTEMPT-4]
    """
    return _by_holder(
        held, forms.retry(held.id, _fence(held), error, run_at_ms, budget, executor.jitter(), retry_after_ms)
    )


def complete(executor: Executor, held: Task, result: Any = None) -> CommandEntry:
    """The work is done, and what is owed is void: it will never be undone. [COMP-6]

    Of a successor: an undo that it inherited, and that is neither planned, nor named by a step, nor registered by
    this task too, goes to a task that only undoes; `Task.successor` names that. [COMP-7]
    """
    # Only a successor can leave anything to be undone. [COMP-7]
    undoer = None if held.predecessor is None else executor.draw_id()
    return _by_holder(held, forms.complete(held.id, _fence(held), result, undoer))


def fail(
    executor: Executor,
    held: Task,
    reason: str | Failure,
    compensations: Iterable[Compensation] = (),
    waive_compensation: str | None = None,
    or_quarantine: bool = False,
) -> CommandEntry:
    """The work is over without success: the task then compensates what it owes, or is failed if it owes nothing.

    Args:
        reason: what went wrong.
        compensations: undos of what was done, where they are not on record yet.
        waive_compensation: why none is needed.
        or_quarantine: where none is on record and none is waived, quarantine the task, with `reason` as its error
            and the code `compensation_required`, instead of refusing.

    Raises:
        CompensationRequired: no compensation is on record and `waive_compensation` says no reason. [COMP-2]
    """
    return _by_holder(held, forms.fail(held.id, _fence(held), reason, compensations, waive_compensation, or_quarantine))


def quarantine_held(
    executor: Executor, held: Task, reason: str | Failure, steps: Iterable[str | UnrecordedStep] = ()
) -> CommandEntry:
    """A human must look: the task is quarantined, and what it owes stays owed. Work and undos alike. [COMP-6]

    Args:
        reason: why, as a sentence or a failure, whose code is then the task's.
        steps: the steps that were begun and whose results are not on record, by name, or as `UnrecordedStep` with
            the id of an undo that is on record; perhaps their effects stand. One whose result is on record by
            then is left out. [STEP-1]

    Raises:
        Rejected: the undo of a step is not on record, or the task is at its undos.
    """
    return _by_holder(held, forms.quarantine_held(held.id, _fence(held), reason, steps))


def compensation_done(executor: Executor, held: Task, id: str) -> CommandEntry:
    """An undo was carried out: the last one that is owed. [COMP-5]

    Returns:
        The lease, while something is still owed; else the task, which has ended.

    Raises:
        CompensationOrder, AlreadySettled, NotFound: it is not its turn, or there is no such thing to settle.
    """
    return _by_holder(held, forms.compensation_done(held.id, _fence(held), id))


def compensation_failed(
    executor: Executor,
    held: Task,
    id: str,
    error: str | Failure,
    run_at_ms: int | None = None,
    retry_after_ms: int | None = None,
) -> CommandEntry:
    """An undo failed: it is due again, as for `retry`; or the task is quarantined. [UNDO-3]"""
    jitter = executor.jitter()
    command = forms.compensation_failed(held.id, _fence(held), id, error, run_at_ms, jitter, retry_after_ms)
    return _by_holder(held, command)


def _by_holder(held: Task, command: c.Held, blobs: tuple[Blob, ...] = ()) -> CommandEntry:
    """The entry of a command that a lease's holder gives."""
    assert held.lease is not None
    return CommandEntry(command, worker_actor(held.lease.owner), known=held, blobs=blobs)


def _fence(held: Task) -> int:
    assert held.lease is not None
    return held.lease.fence

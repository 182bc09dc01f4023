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
    """Renew the lease, so that it is over `ttl_ms` from now, perhaps with a note of progress. [LEASE-3]

    A heartbeat is the one write that the clock can refuse: a lease that is over cannot be renewed.

    Args:
        ttl_ms: how long it lasts from now, in milliseconds; None: as long as before.
        progress: JSON of at most 8 KiB that `Task.progress` shows; None: leave it as it was.

    Raises:
        LeaseLost: the lease is over or has ended, even if no other worker has taken over.
    """
    return _by_holder(held, forms.heartbeat(held.id, _fence(held), ttl_ms, progress))


def register(executor: Executor, held: Task, compensation: Compensation) -> CommandEntry:
    """Put an undo on record **before** its effect, so that a crash in between still leaves it owed. [COMP-1]

    The same compensation again changes nothing, in a later attempt too. [REPEAT-3]

    Args:
        compensation: which handler undoes what, as data.

    Raises:
        Conflict: other content is on record under this id.
        AlreadySettled: it was settled under an earlier lease; an effect that comes now needs an undo of its own.
        OverBound: the task has 256 compensations, or no room left. [BOUND-4]
    """
    return _by_holder(held, forms.register(held.id, _fence(held), compensation))


def step(
    executor: Executor, held: Task, name: str, result: Any = None, compensation: str | Compensation | None = None
) -> CommandEntry:
    """Put the result of a named step on record, once for this attempt and all later ones. [STEP-1]

    A handler of a worker calls `context.step` instead, which also runs the step.

    Args:
        name: the name of the step, unique in its task.
        result: JSON of at most 16 MiB that later attempts get instead of running the step; a msgspec Struct or a
            dataclass is stored as JSON.
        compensation: the undo of the step, or the id of one that is on record. A successor that keeps the step owes it
            too. [COMP-7]

    Raises:
        NotFound: the undo is not on record; `register` it before the effect of the step.
        Conflict: the step is on record with another result or another undo.
        OverBound: the task has 1,000 steps, or no room left. [BOUND-4]
    """
    return _by_holder(held, forms.step(held.id, _fence(held), name, result, compensation))


def put_artifact(
    executor: Executor, held: Task, name: str, data: bytes, media_type: str = "application/octet-stream"
) -> CommandEntry:
    """Keep bytes that the work has made under a name; the newest of a name is the one that is read. [BLOB-1]

    Args:
        name: the name of the artifact; a later lease may put another one under it.
        data: at most 16 MiB.
        media_type: what the bytes are, as in `text/plain`.

    Raises:
        Conflict: this lease has put other bytes under this name.
        OverBound: the bytes are too many, the task has 256 artifacts, or it has no room left. [BOUND-4]
    """
    blob = arguments.blob(data, "data")
    return _by_holder(held, forms.put_artifact(held.id, _fence(held), name, blob, media_type), (blob,))


def use(executor: Executor, held: Task, limit: str, units: int) -> CommandEntry:
    """State how many units of a rate this attempt uses, in place of what it was charged before. [LIMIT-3]

    It may be stated again, as more becomes known. What is left may fall below zero: then nothing more starts before it
    has come back.

    Args:
        limit: a named limit with a rate, one of the task's `uses`.
        units: how many units this attempt uses in all, 0 or more.

    Raises:
        NotFound: the task uses no such limit, or the limit has slots.
        OverBound: the task has no room left. [BOUND-4]
    """
    return _by_holder(held, forms.use(held.id, _fence(held), limit, units))


def healthy(executor: Executor, held: Task, limit: str | None = None) -> CommandEntry:
    """Say that what a breaker watches has answered, so that it closes before the probe has ended. [BREAKER-3]

    Only the lease that is the probe of a half open breaker changes anything by it.

    Args:
        limit: a named limit, one of the task's `uses`; None: the queue.

    Raises:
        NotFound: the task uses no such limit.
    """
    return _by_holder(held, forms.healthy(held.id, _fence(held), limit))


def adopt_child(executor: Executor, held: Task, name: str, child: str) -> CommandEntry:
    """Take over the child that a predecessor has spawned under this name, for this attempt and all later ones. [STEP-2]

    Args:
        name: the name under which the predecessor spawned it.
        child: the id of that child, or of its newest successor.

    Raises:
        NotFound: there is no such task.
        Rejected: it belongs to none of the predecessors whose steps this task keeps.
        Conflict: another child is on record under this name.
        OverBound: the task has no room left. [BOUND-4]
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
    """Give the lease back until a signal, the end of other tasks, or a time; no failure is counted. [WAIT-1]

    What the wait is for may be there already: then the task is ready at once.
    A task that has waited 3,000 times, or under 1,000 names, is quarantined instead (code `bound`).

    Args:
        name: the name of the wait; how it ends is on record for all later attempts.
        signal: the name of a signal to wait for; or
        after: ids of tasks to wait for, until all of them have ended. [WAIT-3]
        until_ms: when the wait is over in any case, in milliseconds since 1970; alone, it is a sleep.
        number: which wait of this name it is: one more than `Task.waits` counts, from 1 on.

    Raises:
        WaitOver: this wait is over already; `next` is the number of the one to ask for.
        NotFound: a task of `after` does not exist.
        Rejected: a task of `after` waits for this one, or `number` is not the next. [WAIT-4]
        OverBound: the task has no room left. [BOUND-4]
    """
    return _by_holder(held, forms.park(held.id, _fence(held), name, signal, after, until_ms, number))


def release(executor: Executor, held: Task, reason: str | None = None, run_at_ms: int | None = None) -> CommandEntry:
    """Give the lease back unfinished: the task is due again, and no failure is counted. [ATTEMPT-2]

    Releases have a budget of their own, `releases_max`; the one that spends it ends the task as its policy says.

    Args:
        run_at_ms: when the task is due again, in milliseconds since 1970; None: at once.
    """
    return _by_holder(held, forms.release(held.id, _fence(held), reason, run_at_ms))


def retry(
    executor: Executor,
    held: Task,
    error: str | Failure,
    run_at_ms: int | None = None,
    budget: Budget = "attempt",
    retry_after_ms: int | None = None,
) -> CommandEntry:
    """Record a failure and try again later, or end the task where that spends the budget. [ATTEMPT-3]

    Args:
        error: what went wrong, in a sentence or as a `Failure`.
        run_at_ms: when it is due again, in milliseconds since 1970; None: after a drawn backoff. [ATTEMPT-4]
        budget: "attempt": the work failed; "transient": its surroundings did; "quota": a quota has to come back, which
            counts by time and not by number. [ATTEMPT-2]
        retry_after_ms: the least delay from now, in milliseconds, such as a server's Retry-After. Some time is drawn on
            top of it, so that all callers who were told one moment do not come at once.
    """
    return _by_holder(
        held, forms.retry(held.id, _fence(held), error, run_at_ms, budget, executor.jitter(), retry_after_ms)
    )


def complete(executor: Executor, held: Task, result: Any = None) -> CommandEntry:
    """Record that the work is done: the task has completed, and nothing of it will be undone. [COMP-6]

    A successor may have inherited an undo that none of its own work accounts for: it is not planned, no step names it,
    and this task has not registered it. That goes to another task, `Task.successor`, which only undoes. [COMP-7]

    Args:
        result: JSON of at most 16 MiB that `Task.result` gives; a msgspec Struct or a dataclass is stored as JSON.

    Raises:
        OverBound: the result and the rest of the event are too large. [BOUND-4]
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
    """Record that the work is over without success: what is owed is undone next; if nothing is, the task has failed.

    A task that was leased must leave an undo or say why it needs none: silence is refused. [COMP-2]

    Args:
        reason: what went wrong, in a sentence or as a `Failure`.
        compensations: undos of what was done that are not on record yet.
        waive_compensation: why nothing has to be undone.
        or_quarantine: quarantine the task (code `compensation_required`, error `reason`) where it would be refused for
            want of an undo.

    Raises:
        CompensationRequired: no undo is on record, and no waiver.
        Conflict: other content is on record for an undo.
        OverBound: the undos do not fit. [BOUND-4]
    """
    return _by_holder(held, forms.fail(held.id, _fence(held), reason, compensations, waive_compensation, or_quarantine))


def quarantine_held(
    executor: Executor, held: Task, reason: str | Failure, steps: Iterable[str | UnrecordedStep] = ()
) -> CommandEntry:
    """End the lease and leave the task to a human; what it owes stays owed. For work and for undos. [COMP-6]

    Args:
        reason: why, in a sentence or as a `Failure`, whose code becomes the task's.
        steps: steps that had begun and have no result on record, by name, or as `UnrecordedStep` with the id of an undo
            that is on record. Their effects may be there, so nothing runs them again unasked. [STEP-1]

    Raises:
        Rejected: the undo of a step is not on record, or the task is being undone and has no steps.
    """
    return _by_holder(held, forms.quarantine_held(held.id, _fence(held), reason, steps))


def compensation_done(executor: Executor, held: Task, id: str) -> CommandEntry:
    """Record that an undo was carried out: the one that is next in the reverse order of registration. [COMP-5]

    Args:
        id: the id of the compensation.

    Returns:
        The lease, while something is still owed; else the task, which has ended.

    Raises:
        NotFound: the task has no such compensation.
        CompensationOrder: another one has to be undone first; the field `expected` names it.
        AlreadySettled: it was settled in another way, as by a waiver.
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
    """Record that an undo failed: it is due again after a delay, or the task is quarantined. [UNDO-3]

    Args:
        id: the id of the compensation.
        error: what went wrong, in a sentence or as a `Failure`.
        run_at_ms: when it is due again, in milliseconds since 1970; None: after a drawn backoff. [ATTEMPT-4]
        retry_after_ms: the least delay from now, in milliseconds; some time is drawn on top of it.

    Raises:
        NotFound: the task has no such compensation.
        CompensationOrder: another one has to be undone first; the field `expected` names it.
        AlreadySettled: it was settled meanwhile, as by a waiver.
    """
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

"""Verbs of producers, operators and claimers: each command once, with its whole signature and text; arguments -> entry.

Rule: the calls of `Engine`, `Batch` and `sagalog.aio` are made of these by adapters, and have no arguments and no texts
of their own. A verb here is such a call; a `Verb` of the kernel is what is known of its command. Every verb takes the
executor first, which gives what has to be drawn and the default actor. Writes nothing. `holder_verbs` has the verbs
of a lease's holder.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import UNSET, UnsetType

from sagalog.actors import optional_actor, worker_actor
from sagalog.engine.entries import CommandEntry
from sagalog.engine.executor import Executor
from sagalog.engine.task import Task
from sagalog.kernel import commands as c
from sagalog.kernel.values import Compensation, Dedupe, OnFailed, Purpose, Retry, Suspects
from sagalog.validation import arguments
from sagalog.validation import commands as forms
from sagalog.validation.commands import ClaimRequest
from sagalog.validation.values import check_cause


def create(
    executor: Executor,
    kind: str,
    payload: Any = None,
    *,
    id: str | None = None,
    queue: str = "default",
    priority: int = 0,
    affinity: str | None = None,
    key: str | None = None,
    run_at_ms: int | None = None,
    retry: Retry | None = None,
    inputs: Mapping[str, bytes] | None = None,
    compensations: Iterable[Compensation] = (),
    waive_compensation: str | None = None,
    tags: Mapping[str, str] | None = None,
    correlation_id: str | None = None,
    parent: str | None = None,
    trace: str | None = None,
    tracestate: str | None = None,
    data_key: str | None = None,
    uses: Mapping[str, int] | None = None,
    deadline_ms: int | None = None,
    start_by_ms: int | None = None,
    after: str | Iterable[str | Task] = (),
    on_failed: OnFailed = "cancel",
    dedupe: Dedupe | None = None,
    build: str | None = None,
    actor: str | None = None,
    cause: str | None = None,
    idempotency_key: str | None = None,
) -> CommandEntry:
    """Create a task; the same id or `idempotency_key` again, with the same content, gives that task. [REPEAT-4]

    Args:
        kind: the handler that it is for.
        payload: JSON of at most 16 MiB, given back as it was; a msgspec Struct or a dataclass is stored as JSON.
        id: drawn if left out (a ULID); a caller that may have to repeat the creation gives one. [REPEAT-2]
        queue, priority: where it waits, and before whom: smaller runs first, and of equal ones the older.
        affinity: a hint that a claim may prefer, such as the model that it needs. [ORDER-1]
        build: the build of the workers that alone may work on it. [BUILD-1]
        key: a name within the queue that shares a limit, as `limit_queue(queue, per_key_slots=)` sets it. [LIMIT-1]
        run_at_ms: not due before this time, in milliseconds since 1970; left out, at once.
        retry: budgets and delays; left out, those of `Retry()`. The log records them all.
        inputs: bytes by name, of at most 16 MiB each, kept beside the log. [BLOB-1]
        compensations: planned undos, owed from the first lease for work on. [COMP-1]
        waive_compensation: why this task may fail without any undo. [COMP-2]
        tags: texts by name; `find` finds the task by them.
        correlation_id: a name that related tasks share.
        parent: the id of the task that this one belongs to.
        trace, tracestate: a W3C traceparent and the tracestate beside it, kept as they are given. [TRACE-1]
        data_key: the key of the subject whose data it holds; left out, the task's id. Nothing is encrypted yet. [KEY-1]
        uses: the units that each lease takes of named limits, at most four of these. [LIMIT-2]
        deadline_ms, start_by_ms: when the engine cancels it, and when if no worker has leased it by then. [DEADLINE-1]
        after: tasks that have to end before it is claimed, by id, 10,000 at most. [WAIT-5]
        on_failed: what becomes of it if one does not complete: "cancel" or "quarantine" ends it, "run" lets it run.
        dedupe: a key that at most one task of its kind has: that one is the answer, `deduplicated`. [DEDUPE-1]
        cause: the event that led to this, as `task/<id>@<version>`.

    Raises:
        NotFound: there is no limit of a name in `uses`, or no task of an id in `after`.
        AlreadyExists, Conflict: the id, or the idempotency key, is on record with other content. [REPEAT-6]
    """
    drawn = executor.draw_id() if id is None else id
    named, blobs = arguments.taken_in(inputs)
    command = forms.create(
        kind,
        payload,
        id=drawn,
        queue=queue,
        priority=priority,
        affinity=affinity,
        key=key,
        run_at_ms=run_at_ms,
        retry=retry,
        inputs=named,
        compensations=compensations,
        waive_compensation=waive_compensation,
        tags=tags,
        correlation_id=correlation_id,
        parent=parent,
        trace=trace,
        tracestate=tracestate,
        data_key=data_key,
        uses=uses,
        deadline_ms=deadline_ms,
        start_by_ms=start_by_ms,
        # Nearly no task has these, and a creation that names them costs more.
        **({} if after == () and on_failed == "cancel" else {"after": after, "on_failed": on_failed}),
        **({} if dedupe is None else {"dedupe": dedupe}),
        **({} if build is None else {"build": build}),
    )
    return CommandEntry(
        command,
        optional_actor(actor, "actor") or executor.actor,
        None if cause is None else check_cause(cause, "cause"),
        arguments.optional_name(idempotency_key, "idempotency_key"),
        drawn=id is None,
        blobs=blobs,
    )


def cancel(
    executor: Executor,
    id: str,
    reason: str | None = None,
    now: bool = False,
    *,
    actor: str | None = None,
    idempotency_key: str | None = None,
) -> CommandEntry:
    """Call a task off: at once where no worker holds it, else by asking its holder to stop. [CANCEL-1]

    A task that owes compensations is undone next. Asking again changes nothing.

    Args:
        reason: why, for the log and for people.
        now: end the lease of a running task instead of asking. The undos may then begin while its handler still runs,
            and what that handler does outside comes after them.

    Raises:
        NotFound: there is no such task.
        TerminalTask: it has ended, and not by being cancelled. [CANCEL-3]
        Conflict: the idempotency key is on record with other content. [REPEAT-6]
    """
    return _by_caller(executor, forms.cancel(id, reason, now), actor, idempotency_key)


def quarantine(
    executor: Executor, id: str, reason: str, *, actor: str | None = None, idempotency_key: str | None = None
) -> CommandEntry:
    """Take a task out of circulation until a human has looked; its lease ends, and what it owes stays owed.

    `note(settles=)` then settles what was undone by hand, and `retry_as_new` takes the work up again. [COMP-6]

    Args:
        reason: why, for the human who looks.

    Raises:
        NotFound: there is no such task.
        TerminalTask: it has ended.
        Conflict: the idempotency key is on record with other content. [REPEAT-6]
    """
    return _by_caller(executor, forms.quarantine(id, reason), actor, idempotency_key)


def signal(
    executor: Executor,
    id: str,
    name: str,
    data: Any = None,
    *,
    actor: str | None = None,
    idempotency_key: str | None = None,
) -> CommandEntry:
    """Send a task a signal: a wait for a signal of this name takes it, now or when that wait begins. [WAIT-2]

    Each signal is taken once, the oldest first. Without an `idempotency_key` a repeated call sends another one.

    Args:
        name: the name that the handler waits for, as in `context.wait_signal(name)`.
        data: JSON of at most 16 MiB, which that wait returns; a msgspec Struct or a dataclass is stored as JSON.

    Raises:
        NotFound: there is no such task.
        TerminalTask: it has ended.
        WrongState: it is compensating, so no handler of its work waits any more.
        OverBound: 256 signals are kept that no wait has taken, or the task has no room left.
        Conflict: the idempotency key is on record with other content. [REPEAT-6]
    """
    return _by_caller(executor, forms.signal(id, name, data), actor, idempotency_key)


def note(
    executor: Executor,
    id: str,
    text: str,
    settles: Iterable[str] = (),
    *,
    actor: str | None = None,
    idempotency_key: str | None = None,
) -> CommandEntry:
    """Put a remark on record, in any state; after the end it may settle compensations that are still owed. [COMP-6]

    Args:
        text: the remark, cut at 8,192 characters.
        settles: the ids of compensations that a human has carried out or found needless.

    Raises:
        NotFound: there is no such task, or it does not owe one of `settles`.
        WrongState: `settles` is given before the end; `waive` settles then.
        OverBound: the stream of the task is at its bound. [BOUND-2]
        Conflict: the idempotency key is on record with other content. [REPEAT-6]
    """
    return _by_caller(executor, forms.note(id, text, settles), actor, idempotency_key)


def waive(
    executor: Executor,
    id: str,
    compensation: str,
    reason: str,
    *,
    actor: str | None = None,
    idempotency_key: str | None = None,
) -> CommandEntry:
    """Settle one compensation by word: it is owed no more and no worker carries it out. [COMP-4]

    The order of undoing does not count here, and neither does a worker that holds the task.

    Args:
        compensation: the id of the compensation, as in `task.compensations`.
        reason: why it needs no undo.

    Raises:
        NotFound: there is no such task, or no such compensation.
        AlreadySettled: it was settled in another way.
        TerminalTask: the task has ended; settle it by `note(settles=)`.
        Conflict: it was waived for another reason, or the idempotency key is on record with other content. [REPEAT-6]
    """
    return _by_caller(executor, forms.waive(id, compensation, reason), actor, idempotency_key)


def retry_as_new(
    executor: Executor,
    id: str,
    *,
    results: Mapping[str, Any] | None = None,
    rerun: Iterable[str] = (),
    deadline_ms: int | None = None,
    start_by_ms: int | None = None,
    actor: str | None = None,
    idempotency_key: str | None = None,
) -> CommandEntry:
    """Retry a task that has ended: a successor takes its place, with the same work and fresh budgets. [TERM-2]

    The successor owes at once what the ended task still owed. [COMP-7] After a quarantine of the forward work it keeps
    the steps on record and goes on behind them [STEP-1]; a task that only had to be undone, it undoes.
    It keeps sleeps that are over and signals that waits have taken. A signal that no wait had taken is not handed on:
    send it to the successor. [WAIT-1] A second call gives the same successor. [REPEAT-7]

    Args:
        results: JSON by name of the step, for each step that had begun and has no result (`Task.unrecorded_steps`), or
            whose undo a note has settled: the successor keeps the step with that result.
        rerun: names of such steps that the successor runs again; effects that are there then come twice.
        deadline_ms, start_by_ms: the successor's, in milliseconds since 1970; left out, it has none. [DEADLINE-1]

    Returns:
        The successor; its `predecessor` names the ended task.

    Raises:
        NotFound: there is no such task, or a step that is named needs no word.
        WrongState: the task has not ended, or it has completed.
        ResultRequired: a step needs a word, and neither `results` nor `rerun` names it.
        Conflict: it was retried with other results or deadlines, or the idempotency key is on record with other
            content. [REPEAT-6]
    """
    command = forms.retry_as_new(id, executor.draw_id(), results, rerun, deadline_ms, start_by_ms)
    return _by_caller(executor, command, actor, idempotency_key)


def amend(
    executor: Executor,
    id: str,
    *,
    queue: str | UnsetType = UNSET,
    priority: int | UnsetType = UNSET,
    affinity: str | UnsetType | None = UNSET,
    key: str | UnsetType | None = UNSET,
    build: str | UnsetType | None = UNSET,
    run_at_ms: int | UnsetType | None = UNSET,
    payload: Any = UNSET,
    retry: Retry | UnsetType | None = UNSET,
    deadline_ms: int | UnsetType | None = UNSET,
    start_by_ms: int | UnsetType | None = UNSET,
    uses: Mapping[str, int] | UnsetType | None = UNSET,
    actor: str | None = None,
    idempotency_key: str | None = None,
) -> CommandEntry:
    """Change a live task; what is left out stays as it is, and what is so already writes nothing. [AMEND-1]

    A worker that holds the task keeps what it has leased it with: then only deadlines and `retry` may change. [AMEND-2]
    None means what leaving out means for `create`: no affinity, no deadline, no limits, a payload of null, due at once.

    Args:
        queue, priority, affinity, key: where the task waits, and before which others; not while a worker holds it.
        build: the build of the workers that may work on it; not while a worker holds it. [BUILD-3]
        run_at_ms: not due before this time, in milliseconds since 1970; of a task that is neither held nor parked nor
            being undone. A task that was ready waits again, and one that becomes due is ready in the same commit.
        payload: JSON of at most 16 MiB, before the first lease only; readers and successors get the newest. [AMEND-3]
        retry: budgets and delays from now on, all of them; what is spent stays spent.
        deadline_ms, start_by_ms: as for `create`, in any live state; undoing has no deadline. [DEADLINE-1]
        uses: all limits that the task uses from now on, as for `create`, not while a worker holds it; an empty mapping
            takes the task from under its limits. [LIMIT-2]

    Raises:
        NotFound: there is no such task, or no limit of a name that is new in `uses`.
        InvalidValue: a limit allows fewer units than `uses` gives anew. [LIMIT-1]
        TerminalTask: it has ended; retry it as new.
        LeaseHeld: a worker holds it; wait for the end of the lease, or cancel the task.
        Blocked: it is parked, so its time is that of its wait.
        WrongState: a worker has leased it with its payload, or it is being undone.
        OverBound: the stream of the task is at its bound. [BOUND-2]
        Conflict: the idempotency key is on record with other content. [REPEAT-6]
    """
    command = forms.amend(
        id,
        queue=queue,
        priority=priority,
        affinity=affinity,
        key=key,
        build=build,
        run_at_ms=run_at_ms,
        payload=payload,
        retry=retry,
        deadline_ms=deadline_ms,
        start_by_ms=start_by_ms,
        uses=uses,
    )
    return _by_caller(executor, command, actor, idempotency_key)


def acquire(
    executor: Executor,
    task_id: str,
    *,
    owner: str,
    ttl_ms: int | None,
    purpose: Purpose = "work",
    kinds: Iterable[str] | None = None,
    idempotency_key: str | None = None,
    waive_compensation: str | None = None,
    build: str | None = None,
) -> CommandEntry:
    """Lease one task by its id, whatever its place in the queue and its due time. [LEASE-1]

    Args:
        task_id: the id of the task.
        ttl_ms: how long the lease lasts without a heartbeat, in milliseconds; None: without end.
        purpose: "work", or "undo" for a compensating task.
        kinds: for "undo": the compensation kinds that the caller can carry out; None: every kind. [UNDO-1]
        waive_compensation: why what is done under this lease needs no undo. [COMP-2]
        build: the build of the caller, which the lease records; work on a pinned task needs the same. [BUILD-1]

    Raises:
        NotFound: there is no such task.
        TerminalTask: it has ended, perhaps by this call: a full stream has no room for another lease. [BOUND-2]
        LeaseHeld: a worker holds it, perhaps under the same owner.
        Blocked: it is not there for this purpose, waits, is pinned to another build, or owes kinds that the caller does
            not name.
        LeaseLost: the idempotency key has leased it before, and that lease has ended.
        Conflict: the idempotency key is on record with other content. [REPEAT-6]
    """
    command = forms.acquire(task_id, owner, ttl_ms, purpose, kinds, waive_compensation, build)
    key = arguments.optional_name(idempotency_key, "idempotency_key")
    return CommandEntry(command, worker_actor(owner), idempotency_key=key)


def claim(
    executor: Executor,
    queues: str | Sequence[str],
    *,
    owner: str,
    ttl_ms: int | None,
    limit: int = 1,
    kinds: Iterable[str] | None = None,
    affinity: str | Sequence[str] | None = None,
    purpose: Purpose = "work",
    idempotency_key: str | None = None,
    wait_ms: int = 0,
    suspects: Suspects = "alone",
    waive_compensation: Mapping[str, str] | None = None,
    build: str | None = None,
) -> ClaimRequest:
    """Lease up to `limit` ready tasks: preferred affinities first, then by priority, then by age; none is no error.

    Args:
        queues: one name or several; the order among tasks is that of all these queues together.
        ttl_ms: how long each lease lasts without a heartbeat, in milliseconds; None: without end.
        limit: how many tasks at most.
        kinds: only tasks of these kinds; for "undo" the compensation kinds that the caller can carry out. [UNDO-1]
        affinity: affinities to be served first, in this order.
        purpose: "work" or "undo".
        idempotency_key: an identity; a repeated claim gives those of its leases that still live. [REPEAT-4]
        wait_ms: how long to wait for a first task, in milliseconds. A commit of any process wakes the caller, and so
            does a task that becomes due; waiting takes no turn and writes nothing.
        suspects: how to treat a task whose handler may kill its worker: one more expired lease spends its
            `expiries_max`. [LEASE-5] "alone": lease it where it comes first, and nothing beside it; "never": look past
            it, for a caller that holds other leases; "only": lease nothing else.
        waive_compensation: reasons by task kind: why what is done under a lease of that kind needs no undo. [COMP-2]
        build: the build of the caller, which each lease records; without it the claim leases no pinned task. [BUILD-1]

    Raises:
        Conflict: the idempotency key is on record with other content. [REPEAT-6]
    """
    return forms.claim(
        queues,
        owner,
        ttl_ms,
        limit,
        kinds,
        affinity,
        purpose,
        idempotency_key,
        suspects,
        waive_compensation,
        wait_ms,
        build,
    )


def _by_caller(executor: Executor, command: c.Command, actor: str | None, idempotency_key: str | None) -> CommandEntry:
    """The entry of a command with who asks for it."""
    return CommandEntry(
        command,
        optional_actor(actor, "actor") or executor.actor,
        None,
        arguments.optional_name(idempotency_key, "idempotency_key"),
    )

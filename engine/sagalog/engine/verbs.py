"""Verbs of producers, operators and claimers: each command once, with its whole signature and text; arguments -> entry.

Rule: the calls of `Engine`, `Batch` and `sagalog.aio` are made of these by adapters, and have no arguments and no texts
of their own. A verb here is such a call; a `Verb` of the kernel is what is known of its command. Every verb takes the
executor first, which gives what has to be drawn and the default actor. Writes nothing. The verbs of a lease's holder
stand in `holder_verbs`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sagalog.actors import optional_actor, worker_actor
from sagalog.engine.entries import CommandEntry
from sagalog.engine.executor import Executor
from sagalog.kernel import commands as c
from sagalog.kernel.values import Compensation, Purpose, Retry, Suspects
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
    actor: str | None = None,
    cause: str | None = None,
    idempotency_key: str | None = None,
) -> CommandEntry:
    """Create a task; the same id or `idempotency_key` again, with the same content, gives the task that exists.

    Args:
        kind: which handler it is for; 1 to 200 characters, like every name here, none of them a control, line
            separator, surrogate or noncharacter. [NAME-1]
        payload: JSON, up to 1 MiB; refused at the door where a store could not give it back as it is.
        id: a name too; a ULID is drawn if left out.
        queue: where it waits; priority: smaller runs first; affinity: a hint for claims; key: a name that no
            claim looks at.
        run_at_ms: not due before this time.
        retry: budgets and delays; the log records the whole policy.
        inputs: bytes by name, each up to 16 MiB, kept beside the log; `input` reads them. [BLOB-1]
        compensations: planned undos, owed from the first lease for work on.
        waive_compensation: why this task may fail without any.
        tags: names and values to find it by.
        correlation_id, parent: where it belongs; a task's id.
        trace, tracestate: a W3C traceparent, and the tracestate that stands beside it. [TRACE-1]
        data_key: the name of its subject's key, as of a person or a tenant; left out, the task's own id. What is to
            be forgotten together shares one. Nothing is encrypted by this version. [KEY-1]
        actor, cause: who asks, because of which event. An actor is `user:`, `token:` or `schedule:` and a name;
            without one of these it is a user. [ACTOR-1]
        idempotency_key: under which identity; repeated, it gives the first answer. [REPEAT-2] [REPEAT-4]

    Raises:
        InvalidValue: naming the argument or the path in the payload. AlreadyExists: the id has other content.
        Conflict: the idempotency key is on record with other content. [REPEAT-6]
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
    """Call a task off: at once where no worker holds it; else its owner is asked, or with `now` loses it. [CANCEL-1]

    With `now`, undos may begin while the owner's handler still runs: what that does outside comes after them.

    Raises:
        NotFound; TerminalTask: it has ended in another way.
    """
    return _by_caller(executor, forms.cancel(id, reason, now), actor, idempotency_key)


def quarantine(
    executor: Executor, id: str, reason: str, *, actor: str | None = None, idempotency_key: str | None = None
) -> CommandEntry:
    """Take a task out of circulation until a human has looked; raises NotFound, TerminalTask."""
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
    """Tell a task something: a wait for a signal of this name takes it, now or whenever it begins. [WAIT-2]

    Each signal is taken once, the oldest first; without `idempotency_key` a repeated call sends another one.

    Raises:
        NotFound; TerminalTask; WrongState: it is compensating. OverBound: too many that no wait has taken.
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
    """Leave a remark, in any state; after the end it may settle compensations that are still owed. [COMP-6]

    Raises:
        NotFound: no such task, or it does not owe what is to be settled. WrongState: `settles` before the end.
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
    """Settle one owed compensation by word, in any order. [COMP-4]

    Raises:
        NotFound; AlreadySettled; TerminalTask: use a note with `settles` instead.
    """
    return _by_caller(executor, forms.waive(id, compensation, reason), actor, idempotency_key)


def retry_as_new(
    executor: Executor,
    id: str,
    *,
    results: Mapping[str, Any] | None = None,
    rerun: Iterable[str] = (),
    actor: str | None = None,
    idempotency_key: str | None = None,
) -> CommandEntry:
    """A successor takes the place of a task that has ended, with the same work and fresh budgets. [TERM-2]

    Of a task that was quarantined in its forward work it keeps the steps and goes on [STEP-1]. What the ended task
    still owes is handed over and owed by the successor at once [COMP-7]: it starts compensating where only the
    undoing was left, and else pending. A second call gives the same successor. [REPEAT-7]
    Sleeps that are over, and signals that waits took, it keeps under their numbers; a signal that was kept and
    that no wait had taken is not handed on: send it to the successor. [WAIT-1]

    Args:
        id: the task that has ended.
        results: by name of the step, the result of a step that has none on record
            (`Task.unrecorded_steps`), or whose undo a note has settled after the end: the successor keeps it with
            this result, as JSON.
        rerun: names of such steps that the successor carries out (again), so that effects which stand come twice.
        actor, idempotency_key: who asks, under which identity.

    Returns:
        The successor; its `predecessor` names the ended task.

    Raises:
        NotFound: no such task, or no such step of which something is to be said. WrongState: it has not ended, or
            it has completed. ResultRequired: neither argument says what becomes of one of those steps.
        Conflict: it was retried as new with other results.
    """
    return _by_caller(executor, forms.retry_as_new(id, executor.draw_id(), results, rerun), actor, idempotency_key)


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
) -> CommandEntry:
    """Lease this task, whatever its order and due time. [LEASE-1]

    Args:
        task_id: which.
        owner: who will hold it.
        ttl_ms: how long without a heartbeat; None: without end.
        purpose: "work", or "undo" for a compensating task.
        kinds: for undoing, the compensation kinds the caller knows; None: every kind.
        idempotency_key: an identity; repeated, it gives the lease that it has taken. [REPEAT-4]
        waive_compensation: why what is done under this lease needs no undo. [COMP-2]

    Raises:
        LeaseHeld: a worker holds it, perhaps under the same owner. TerminalTask, NotFound.
        LeaseLost: the idempotency key has leased it, and that lease has ended.
        Conflict: the idempotency key is on record with other content. [REPEAT-6]
        Blocked: it is not there for this purpose, or owes kinds the caller does not know.
    """
    command = forms.acquire(task_id, owner, ttl_ms, purpose, kinds, waive_compensation)
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
) -> ClaimRequest:
    """Lease up to `limit` ready tasks: affinities asked for first, then priority, then age; none is no error.

    Args:
        queues: one name or several.
        owner: who will hold them.
        ttl_ms: how long without a heartbeat; None: without end.
        limit: at most so many.
        kinds: only these; for "undo" the compensation kinds that the caller knows, all that a task owes [UNDO-1].
        affinity: hints to be served first, in this order.
        purpose: "work" or "undo".
        idempotency_key: an identity; repeated, the claim gives those of its leases that still live. [REPEAT-4]
        wait_ms: how long to wait where there is nothing to lease; a commit of anybody wakes at once, and so does
            the time at which something becomes due. Waiting takes no turn and writes nothing.
        suspects: what to do with a task whose next expired lease would spend `expiries_max`, and that has had one,
            so that its handler may be what kills its worker. [LEASE-5] "alone": where it is the first of all, it is
            leased and nothing else, else it is looked past; "never": it is looked past, for a caller that holds
            other leases; "only": nothing else is leased.
        waive_compensation: of task kinds, why what is done under a lease of theirs needs no undo. [COMP-2]
    """
    return forms.claim(
        queues, owner, ttl_ms, limit, kinds, affinity, purpose, idempotency_key, suspects, waive_compensation, wait_ms
    )


def _by_caller(executor: Executor, command: c.Command, actor: str | None, idempotency_key: str | None) -> CommandEntry:
    """The entry of a command with who asks for it."""
    return CommandEntry(
        command,
        optional_actor(actor, "actor") or executor.actor,
        None,
        arguments.optional_name(idempotency_key, "idempotency_key"),
    )

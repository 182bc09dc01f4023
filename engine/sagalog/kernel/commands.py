"""What a caller asks for, in the imperative: one frozen struct a command.

Rule: a command carries what the caller gave, already checked, and what clock and entropy drew for it; it may be
refused. Knows nothing of the task it will meet.
"""

from __future__ import annotations

import msgspec

from sagalog.kernel.values import (
    Budget,
    Compensation,
    Failure,
    FreeJson,
    FreeText,
    Inherited,
    Input,
    KeptStep,
    KeptWaits,
    Outcome,
    Parameters,
    Policy,
    Purpose,
    Seen,
    TaskEnd,
    Unchanged,
    UnrecordedStep,
)


class Command(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag=True):
    """Base of the commands: each is addressed to one task, by id. Encoded, it carries the name of its type."""

    task: str


class Create(Command, frozen=True, kw_only=True):
    """Bring a task into being. `inherited`, `steps`, `waits` and `outcome` are those of a successor.

    One that has an `outcome` only undoes: how the forward work had ended that it takes the place of. [COMP-7]
    """

    kind: str
    queue: str
    priority: int
    run_at_ms: int | None
    policy: Policy
    payload: FreeJson = None
    inputs: tuple[Input, ...] = ()
    compensations: tuple[Compensation, ...] = ()
    waiver: FreeText | None = None
    tags: dict[str, str] | None = None
    affinity: str | None = None
    key: str | None = None
    parent: str | None = None
    predecessor: str | None = None
    correlation_id: str | None = None
    trace: str | None = None
    tracestate: str | None = None
    data_key: str | None = None
    inherited: tuple[Inherited, ...] = ()
    steps: tuple[KeptStep, ...] = ()
    waits: tuple[KeptWaits, ...] = ()
    outcome: Outcome | None = None


class Acquire(Command, frozen=True, kw_only=True):
    """Lease this task. `kinds` are the compensation kinds the caller knows, for undoing; None: every kind.

    `waiver` says why what is done under the lease needs no undo.
    """

    owner: str
    ttl_ms: int | None
    purpose: Purpose = "work"
    kinds: frozenset[str] | None = None
    waiver: FreeText | None = None


class Held(Command, frozen=True, kw_only=True):
    """Base of what the holder of a lease asks: carries the lease's fence. [FENCE-2]"""

    fence: int


class Heartbeat(Held, frozen=True, kw_only=True):
    """Renew the lease. `ttl_ms` None keeps the lease's own."""

    ttl_ms: int | None = None
    progress: FreeJson = None


class Register(Held, frozen=True, kw_only=True):
    """Record an undo before its effect."""

    compensation: Compensation


class Step(Held, frozen=True, kw_only=True):
    """Record the result of a named step, so that no later attempt runs it again; `compensation` is its undo's id."""

    name: str
    result: FreeJson = None
    compensation: str | None = None


class PutArtifact(Held, frozen=True, kw_only=True):
    """Record something that the work has made; the bytes of `digest` are stored beside the log."""

    name: str
    digest: str
    size_bytes: int
    media_type: str


class AdoptChild(Held, frozen=True, kw_only=True):
    """Take over the child that a predecessor had under a name: the task `child`."""

    name: str
    child: str


class Park(Held, frozen=True, kw_only=True):
    """Give the lease back until a signal comes, tasks have ended, or a time has come.

    `number` is the wait's among those of its name, from 1. `ended` are the ends of those of `after` that have ended
    already; the code that reads the other tasks fills it in.
    """

    name: str
    number: int = 1
    signal: str | None = None
    after: tuple[str, ...] = ()
    until_ms: int | None = None
    ended: tuple[TaskEnd, ...] = ()


class Release(Held, frozen=True, kw_only=True):
    """Give the lease back; `code` and `parameters` are what the worker itself has to say."""

    reason: FreeText | None = None
    run_at_ms: int | None = None
    code: str | None = None
    parameters: Parameters | None = None


class Retry(Held, frozen=True, kw_only=True):
    """The attempt failed; try again, later. `jitter` in [0, 1) was drawn by Entropy for the backoff.

    `run_at_ms` takes the place of the backoff; `retry_after_ms` only makes a shorter one longer.
    """

    error: Failure
    budget: Budget
    jitter: float
    run_at_ms: int | None = None
    retry_after_ms: int | None = None


class Complete(Held, frozen=True, kw_only=True):
    """The work is done. `undoer` is the id of the task that undoes what is left over, should anything be. [COMP-7]"""

    result: FreeJson = None
    undoer: str | None = None


class Fail(Held, frozen=True, kw_only=True):
    """The work is over without success; `compensations` are registered in the same commit.

    `or_quarantine`: where it may not fail for want of a compensation, a human is to look.
    """

    error: Failure
    compensations: tuple[Compensation, ...] = ()
    waiver: FreeText | None = None
    or_quarantine: bool = False


class QuarantineHeld(Held, frozen=True, kw_only=True):
    """The holder says that a human must look.

    `steps` are those whose functions had begun and whose results are not on record.
    """

    error: Failure
    steps: tuple[UnrecordedStep, ...] = ()


class CompensationDone(Held, frozen=True, kw_only=True):
    """An undo was carried out."""

    compensation: str


class CompensationFailed(Held, frozen=True, kw_only=True):
    """An undo failed; try again, later."""

    compensation: str
    error: Failure
    jitter: float
    run_at_ms: int | None = None
    retry_after_ms: int | None = None


class Cancel(Command, frozen=True, kw_only=True):
    """Call the task off; `now` does not wait for the owner of a lease."""

    reason: FreeText | None = None
    now: bool = False


class Quarantine(Command, frozen=True, kw_only=True):
    """Take the task out of circulation until a human has looked."""

    reason: FreeText
    code: str = "operator"


class Signal(Command, frozen=True, kw_only=True):
    """Tell a task something that it waits for, or will."""

    name: str
    data: FreeJson = None


class Note(Command, frozen=True, kw_only=True):
    """Leave a remark; after the end it may settle compensations that are still owed."""

    text: FreeText
    settles: tuple[str, ...] = ()


class RetryAsNew(Command, frozen=True, kw_only=True):
    """Let a task named `successor` take the place of one that has ended.

    Of steps whose results are not on record, or whose undos were settled after the end: the results that the caller
    states, or that they run again.
    """

    successor: str
    results: dict[str, FreeJson] = {}
    rerun: tuple[str, ...] = ()


class Waive(Command, frozen=True, kw_only=True):
    """Settle an owed compensation by word."""

    compensation: str
    reason: FreeText


class Maintain(Command, frozen=True, kw_only=True):
    """Do what is due on the task: end a lease or a wait that is over, quarantine what cannot go on. [UPKEEP-1]

    `seen` is what the caller's monotonic clock saw of the lease, and `unchanged` of a task that waits for a time;
    `unknown_kinds` are compensation kinds that no worker knows, and where `known_kinds` is given all others are;
    `overdue` also looks at undos that no worker came for; `ended` are the ends of those tasks that this one waits for
    and that have ended: the caller, which reads the other tasks, fills it in.
    """

    seen: Seen | None = None
    unchanged: Unchanged | None = None
    unknown_kinds: frozenset[str] = frozenset()
    known_kinds: frozenset[str] | None = None
    ended: tuple[TaskEnd, ...] = ()
    overdue: bool = False

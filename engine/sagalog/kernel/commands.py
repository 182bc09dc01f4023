"""The commands, in the imperative: one frozen struct for each request that a caller may make.

Rule: a command carries what the caller gave, already checked, and what the engine took from clock and entropy for it;
the kernel may refuse it. Knows nothing of the task that it will meet.
"""

from __future__ import annotations

import msgspec

from sagalog.kernel.values import (
    BreakerPolicy,
    Budget,
    Compensation,
    DedupeKey,
    Failure,
    FreeJson,
    FreeText,
    Inherited,
    Input,
    KeptStep,
    KeptWaits,
    Lack,
    OnFailed,
    OnParentEnd,
    Outcome,
    Parameters,
    Policy,
    Purpose,
    Rate,
    Schedule,
    Seen,
    Stopped,
    TaskEnd,
    Unchanged,
    Units,
    UnrecordedStep,
)


class Command(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag=True):
    """Base of the commands: each names one task, by id. Its encoded form carries the name of its type."""

    task: str


class Create(Command, frozen=True, kw_only=True):
    """The request to create a task. Only a successor has `inherited`, `steps`, `waits` and `outcome`.

    `outcome` is how the forward work of its predecessor ended; a task that has one only undoes. [COMP-7]
    `ended` are the ends of those of `after` that have ended already; the operation, which reads the other tasks, fills
    it in. [WAIT-5]
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
    uses: dict[str, int] | None = None
    deadline_ms: int | None = None
    start_by_ms: int | None = None
    after: tuple[str, ...] = ()
    on_failed: OnFailed | None = None
    on_parent_end: OnParentEnd | None = None
    ended: tuple[TaskEnd, ...] = ()
    dedupe: DedupeKey | None = None
    build: str | None = None


class Acquire(Command, frozen=True, kw_only=True):
    """The request to lease this task. `kinds` are the compensation kinds that the caller can undo; None: every kind.

    `waiver` is the reason why the work under the lease needs no undo, `build` the one that the worker names. `uses` are
    the units that it takes, and `lack` is why it may not begin; the operation, which reads the limits, fills both in.
    """

    owner: str
    ttl_ms: int | None
    purpose: Purpose = "work"
    kinds: frozenset[str] | None = None
    waiver: FreeText | None = None
    uses: tuple[Units, ...] = ()
    lack: Lack | None = None
    build: str | None = None


class Held(Command, frozen=True, kw_only=True):
    """Base of the commands of a lease's holder: they carry the lease's fence. [FENCE-2]"""

    fence: int


class Heartbeat(Held, frozen=True, kw_only=True):
    """The request to renew the lease. `ttl_ms` None keeps the lease's own."""

    ttl_ms: int | None = None
    progress: FreeJson = None


class Register(Held, frozen=True, kw_only=True):
    """The request to record an undo before its effect."""

    compensation: Compensation


class Step(Held, frozen=True, kw_only=True):
    """The request to record a named step's result, which later attempts take over; `compensation` is its undo's id."""

    name: str
    result: FreeJson = None
    compensation: str | None = None


class PutArtifact(Held, frozen=True, kw_only=True):
    """The request to record something that the work has made; the store keeps the bytes of `digest` beside the log."""

    name: str
    digest: str
    size_bytes: int
    media_type: str


class Use(Held, frozen=True, kw_only=True):
    """The request to state how many units of a rate this attempt uses; the operation looks up whether it is a rate."""

    limit: str
    units: int
    is_rate: bool = True


class Healthy(Held, frozen=True, kw_only=True):
    """The request to take this attempt for healthy, as a probe; `limit` None: at the breaker of the queue."""

    limit: str | None = None


class AdoptChild(Held, frozen=True, kw_only=True):
    """The request to take over the child that a predecessor had under a name: the task `child`."""

    name: str
    child: str


class Park(Held, frozen=True, kw_only=True):
    """The request to give the lease back until a signal comes, tasks have ended, or a time has come.

    `number` is the wait's among those of its name, from 1. `ended` are the ends of those of `after` that have ended
    already; the operation, which reads the other tasks, fills it in.
    """

    name: str
    number: int = 1
    signal: str | None = None
    after: tuple[str, ...] = ()
    until_ms: int | None = None
    ended: tuple[TaskEnd, ...] = ()


class Release(Held, frozen=True, kw_only=True):
    """The request to give the lease back; `code` and `parameters` are the worker's own reason."""

    reason: FreeText | None = None
    run_at_ms: int | None = None
    code: str | None = None
    parameters: Parameters | None = None


class Retry(Held, frozen=True, kw_only=True):
    """The request to try again later, after a failed attempt. Entropy drew `jitter`, in [0, 1), for the backoff.

    `run_at_ms` replaces the backoff; `retry_after_ms` only makes a shorter one longer.
    """

    error: Failure
    budget: Budget
    jitter: float
    run_at_ms: int | None = None
    retry_after_ms: int | None = None


class Complete(Held, frozen=True, kw_only=True):
    """The request to complete the task. `undoer` is the id for the task that undoes what may be left over. [COMP-7]"""

    result: FreeJson = None
    undoer: str | None = None


class Fail(Held, frozen=True, kw_only=True):
    """The request to end the work without success; the same commit registers `compensations`.

    `or_quarantine`: a task that may not fail because it lacks a compensation is quarantined instead.
    """

    error: Failure
    compensations: tuple[Compensation, ...] = ()
    waiver: FreeText | None = None
    or_quarantine: bool = False


class QuarantineHeld(Held, frozen=True, kw_only=True):
    """The holder's request that a human looks at the task.

    `steps` are those whose functions had begun and whose results are not on record.
    """

    error: Failure
    steps: tuple[UnrecordedStep, ...] = ()


class CompensationDone(Held, frozen=True, kw_only=True):
    """The holder's report that it has carried out an undo."""

    compensation: str


class CompensationFailed(Held, frozen=True, kw_only=True):
    """The request to try an undo again later, after it has failed."""

    compensation: str
    error: Failure
    jitter: float
    run_at_ms: int | None = None
    retry_after_ms: int | None = None


class Cancel(Command, frozen=True, kw_only=True):
    """The request to cancel the task; `now` does not wait for the owner of a lease."""

    reason: FreeText | None = None
    now: bool = False


class CancelChild(Command, frozen=True, kw_only=True):
    """The engine's request to cancel a child whose parent's forward work has ended in `outcome`. [CANCEL-4]"""

    parent: str
    outcome: Outcome


class Quarantine(Command, frozen=True, kw_only=True):
    """The request to end the task's work until a human has looked."""

    reason: FreeText
    code: str = "operator"


class Signal(Command, frozen=True, kw_only=True):
    """The request to send a task a message for which it waits, or will wait."""

    name: str
    data: FreeJson = None


class Note(Command, frozen=True, kw_only=True):
    """The request to record a remark; after the end it may settle compensations that are still owed."""

    text: FreeText
    settles: tuple[str, ...] = ()


class RetryAsNew(Command, frozen=True, kw_only=True):
    """The request that a task with the id `successor` replaces one that has ended.

    Some steps have no result on record, or a note has settled their undos after the end. For these the caller states
    `results`, or lists them in `rerun` to run again. The deadlines are the successor's. [DEADLINE-1]
    """

    successor: str
    results: dict[str, FreeJson] = {}
    rerun: tuple[str, ...] = ()
    deadline_ms: int | None = None
    start_by_ms: int | None = None


class Amend(Command, frozen=True, kw_only=True):
    """The request to change a live task: None is as it was, and `removes` names what it is to have no longer.

    Of these "payload" is a payload of null, and "run_at_ms" makes the task due at once. [AMEND-1]
    """

    queue: str | None = None
    priority: int | None = None
    run_at_ms: int | None = None
    payload: FreeJson = None
    affinity: str | None = None
    key: str | None = None
    deadline_ms: int | None = None
    start_by_ms: int | None = None
    policy: Policy | None = None
    uses: dict[str, int] | None = None
    removes: tuple[str, ...] = ()
    build: str | None = None


class Waive(Command, frozen=True, kw_only=True):
    """The request to settle an owed compensation without doing it, for a reason."""

    compensation: str
    reason: FreeText


class Maintain(Command, frozen=True, kw_only=True):
    """The request to do what is due on the task: end a lease or wait that is over, quarantine what cannot go on.

    [UPKEEP-1] `seen` is what an observer's monotonic clock saw of the lease, and `unchanged` of a task that waits for a
    time. `unknown_kinds` are compensation kinds that no worker knows; where `known_kinds` is given, no worker knows any
    other. `overdue` also looks at undos that no worker has leased in time. `ended` are the ends of the tasks that this
    one waits for; the operation, which reads the other tasks, fills it in.
    """

    seen: Seen | None = None
    unchanged: Unchanged | None = None
    unknown_kinds: frozenset[str] = frozenset()
    known_kinds: frozenset[str] | None = None
    ended: tuple[TaskEnd, ...] = ()
    overdue: bool = False


class Setting(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag=True):
    """Base of the commands on a stream that is no task's: each names it, by the id within its category."""

    id: str


class SetLimit(Setting, frozen=True, kw_only=True):
    """The request to set a named limit."""

    slots: int | None = None
    rate: Rate | None = None
    breaker: BreakerPolicy | None = None


class RemoveLimit(Setting, frozen=True, kw_only=True):
    """The request to remove a named limit; `in_use` is a live task that uses it, which the operation looks up."""

    in_use: str | None = None


class LimitQueue(Setting, frozen=True, kw_only=True):
    """The request to set a queue's own limits, and those of each key within it."""

    slots: int | None = None
    rate: Rate | None = None
    per_key_slots: int | None = None
    per_key_rate: Rate | None = None
    breaker: BreakerPolicy | None = None


class ResetLimitBreaker(Setting, frozen=True, kw_only=True):
    """The request to close the breaker of a named limit."""


class ResetQueueBreaker(Setting, frozen=True, kw_only=True):
    """The request to close the breaker of a queue."""


class SetQueue(Setting, frozen=True, kw_only=True):
    """The request to set what a queue does besides limiting. [ORDER-2]"""

    affinity_wait_ms: int | None = None


class PauseLimit(Setting, frozen=True, kw_only=True):
    """The request that no task starts that uses a named limit."""

    reason: FreeText | None = None


class ResumeLimit(Setting, frozen=True, kw_only=True):
    """The request to end the pause of a named limit."""


class PauseQueue(Setting, frozen=True, kw_only=True):
    """The request that no task of a queue starts."""

    reason: FreeText | None = None


class ResumeQueue(Setting, frozen=True, kw_only=True):
    """The request to end the pause of a queue."""


class PauseKey(Setting, frozen=True, kw_only=True):
    """The request that no task of one key within a queue starts."""

    key: str
    reason: FreeText | None = None


class ResumeKey(Setting, frozen=True, kw_only=True):
    """The request to end the pause of a key within a queue."""

    key: str


class PauseKind(Setting, frozen=True, kw_only=True):
    """The request that no task of a kind starts, in any queue; `id` is the store's."""

    kind: str
    reason: FreeText | None = None


class ResumeKind(Setting, frozen=True, kw_only=True):
    """The request to end the pause of a kind; `id` is the store's."""

    kind: str


class SetSchedule(Setting, frozen=True, kw_only=True):
    """The request to set a schedule, with all of it. The operation, which knows the time, fills in the rest."""

    schedule: Schedule
    anchor_ms: int = 0
    settled_ms: int = 0
    next_ms: int | None = None


class RemoveSchedule(Setting, frozen=True, kw_only=True):
    """The request to remove a schedule."""


class PauseSchedule(Setting, frozen=True, kw_only=True):
    """The request that a schedule does not fire."""

    reason: FreeText | None = None


class ResumeSchedule(Setting, frozen=True, kw_only=True):
    """The request that a schedule fires again, which was paused or has stopped; the operation fills in the times."""

    settled_ms: int = 0
    next_ms: int | None = None


class FireSchedule(Setting, frozen=True, kw_only=True):
    """The request to settle the nominal times of a schedule that have come. [SCHEDULE-2]

    `due` are the newest of them, oldest first, as many as its `missed` may fire, and `tasks` the ids of their tasks;
    `next_ms` is the one after. `exists` are those of the ids that tasks have already, and `lives` says whether the task
    before lives.
    """

    now_ms: int
    due: tuple[int, ...]
    tasks: tuple[str, ...]
    next_ms: int | None = None
    exists: tuple[str, ...] = ()
    lives: bool = False


class StopSchedule(Setting, frozen=True, kw_only=True):
    """The request to stop a schedule that cannot go on. [SCHEDULE-7]"""

    code: Stopped
    parameters: Parameters | None = None


class ResetSchedule(Setting, frozen=True, kw_only=True):
    """The request to begin a schedule anew that is ahead of the clock. [SCHEDULE-3]"""

    now_ms: int
    next_ms: int


class JournalCommand(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag=True):
    """Base of the commands on a journal: each names it, by the id of its stream."""

    id: str


class AppendJournal(JournalCommand, frozen=True, kw_only=True):
    """The request to append entries to a journal; the store keeps their bytes under `digest` beside the log.

    `expected` is how many entries the caller believes to be there; None: any number. For a journal of a task, `task`
    and the `fence` of the lease that writes.
    """

    entries: int
    digest: str
    size_bytes: int
    expected: int | None = None
    task: str | None = None
    fence: int | None = None


class CloseJournal(JournalCommand, frozen=True, kw_only=True):
    """The request to close a journal that is no task's."""

"""The events, in the past tense: one frozen struct for each fact that a log may hold.

Rule: an event holds the whole decision, so that no reader decides it again [RECORD-1]; no code changes an event. A
field has a default here only if that is None or empty: then the log leaves it out, and an absent field always means the
same. Every other field is required, so that the log always holds it and no reader supplies it. [RECORD-4]
Knows nothing of states: `lifecycle` holds which event may follow in which state.
"""

from __future__ import annotations

from typing import Any, Final, get_args

import msgspec

from sagalog.kernel.values import (
    BreakerClosing,
    BreakerOpening,
    BreakerPolicy,
    BreakerState,
    Budget,
    Compensation,
    DedupeKey,
    ExpiryCause,
    Failure,
    FreeJson,
    FreeText,
    Inherited,
    Input,
    JsonBlob,
    KeptStep,
    KeptWaits,
    Limit,
    NotFired,
    OnFailed,
    OnParentEnd,
    Outcome,
    Parameters,
    Policy,
    Purpose,
    Rate,
    Schedule,
    Seen,
    State,
    Stopped,
    TaskEnd,
    Unchanged,
    Units,
    UnrecordedStep,
    WaitEnd,
)


class Recordable(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """Base of the events: frozen, unknown fields refused, absent fields left out. The envelope names the type.

    An event that ends a lease has the lease's `fence` and the `verb` that ended it. [REPEAT-5]
    A value that is too large for its event is left out, and the field of its name with `_blob` names its bytes; of a
    note's `results`, the names stay, each with null. [BLOB-2]
    """


class Created(Recordable, frozen=True):
    """The creation of a task: its work (`kind`, `payload`), where (`queue`), when (`run_at_ms`), under which policy.

    `compensations` are planned: owed once work begins. `waiver` replaces a missing compensation. `parent`,
    `predecessor` name tasks; `trace` is a W3C traceparent, `tracestate` goes with it; `affinity` is a hint for claims,
    `key` a name to group by, and `uses` are the units of named limits that each lease for work takes. `inputs` name
    bytes that the store keeps beside the log. `data_key` names the key of its subject; left out, the task's own id
    does. [KEY-1]
    From `deadline_ms` on the engine cancels it, and from `start_by_ms` on if no worker has leased it. [DEADLINE-1]
    Of a successor, all by reference: `inherited` are the undos that its predecessor still owed, and that it owes at
    once; `steps` are those that it keeps, and `waits` those that are over for it. `to` is compensating where it only
    undoes, and `outcome` is then how the predecessor's forward work had ended.
    `after` are the tasks for whose ends it waits before any lease, and `on_failed` is what becomes of it if one of them
    does not complete. [WAIT-5] `on_parent_end` is what becomes of it when its parent is cancelled or fails; a task
    that no handler has spawned has none. [CANCEL-4] `dedupe` is the key that only it has of its kind. [DEDUPE-1]
    `build` is the build of a worker to which it is pinned. [BUILD-1]
    """

    kind: str
    queue: str
    priority: int
    run_at_ms: int
    policy: Policy
    to: State
    payload: FreeJson = None
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
    outcome: Outcome | None = None
    inputs: tuple[Input, ...] = ()
    steps: tuple[KeptStep, ...] = ()
    waits: tuple[KeptWaits, ...] = ()
    uses: dict[str, int] | None = None
    deadline_ms: int | None = None
    start_by_ms: int | None = None
    after: tuple[str, ...] = ()
    on_failed: OnFailed | None = None
    on_parent_end: OnParentEnd | None = None
    dedupe: DedupeKey | None = None
    build: str | None = None
    payload_blob: JsonBlob | None = None


class Leased(Recordable, frozen=True):
    """A lease: `owner` holds the task until `expires_ms` (None: without end); the fence rises with every lease.

    `waiver` is the reason why the work under this lease needs no undo, `build` the one that the worker names. `uses`
    are the units that it takes, by account: of named limits, of the queue and of the key. [LIMIT-2]
    """

    owner: str
    fence: int
    attempt: int
    purpose: Purpose
    probe: bool
    ttl_ms: int | None = None
    expires_ms: int | None = None
    waiver: FreeText | None = None
    uses: tuple[Units, ...] = ()
    build: str | None = None


class Heartbeat(Recordable, frozen=True):
    """The renewal of a lease; `progress` is a small note of the worker."""

    fence: int
    ttl_ms: int | None = None
    expires_ms: int | None = None
    progress: FreeJson = None


class Released(Recordable, frozen=True):
    """The holder's return of a lease; the task is due again at `run_at_ms`. It counts as no attempt.

    `reason` is the holder's, `code` with `parameters` the worker's own.
    """

    fence: int
    verb: str
    run_at_ms: int
    reason: FreeText | None = None
    code: str | None = None
    parameters: Parameters | None = None


class LeaseExpired(Recordable, frozen=True):
    """The end of a lease that was over: by the clock, a newer epoch, or an observer's monotonic clock (`seen`)."""

    fence: int
    verb: str
    why: ExpiryCause
    seen: Seen | None = None


class Promoted(Recordable, frozen=True):
    """The promotion of a task whose time has come by an observer's monotonic clock; the store's clock was behind."""

    seen: Unchanged


class StepCompleted(Recordable, frozen=True):
    """The end of a named step, once for all attempts; later ones get `result` instead of running it.

    `compensation` is the id of its undo, which is on record before it.
    """

    name: str
    fence: int
    result: FreeJson = None
    compensation: str | None = None
    result_blob: JsonBlob | None = None


class CompensationRegistered(Recordable, frozen=True):
    """The record of an undo that the task owes, before the effect that it would reverse.

    Where the undo was inherited, it records that this task has the effect too.
    """

    id: str
    kind: str
    fence: int
    params: FreeJson = None
    reason: FreeText | None = None


class CompensationWaived(Recordable, frozen=True):
    """A caller's decision that an owed undo need not be done."""

    id: str
    reason: FreeText


class ArtifactPut(Recordable, frozen=True):
    """The record of bytes that the work has made; the store keeps them beside the log, under their SHA-256 in hex.

    Readers get the newest of a name. `data_key` is as for an input. [KEY-2]
    """

    name: str
    fence: int
    digest: str
    size_bytes: int
    media_type: str
    data_key: str | None = None


class ChildAdopted(Recordable, frozen=True):
    """The adoption of the child that a predecessor had under this name; `task` is its id."""

    name: str
    fence: int
    task: str


class Retried(Recordable, frozen=True):
    """A failed attempt, and when the next one is due (`run_at_ms`); it counts against `budget`.

    `quota_back_ms` is when a quota is back, where the worker has said so. [BREAKER-1]
    """

    fence: int
    verb: str
    error: Failure
    budget: Budget
    run_at_ms: int
    quota_back_ms: int | None = None


class Parked(Recordable, frozen=True):
    """The return of a lease for a wait: for the signal `signal`, for the tasks `after`, at most until `until_ms`.

    `name` and `number` are the wait's: waits of one name are numbered from 1, in the order in which a handler asks.
    """

    fence: int
    verb: str
    name: str
    number: int
    signal: str | None = None
    after: tuple[str, ...] = ()
    until_ms: int | None = None


class Signalled(Recordable, frozen=True):
    """A caller's message to the task; the store keeps it until a wait for a signal of this name takes it."""

    name: str
    data: FreeJson = None
    data_blob: JsonBlob | None = None


class Unblocked(Recordable, frozen=True):
    """The end of a wait: by the signal at `signal_version` of this stream, by the tasks' ends, or by time.

    `wait` and `number` are the name and the number of the wait, 0 for the one that its creation began; `seen` is what
    an observer saw, where the time had come on its clock only. Of the tasks waited for, `counts` is how many ended in
    each state, and `digest` is over all of them (`specs/digest.md`); of up to 256, `ended` names each with its end, in
    the order in which the wait names them.
    """

    wait: str
    number: int
    by: WaitEnd
    signal_version: int | None = None
    counts: dict[State, int] | None = None
    digest: str | None = None
    ended: tuple[TaskEnd, ...] = ()
    seen: Unchanged | None = None


class Failed(Recordable, frozen=True):
    """The end of the forward work without success. `to` is compensating where something is owed, else failed.

    `code` is the cause, with `parameters`: the worker asked for it ("failed") or a budget was spent. `compensations`
    are the ids registered in the same commit. `fence` and `verb` are the lease that it ended and what that worker had
    asked. `reason` is the worker's, where it gave the task back once too often.
    """

    to: State
    code: str
    error: Failure | None = None
    waiver: FreeText | None = None
    compensations: tuple[str, ...] = ()
    fence: int | None = None
    verb: str | None = None
    reason: FreeText | None = None
    parameters: Parameters | None = None


class CancelRequested(Recordable, frozen=True):
    """A request to the owner to stop; if its lease ends and the task does not, `cancelled` follows.

    `reason` is a caller's, `code` with `parameters` the engine's own. [DEADLINE-1] [CANCEL-4]
    """

    reason: FreeText | None = None
    code: str | None = None
    parameters: Parameters | None = None


class Cancelled(Recordable, frozen=True):
    """The cancellation of a task. `to` is compensating where something is owed, else cancelled.

    `reason` is a caller's, `code` with `parameters` the engine's own. Where it had asked the owner to stop, that event
    has the parameters.
    """

    to: State
    reason: FreeText | None = None
    fence: int | None = None
    verb: str | None = None
    code: str | None = None
    parameters: Parameters | None = None


class CompensationDone(Recordable, frozen=True):
    """The end of an undo that a worker has carried out."""

    id: str
    fence: int


class CompensationFailed(Recordable, frozen=True):
    """A failed try of an undo, which is due again at `run_at_ms`; it ends the lease."""

    id: str
    fence: int
    verb: str
    error: Failure
    run_at_ms: int


class Compensated(Recordable, frozen=True):
    """The end of undoing: all that was owed is settled. `outcome` is how the forward work had ended.

    `fence` and `verb` are the lease that it ended, and the cause: a worker did the last undo, or a caller waived it.
    """

    outcome: Outcome
    fence: int | None = None
    verb: str | None = None


class Completed(Recordable, frozen=True):
    """The successful end of the work: what the task owes is void, and no task ever undoes it.

    The exception is `left`: the inherited undos that nothing of this task replaces. A note in the same commit hands
    them over.
    """

    fence: int
    verb: str
    result: FreeJson = None
    left: tuple[str, ...] = ()
    result_blob: JsonBlob | None = None


class Quarantined(Recordable, frozen=True):
    """An end at which a human must look: why (`code`, `parameters`, `reason`, `error`), and which undos are still owed.

    `steps` are those whose functions had begun under the lease that ends here and whose results are not on record.
    Running them again may have their effects twice, so a successor gets their results, or the order to run them again.
    [STEP-1]
    """

    code: str
    reason: FreeText | None = None
    error: Failure | None = None
    owed: tuple[str, ...] = ()
    fence: int | None = None
    verb: str | None = None
    steps: tuple[UnrecordedStep, ...] = ()
    parameters: Parameters | None = None


class Noted(Recordable, frozen=True):
    """A remark of a caller or of the engine, the only event after the end. There it may settle what is still owed.

    `successor` names the task that replaces this one, or that undoes what this one has left; it then owes what this
    note settles. `results` are, by name of the step, those that a caller states for steps which are not on record, or
    whose undos were settled after the end. The successor runs the steps `rerun` again.
    It holds a caller's `text`, or the `code` of what the engine notes, with its `parameters`.
    """

    text: FreeText | None = None
    settles: tuple[str, ...] = ()
    successor: str | None = None
    results: dict[str, FreeJson] | None = None
    rerun: tuple[str, ...] = ()
    code: str | None = None
    parameters: Parameters | None = None
    results_blobs: dict[str, JsonBlob] | None = None


class Used(Recordable, frozen=True):
    """The holder's statement of how many units its attempt uses of a rate: the whole use, in place of any before.

    `limit` is the name of a limit that the task uses. [LIMIT-3]
    """

    fence: int
    limit: str
    units: int


class Amended(Recordable, frozen=True):
    """The changes that a caller made to a live task: exactly those; what is left out stays as it was. [AMEND-1]

    `removes` names what the task no longer has, and `payload` where it is null from now on. `policy` and `uses` are
    whole.
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
    payload_blob: JsonBlob | None = None


class Founded(Recordable, frozen=True):
    """The creation of the store: its id, the format of its log, and the version of sagalog that writes this."""

    id: str
    format: int
    writer: str


class Upgraded(Recordable, frozen=True):
    """The first write of a version of sagalog that is newer than any before. [LOG-7]"""

    writer: str


class KindPaused(Recordable, frozen=True):
    """A pause of all work of a kind, in every queue. [PAUSE-1]"""

    kind: str
    reason: FreeText | None = None


class KindResumed(Recordable, frozen=True):
    """The end of a pause of a kind."""

    kind: str


class Pruned(Recordable, frozen=True):
    """The deletion of bytes that nothing needs any more: those of `digests`, `size_bytes` in all. [PRUNE-1]

    Every task that named them had ended `older_than_ms` before, or longer ago.
    """

    digests: tuple[str, ...]
    size_bytes: int
    older_than_ms: int


class LimitSet(Recordable, frozen=True):
    """The setting of a named limit: `slots` units at a time, or a `rate`, and a `breaker`, if any. [LIMIT-1]"""

    slots: int | None = None
    rate: Rate | None = None
    breaker: BreakerPolicy | None = None


class LimitRemoved(Recordable, frozen=True):
    """The removal of a named limit that no live task uses."""


class LimitPaused(Recordable, frozen=True):
    """A pause of a named limit: no task that uses it starts. [PAUSE-1]"""

    reason: FreeText | None = None


class LimitResumed(Recordable, frozen=True):
    """The end of a pause of a named limit."""


class BreakerOpened(Recordable, frozen=True):
    """The opening of a breaker: no task starts before `until_ms`, and then one, as its probe. [BREAKER-1]

    `trips` is how often it has opened in a row. The cause is the event of the task that has opened it.
    """

    code: BreakerOpening
    trips: int
    until_ms: int


class BreakerHalfOpened(Recordable, frozen=True):
    """The beginning of a probe: the lease of `task` under `fence`, which settles the breaker. [BREAKER-3]"""

    task: str
    fence: int


class BreakerClosed(Recordable, frozen=True):
    """The closing of a breaker: tasks start again. [BREAKER-1]"""

    code: BreakerClosing


class LimitBreakerOpened(BreakerOpened, frozen=True):
    """The opening of the breaker of a named limit, as of any breaker. [BREAKER-1]"""


class LimitBreakerHalfOpened(BreakerHalfOpened, frozen=True):
    """The beginning of a probe at a named limit. [BREAKER-3]"""


class LimitBreakerClosed(BreakerClosed, frozen=True):
    """The closing of the breaker of a named limit. [BREAKER-1]"""


class LimitCarried(Recordable, frozen=True):
    """The whole fold of a named limit at this version, from which a reader may begin. [CARRY-1]

    `paused` is the version of the event that has paused it; left out, it is not paused.
    """

    removed: bool
    slots: int | None = None
    rate: Rate | None = None
    paused: int | None = None
    breaker: BreakerPolicy | None = None
    breaker_state: BreakerState | None = None


class QueueLimited(Recordable, frozen=True):
    """The setting of a queue's own limits, and of those of each key within it; what is left out limits nothing.

    `slots`, `rate` and `breaker` are the queue's, `per_key_slots` and `per_key_rate` each key's. [LIMIT-1]
    """

    slots: int | None = None
    rate: Rate | None = None
    per_key_slots: int | None = None
    per_key_rate: Rate | None = None
    breaker: BreakerPolicy | None = None


class QueueBreakerOpened(BreakerOpened, frozen=True):
    """The opening of the breaker of a queue, as of any breaker. [BREAKER-1]"""


class QueueBreakerHalfOpened(BreakerHalfOpened, frozen=True):
    """The beginning of a probe of a queue. [BREAKER-3]"""


class QueueBreakerClosed(BreakerClosed, frozen=True):
    """The closing of the breaker of a queue. [BREAKER-1]"""


class QueueSet(Recordable, frozen=True):
    """The setting of what a queue does besides limiting; what is left out is not so any more.

    A task with an affinity that has been ready for `affinity_wait_ms` goes before all others. [ORDER-2]
    """

    affinity_wait_ms: int | None = None


class QueuePaused(Recordable, frozen=True):
    """A pause of a queue: it is closed for claims for work. [PAUSE-1]"""

    reason: FreeText | None = None


class QueueResumed(Recordable, frozen=True):
    """The end of a pause of a queue."""


class KeyPaused(Recordable, frozen=True):
    """A pause of one key within a queue: no task of that key starts. [PAUSE-1]"""

    key: str
    reason: FreeText | None = None


class KeyResumed(Recordable, frozen=True):
    """The end of a pause of a key."""

    key: str


class QueueCarried(Recordable, frozen=True):
    """The whole fold of a queue at this version, from which a reader may begin. [CARRY-1]

    `paused` is the version of the event that has paused it, and `paused_keys` of those that have paused keys.
    """

    own: Limit
    per_key: Limit
    paused: int | None = None
    paused_keys: dict[str, int] | None = None
    breaker: BreakerPolicy | None = None
    breaker_state: BreakerState | None = None
    affinity_wait_ms: int | None = None


class ScheduleSet(Recordable, frozen=True):
    """The setting of a schedule: all of it, and its first nominal time `next_ms`. [SCHEDULE-1]

    Intervals count from `anchor_ms`. Nominal times up to `settled_ms` never fire.
    """

    schedule: Schedule
    anchor_ms: int
    settled_ms: int
    next_ms: int


class ScheduleRemoved(Recordable, frozen=True):
    """The removal of a schedule; the tasks that it has created go on."""


class SchedulePaused(Recordable, frozen=True):
    """A pause of a schedule: no nominal time during it fires. [PAUSE-1]"""

    reason: FreeText | None = None


class ScheduleResumed(Recordable, frozen=True):
    """The end of a pause, or of a stop: the schedule goes on with its first nominal time after now, `next_ms`."""

    settled_ms: int
    next_ms: int


class ScheduleFired(Recordable, frozen=True):
    """The creation of the task of one nominal time, `nominal_ms`. [SCHEDULE-2]

    `next_ms` is the nominal time after it; left out, there is none. `missed_ms` is the first of those before it that
    are settled with it and have no task; left out, there are none.
    """

    nominal_ms: int
    task: str
    next_ms: int | None = None
    missed_ms: int | None = None


class ScheduleSkipped(Recordable, frozen=True):
    """The settling of a nominal time without a task of its own, and why. [SCHEDULE-4] [SCHEDULE-5]

    "overlap": the task of the one before lives; "missed": it has passed; "exists": a task has its id already.
    """

    nominal_ms: int
    code: NotFired
    next_ms: int | None = None
    missed_ms: int | None = None


class ScheduleStopped(Recordable, frozen=True):
    """The stop of a schedule that cannot go on, until it is resumed or set anew. [SCHEDULE-7]"""

    code: Stopped
    parameters: Parameters | None = None


class ScheduleReset(Recordable, frozen=True):
    """The new beginning of a schedule that was ahead of the clock by more than its period. [SCHEDULE-3]"""

    settled_ms: int
    next_ms: int


class ScheduleCarried(Recordable, frozen=True):
    """The whole fold of a schedule at this version, from which a reader may begin. [CARRY-1]

    `task` is the newest that it has created, for the nominal time `task_ms`; `paused` is the version of the event that
    has paused it, and `stopped` the code with which it has stopped.
    """

    removed: bool
    schedule: Schedule
    anchor_ms: int
    settled_ms: int
    next_ms: int | None = None
    task: str | None = None
    task_ms: int | None = None
    paused: int | None = None
    stopped: Stopped | None = None


class JournalAppended(Recordable, frozen=True):
    """The record of entries of a journal: `entries` of them, numbered from `first` on. [JOURNAL-1]

    The store keeps their bytes beside the log, as one blob, under its SHA-256 in hex. A journal of a task has the
    `task`, and the `fence` of the lease that has written them. `data_key` is as for an input. [KEY-2]
    """

    first: int
    entries: int
    digest: str
    size_bytes: int
    task: str | None = None
    fence: int | None = None
    data_key: str | None = None


class JournalClosed(Recordable, frozen=True):
    """The end of a journal that is no task's; nothing follows. [JOURNAL-3]"""


class JournalCarried(Recordable, frozen=True):
    """The whole fold of a journal at this version, from which a reader may begin. [CARRY-1]

    `entries` and `size_bytes` are those of all appends so far; `fence` is that of the newest entries, and `first` the
    number of the first one under it.
    """

    entries: int
    size_bytes: int
    first: int
    task: str | None = None
    fence: int | None = None


TaskEvent = (
    Created
    | Leased
    | Heartbeat
    | Released
    | LeaseExpired
    | Promoted
    | StepCompleted
    | CompensationRegistered
    | CompensationWaived
    | ArtifactPut
    | ChildAdopted
    | Retried
    | Parked
    | Signalled
    | Unblocked
    | Failed
    | CancelRequested
    | Cancelled
    | CompensationDone
    | CompensationFailed
    | Compensated
    | Completed
    | Quarantined
    | Noted
    | Used
    | Amended
)
StoreEvent = Founded | Upgraded | KindPaused | KindResumed | Pruned
LimitEvent = (
    LimitSet
    | LimitRemoved
    | LimitPaused
    | LimitResumed
    | LimitBreakerOpened
    | LimitBreakerHalfOpened
    | LimitBreakerClosed
    | LimitCarried
)
QueueEvent = (
    QueueLimited
    | QueueSet
    | QueueBreakerOpened
    | QueueBreakerHalfOpened
    | QueueBreakerClosed
    | QueuePaused
    | QueueResumed
    | KeyPaused
    | KeyResumed
    | QueueCarried
)
ScheduleEvent = (
    ScheduleSet
    | ScheduleRemoved
    | SchedulePaused
    | ScheduleResumed
    | ScheduleFired
    | ScheduleSkipped
    | ScheduleStopped
    | ScheduleReset
    | ScheduleCarried
)
JournalEvent = JournalAppended | JournalClosed | JournalCarried
Event = TaskEvent | StoreEvent | LimitEvent | QueueEvent | ScheduleEvent | JournalEvent

TASK_EVENTS: Final[tuple[type[Recordable], ...]] = get_args(TaskEvent)
STORE_EVENTS: Final[tuple[type[Recordable], ...]] = get_args(StoreEvent)
LIMIT_EVENTS: Final[tuple[type[Recordable], ...]] = get_args(LimitEvent)
QUEUE_EVENTS: Final[tuple[type[Recordable], ...]] = get_args(QueueEvent)
SCHEDULE_EVENTS: Final[tuple[type[Recordable], ...]] = get_args(ScheduleEvent)
JOURNAL_EVENTS: Final[tuple[type[Recordable], ...]] = get_args(JournalEvent)


# The names of the types, as the envelope and the table of the lifecycle write them. They are on record: a class may
# change its name, and the name here may not change.
NAMES: Final[dict[type[Recordable], str]] = {
    Created: "created",
    Leased: "leased",
    Heartbeat: "heartbeat",
    Released: "released",
    LeaseExpired: "lease_expired",
    Promoted: "promoted",
    StepCompleted: "step_completed",
    CompensationRegistered: "compensation_registered",
    CompensationWaived: "compensation_waived",
    ArtifactPut: "artifact_put",
    ChildAdopted: "child_adopted",
    Retried: "retried",
    Parked: "parked",
    Signalled: "signalled",
    Unblocked: "unblocked",
    Failed: "failed",
    CancelRequested: "cancel_requested",
    Cancelled: "cancelled",
    CompensationDone: "compensation_done",
    CompensationFailed: "compensation_failed",
    Compensated: "compensated",
    Completed: "completed",
    Quarantined: "quarantined",
    Noted: "noted",
    Used: "used",
    Amended: "amended",
    Founded: "founded",
    Upgraded: "upgraded",
    KindPaused: "kind_paused",
    KindResumed: "kind_resumed",
    Pruned: "pruned",
    LimitSet: "limit_set",
    LimitRemoved: "limit_removed",
    LimitPaused: "limit_paused",
    LimitResumed: "limit_resumed",
    LimitBreakerOpened: "limit_breaker_opened",
    LimitBreakerHalfOpened: "limit_breaker_half_opened",
    LimitBreakerClosed: "limit_breaker_closed",
    LimitCarried: "limit_carried",
    QueueLimited: "queue_limited",
    QueueBreakerOpened: "queue_breaker_opened",
    QueueBreakerHalfOpened: "queue_breaker_half_opened",
    QueueBreakerClosed: "queue_breaker_closed",
    QueueSet: "queue_set",
    QueuePaused: "queue_paused",
    QueueResumed: "queue_resumed",
    KeyPaused: "key_paused",
    KeyResumed: "key_resumed",
    QueueCarried: "queue_carried",
    ScheduleSet: "schedule_set",
    ScheduleRemoved: "schedule_removed",
    SchedulePaused: "schedule_paused",
    ScheduleResumed: "schedule_resumed",
    ScheduleFired: "schedule_fired",
    ScheduleSkipped: "schedule_skipped",
    ScheduleStopped: "schedule_stopped",
    ScheduleReset: "schedule_reset",
    ScheduleCarried: "schedule_carried",
    JournalAppended: "journal_appended",
    JournalClosed: "journal_closed",
    JournalCarried: "journal_carried",
}


def awaited_tasks(event: Recordable) -> tuple[str, ...]:
    """Return the tasks whose ends a wait is for, from the event that began it. [WAIT-3] [WAIT-5]"""
    return event.after if isinstance(event, Parked | Created) else ()


def step_result(event: Recordable, name: str) -> Any:
    """Return the result of a step from the event that the fold names: its own, or a note that gives it. [STEP-1]"""
    if isinstance(event, Noted):
        return (event.results or {})[name]
    assert isinstance(event, StepCompleted)
    return event.result

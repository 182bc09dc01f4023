"""What happened, in past tense: one frozen struct an event.

Rule: an event says what was decided, so that no reader decides it again [RECORD-1]; it is never changed. A field has a
default here only if that is None or empty: then it is left out, and absent means the same for ever. Every other field
is required, so that it is always written and no reader supplies it. [RECORD-4]
Knows nothing of states: which event may follow in which state stands in `lifecycle`.
"""

from __future__ import annotations

from typing import Any, Final, get_args

import msgspec

from sagalog.kernel.values import (
    Budget,
    Compensation,
    ExpiryCause,
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
    State,
    TaskEnd,
    Unchanged,
    UnrecordedStep,
    WaitEnd,
)


class Recordable(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """Base of the events: frozen, unknown fields refused, absent fields left out. Its type stands in the envelope.

    One that ends a lease has its `fence`, and the `verb` that was asked of it. [REPEAT-5]
    """


class Created(Recordable, frozen=True):
    """A task exists: what is to be done (`kind`, `payload`), where (`queue`), when (`run_at_ms`), under which policy.

    `compensations` are planned: owed once work begins. `waiver` stands for a missing compensation. `parent`,
    `predecessor` name tasks; `trace` is a W3C traceparent, `tracestate` what stands beside it; `affinity` is a hint
    for claims, `key` a name to group by. `inputs` name bytes that stand beside the log. `data_key` names the key of its
    subject; left out, the task's own id does. [KEY-1]
    Of a successor: `inherited` are the undos that its predecessor still owed, owed at once, `steps` those that it
    keeps, and `waits` those that it takes for over, all by reference; `to` is compensating where it only undoes, and
    `outcome` then says how the predecessor's forward work had ended.
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


class Leased(Recordable, frozen=True):
    """`owner` holds the task until `expires_ms` (None: without end), under a fence that rises with every lease.

    `waiver` says why what is done under this lease for work needs no undo.
    """

    owner: str
    fence: int
    attempt: int
    purpose: Purpose
    probe: bool
    ttl_ms: int | None = None
    expires_ms: int | None = None
    waiver: FreeText | None = None


class Heartbeat(Recordable, frozen=True):
    """The lease was renewed; `progress` is a small note of the worker."""

    fence: int
    ttl_ms: int | None = None
    expires_ms: int | None = None
    progress: FreeJson = None


class Released(Recordable, frozen=True):
    """The lease was given back; the task is due again at `run_at_ms`. Burns no attempt.

    `reason` is what its holder said, `code` what the worker itself has to say.
    """

    fence: int
    verb: str
    run_at_ms: int
    reason: FreeText | None = None
    code: str | None = None
    parameters: Parameters | None = None


class LeaseExpired(Recordable, frozen=True):
    """The lease was over: by the clock, by a newer epoch, or unseen on a monotonic clock (`seen` tells what was)."""

    fence: int
    verb: str
    why: ExpiryCause
    seen: Seen | None = None


class Promoted(Recordable, frozen=True):
    """The task is due: its time has come on an observer's monotonic clock, while the store's stood too early."""

    seen: Unchanged


class StepCompleted(Recordable, frozen=True):
    """A named step was carried out, once for all attempts; `result` is what later ones get instead of running it.

    `compensation` is the id of its undo, which is on record before it.
    """

    name: str
    fence: int
    result: FreeJson = None
    compensation: str | None = None


class CompensationRegistered(Recordable, frozen=True):
    """An undo is owed, recorded before the effect it would reverse.

    Of an id that was inherited it says that this task has the effect too.
    """

    id: str
    kind: str
    fence: int
    params: FreeJson = None
    reason: FreeText | None = None


class CompensationWaived(Recordable, frozen=True):
    """A caller settled an undo by word."""

    id: str
    reason: FreeText


class ArtifactPut(Recordable, frozen=True):
    """The work has made something: bytes that stand beside the log, named by their SHA-256 in hex.

    The newest of a name is the one that is read. `data_key` is as of an input. [KEY-2]
    """

    name: str
    fence: int
    digest: str
    size_bytes: int
    media_type: str
    data_key: str | None = None


class ChildAdopted(Recordable, frozen=True):
    """A child that a predecessor had under this name is this task's from now on: `task` is its id."""

    name: str
    fence: int
    task: str


class Retried(Recordable, frozen=True):
    """The attempt failed and another is due at `run_at_ms`; `budget` says what it burns."""

    fence: int
    verb: str
    error: Failure
    budget: Budget
    run_at_ms: int


class Parked(Recordable, frozen=True):
    """The lease was given back for a wait: for the signal `signal`, for the tasks `after`, at most until `until_ms`.

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
    """A caller told the task something; kept until a wait for a signal of this name takes it."""

    name: str
    data: FreeJson = None


class Unblocked(Recordable, frozen=True):
    """A wait is over: by the signal at `signal_version` of this stream, by the tasks' ends, or by time.

    `wait` and `number` are the name and the number of the wait; `seen` tells what an observer saw, where the time had
    come on its clock only. Of the tasks waited for, `ended` names each with its end, in the order in which the wait
    names them; `counts` says how many came to which state, and `digest` is over all of them (`specs/digest.md`).
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
    """The forward work is over without success. `to` is compensating where something is owed, else failed.

    `code` says why, with `parameters`: the worker said so ("failed") or a budget was spent. `compensations` are the ids
    registered in the same commit. `fence` and `verb` tell which lease it ended and what that worker had asked, and
    `reason` what it said where it gave the task back once too often.
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
    """The owner is asked to stop; whatever ends its lease without an end of its own is followed by `cancelled`."""

    reason: FreeText | None = None


class Cancelled(Recordable, frozen=True):
    """The task was called off. `to` is compensating where something is owed, else cancelled."""

    to: State
    reason: FreeText | None = None
    fence: int | None = None
    verb: str | None = None


class CompensationDone(Recordable, frozen=True):
    """An undo was carried out."""

    id: str
    fence: int


class CompensationFailed(Recordable, frozen=True):
    """An undo failed and is due again at `run_at_ms`; ends the lease."""

    id: str
    fence: int
    verb: str
    error: Failure
    run_at_ms: int


class Compensated(Recordable, frozen=True):
    """All that was owed is settled; `outcome` says what the forward work had come to.

    `fence` and `verb` tell which lease it ended, and by what: the last undo was carried out or waived.
    """

    outcome: Outcome
    fence: int | None = None
    verb: str | None = None


class Completed(Recordable, frozen=True):
    """The work is done, and what is owed will never be undone: it is void.

    All but `left`: what was inherited and nothing of this task stands for. A note hands it over in the same commit.
    """

    fence: int
    verb: str
    result: FreeJson = None
    left: tuple[str, ...] = ()


class Quarantined(Recordable, frozen=True):
    """A human must look: why (`code`, `parameters`, `reason`, `error`) and which compensations are still owed.

    `steps` are those whose functions had begun under the lease that ends here and whose results are not on record:
    running them again may do their effects twice, so a successor is given their results, or is told that they run
    again. [STEP-1]
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

    `successor` names the task that takes the place of this one, or that undoes what this one has left, and then owes
    what is settled here. `results` tell the successor, by name of the step, the results that a caller states for steps
    which are not on record, or whose undos were settled after the end; the steps `rerun` it carries out again.
    It holds a caller's `text`, or the `code` of what the engine notes, with its `parameters`.
    """

    text: FreeText | None = None
    settles: tuple[str, ...] = ()
    successor: str | None = None
    results: dict[str, FreeJson] | None = None
    rerun: tuple[str, ...] = ()
    code: str | None = None
    parameters: Parameters | None = None


class Founded(Recordable, frozen=True):
    """The store exists: its id, the format of its log, and the version of sagalog that writes this."""

    id: str
    format: int
    writer: str


class Upgraded(Recordable, frozen=True):
    """A newer version of sagalog than any before has begun to write. [LOG-7]"""

    writer: str


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
)
StoreEvent = Founded | Upgraded
Event = TaskEvent | StoreEvent

TASK_EVENTS: Final[tuple[type[Recordable], ...]] = get_args(TaskEvent)
STORE_EVENTS: Final[tuple[type[Recordable], ...]] = get_args(StoreEvent)


# The names of the types, as the envelope and the table of the lifecycle write them. They are on record: a class may be
# called otherwise one day, its name here may not.
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
    Founded: "founded",
    Upgraded: "upgraded",
}


def step_result(event: Recordable, name: str) -> Any:
    """The result of a step, out of the event that a fold names for it: its own, or a note that gives it. [STEP-1]"""
    if isinstance(event, Noted):
        return (event.results or {})[name]
    assert isinstance(event, StepCompleted)
    return event.result

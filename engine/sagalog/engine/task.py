"""What callers see of a task: `Task`, a frozen value compared by content, and how it is made of a fold.

Rule: a Task is the task as it was when it was read, never changed by what happens later. Knows nothing of stores.
"""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from sagalog.kernel import events as e
from sagalog.kernel.state import CompensationRecord, TaskFold, Waiting
from sagalog.kernel.values import (
    Compensation,
    Dedupe,
    Failure,
    Input,
    LeaseRecord,
    Outcome,
    Policy,
    State,
    UnrecordedStep,
)
from sagalog.sentences import reason_of, worded


class TaskCompensation(msgspec.Struct, frozen=True, gc=False):
    """An undo of a task, and how far it has come.

    id       its name within the task
    kind     the name of the handler that carries it out
    params   what its handler is given, as JSON
    reason   why it would be needed
    status   "planned", "owed", "done", "waived", "noted" (settled by a note), or "void" since its task has completed
    """

    id: str
    kind: str
    params: Any
    reason: str | None
    status: str


class TaskWait(msgspec.Struct, frozen=True, gc=False):
    """The wait for which a task is parked: a signal, the end of other tasks, or a time.

    name       the name of the wait
    number     which wait of this name it is, from 1 on; 0: the one that its creation began, by `after` [WAIT-5]
    signal     the name of the signal; None: it waits for tasks or for a time
    after      ids of the tasks whose end it waits for
    until_ms   when it is over in any case, in milliseconds since 1970; None: never
    """

    name: str
    number: int
    signal: str | None
    after: tuple[str, ...]
    until_ms: int | None


class Task(msgspec.Struct, frozen=True, gc=False):
    """A task as it was when it was read: a frozen value, never changed by what happens later.

    Two are equal by content. `payload`, `result` and other JSON are plain values: treat them as read-only, since other
    readings of the task may share them.
    """

    id: str
    """its id, unique in the store"""
    kind: str
    """the handler that it is for"""
    queue: str
    """where it waits"""
    state: State
    """where it is in its life; equal to its lower-case name, as in `task.state == "running"`"""
    version: int
    """the number of its events"""
    payload: Any
    """what it was created with, or the newest that it was amended to, as JSON"""
    priority: int
    """its place in the queue: smaller runs first"""
    run_at_ms: int
    """not due before this time, in milliseconds since 1970"""
    attempt: int
    """1 + recorded failures of its present phase: forward work or undoing [ATTEMPT-1]"""
    leases: int
    """how often it was leased"""
    fence: int
    """the fence of its newest lease; 0 before the first [FENCE-1]"""
    lease: LeaseRecord | None
    """its lease that no event has ended; None: no worker holds it"""
    compensations: tuple[TaskCompensation, ...]
    """its undos, in order of registration; `void` once it has completed"""
    policy: Policy
    """its budgets and delays"""
    result: Any
    """what it was completed with, as JSON"""
    error: Failure | None
    """its last failure, while it has not completed"""
    code: str | None
    """why it failed or was quarantined, as a slug: `failed` where its holder said so, `attempts_spent` and the like
    where a budget ended it, else what the quarantine gave; `deadline` or `start_by` where the engine cancelled it; what
    a handler said of its failure is `error.code`"""
    reason: str | None
    """why it was cancelled or quarantined, as a sentence"""
    outcome: Outcome | None
    """how its forward work ended, once that is over without success; "completed" of a task that only undoes what a
    completed one has left"""
    progress: Any
    """the newest progress that its holder told, as JSON"""
    cancel_requested: bool
    """whether its holder was asked to stop [CANCEL-1]"""
    tags: dict[str, str]
    """texts by name, to find it by"""
    affinity: str | None
    """a hint that claims may prefer"""
    key: str | None
    """a name within its queue, which shares limits"""
    uses: dict[str, int]
    """the units that each lease for work takes of named limits [LIMIT-2]"""
    parent: str | None
    """the id of the task that it belongs to"""
    predecessor: str | None
    """the id of the task in whose place it is, by `retry_as_new`, or whose leftovers it undoes"""
    successor: str | None
    """the id of the task that took its place, or that undoes what it has left [TERM-2]"""
    unrecorded_steps: tuple[UnrecordedStep, ...]
    """the steps that had begun as it was quarantined and have no result on record: perhaps their effects are there, and
    nothing runs them again unasked [STEP-1]"""
    correlation_id: str | None
    """a name that related tasks share"""
    trace: str | None
    """a W3C traceparent [TRACE-1]"""
    tracestate: str | None
    """the W3C tracestate beside it"""
    data_key: str
    """the name of the key of the subject whose data it holds [KEY-1]"""
    inputs: tuple[Input, ...]
    """the bytes that it was given; `Engine.input` reads them"""
    steps: tuple[str, ...]
    """the names of the steps on record, those kept from a predecessor first; `Engine.step_result` reads one"""
    artifacts: tuple[str, ...]
    """the names of what it has made; `Engine.artifact` reads one"""
    children: dict[str, str]
    """the ids of the children that it has adopted from a predecessor, by name"""
    waits: dict[str, int]
    """how many waits of each name are over, from the first on without a gap"""
    waiting: TaskWait | None
    """the wait for which it is parked"""
    signals: tuple[str, ...]
    """the names of the signals that no wait has taken yet, oldest first"""
    created_ms: int
    """when it was created, in milliseconds since 1970"""
    updated_ms: int
    """when its last event was written, in milliseconds since 1970"""
    is_suspect: bool = False
    """whether a lease has expired and the next to expire would be the last: it is claimed alone [LEASE-5]"""
    deadline_ms: int | None = None
    """when the engine cancels it, in milliseconds since 1970 [DEADLINE-1]"""
    start_by_ms: int | None = None
    """when the engine cancels it if no worker has leased it by then, in milliseconds since 1970 [DEADLINE-1]"""
    dedupe: Dedupe | None = None
    """the key of which its kind has no other task, as it was created with [DEDUPE-1]"""
    build: str | None = None
    """the build of the workers that may work on it; None: any worker may [BUILD-1]"""
    deduplicated: bool = False
    """whether this is the answer of a creation that found this task by its dedupe key, and created none [DEDUPE-2]"""
    pruned: tuple[str, ...] = ()
    """which of "payload" and "result" are None here because their bytes were pruned [PRUNE-3]"""

    def __hash__(self) -> int:
        return hash((self.id, self.version))

    def __repr__(self) -> str:
        return f"<Task {self.id} {self.kind} {self.state} attempt {self.attempt}>"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """As `repr`, for `rich`: what a Struct has shows every field, the payload too."""
        return [("id", self.id), ("kind", self.kind), ("state", str(self.state)), ("attempt", self.attempt)]

    @property
    def owed(self) -> tuple[TaskCompensation, ...]:
        """The compensations that are owed, in the order in which they are to be undone. [COMP-5]"""
        return tuple(one for one in reversed(self.compensations) if one.status == "owed")

    @property
    def is_terminal(self) -> bool:
        """Whether the task has ended for good. [TERM-1]"""
        return self.state not in (State.PENDING, State.RUNNING, State.COMPENSATING)


class Read(Protocol):
    """Gives the event of a version: of the task's own stream, or of that of another task, its predecessor."""

    def __call__(self, version: int, source: str | None = None) -> e.Recordable:
        """Raises Corrupt where it cannot be read."""
        ...


def to_task(task: TaskFold, read: Read, known: Task | None = None) -> Task:
    """The Task of a fold; `read` gives the event of a version.

    `known` is the same task as it was read earlier: what can never change since is taken from it, so that the end of a
    lease does not read a payload of a megabyte again.
    """
    created: e.Created | None = None
    if known is None:
        created = _created(read)
        payload, tags = created.payload, created.tags or {}
        pruned: tuple[str, ...] = () if created.payload_blob is None else ("payload",)
        if task.payload_version:
            amended = read(task.payload_version)
            assert isinstance(amended, e.Amended)
            payload, pruned = amended.payload, () if amended.payload_blob is None else ("payload",)
        parent, predecessor = created.parent, created.predecessor
        correlation_id, inputs = created.correlation_id, created.inputs
        trace, tracestate = created.trace, created.tracestate
    else:
        payload, tags, pruned = known.payload, known.tags, known.pruned
        parent, predecessor = known.parent, known.predecessor
        correlation_id, inputs = known.correlation_id, known.inputs
        trace, tracestate = known.trace, known.tracestate
    result = None
    if task.result_version:
        completed = read(task.result_version)
        assert isinstance(completed, e.Completed)
        result = completed.result
        if completed.result_blob is not None:
            pruned += ("result",)
    assert task.state is not None
    assert task.policy is not None
    # By position: every call ends here, and naming thirty arguments costs more than all that they hold.
    return Task(
        task.id,
        task.kind,
        task.queue,
        task.state,
        task.version,
        payload,
        task.priority,
        task.run_at_ms,
        1 + (task.undo_failures if task.state is State.COMPENSATING else task.failures),
        task.leases,
        task.fence,
        task.lease,
        _compensations(task, read, known, created) if task.compensations else (),
        task.policy.plain() if known is None or task.policy_version else known.policy,
        result,
        worded(_field(task.error_version, read, "error")) if task.error_version else None,
        task.code,
        reason_of(read(task.reason_version)) if task.reason_version else None,
        task.outcome,
        _field(task.progress_version, read, "progress") if task.progress_version else None,
        task.cancel_version > 0,
        tags,
        task.affinity,
        task.key,
        dict(task.uses) if task.uses else {},
        parent,
        predecessor,
        _field(task.successor_version, read, "successor") if task.successor_version else None,
        task.unrecorded_steps,
        correlation_id,
        trace,
        tracestate,
        task.subject,
        inputs,
        tuple(task.steps) if task.steps else (),
        tuple(task.artifacts) if task.artifacts else (),
        {name: one.task for name, one in task.children.items()} if task.children else {},
        {name: ended.count for name, ended in task.waits.items() if ended.count} if task.waits else {},
        None if task.waiting is None else _wait(task.waiting, read),
        tuple([one.name for one in task.signals]) if task.signals else (),
        task.created_ms,
        task.updated_ms,
        bool(task.expiries or task.undo_expiries) and task.is_suspect,
        task.deadline_ms,
        task.start_by_ms,
        None if task.dedupe is None else task.dedupe.plain(),
        task.build,
        False,
        pruned,
    )


def _wait(waiting: Waiting, read: Read) -> TaskWait:
    """The wait of a task; the event that began it names the tasks that it is for."""
    after = e.awaited_tasks(read(waiting.version)) if waiting.tasks else ()
    return TaskWait(waiting.name, waiting.number, waiting.signal, after, waiting.until_ms)


def _field(version: int, read: Read, name: str) -> Any:
    return getattr(read(version), name)


def _created(read: Read) -> e.Created:
    created = read(1)
    assert isinstance(created, e.Created)
    return created


def _compensations(
    task: TaskFold, read: Read, known: Task | None, created: e.Created | None
) -> tuple[TaskCompensation, ...]:
    """The undos of a task. A `created` holds all that were planned, so it is read once for them all, if at all."""
    seen = {} if known is None else {one.id: one for one in known.compensations}
    plans = {} if created is None else {0: created}
    found = []
    for id, record in task.compensations.items():
        one = seen.get(id)
        if one is not None:
            found.append(TaskCompensation(id, one.kind, one.params, one.reason, record.status))
            continue
        source = _undo_at(task, record, read, plans)
        found.append(TaskCompensation(id, record.kind, source.params, source.reason, record.status))
    return tuple(found)


def _undo_at(
    task: TaskFold, record: CompensationRecord, read: Read, plans: dict[int, e.Created]
) -> Compensation | e.CompensationRegistered:
    """Where the params of an undo are: in a plan, which is read once a stream, or where it was registered."""
    if record.index >= 0 and record.source in plans:
        return plans[record.source].compensations[record.index]
    event = read(record.version, task.stream_of(record.source) if record.source else None)
    if isinstance(event, e.Created):
        plans[record.source] = event
        return event.compensations[record.index]
    assert isinstance(event, e.CompensationRegistered)
    return event

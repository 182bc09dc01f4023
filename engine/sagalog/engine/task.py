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
    """One undo of a task and where it stands: planned, owed, done, waived, noted, or void as its task has completed."""

    id: str
    kind: str
    params: Any
    reason: str | None
    status: str


class TaskWait(msgspec.Struct, frozen=True, gc=False):
    """What a parked task waits for: the signal `signal`, or the end of the tasks `after`; at most until `until_ms`.

    Waits of one `name` are numbered from 1, and `number` is this one's.
    """

    name: str
    number: int
    signal: str | None
    after: tuple[str, ...]
    until_ms: int | None


class Task(msgspec.Struct, frozen=True, gc=False):
    """A task as it was when it was read.

    state           equal to its lower-case name, as in `task.state == "running"`
    version         number of its events; `leases` how often it was leased; `fence` the newest, or 0
    attempt         1 + recorded failures; `error` the last failure, while it has not completed
    code            why it failed or was quarantined, a slug: `failed` where its holder said so, as
                    `attempts_spent` where a budget ended it, else what the quarantine gave
    reason          the sentence of who cancelled or quarantined it
    outcome         how the forward work ended, once it is over without success; "completed" of a
                    task that only undoes what a completed one has left
    payload         plain JSON; read-only, since other readings of the task may share it
    compensations   in order of registration; `void` once it has completed
    successor       the task that has taken its place, by `retry_as_new`, or that undoes what it
                    has left; that one names it as its `predecessor`
    unrecorded_steps   begun as it was quarantined, and without a result on record: perhaps the
                    effect is there, and nothing runs it again unasked
    inputs          the bytes it was given; `Engine.input` reads them
    steps, artifacts   names; `Engine.step_result` and `Engine.artifact` read one
    children        ids of those that it has adopted from a predecessor, by name
    waits           how many of each name are over; `waiting` the one that it is parked for
    signals         names of those that no wait has taken yet, oldest first
    is_suspect      the next lease to expire would be the last, so it is claimed alone [LEASE-5]
    """

    id: str
    kind: str
    queue: str
    state: State
    version: int
    payload: Any
    priority: int
    run_at_ms: int
    attempt: int
    leases: int
    fence: int
    lease: LeaseRecord | None
    compensations: tuple[TaskCompensation, ...]
    policy: Policy
    result: Any
    error: Failure | None
    code: str | None
    reason: str | None
    outcome: Outcome | None
    progress: Any
    cancel_requested: bool
    tags: dict[str, str]
    affinity: str | None
    key: str | None
    parent: str | None
    predecessor: str | None
    successor: str | None
    unrecorded_steps: tuple[UnrecordedStep, ...]
    correlation_id: str | None
    trace: str | None
    tracestate: str | None
    data_key: str
    inputs: tuple[Input, ...]
    steps: tuple[str, ...]
    artifacts: tuple[str, ...]
    children: dict[str, str]
    waits: dict[str, int]
    waiting: TaskWait | None
    signals: tuple[str, ...]
    created_ms: int
    updated_ms: int
    is_suspect: bool = False

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
        """Whether it has ended for good. [TERM-1]"""
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
        parent, predecessor = created.parent, created.predecessor
        correlation_id, inputs = created.correlation_id, created.inputs
        trace, tracestate = created.trace, created.tracestate
    else:
        payload, tags = known.payload, known.tags
        parent, predecessor = known.parent, known.predecessor
        correlation_id, inputs = known.correlation_id, known.inputs
        trace, tracestate = known.trace, known.tracestate
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
        task.attempt,
        task.leases,
        task.fence,
        task.lease,
        _compensations(task, read, known, created) if task.compensations else (),
        task.policy.plain() if known is None else known.policy,
        _field(task.result_version, read, "result") if task.result_version else None,
        worded(_field(task.error_version, read, "error")) if task.error_version else None,
        task.code,
        reason_of(read(task.reason_version)) if task.reason_version else None,
        task.outcome,
        _field(task.progress_version, read, "progress") if task.progress_version else None,
        task.cancel_version > 0,
        tags,
        task.affinity,
        task.key,
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
        None if task.waiting is None else _wait(task.waiting),
        tuple([one.name for one in task.signals]) if task.signals else (),
        task.created_ms,
        task.updated_ms,
        task.is_suspect,
    )


def _wait(waiting: Waiting) -> TaskWait:
    return TaskWait(waiting.name, waiting.number, waiting.signal, waiting.after, waiting.until_ms)


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
    """Where the params of an undo stand: in a plan, which is read once a stream, or where it was registered."""
    if record.index >= 0 and record.source in plans:
        return plans[record.source].compensations[record.index]
    event = read(record.version, task.stream_of(record.source) if record.source else None)
    if isinstance(event, e.Created):
        plans[record.source] = event
        return event.compensations[record.index]
    assert isinstance(event, e.CompensationRegistered)
    return event

"""What callers see: `Task` and `Lease`, frozen values compared by content.

Rule: a Task is a photograph, never changed by what happens later; a Lease carries a fence and verbs, and an older copy
of it works as well as the newest, since verbs use the fence only. [FENCE-2] Knows nothing of stores.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from sagalog.forks import generation, require_own
from sagalog.kernel import commands as c
from sagalog.kernel import events as e
from sagalog.kernel.state import CompensationRecord, TaskFold, Waiting
from sagalog.kernel.values import (
    Budget,
    Compensation,
    Failure,
    Input,
    LeaseRecord,
    Outcome,
    Policy,
    Purpose,
    State,
    UnrecordedStep,
)
from sagalog.sentences import reason_of, worded
from sagalog.store import Blob
from sagalog.validation import arguments
from sagalog.validation import commands as forms


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

    state          equal to its lower-case name, as in `task.state == "running"`
    version        number of its events; `attempt` 1 + recorded failures; `leases` how often it was leased
    fence          of its newest lease; 0 before the first
    compensations  in order of registration
    code           why it failed or was quarantined, as a slug: `failed` where its holder said so, `attempts_spent` and
                   the like where a budget ended it, else what the quarantine gave; what a handler said of its failure
                   is `error.code`. `reason` is the sentence of who cancelled or quarantined it
    error          of the last failure, while the task has not completed
    payload        plain JSON; treat it as read-only, other pictures of the task may share it
    outcome        how the forward work ended, once it is over without success; "completed" of a task that only
                   undoes what a completed one has left
    successor      the task that has taken its place, by `retry_as_new`, or that undoes what it has left; that one names
                   it as its `predecessor`
    unrecorded_steps  the steps that had begun as it was quarantined and whose results are not on record, each with the
                   id of its undo, if it has one: perhaps its effect stands, and nothing runs it again unasked
    inputs         the bytes it was given: name, digest and size of each; `Engine.input` reads them
    steps          names of the steps on record, those that were kept from a predecessor first; `Engine.step_result`
                   reads one
    artifacts      names of what it has made; `Engine.artifact` reads one
    children       ids of the children that it has adopted from a predecessor, by name
    waits          how many waits of each name are over, from the first to the one before the next; `waiting` the one
                   that it is parked for, if any
    signals        names of the signals that no wait has taken yet, oldest first
    is_suspect     whether a lease has expired and the next to expire would be the last: it is claimed alone [LEASE-5]
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


def picture(task: TaskFold, read: Read, known: Task | None = None) -> Task:
    """The Task of a fold; `read` gives the event of a version.

    `known` is an earlier picture of the same task: what can never change since is taken from it, so that the end of a
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
        task.policy,
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


class Desk(Protocol):
    """Where a lease's verbs are taken to: the engine, as far as a lease knows it."""

    def settle(self, command: c.Held, lease: Lease, blobs: tuple[Blob, ...] = ()) -> Task:
        """Carry out a command of the lease's holder, with the bytes that it names; raises as the verbs say."""
        ...

    def jitter(self) -> float:
        """A number in [0, 1) for a backoff."""
        ...

    def draw_id(self) -> str:
        """A new id, for a task that a verb may create."""
        ...


def undoer(lease: Lease, desk: Desk) -> str | None:
    """An id for the task that undoes what completing leaves; only a successor can leave anything. [COMP-7]"""
    return None if lease.task.predecessor is None else desk.draw_id()


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work on a task until `expires_ms`, with the verbs of its holder.

    `task` is the task as it was leased or last renewed. Every verb raises `LeaseLost` once somebody else has the task
    or an event has ended the lease: stop working then. A verb that is repeated after an unknown outcome gets its first
    answer, and with other content `Conflict`. [REPEAT-5] Any verb may raise `Unavailable` (nothing was written),
    `Unknown` (repeat it) or `Corrupt`.
    """

    task: Task
    _desk: Desk = field(compare=False, repr=False)
    _made: int = field(default_factory=generation, compare=False, repr=False)

    def __hash__(self) -> int:
        return hash((self.task.id, self.fence))

    @property
    def record(self) -> LeaseRecord:
        """The plain data of the lease."""
        assert self.task.lease is not None
        return self.task.lease

    @property
    def owner(self) -> str:
        """Who holds it."""
        return self.record.owner

    @property
    def fence(self) -> int:
        """The number that makes a late holder harmless; may be handed to outside systems that compare it."""
        return self.record.fence

    @property
    def attempt(self) -> int:
        """1 + recorded failures."""
        return self.record.attempt

    @property
    def purpose(self) -> Purpose:
        """`work` or `undo`."""
        return self.record.purpose

    @property
    def ttl_ms(self) -> int | None:
        """How long a renewal lasts; None: without end."""
        return self.record.ttl_ms

    @property
    def expires_ms(self) -> int | None:
        """When the lease is over, by the store's clock; None: never."""
        return self.record.expires_ms

    def _require_own(self) -> None:
        """Nothing, unless this process is a fork of the one that was leased the task: raises Closed. [FORK-2]"""
        require_own(self._made, f"the lease of task {self.task.id!r}")

    def heartbeat(self, ttl_ms: int | None = None, progress: Any = None) -> Lease:
        """Renew the lease for `ttl_ms` (None: as before), perhaps with a small note of progress. [LEASE-3]

        Raises:
            LeaseLost: also when the lease is over by the clock, even if nobody has taken over.
        """
        command = forms.heartbeat(self.task.id, self.fence, ttl_ms, progress)
        return Lease(self._desk.settle(command, self), self._desk)

    def register(self, compensation: Compensation) -> Lease:
        """Put an undo on record, **before** its effect. The same id again changes nothing. [COMP-1] [REPEAT-3]

        Raises:
            Conflict: the id is on record with other content.
            OverBound: too many compensations.
        """
        task = self._desk.settle(forms.register(self.task.id, self.fence, compensation), self)
        return self._now(task)

    def step(self, name: str, result: Any = None, compensation: str | Compensation | None = None) -> Lease:
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
        command = forms.step(self.task.id, self.fence, name, result, compensation)
        return self._now(self._desk.settle(command, self))

    def put_artifact(self, name: str, data: bytes, media_type: str = "application/octet-stream") -> Lease:
        """Keep something that the work has made, byte for byte; a later lease may put another under the name. [BLOB-1]

        Raises:
            Conflict: this lease has put another under this name.
            OverBound: larger than 16 MiB, or too many.
        """
        blob = arguments.blob(data, "data")
        command = forms.put_artifact(self.task.id, self.fence, name, blob, media_type)
        return self._now(self._desk.settle(command, self, (blob,)))

    def adopt_child(self, name: str, child: str) -> Lease:
        """Take over the child that a predecessor had under this name, for this attempt and all later ones. [STEP-2]

        Raises:
            NotFound: there is no such task.
            Rejected: its parent is none of the predecessors that this task goes on from.
            Conflict: another child is on record under this name.
        """
        return self._now(self._desk.settle(forms.adopt_child(self.task.id, self.fence, name, child), self))

    def park(
        self,
        name: str,
        signal: str | None = None,
        after: str | Sequence[str] = (),
        until_ms: int | None = None,
        number: int = 1,
    ) -> Task:
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
        return self._desk.settle(forms.park(self.task.id, self.fence, name, signal, after, until_ms, number), self)

    def release(self, reason: str | None = None, run_at_ms: int | None = None) -> Task:
        """Give the lease back; the task is due again now or at `run_at_ms`. Burns no attempt. [ATTEMPT-2]"""
        return self._desk.settle(forms.release(self.task.id, self.fence, reason, run_at_ms), self)

    def retry(
        self,
        error: str | Failure,
        run_at_ms: int | None = None,
        budget: Budget = "attempt",
        retry_after_ms: int | None = None,
    ) -> Task:
        """Try again, or end where that spends the budget. [ATTEMPT-3]

        Due at `run_at_ms`; else after a backoff, and not before `retry_after_ms` and some draw from now. [ATTEMPT-4]
        """
        jitter = self._desk.jitter()
        command = forms.retry(self.task.id, self.fence, error, run_at_ms, budget, jitter, retry_after_ms)
        return self._desk.settle(command, self)

    def complete(self, result: Any = None) -> Task:
        """The work is done, and what is owed is void: it will never be undone. [COMP-6]

        Of a successor: an undo that it inherited, and that is neither planned, nor named by a step, nor registered by
        this task too, goes to a task that only undoes; `Task.successor` names that. [COMP-7]
        """
        return self._desk.settle(forms.complete(self.task.id, self.fence, result, undoer(self, self._desk)), self)

    def fail(
        self,
        reason: str | Failure,
        compensations: Iterable[Compensation] = (),
        waive_compensation: str | None = None,
        or_quarantine: bool = False,
    ) -> Task:
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
        command = forms.fail(self.task.id, self.fence, reason, compensations, waive_compensation, or_quarantine)
        return self._desk.settle(command, self)

    def quarantine(self, reason: str | Failure, steps: Iterable[str | UnrecordedStep] = ()) -> Task:
        """A human must look: the task is quarantined, and what it owes stays owed. Work and undos alike. [COMP-6]

        Args:
            reason: why, as a sentence or a failure, whose code is then the task's.
            steps: the steps that were begun and whose results are not on record, by name, or as `UnrecordedStep` with
                the id of an undo that is on record; perhaps their effects stand. One whose result is on record by
                then is left out. [STEP-1]

        Raises:
            Rejected: the undo of a step is not on record, or the task is at its undos.
        """
        return self._desk.settle(forms.quarantine_held(self.task.id, self.fence, reason, steps), self)

    def compensation_done(self, id: str) -> Lease | Task:
        """An undo was carried out: the last one that is owed. [COMP-5]

        Returns:
            The lease, while something is still owed; else the task, which has ended.

        Raises:
            CompensationOrder, AlreadySettled, NotFound: it is not its turn, or there is no such thing to settle.
        """
        task = self._desk.settle(forms.compensation_done(self.task.id, self.fence, id), self)
        return task if task.lease is None or task.lease.fence != self.fence else Lease(task, self._desk)

    def compensation_failed(
        self, id: str, error: str | Failure, run_at_ms: int | None = None, retry_after_ms: int | None = None
    ) -> Task:
        """An undo failed: it is due again, as for `retry`; or the task is quarantined. [UNDO-3]"""
        jitter = self._desk.jitter()
        command = forms.compensation_failed(self.task.id, self.fence, id, error, run_at_ms, jitter, retry_after_ms)
        return self._desk.settle(command, self)

    def _now(self, task: Task) -> Lease:
        """The lease with its task as it is now.

        A repeat may come after the lease has ended; whoever holds the task then, this worker does not.
        """
        return Lease(task, self._desk) if task.lease is not None and task.lease.fence == self.fence else self

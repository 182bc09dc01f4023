"""`Lease`: the right to work on a task, with the verbs of its holder.

Rule: a lease carries a fence, and an older copy of it works as well as the newest, since verbs use the fence only.
[FENCE-2] `holder_verbs` defines the verbs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Concatenate, ParamSpec

import msgspec

from sagalog.engine import holder_verbs as verbs
from sagalog.engine.adapters import call_of
from sagalog.engine.entries import CommandEntry
from sagalog.engine.executor import Executor
from sagalog.engine.task import Task
from sagalog.errors import InvalidValue, SagalogError
from sagalog.forks import generation, require_own
from sagalog.kernel.values import LeaseRecord, Purpose
from sagalog.validation import arguments

P = ParamSpec("P")

# A verb of a lease's holder, which makes an entry.
HolderVerb = Callable[Concatenate[Executor, Task, P], CommandEntry]


def ended(verb: HolderVerb[P], name: str | None = None) -> Callable[Concatenate[Lease, P], Task]:
    """The verb carried out, where it ends the lease."""

    @call_of(verb, 2, name)
    def call(self: Lease, /, *args: P.args, **kwargs: P.kwargs) -> Task:
        return self._carry_out(verb(self._executor, self.task, *args, **kwargs))

    return call


def held(verb: HolderVerb[P]) -> Callable[Concatenate[Lease, P], Lease]:
    """The verb carried out, where the lease lives on."""

    @call_of(verb, 2)
    def call(self: Lease, /, *args: P.args, **kwargs: P.kwargs) -> Lease:
        return self._after(self._carry_out(verb(self._executor, self.task, *args, **kwargs)))

    return call


def held_or_ended(verb: HolderVerb[P]) -> Callable[Concatenate[Lease, P], Lease | Task]:
    """The verb carried out, where the lease may live on."""

    @call_of(verb, 2)
    def call(self: Lease, /, *args: P.args, **kwargs: P.kwargs) -> Lease | Task:
        return lease_or_task(self._carry_out(verb(self._executor, self.task, *args, **kwargs)), self)

    return call


@dataclass(frozen=True, slots=True, init=False)
class Lease:
    """The right to work on a task until `expires_ms`, with the verbs of its holder.

    Every verb carries the fence of the lease, so a late holder can do no harm: once another worker has the task, or an
    event has ended the lease, each verb is refused. [FENCE-2]
    A verb that is repeated after `Unknown` gets its first answer. [REPEAT-5] An older copy of a lease works as well as
    the newest.

    task   the task as it was leased or last renewed

    Raises:
        LeaseLost: the lease has ended: stop working on the task.
        WrongState: the verb belongs to work and the lease to undoing, or the reverse.
        Conflict: what it would record, or the end of the lease, is on record with other content.
        InvalidValue: an argument is none of its kind, or beyond a limit; the field `path` names it.
        OverBound: a list or a text is beyond a limit; the field `bound` names that. [BOUND-1]
        Closed: the process that this one was forked from holds the lease. [FORK-2]
        Unavailable: nothing was written: wait and repeat the call.
        Unknown: it may have been written: repeat the call.
        Corrupt: the store is damaged, or newer than this version: stop and call a human.
    """

    task: Task
    _executor: Executor = field(compare=False)
    _made: int = field(compare=False)

    def __init__(self, task: Task, executor: Executor) -> None:
        # As a frozen dataclass does it, so that `help` names no field of the inside.
        object.__setattr__(self, "task", task)
        object.__setattr__(self, "_executor", executor)
        object.__setattr__(self, "_made", generation())

    def __hash__(self) -> int:
        return hash((self.task.id, self.fence))

    def __repr__(self) -> str:
        record = self.record
        return f"<Lease {self.task.id} {self.task.kind} {record.purpose} fence {record.fence} owner {record.owner}>"

    @property
    def record(self) -> LeaseRecord:
        """The plain data of the lease, as `Task.lease` holds it."""
        assert self.task.lease is not None
        return self.task.lease

    @property
    def owner(self) -> str:
        """The name of its holder."""
        return self.record.owner

    @property
    def fence(self) -> int:
        """The number that makes a late holder harmless: it rises with every lease of a task. [FENCE-1]

        An outside system that remembers the highest fence can refuse a late holder too.
        """
        return self.record.fence

    @property
    def attempt(self) -> int:
        """The number of this attempt: 1 + recorded failures. [ATTEMPT-1]"""
        return self.record.attempt

    @property
    def purpose(self) -> Purpose:
        """The purpose: "work" or "undo"."""
        return self.record.purpose

    @property
    def ttl_ms(self) -> int | None:
        """How long a renewal lasts, in milliseconds; None: without end."""
        return self.record.ttl_ms

    @property
    def expires_ms(self) -> int | None:
        """When the lease is over, in milliseconds since 1970 by the store's clock; None: never. [LEASE-2]"""
        return self.record.expires_ms

    # --- verbs that hand the lease back as it is then -------------------------------------------------------------

    heartbeat = held(verbs.heartbeat)
    register = held(verbs.register)
    step = held(verbs.step)
    put_artifact = held(verbs.put_artifact)
    use = held(verbs.use)
    healthy = held(verbs.healthy)
    adopt_child = held(verbs.adopt_child)
    compensation_done = held_or_ended(verbs.compensation_done)

    # --- verbs that end it ----------------------------------------------------------------------------------------

    park = ended(verbs.park)
    release = ended(verbs.release)
    retry = ended(verbs.retry)
    complete = ended(verbs.complete)
    fail = ended(verbs.fail)
    quarantine = ended(verbs.quarantine_held, "quarantine")
    compensation_failed = ended(verbs.compensation_failed)

    # --- inside -------------------------------------------------------------------------------------------------

    def _require_own(self) -> None:
        """Nothing, unless this process is a fork of the one that was leased the task: raises Closed. [FORK-2]"""
        require_own(self._made, f"the lease of task {self.task.id!r}")

    def _carry_out(self, entry: CommandEntry) -> Task:
        """The task after a command of this lease's holder."""
        self._require_own()
        return self._executor.carry_out(entry)

    def _after(self, task: Task) -> Lease:
        """The lease with its task as it is now.

        A repeat may come after the lease has ended; another worker may hold the task then, and this one does not.
        """
        return Lease(task, self._executor) if _lives_on(task, self.fence) else self


class Renewal(msgspec.Struct, frozen=True):
    """The answer to many heartbeats: which leases were renewed, and why each other one was not.

    renewed   the leases as they are now, in the order given
    lost      the refusals of the others, in that order, mostly `LeaseLost`; the field `task` names the task
    """

    renewed: tuple[Lease, ...]
    lost: tuple[SagalogError, ...]


def lease_or_task(task: Task, lease: Lease) -> Lease | Task:
    """The lease with its task as it is now, if it lives on; else the task."""
    return Lease(task, lease._executor) if _lives_on(task, lease.fence) else task


def renew(executor: Executor, leases: Iterable[Lease], ttl_ms: int | None) -> Renewal:
    """Renew many leases in one commit, each by itself."""
    held = arguments.many_leases(leases)
    for one in held:
        require_lease(one, "leases", "Lease objects")._require_own()
    arguments.ttl(ttl_ms)
    if not held:
        return Renewal((), ())
    entries = [verbs.heartbeat(executor, one.task, ttl_ms) for one in held]
    renewed: list[Lease] = []
    lost: list[SagalogError] = []
    for answer in executor.carry_out_all(entries, together=False):
        if isinstance(answer, SagalogError):
            lost.append(answer)
        else:
            assert isinstance(answer, Task)
            renewed.append(Lease(answer, executor))
    return Renewal(tuple(renewed), tuple(lost))


def require_lease(given: object, name: str = "lease", expected: str = "a Lease") -> Lease:
    """What was given, if it is a lease; raises InvalidValue."""
    if not isinstance(given, Lease):
        raise InvalidValue(f"{name}: expected {expected}, found {type(given).__name__}", path=name)
    return given


def _lives_on(task: Task, fence: int) -> bool:
    return task.lease is not None and task.lease.fence == fence

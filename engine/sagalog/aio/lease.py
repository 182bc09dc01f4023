"""The class `AsyncLease`: the right to work on a task, with the verbs of its holder as coroutines.

Rule: as for `Lease`, an older copy works as well as the newest. The engine gives back a lease that no caller awaits any
more.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from sagalog.aio.coroutine_methods import CoroutineMethod, as_coroutine, as_coroutine_of
from sagalog.aio.pool import Pool
from sagalog.engine import Engine
from sagalog.engine.lease import Lease
from sagalog.engine.task import Task
from sagalog.errors import SagalogError
from sagalog.kernel.values import LeaseRecord, Purpose

_log: Final = logging.getLogger("sagalog.aio")

UNWANTED: Final = "the caller that claimed it was cancelled"


def lift_lease(lease: Lease, pool: Pool) -> AsyncLease:
    """Return the lease with verbs to await."""
    return AsyncLease(lease, pool)


def lift_lease_or_task(answer: Lease | Task, pool: Pool) -> AsyncLease | Task:
    """Return a lease with verbs to await, and a task as it is."""
    return AsyncLease(answer, pool) if isinstance(answer, Lease) else answer


def lower_lease(lease: Any) -> Any:
    """Return the plain lease of an `AsyncLease`; anything else as it is, for the plain call to take or to refuse."""
    return lease.plain if isinstance(lease, AsyncLease) else lease


def give_back(engine: Engine, leases: Iterable[Lease]) -> None:
    """Release leases that no caller awaits any more; leave alone those that another worker holds by now."""
    with engine.batch(together=False) as batch:
        for lease in leases:
            batch.release(lease, UNWANTED)
    for refusal in batch.results:
        if isinstance(refusal, SagalogError):
            _log.warning("a lease whose claim was cancelled could not be given back: %s", refusal)


class AsyncLease(CoroutineMethod[Lease]):
    """A `Lease` whose verbs are awaited; its attributes are plain.

    Two are equal if their leases are. Every verb raises what that of a `Lease` raises.
    """

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AsyncLease) and self.plain == other.plain

    def __hash__(self) -> int:
        return hash(self.plain)

    @property
    def task(self) -> Task:
        """The task as it was leased or last renewed."""
        return self.plain.task

    @property
    def record(self) -> LeaseRecord:
        """The plain data of the lease, as `Task.lease` holds it."""
        return self.plain.record

    @property
    def owner(self) -> str:
        """The name of its holder."""
        return self.plain.owner

    @property
    def fence(self) -> int:
        """The number that makes a late holder harmless: it rises with every lease of a task. [FENCE-1]"""
        return self.plain.fence

    @property
    def attempt(self) -> int:
        """The number of this attempt: 1 + recorded failures. [ATTEMPT-1]"""
        return self.plain.attempt

    @property
    def purpose(self) -> Purpose:
        """The purpose: "work" or "undo"."""
        return self.plain.purpose

    @property
    def ttl_ms(self) -> int | None:
        """How long a renewal lasts, in milliseconds; None: without end."""
        return self.plain.ttl_ms

    @property
    def expires_ms(self) -> int | None:
        """When the lease is over, in milliseconds since 1970 by the store's clock; None: never. [LEASE-2]"""
        return self.plain.expires_ms

    # --- verbs that end the lease ---------------------------------------------------------------------------------

    park = as_coroutine(Lease.park)
    release = as_coroutine(Lease.release)
    retry = as_coroutine(Lease.retry)
    complete = as_coroutine(Lease.complete)
    fail = as_coroutine(Lease.fail)
    quarantine = as_coroutine(Lease.quarantine)
    compensation_failed = as_coroutine(Lease.compensation_failed)

    # --- verbs that hand it back as it is then --------------------------------------------------------------------

    heartbeat = as_coroutine_of(lift_lease, Lease.heartbeat)
    register = as_coroutine_of(lift_lease, Lease.register)
    step = as_coroutine_of(lift_lease, Lease.step)
    put_artifact = as_coroutine_of(lift_lease, Lease.put_artifact)
    use = as_coroutine_of(lift_lease, Lease.use)
    healthy = as_coroutine_of(lift_lease, Lease.healthy)
    adopt_child = as_coroutine_of(lift_lease, Lease.adopt_child)
    compensation_done = as_coroutine_of(lift_lease_or_task, Lease.compensation_done)


@dataclass(frozen=True, slots=True)
class AsyncRenewal:
    """The answer to many heartbeats: which leases were renewed, and why each other one was not.

    renewed   the leases as they are now, in the order given
    lost      the refusals of the others, in that order, mostly `LeaseLost`; the field `task` names the task
    """

    renewed: tuple[AsyncLease, ...]
    lost: tuple[SagalogError, ...]

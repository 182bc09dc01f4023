"""Leasing: acquire, resume, claim and renew, now or once there is something to lease.

Rule: a claim does the upkeep of its queues first [UPKEEP-2]; one that waits takes no turn and writes nothing meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from sagalog.actors import worker_actor
from sagalog.engine import operations
from sagalog.engine.claims import Claimed
from sagalog.engine.maintenance import Upkeep, answered
from sagalog.engine.reading import WAIT_SLICE_MS, leased_as
from sagalog.engine.task import Desk, Lease
from sagalog.engine.unit_of_work import Step
from sagalog.errors import InvalidValue, NotFound, SagalogError
from sagalog.kernel import bounds
from sagalog.kernel.values import Purpose, Suspects
from sagalog.store import Due, Operation
from sagalog.validation import arguments
from sagalog.validation import commands as forms
from sagalog.validation.commands import Asked
from sagalog.validation.values import check_id, check_integer, check_milliseconds


class Renewal(msgspec.Struct, frozen=True):
    """What became of many heartbeats: the leases renewed, and for each other one the refusal, `LeaseLost` mostly."""

    renewed: tuple[Lease, ...]
    lost: tuple[SagalogError, ...]


class Leasing(Upkeep, Desk):
    """How somebody comes to hold tasks, and keeps them."""

    def acquire(
        self,
        task_id: str,
        *,
        owner: str,
        ttl_ms: int | None,
        purpose: Purpose = "work",
        kinds: Iterable[str] | None = None,
        idempotency_key: str | None = None,
        waive_compensation: str | None = None,
    ) -> Lease:
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
            LeaseHeld: somebody holds it, perhaps the same owner. TerminalTask, NotFound.
            LeaseLost: the idempotency key has leased it, and that lease has ended.
            Conflict: the idempotency key is on record for something else.
            Blocked: it is not there for this purpose, or owes kinds the caller does not know.
        """
        command = forms.acquire(task_id, owner, ttl_ms, purpose, kinds, waive_compensation)
        steps = (
            Step(
                command,
                actor=worker_actor(owner),
                idempotency_key=arguments.optional_name(idempotency_key, "idempotency_key"),
            ),
        )
        # [UPKEEP-2] What upkeep did stands in the log, whatever became of the acquisition.
        answer = self._store.commit((*operations.acquiring(steps), operations.writing(steps)))[-1]
        return Lease(answered(answer)[0], self)

    def resume(self, task_id: str, fence: int) -> Lease:
        """Take up a lease again by its fence, as another process of the same holder does, such as a shell script.

        The lease is given as it was when it was acquired, whatever has become of it: its verbs answer a repeat with
        what is on record, and a late holder with `LeaseLost`, as always. [FENCE-2] [REPEAT-5]

        Raises:
            NotFound: there is no such task, or it was never leased under this fence.
        """
        check_id(task_id, "task_id")
        check_integer(fence, "fence", 1, bounds.INTEGER_MAX)
        with self._store.read() as snapshot:
            task = leased_as(snapshot, task_id, fence)
        if task is None:
            raise NotFound(
                f"task {task_id!r} was never leased under fence {fence}; check both, or claim anew",
                task=task_id,
                fence=fence,
            )
        return Lease(task, self)

    def claim(
        self,
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
    ) -> list[Lease]:
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
        asked = forms.claim(
            queues, owner, ttl_ms, limit, kinds, affinity, purpose, idempotency_key, suspects, waive_compensation
        )
        check_milliseconds(wait_ms, "wait_ms")
        if asked.claim.kinds is not None and not asked.claim.kinds:
            return []
        claimed = self._claim(asked)
        if claimed.tasks or claimed.repeated or not wait_ms:
            return [Lease(task, self) for task in claimed.tasks]
        return self._claim_later(asked, wait_ms)

    def claimable_ms(self, asked: Iterable[Asked]) -> int | None:
        """When one of these claims may find something; 0: now, None: not before somebody commits.

        Perhaps it finds nothing then: a time or the end of a lease or wait was near, of another kind than is claimed.
        """
        with self._store.read() as snapshot:
            times = [snapshot.claimable_ms(one.claim) for one in asked]
        return min((time for time in times if time is not None), default=None)

    def standing(self, asked: Iterable[Asked]) -> set[str]:
        """Ids of the tasks that these claims would lease now, without any upkeep."""
        with self._store.read() as snapshot:
            return {id for one in asked for id in snapshot.standing(one.claim)}

    def heartbeat(self, leases: Iterable[Lease], ttl_ms: int | None = None) -> Renewal:
        """Renew many leases in one commit, each by itself: what is lost does not hold up the others. [LEASE-3]"""
        held = arguments.many_leases(leases)
        for one in held:
            if not isinstance(one, Lease):
                raise InvalidValue(f"leases: expected Lease objects, found {type(one).__name__}", path="leases")
            one._require_own()
        arguments.ttl(ttl_ms)
        if not held:
            return Renewal((), ())
        writes = [
            operations.writing(
                (Step(forms.heartbeat(one.task.id, one.fence, ttl_ms, None), worker_actor(one.owner), known=one.task),)
            )
            for one in held
        ]
        renewed: list[Lease] = []
        lost: list[SagalogError] = []
        for answer in self._store.commit(writes):
            if isinstance(answer, SagalogError):
                lost.append(answer)
            else:
                renewed.append(Lease(answer[0], self))
        return Renewal(tuple(renewed), tuple(lost))

    # --- inside -------------------------------------------------------------------------------------------------

    def _claim(self, asked: Asked) -> Claimed:
        """What is there to be leased now."""
        writes = claim_operations(asked)
        if self._observer.knows_set_back(self._clock.now_ms()):
            # [TIME-3] Not only where nothing is found: a queue that is never empty would hide what is delayed.
            self._end_unseen(asked.claim.queues)
        claimed: Claimed = answered(self._store.commit(writes)[1])
        while not claimed.tasks and (claimed.again or self._end_unseen(asked.claim.queues)):
            claimed = answered(self._store.commit(writes)[1])
        return claimed

    def _claim_later(self, asked: Asked, wait_ms: int) -> list[Lease]:
        """Wait until there may be something to lease, and lease it; none when the time is over."""
        started_ms = self._clock.monotonic_ms()
        while True:
            changes = self._store.changes()
            with self._store.read() as snapshot:
                due_ms = snapshot.claimable_ms(asked.claim)
            in_ms = None if due_ms is None else due_ms - self._clock.now_ms()
            is_due = (in_ms is not None and in_ms <= 0) or self._end_unseen(asked.claim.queues)
            if is_due and (tasks := self._claim(asked).tasks):
                return [Lease(task, self) for task in tasks]
            left_ms = wait_ms - (self._clock.monotonic_ms() - started_ms)
            if left_ms <= 0:
                return []
            # A clock may jump, and a manual one does not wait: look again before long in any case.
            soon_ms = WAIT_SLICE_MS if in_ms is None or in_ms <= 0 else min(WAIT_SLICE_MS, in_ms)
            self._store.wait_change(changes, min(left_ms, soon_ms))


def claim_operations(asked: Asked) -> tuple[Operation, Operation]:
    """The operations of a claim: the maintenance of its queues, and the claim, whose answer counts. [UPKEEP-2]"""
    return (
        operations.maintaining(Due(asked.claim.queues, bounds.UPKEEP_LIMIT)),
        operations.claiming(asked),
    )

"""The task saga store: the calls of the hand-written one, each written with calls of sagalog.

Rule: decides nothing about tasks itself. What a call refuses, sagalog refuses, and its own errors come through.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from types import TracebackType

import sagalog
from saga_store.showing import dispatched_key, reason_key, saga_of, state_of, undo_of
from saga_store.values import Clock, Compensation, Status, TaskSaga, TaskState

KIND = "implement-issue"

# Leases that run out have a budget for the work and one for its undoing: a sweep may die without costing a saga.
POLICY = sagalog.Retry(expiries_max=3, undo_attempts_max=3, delay_min_ms=1_000, delay_max_ms=60_000)

TASK_ID_CHARACTERS_MAX = 120
_MARK_TTL_MS = 60_000


def open_store(url: str, *, clock: Clock, queue: str = "sagas", durability: str = "full") -> SagaStore:
    """Open the store that `url` names (`memory:`, `sqlite:///sagas.db`), with time from `clock` alone."""
    return SagaStore(sagalog.open(url, clock=clock, durability=durability), queue)


class SagaStore:
    """Sagas in one queue of one engine; a context manager that closes the engine."""

    def __init__(self, engine: sagalog.Engine, queue: str = "sagas") -> None:
        self.engine = engine
        self.queue = queue

    def __enter__(self) -> SagaStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the file back."""
        self.engine.close()

    # --- planning -----------------------------------------------------------------------------------------------

    def create(
        self,
        *,
        task_id: str,
        saga_id: str,
        issue: int,
        branch: str,
        worktree: str,
        compensations: Iterable[Compensation] = (),
    ) -> TaskSaga:
        """Plan a saga. The very same creation again gives the saga that exists, as it is now.

        The idempotency key makes saga ids unique: it is looked up and recorded in the transaction that creates, so it
        holds for any number of processes. A look for the tag first would leave room for another process in between.

        Raises:
            AlreadyExists: the task id is taken. Conflict: the saga id is taken. InvalidValue: an id is too long.
        """
        if len(task_id) > TASK_ID_CHARACTERS_MAX:
            # Checked here, since identities of later remarks are made from it.
            raise sagalog.InvalidValue(f"task_id: at most {TASK_ID_CHARACTERS_MAX} characters", path="task_id")
        task = self.engine.create(
            KIND,
            {"saga_id": saga_id, "issue": issue, "branch": branch, "worktree": worktree},
            id=task_id,
            queue=self.queue,
            retry=POLICY,
            compensations=[undo_of(one) for one in compensations],
            tags={"saga_id": saga_id, "issue": str(issue)},
            idempotency_key=f"{self.queue}/saga/{saga_id}",
        )
        return self.show(task)

    def dispatch(self, task_id: str) -> TaskSaga:
        """Remark that a planned saga was handed to a dispatcher; again changes nothing.

        Raises:
            NotFound. TerminalTask, WrongState: it is past that.
        """
        task = self.existing(task_id)
        if task.state != "pending":
            refusal = sagalog.TerminalTask if task.is_terminal else sagalog.WrongState
            text = f"cannot dispatch task {task_id!r}: it is {task.state}"
            raise refusal(text, task=task_id, state=str(task.state))
        return self.show(self.engine.note(task_id, "dispatched", idempotency_key=dispatched_key(task)))

    def retry(self, task_id: str) -> TaskSaga:
        """A successor for a saga that has ended without success: same saga id, new task id, what is owed handed over.

        Raises:
            NotFound. WrongState: it has not ended, or it has completed.
        """
        return self.show(self.engine.retry_as_new(task_id))

    # --- working ------------------------------------------------------------------------------------------------

    def acquire_lease(self, task_id: str, owner_id: str, *, ttl_ms: int) -> TaskSaga:
        """Lease a saga for work.

        Raises:
            InvalidValue: the lease would end before it begins. NotFound; TerminalTask. LeaseHeld: even by this owner.
            Blocked: it is compensating.
        """
        return self.show(self.engine.acquire(task_id, owner=owner_id, ttl_ms=ttl_ms, kinds=(KIND,)).task)

    def heartbeat(self, saga: TaskSaga, *, ttl_ms: int) -> TaskSaga:
        """Renew the lease that the saga carries; nothing is written where that would not move its end forward.

        Raises:
            LeaseLost: it is over, or another holder's.
        """
        return self.show(self.lease(saga).heartbeat(ttl_ms).task)

    def append_compensation(self, saga: TaskSaga, compensation: Compensation) -> TaskSaga:
        """Put an undo on record before its effect; the same one again changes nothing. Raises LeaseLost."""
        return self.show(self.lease(saga).register(undo_of(compensation)).task)

    # --- marks: under the fence that the saga carries ------------------------------------------------------------

    def mark_completed(self, saga: TaskSaga, reason: str | None = None) -> TaskSaga:
        """The work is done. Raises LeaseLost; the same mark again gets its first answer."""
        return self.show(self.lease(saga).complete(reason))

    def mark_failed(self, saga: TaskSaga, reason: str, compensation: Compensation | None = None) -> TaskSaga:
        """The work is over without success: the saga compensates what it owes.

        Raises:
            CompensationRequired: nothing is on record and nothing is given. LeaseLost.
        """
        brought = () if compensation is None else (undo_of(compensation),)
        return self.show(self.lease(saga).fail(reason, brought))

    def mark_compensated(self, saga: TaskSaga, reason: str | None = None) -> TaskSaga:
        """The caller has undone everything itself: while it ran, or after it failed.

        Raises:
            CompensationRequired: nothing is on record. LeaseLost; LeaseHeld: a holder is undoing it; TerminalTask.
        """
        if saga.state is TaskState.RUNNING:
            lease = self.lease(saga)
            with self.engine.batch() as batch:
                batch.fail(lease, reason or "undone by its holder")
                for undo in self.existing(saga.task_id).owed:
                    batch.waive(saga.task_id, undo.id, reason or "undone by its holder")
        else:
            lease = self.engine.acquire(saga.task_id, owner="mark_compensated", ttl_ms=_MARK_TTL_MS, purpose="undo")
            with self.engine.batch() as batch:
                for undo in lease.task.owed:
                    batch.compensation_done(lease, undo.id)
                if reason is not None:
                    batch.note(saga.task_id, reason, idempotency_key=reason_key(lease.task))
        return self.show(self.existing(saga.task_id))

    def mark_quarantined(self, saga: TaskSaga, reason: str) -> TaskSaga:
        """Out of circulation until a human has looked.

        Raises:
            LeaseLost: another caller has leased it since. TerminalTask; Conflict: it is quarantined for another reason.
        """
        if saga.state is TaskState.RUNNING:
            return self.show(self.quarantine_held(self.lease(saga), reason))
        found = self.existing(saga.task_id)
        if found.fence != saga.fence:
            text = f"task {saga.task_id!r} was leased since fence {saga.fence}; load it again"
            raise sagalog.LeaseLost(
                text, task=saga.task_id, fence=saga.fence, current=found.fence, state=str(found.state)
            )
        return self.show(self.engine.quarantine(saga.task_id, reason))

    # --- reading ------------------------------------------------------------------------------------------------

    def get(self, task_id: str) -> TaskSaga | None:
        """The saga as it is now, or None."""
        task = self.engine.get(task_id)
        return None if task is None or task.queue != self.queue else self.show(task)

    def find(self, *, saga_id: str | None = None, issue: int | None = None) -> list[TaskSaga]:
        """The sagas with this id (the first task and its retries) or of this issue, in order of insertion."""
        tags = {} if saga_id is None else {"saga_id": saga_id}
        if issue is not None:
            tags["issue"] = str(issue)
        return [self.show(task) for task in self.engine.find(queue=self.queue, tags=tags)]

    def list_in_flight(self) -> list[TaskSaga]:
        """Everything that has not ended, in order of insertion."""
        # One call for all states: one for each would be several snapshots, and a saga could slip between them.
        return [self.show(task) for task in self.engine.find(queue=self.queue) if not task.is_terminal]

    def list_stale(self) -> list[TaskSaga]:
        """Everything that has not ended and whose lease is over by the store's clock."""
        return [self.show(task) for task in self.engine.stale() if task.queue == self.queue]

    def status(self) -> Status:
        """How many sagas are in which state, and which are in flight or stale."""
        tasks = self.engine.find(queue=self.queue)
        return Status(
            dict(Counter(state_of(self.engine, task) for task in tasks)),
            tuple(task.id for task in tasks if not task.is_terminal),
            tuple(saga.task_id for saga in self.list_stale()),
        )

    # --- what writing back and the sweep need --------------------------------------------------------------------

    def show(self, task: sagalog.Task) -> TaskSaga:
        """A task of sagalog as a saga."""
        return saga_of(self.engine, task)

    def existing(self, task_id: str) -> sagalog.Task:
        """The task; raises NotFound."""
        task = self.engine.get(task_id)
        if task is None:
            raise sagalog.NotFound(f"there is no task {task_id!r}", task=task_id)
        return task

    def lease(self, saga: TaskSaga) -> sagalog.Lease:
        """The lease that a saga carries; raises NotFound."""
        if saga.fence == 0:
            text = f"task {saga.task_id!r} carries no lease: acquire one and use the saga that it gives"
            raise sagalog.NotFound(text, task=saga.task_id, fence=0)
        return self.engine.reattach(saga.task_id, saga.fence)

    def quarantine_held(self, lease: sagalog.Lease, reason: str) -> sagalog.Task:
        """Quarantine under a fence, also where a cancel was asked for. Raises LeaseLost."""
        # The code of `engine.quarantine`, so that marking it again without the lease is a repeat.
        return lease.quarantine(sagalog.Failure("operator", reason))

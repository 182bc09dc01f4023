"""The store: every call that the hand-written one had, each a few lines on sagalog's public calls.

Rule: what a holder does is told by the saga in its hand, whose fence says which lease it means; a late one is refused
by the engine, and no rule of a task's life stands here. Errors are the engine's own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import sagalog
from saga_store.values import SagaCompensation, TaskSaga, TaskState, saga_of
from sagalog import Conflict, Engine, Lease, NotFound, Rejected, Retry, Task, TerminalTask
from sagalog.ports import Clock

KIND = "implement-issue"
QUEUE = "sagas"
TTL_MS = 60_000


class SagaStore:
    """Sagas in a sagalog store of their own; a context manager, safe to share between threads and processes."""

    def __init__(self, engine: Engine, retry: Retry | None = None) -> None:
        self.engine = engine
        self._retry = retry

    def __enter__(self) -> SagaStore:
        return self

    def __exit__(self, *_: object) -> None:
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
        compensations: Iterable[SagaCompensation] = (),
    ) -> TaskSaga:
        """Plan a saga. The same again adds nothing.

        Raises:
            AlreadyExists: `task_id` is taken by another saga. Conflict: `saga_id` is.
        """
        task = self.engine.create(
            KIND,
            {"saga_id": saga_id, "issue": issue, "branch": branch, "worktree": worktree},
            id=task_id,
            queue=QUEUE,
            retry=self._retry,
            compensations=[one.as_compensation() for one in compensations],
            tags={"issue": str(issue), "saga": saga_id},
            # An identity across the whole store: of two processes that plan one saga, one is told of the other.
            request=f"saga/{saga_id}",
        )
        return saga_of(task)

    def get(self, task_id: str) -> TaskSaga | None:
        """The saga as it is now, or None."""
        task = self.engine.get(task_id)
        return None if task is None else saga_of(task)

    # --- holding ------------------------------------------------------------------------------------------------

    def acquire(self, task_id: str, owner: str, ttl_ms: int = TTL_MS) -> TaskSaga:
        """Lease a saga for its work; raises NotFound, TerminalTask, LeaseHeld, Blocked (it is compensating)."""
        return saga_of(self.engine.acquire(task_id, owner=owner, ttl_ms=ttl_ms).task)

    def acquire_undo(
        self, task_id: str, owner: str, ttl_ms: int = TTL_MS, kinds: Iterable[str] | None = None
    ) -> TaskSaga:
        """Lease a compensating saga to undo it; raises as `acquire`, and Blocked where it owes other kinds."""
        return saga_of(self.engine.acquire(task_id, owner=owner, ttl_ms=ttl_ms, purpose="undo", kinds=kinds).task)

    def heartbeat(self, saga: TaskSaga, ttl_ms: int | None = None) -> TaskSaga:
        """Hold it for longer, from now on; raises LeaseLost, also where its time is over and nobody has taken it."""
        return saga_of(self._lease(saga).heartbeat(ttl_ms).task)

    def register(self, saga: TaskSaga, compensation: SagaCompensation) -> TaskSaga:
        """Append an undo, before its effect; the same again changes nothing."""
        return saga_of(self._lease(saga).register(compensation.as_compensation()).task)

    # --- ending -------------------------------------------------------------------------------------------------

    def mark_completed(self, saga: TaskSaga, reason: str | None = None) -> TaskSaga:
        """The work is done."""
        return saga_of(self._lease(saga).complete(None if reason is None else {"reason": reason}))

    def mark_failed(self, saga: TaskSaga, reason: str, compensation: SagaCompensation | None = None) -> TaskSaga:
        """The work is over without success: compensating until what is owed is undone.

        Raises:
            CompensationRequired: there is nothing to undo it by.
        """
        brought = [] if compensation is None else [compensation.as_compensation()]
        return saga_of(self._lease(saga).fail(reason, brought))

    def mark_compensated(self, saga: TaskSaga, reason: str | None = None) -> TaskSaga:
        """All that is owed has been undone by the saga's holder, who acquired it for that; one commit for all.

        Raises:
            LeaseLost: it was not acquired for undoing, or is not ours any more.
        """
        lease = self._lease(saga)
        with self.engine.batch() as batch:
            for one in self._task(saga.task_id).owed:
                batch.compensation_done(lease, one.id)
            if reason is not None:
                batch.note(saga.task_id, reason)
        return saga_of(self._task(saga.task_id))

    def mark_quarantined(self, task_id: str, reason: str) -> TaskSaga:
        """A human must look, whoever holds it."""
        return saga_of(self.engine.quarantine(task_id, reason))

    def retry(self, task_id: str) -> TaskSaga:
        """Plan an ended saga once more, as a new task which owes what the old one still owed."""
        return saga_of(self.engine.retry_as_new(task_id))

    # --- looking ------------------------------------------------------------------------------------------------

    def in_flight(self) -> list[TaskSaga]:
        """Sagas that have not ended, in the order in which they were planned."""
        return [saga for saga in map(saga_of, self.engine.find(queue=QUEUE)) if saga.is_in_flight]

    def stale(self) -> list[TaskSaga]:
        """Sagas whose lease is over, by the store's clock, and was not ended yet."""
        return [saga_of(task) for task in self.engine.stale() if task.queue == QUEUE]

    def status(self) -> dict[str, int]:
        """How many sagas there are in each state, `stale` ones apart among them."""
        counts: Counter[str] = Counter()
        for state, number in self.engine.counts(QUEUE).get(QUEUE, {}).items():
            counts[TaskState.PLANNED if state == "pending" else state] += number
        return {**counts, "stale": len(self.stale())}

    # --- for those who migrate ----------------------------------------------------------------------------------

    def put(self, saga: TaskSaga) -> TaskSaga:
        """Write a whole saga back, as the hand-written store did: what differs is said in verbs, under its fence.

        Raises:
            LeaseLost, Conflict: the copy is stale. TerminalTask: it has ended, and more than a reason is to be added.
            CompensationRequired: failed, and nothing to undo it by. Rejected: a change that no verb makes.
        """
        task = self.engine.get(saga.task_id)
        if task is None:
            return self._plan(saga)
        now = saga_of(task)
        if task.is_terminal:
            return self._add_reason(now, saga)
        if _lease_of(saga) != _lease_of(now):
            raise Conflict(
                f"task {saga.task_id!r}: this copy of the saga is stale, its lease is another; load it again"
            )
        if _identity_of(saga) != _identity_of(now):
            raise Rejected(f"task {saga.task_id!r}: saga, issue, branch and worktree stay what they were planned as")
        kept = len(now.compensations)
        if saga.compensations[:kept] != now.compensations:
            raise Rejected(f"task {saga.task_id!r}: compensations are only ever appended; waive one to drop it")
        for one in saga.compensations[kept:]:
            now = self.register(saga, one)
        return now if saga.state is now.state else self._end(saga)

    def _plan(self, saga: TaskSaga) -> TaskSaga:
        if saga.state is not TaskState.PLANNED:
            raise Rejected(f"task {saga.task_id!r}: a saga begins as planned, not as {saga.state}")
        return self.create(
            task_id=saga.task_id,
            saga_id=saga.saga_id,
            issue=saga.issue,
            branch=saga.branch,
            worktree=saga.worktree,
            compensations=saga.compensations,
        )

    def _add_reason(self, now: TaskSaga, saga: TaskSaga) -> TaskSaga:
        if now.terminal_reason != saga.terminal_reason and saga.terminal_reason is not None:
            if _without_reason(now) == _without_reason(saga):
                return saga_of(self.engine.note(saga.task_id, saga.terminal_reason))
        elif now == saga:
            return now
        raise TerminalTask(
            f"task {saga.task_id!r} has ended as {now.state}: only a reason may be added", task=now.task_id
        )

    def _end(self, saga: TaskSaga) -> TaskSaga:
        reason = saga.terminal_reason
        if saga.state is TaskState.COMPLETED:
            return self.mark_completed(saga, reason)
        if saga.state is TaskState.FAILED:
            return self.mark_failed(saga, reason or "failed")
        if saga.state is TaskState.COMPENSATED:
            return self.mark_compensated(saga, reason)
        if saga.state is TaskState.QUARANTINED:
            return self.mark_quarantined(saga.task_id, reason or "quarantined")
        raise Rejected(f"task {saga.task_id!r}: nobody writes a saga {saga.state}; acquire or cancel it")

    # --- inside -------------------------------------------------------------------------------------------------

    def _lease(self, saga: TaskSaga) -> Lease:
        if saga.fence == 0:
            raise Conflict(f"task {saga.task_id!r}: nobody has acquired this saga; acquire it first", task=saga.task_id)
        return self.engine.resume(saga.task_id, saga.fence)

    def _task(self, task_id: str) -> Task:
        task = self.engine.get(task_id)
        if task is None:
            raise NotFound(f"there is no saga {task_id!r}; check the id and the store", task=task_id)
        return task


def open_store(url: str, *, clock: Clock | None = None, retry: Retry | None = None) -> SagaStore:
    """Open the store at a URL of sagalog's; every time in it is that of `clock`, so none is ever read elsewhere."""
    return SagaStore(sagalog.open(url, clock=clock), retry)


def _lease_of(saga: TaskSaga) -> tuple[Any, ...]:
    return saga.fence, saga.lease_owner, saga.lease_expires_ms


def _identity_of(saga: TaskSaga) -> tuple[Any, ...]:
    return saga.saga_id, saga.issue, saga.branch, saga.worktree


def _without_reason(saga: TaskSaga) -> tuple[Any, ...]:
    return saga.state, saga.compensations, *_lease_of(saga), *_identity_of(saga)

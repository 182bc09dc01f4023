"""The claims within a unit of work: which of the selected tasks they lease, and the answer to a repeated claim.

Rule: a claim leases a task only if its row is what the log gives; it puts aside a task that cannot be read, or leased
once more, and goes on with the others. [LOG-5] [BOUND-2] Knows no store.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import msgspec

from sagalog.actors import worker_actor
from sagalog.codec import Envelope, read
from sagalog.engine.entries import CommandEntry
from sagalog.engine.idempotency import difference, differences, id_of, key_taken
from sagalog.engine.plain import carry_out_plainly
from sagalog.engine.task import Task
from sagalog.engine.unit_of_work import UnitOfWork
from sagalog.errors import Corrupt
from sagalog.kernel import commands as c
from sagalog.kernel import events as e
from sagalog.kernel.bounds import MOVES_MAX
from sagalog.kernel.deadlines import passed_deadline
from sagalog.kernel.decide import next_lease_fits
from sagalog.kernel.state import QueueFold, TaskFold
from sagalog.store import Claim, EventOf, Plain, Result, Saved
from sagalog.store.row import is_row_of
from sagalog.validation.commands import ClaimRequest


class Claimed(msgspec.Struct, frozen=True):
    """The tasks that a claim leased; `again` if it put tasks aside, so that another look may find others behind them.

    `repeated` if its idempotency key is on record, so that it never leases anything new.
    """

    tasks: list[Task]
    again: bool = False
    repeated: bool = False


def claim(work: UnitOfWork, asked: ClaimRequest) -> Claimed:
    """Lease what the view's claim selects."""
    key = asked.idempotency_key
    if key is not None and (earlier := work.keyed(key)):
        return Claimed(_still_leased(work, asked, key, earlier), repeated=True)
    selection = _Selection(work, asked)
    narrowed = _narrowed(work, asked.claim)
    if narrowed.queues and selection.lease_from(narrowed):
        # [LIMIT-5] Some lacked units: look past them, once.
        selection.lease_from(msgspec.structs.replace(narrowed, limit=narrowed.limit + MOVES_MAX))
    return Claimed(selection.leased, selection.again)


class _Selection:
    """The tasks that a claim selects, one after the other.

    leased   those that it has leased
    again    whether another look may find others behind those that it has moved
    """

    def __init__(self, work: UnitOfWork, asked: ClaimRequest) -> None:
        self.leased: list[Task] = []
        self.again = False
        self._work = work
        self._asked = asked
        self._seen: set[str] = set()

    def lease_from(self, claim: Claim) -> bool:
        """Lease what a claim selects, up to what was asked for; return whether limits held some of that back."""
        is_held_back = False
        selected = self._work.view.select(claim)
        for saved in selected:
            if len(self.leased) == self._asked.claim.limit:
                return False
            if saved.stream not in self._seen:
                self._seen.add(saved.stream)
                is_held_back = self._look_at(saved, is_alone=len(selected) == 1) or is_held_back
        return is_held_back

    def _look_at(self, saved: Saved, is_alone: bool) -> bool:
        """Lease a task, or move it where it belongs; return whether a limit held it back."""
        work, claim, task = self._work, self._asked.claim, saved.fold
        if work.is_written(saved.stream):
            return False
        if not isinstance(task, TaskFold) or not _is_sound(saved, task, work.view.now_ms):
            self.again = work.put_right(saved) or self.again
        elif task.is_suspect and (claim.suspects == "never" or not is_alone):
            # [LEASE-5] A claim leases it alone, unless it passes over all suspects.
            return False
        elif claim.purpose == "work" and (lack := work.lack_of(task)) is not None:
            if lack.account is not None and not lack.account.startswith("queue/"):
                work.admission.hold(saved, lack)
                self.again = True
            return True
        elif not next_lease_fits(task) or passed_deadline(task, work.view.now_ms) is not None:
            # [BOUND-2] [DEADLINE-2] Else it would be at the head of every claim, and refused each time.
            work.maintain(c.Maintain(task=task.id), saved)
            self.again = True
        elif (one := _lease(work, self._asked, saved, task)) is not None:
            self.leased.append(one)
        else:
            self.again = True
        return False


def _narrowed(work: UnitOfWork, claim: Claim) -> Claim:
    """Return a claim of the queues that are open and the kinds that are not paused, with their own order.

    [LIMIT-2] [PAUSE-1] [ORDER-2]
    """
    if claim.purpose != "work":
        return claim
    view = work.view
    paused = (
        frozenset(view.store.paused_kinds) if view.store is not None and view.store.paused_kinds else claim.excluded
    )
    governed = [queue for queue in claim.queues if view.is_governed(queue)]
    if not paused and not governed:
        return claim
    closed = {queue for queue in governed if work.accounts.lack_of_queue(queue) is not None}
    queues = tuple(queue for queue in claim.queues if queue not in closed)
    due = tuple(one for queue in governed if queue not in closed for one in _affinity_due(work, queue))
    return msgspec.structs.replace(claim, queues=queues, excluded=paused, affinity_due=due)


def _affinity_due(work: UnitOfWork, queue: str) -> list[tuple[str, int]]:
    """Return since when tasks with an affinity have waited too long in a queue, if it has such a bound. [ORDER-2]"""
    saved = work.view.saved(f"queue/{queue}")
    wait_ms = saved.fold.affinity_wait_ms if saved is not None and isinstance(saved.fold, QueueFold) else None
    return [] if wait_ms is None else [(queue, work.view.now_ms - wait_ms)]


def _lease(work: UnitOfWork, asked: ClaimRequest, saved: Saved, task: TaskFold) -> Task | None:
    """Lease a task; put it aside, and return None, where its events cannot be read."""
    try:
        with work.tentatively(task):
            return work.decide(_acquire_entry(asked, task), saved)
    except Corrupt:
        work.set_aside(saved)
        return None


def _acquire_entry(asked: ClaimRequest, task: TaskFold) -> CommandEntry:
    command = c.Acquire(
        task=task.id,
        owner=asked.owner,
        ttl_ms=asked.ttl_ms,
        purpose=asked.claim.purpose,
        kinds=asked.claim.kinds,
        waiver=asked.waivers.get(task.kind),
        build=asked.claim.build,
    )
    return CommandEntry(command, worker_actor(asked.owner), idempotency_key=asked.idempotency_key)


def plain_claim(asked: ClaimRequest) -> Plain | None:
    """Return the plain way of a claim of one task, without an idempotency key; None for other claims."""
    if asked.claim.limit > 1 or asked.idempotency_key is not None:
        return None
    return partial(_claim_one, asked)


def _claim_one(
    asked: ClaimRequest,
    saved: Saved | None,
    now_ms: int,
    epoch: int,
    event_of: EventOf,
    may_hold_back: Callable[[str], bool] | None,
) -> Result | None:
    if saved is None:
        return Result(Claimed([]))
    queues = asked.claim.queues
    if may_hold_back is not None and len(queues) > 1 and any(may_hold_back(queue) for queue in queues):
        # [ORDER-2] Settings of another queue may put its tasks before this one.
        return None
    task = saved.fold
    if not isinstance(task, TaskFold) or not _is_sound(saved, task, now_ms):
        return None
    # [BOUND-2] [DEADLINE-2] A task without room for a lease, or time, is refused here; the unit of work then ends it.
    leased = carry_out_plainly(_acquire_entry(asked, task), saved, now_ms, epoch, event_of, may_hold_back)
    return None if leased is None else Result(Claimed(leased.answer), leased.appends)


def _still_leased(work: UnitOfWork, asked: ClaimRequest, key: str, earlier: Sequence[Envelope]) -> list[Task]:
    """Return the leases of a repeated claim that have not ended. [REPEAT-4] [REPEAT-6]"""
    if len(earlier) > asked.claim.limit:
        raise key_taken(key, earlier[0], {"limit": difference("limit", asked.claim.limit, len(earlier))})
    living = []
    for envelope in earlier:
        try:
            event, task = read(envelope), work.task(id_of(envelope))
            if not isinstance(event, e.Leased) or task is None:
                raise key_taken(key, envelope, {"command": "the command is another one"})
            if differs := _differences_from(asked, event, task):
                raise key_taken(key, envelope, differs)
            if task.lease is not None and task.lease.fence == event.fence:
                living.append(work.show(task))
        except Corrupt:
            # [LOG-5] The holder gets its other tasks despite a damaged one.
            continue
    return living


def _is_sound(saved: Saved, task: TaskFold, now_ms: int) -> bool:
    return saved.row is not None and is_row_of(saved.row, task, now_ms)


def _differences_from(asked: ClaimRequest, event: e.Leased, task: TaskFold) -> dict[str, str]:
    """Return why such a claim could not have made this lease, by name; empty if it could. [REPEAT-6] [UNDO-1]"""
    claim = asked.claim
    work = claim.purpose == "work"
    waiver = asked.waivers.get(task.kind) if work else None
    given = {"owner": asked.owner, "purpose": claim.purpose, "ttl_ms": asked.ttl_ms, "waiver": waiver}
    given["build"] = asked.build
    differs = differences(given, {name: getattr(event, name) for name in given})
    if task.queue not in claim.queues:
        differs["queues"] = difference("queues", claim.queues, [task.queue])
    kinds = {task.kind} if work else {task.compensations[id].kind for id in task.owed()}
    if claim.kinds is not None and not kinds <= claim.kinds:
        differs["kinds"] = difference("kinds", sorted(claim.kinds), sorted(kinds))
    return differs

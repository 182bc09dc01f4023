"""The claims within a unit of work: which of the selected tasks they lease, and the answer to a repeated claim.

Rule: a claim leases a task only if its row is what the log gives; it puts aside a task that cannot be read, or leased
once more, and goes on with the others. [LOG-5] [BOUND-2] Knows no store.
"""

from __future__ import annotations

from collections.abc import Sequence
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
from sagalog.kernel.deadlines import passed_deadline
from sagalog.kernel.decide import next_lease_fits
from sagalog.kernel.state import TaskFold
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
    leased: list[Task] = []
    again = False
    selected = work.view.claimed
    for saved in selected:
        task = saved.fold
        if work.is_written(saved.stream):
            continue
        if not isinstance(task, TaskFold) or not _is_sound(saved, task, work.view.now_ms):
            again = work.put_right(saved) or again
        elif task.is_suspect and not _may_lease_suspect(asked.claim, selected):
            continue
        elif not next_lease_fits(task) or passed_deadline(task, work.view.now_ms) is not None:
            # [BOUND-2] [DEADLINE-2] Else it would be at the head of every claim, and refused each time.
            work.maintain(c.Maintain(task=task.id), saved)
            again = True
        elif (one := _lease(work, asked, saved, task)) is not None:
            leased.append(one)
        else:
            again = True
    return Claimed(leased, again)


def _lease(work: UnitOfWork, asked: ClaimRequest, saved: Saved, task: TaskFold) -> Task | None:
    """Lease a task; put it aside, and return None, where its events cannot be read."""
    try:
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
    )
    return CommandEntry(command, worker_actor(asked.owner), idempotency_key=asked.idempotency_key)


def plain_claim(asked: ClaimRequest) -> Plain | None:
    """Return the plain way of a claim of one task, without an idempotency key; None for other claims."""
    if asked.claim.limit > 1 or asked.idempotency_key is not None:
        return None
    return partial(_claim_one, asked)


def _claim_one(asked: ClaimRequest, saved: Saved | None, now_ms: int, epoch: int, event_of: EventOf) -> Result | None:
    if saved is None:
        return Result(Claimed([]))
    task = saved.fold
    if not isinstance(task, TaskFold) or not _is_sound(saved, task, now_ms):
        return None
    # [BOUND-2] [DEADLINE-2] A task without room for a lease, or time, is refused here; the unit of work then ends it.
    leased = carry_out_plainly(_acquire_entry(asked, task), saved, now_ms, epoch, event_of)
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


def _may_lease_suspect(claim: Claim, selected: Sequence[Saved]) -> bool:
    """Check whether a claim may lease a suspect: alone, and unless it passes over all suspects. [LEASE-5]"""
    return claim.suspects != "never" and len(selected) == 1


def _differences_from(asked: ClaimRequest, event: e.Leased, task: TaskFold) -> dict[str, str]:
    """Return why such a claim could not have made this lease, by name; empty if it could. [REPEAT-6] [UNDO-1]"""
    claim = asked.claim
    work = claim.purpose == "work"
    waiver = asked.waivers.get(task.kind) if work else None
    given = {"owner": asked.owner, "purpose": claim.purpose, "ttl_ms": asked.ttl_ms, "waiver": waiver}
    differs = differences(given, {name: getattr(event, name) for name in given})
    if task.queue not in claim.queues:
        differs["queues"] = difference("queues", claim.queues, [task.queue])
    kinds = {task.kind} if work else {task.compensations[id].kind for id in task.owed()}
    if claim.kinds is not None and not kinds <= claim.kinds:
        differs["kinds"] = difference("kinds", sorted(claim.kinds), sorted(kinds))
    return differs

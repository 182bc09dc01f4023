"""The maintenance of one task (maintain): the end of a lease or a wait, a deadline, a hopeless undo. [UPKEEP-1]

Rule: it reads only the state and the time, never a message, so the loss of a process loses nothing. Where nothing is
due there are no events. It quarantines a task that cannot go on, so no task is stuck for ever. [LIFE-2]
"""

from __future__ import annotations

from typing import Final

from sagalog.kernel import commands as c
from sagalog.kernel import events as e
from sagalog.kernel.deadlines import passed_deadline
from sagalog.kernel.decide.rules import (
    Decision,
    Events,
    cancelled_after,
    existing,
    is_spent,
    policy_of,
    quarantined,
    spent_event,
    state_after,
    stream_bound,
)
from sagalog.kernel.decide.verbs import Verb, names
from sagalog.kernel.decide.waits import end_of_wait
from sagalog.kernel.evolve import evolve
from sagalog.kernel.state import TaskFold, epoch_of, shows_due
from sagalog.kernel.values import DeadlineCode, ExpiryCause, LeaseRecord, Seen, State


def maintain(task: TaskFold | None, command: c.Maintain, now_ms: int, epoch: int) -> Decision:
    """Do all maintenance that is due on one task now; the end of a lease may make more due, which it then does too."""
    task = existing(task, command.task)
    events: Events = ()
    while due := _due(task, command, now_ms, epoch):
        for event in due:
            task = evolve(task, event, task.version + 1, now_ms)
        events += due
    return events


def next_lease_fits(task: TaskFold, beside: int = 0) -> bool:
    """Check that the stream has room for one more lease, what ends it, and `beside` other events. [BOUND-2]"""
    return task.length + 1 + beside <= stream_bound(task)


def _due(task: TaskFold, command: c.Maintain, now_ms: int, epoch: int) -> Events:
    """Return the events that are due first. Each ends a lease, a wait or the task, or makes it due, so they run out."""
    if task.is_terminal:
        return ()
    late = passed_deadline(task, now_ms)
    if task.lease is not None:
        expired = _expire(task, task.lease, command.seen, now_ms, epoch, late)
        return expired if expired or late is None else (e.CancelRequested(code=late),)
    if late is not None:
        return (e.Cancelled(to=state_after(task, "cancelled"), code=late),)
    if task.waiting is not None:
        return end_of_wait(task, command.ended, now_ms, command.unchanged)
    if not next_lease_fits(task):
        return (quarantined(task, "bound", parameters={"stream_events": task.length}),)
    if task.state is State.COMPENSATING and (stuck := _stuck_undo(task, command, now_ms)):
        return stuck
    if shows_due(task, command.unchanged, task.run_at_ms, now_ms) and next_lease_fits(task, beside=1):
        assert command.unchanged is not None
        return (e.Promoted(seen=command.unchanged),)
    return ()


def _expire(
    task: TaskFold, lease: LeaseRecord, seen: Seen | None, now_ms: int, epoch: int, late: DeadlineCode | None
) -> Events:
    """End a lease that is over, and do what follows: a requested cancel, a deadline, or a spent budget. [LEASE-4]"""
    why = _cause_of_expiry(lease, seen, now_ms, epoch)
    if why is None:
        return ()
    expired = e.LeaseExpired(fence=lease.fence, verb="expire", why=why, seen=seen if why == "unseen" else None)
    maximum = policy_of(task).expiries_max
    if lease.purpose == "undo":
        if is_spent(task.undo_expiries + 1, maximum):
            return (expired, quarantined(task, "undo_expiries_spent"))
        return (expired,)
    if task.cancel_version:
        # [CANCEL-2] A requested cancel takes precedence over a spent budget.
        return (expired, *cancelled_after(task))
    if late is not None:
        # [DEADLINE-2] So does a deadline that has come.
        return (expired, e.Cancelled(to=state_after(task, "cancelled"), code=late))
    if is_spent(task.expiries + 1, maximum):
        return (expired, spent_event(task, "expiries_spent"))
    return (expired,)


def _cause_of_expiry(lease: LeaseRecord, seen: Seen | None, now_ms: int, epoch: int) -> ExpiryCause | None:
    """Return why the lease is over; None while it is not. [LEASE-2] [TIME-3]"""
    if epoch_of(lease.fence) < epoch:
        return "epoch"
    if lease.is_over(now_ms, epoch):
        return "clock"
    if seen is None or lease.ttl_ms is None or now_ms >= lease.renewed_ms:
        return None
    # The clock is behind the last renewal, so it cannot show that the lease is over. An observer's duration can.
    same = seen.fence == lease.fence and seen.renewed_ms == lease.renewed_ms
    return "unseen" if same and seen.unchanged_ms >= lease.ttl_ms else None


def _stuck_undo(task: TaskFold, command: c.Maintain, now_ms: int) -> Events:
    """Quarantine a task whose undos no worker knows, or none has leased within the policy's time. [UNDO-2]"""
    owed = {task.compensations[id].kind for id in task.owed()}
    known = owed if command.known_kinds is None else owed & command.known_kinds
    unknown = sorted(owed - (known - command.unknown_kinds))
    if unknown:
        return (quarantined(task, "unknown_compensation", parameters={"kinds": tuple(unknown)}),)
    wait_ms = policy_of(task).undo_wait_ms
    if command.overdue and wait_ms is not None and now_ms - task.run_at_ms >= wait_ms:
        return (quarantined(task, "undo_wait", parameters={"due_for_ms": now_ms - task.run_at_ms}),)
    return ()


VERBS: Final = (
    Verb(
        c.Maintain,
        maintain,
        names("lease_expired", "cancelled", "failed", "quarantined", "unblocked", "promoted", "cancel_requested"),
    ),
)

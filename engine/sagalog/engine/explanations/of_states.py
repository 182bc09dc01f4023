"""The reasons in the task itself while it lives: a worker holds it, its time has not come, or a deadline has.

Rule: as of the whole package.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sagalog.engine.explanation import Reason
from sagalog.engine.explanations.subject import Subject
from sagalog.kernel.deadlines import cancel_ms, passed_deadline
from sagalog.kernel.values import Parameters, Purpose, State
from sagalog.store import Claim

# How many tasks of a queue are looked at for the place of one.
PLACES_MAX: Final = 64


def leased(subject: Subject) -> Iterator[Reason]:
    """A worker holds it, perhaps longer than its lease. [LEASE-1]"""
    lease = subject.task.lease
    if lease is None:
        return
    parameters: Parameters = {"owner": lease.owner, "fence": lease.fence, "purpose": lease.purpose}
    if lease.expires_ms is not None:
        parameters["expires_ms"] = lease.expires_ms
    is_over = lease.expires_ms is not None and lease.expires_ms <= subject.now_ms
    yield Reason("lease_over" if is_over else "leased", parameters)


def deadline_passed(subject: Subject) -> Iterator[Reason]:
    """Its deadline has come, and maintenance cancels it. [DEADLINE-2]"""
    task = subject.task
    code = passed_deadline(task, subject.now_ms) if subject.is_pending else None
    at_ms = cancel_ms(task)
    if code is not None and at_ms is not None:
        yield Reason("deadline_passed", {"deadline": code, "at_ms": at_ms})


def not_due(subject: Subject) -> Iterator[Reason]:
    """Its time has not come."""
    task = subject.task
    if subject.is_free and task.waiting is None and not subject.is_due:
        yield Reason("not_due", {"task": task.id, "until_ms": task.run_at_ms})


# --- notes ------------------------------------------------------------------------------------------------------------


def claimable(subject: Subject) -> Iterator[Reason]:
    """A claim would lease it; its place among the first that a claim of its queue alone finds, of whatever kind."""
    task = subject.task
    store = subject.snapshot.store()
    paused = frozenset() if store is None else frozenset(store.paused_kinds)
    purpose: Purpose = "work" if subject.is_pending else "undo"
    build = task.build if subject.is_pending else None
    claim = Claim((task.queue,), purpose, PLACES_MAX, excluded=paused, build=build)
    first = [] if task.is_suspect else subject.snapshot.standing(claim)
    parameters: Parameters = {"queue": task.queue}
    if build is not None:
        parameters["build"] = build
    if task.id in first:
        parameters["place"] = first.index(task.id) + 1
    yield Reason("claimable", parameters)


def owes_undo(subject: Subject) -> Iterator[Reason]:
    """It is undoing what it owes. [COMP-1]"""
    if subject.task.state is State.COMPENSATING:
        yield Reason("owes_undo", {"kinds": undo_kinds(subject)})


def suspect(subject: Subject) -> Iterator[Reason]:
    """A claim leases it alone. [LEASE-5]"""
    if subject.is_free and subject.task.is_suspect:
        yield Reason("suspect")


def cancel_requested(subject: Subject) -> Iterator[Reason]:
    """Its holder was asked to stop. [CANCEL-1]"""
    if subject.task.state is State.RUNNING and subject.task.cancel_version:
        yield Reason("cancel_requested")


def deadlines_ahead(subject: Subject) -> Iterator[Reason]:
    """It will be cancelled at a time. [DEADLINE-1]"""
    task, now_ms = subject.task, subject.now_ms
    if task.state not in (State.PENDING, State.RUNNING):
        return
    if task.deadline_ms is not None and task.deadline_ms > now_ms:
        yield Reason("deadline_ahead", {"at_ms": task.deadline_ms})
    if task.start_by_ms is not None and task.start_by_ms > now_ms and not task.leases:
        yield Reason("start_by_ahead", {"at_ms": task.start_by_ms})


def undo_kinds(subject: Subject) -> tuple[str, ...]:
    """Return the kinds of the compensations that it owes, sorted."""
    task = subject.task
    return tuple(sorted({task.compensations[id].kind for id in task.owed()}))

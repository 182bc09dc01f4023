"""The reasons in the workers: none that lives takes the task, or a preflight fails on those that would.

Rule: as of the whole package. The engine decides nothing by what workers say of themselves [WORKER-7], and neither does
this: a caller that has no row may claim the task all the same. A worker whose row has no room for all its names may
take it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sagalog.engine.builds import has_build
from sagalog.engine.explanation import Reason
from sagalog.engine.explanations.of_states import undo_kinds
from sagalog.engine.explanations.subject import Subject
from sagalog.engine.workers import FailedPreflight, WorkerInfo
from sagalog.kernel.values import Parameters

# How many preflights are named.
_PREFLIGHTS_MAX: Final = 8


def no_live_worker(subject: Subject) -> Iterator[Reason]:
    """Workers are known, and none that was seen within 30 s knows its kind in its queue."""
    task = subject.task
    if not subject.is_free or not subject.workers or _knowing(subject):
        return
    wanted: Parameters = {"kind": task.kind} if subject.is_pending else {"undo_kinds": undo_kinds(subject)}
    yield Reason("no_live_worker", {**wanted, "queue": task.queue, "live": len(subject.live)})


def build_absent(subject: Subject) -> Iterator[Reason]:
    """It is pinned to a build, and no live worker of its queue names that one, or none is known at all. [BUILD-4]"""
    build, queue = subject.task.build, subject.task.queue
    if subject.is_pending and build is not None and not has_build(subject.live, build, queue):
        yield Reason(
            "build_absent", {"build": build, "queue": queue, "live": len(subject.live), "task": subject.task.id}
        )


def preflights(subject: Subject) -> Iterator[Reason]:
    """Preflights fail on all workers that know its kind, so none takes it. [WORKER-9]"""
    if not _taking(subject):
        yield from _failing(subject)


def preflights_elsewhere(subject: Subject) -> Iterator[Reason]:
    """Preflights fail on some of the workers that know its kind, and another one takes it."""
    if _taking(subject):
        yield from _failing(subject)


def pinned(subject: Subject) -> Iterator[Reason]:
    """It is pinned, so only a claim that names its build leases it. [BUILD-1]"""
    if subject.is_pending and subject.task.build is not None:
        yield Reason("pinned", {"build": subject.task.build})


def busy(subject: Subject) -> Iterator[Reason]:
    """All workers that take it run as many handlers as they may, as far as they were seen."""
    taking = _taking(subject)
    if taking and all(one.running >= one.concurrency for one in taking):
        yield Reason("workers_busy", {"workers": len(taking)})


def none_known(subject: Subject) -> Iterator[Reason]:
    """No worker has written itself into the store."""
    if subject.is_free and not subject.workers:
        yield Reason("no_worker_known")


def _failing(subject: Subject) -> Iterator[Reason]:
    found = [(worker, one) for worker in _knowing(subject) for one in _failed(subject, worker)]
    for worker, one in found[:_PREFLIGHTS_MAX]:
        named: Parameters = {"worker": worker.name, "host": worker.host, "preflight": one.name}
        yield Reason("preflight_fails", {**named, "text": one.text, "since_ms": one.since_ms})


def _taking(subject: Subject) -> list[WorkerInfo]:
    """Return the live workers that know its kind, have its build, and on which no preflight keeps them from it."""
    build = subject.task.build if subject.is_pending else None
    return [one for one in _knowing(subject) if build in (None, one.build) and not _failed(subject, one)]


def _knowing(subject: Subject) -> list[WorkerInfo]:
    """Return the live workers of its queue that have handlers for its kind, or for all undos that it owes. [UNDO-1]"""
    return [one for one in subject.live if _knows(subject, one)] if subject.is_free else []


def _knows(subject: Subject, worker: WorkerInfo) -> bool:
    if worker.left_out:
        return True
    known = worker.kinds if subject.is_pending else worker.compensation_kinds
    return subject.task.queue in worker.queues and _wanted(subject) <= set(known)


def _failed(subject: Subject, worker: WorkerInfo) -> list[FailedPreflight]:
    wanted = _wanted(subject)
    return [
        one
        for one in worker.failed_preflights
        if wanted & set(one.kinds if subject.is_pending else one.compensation_kinds)
    ]


def _wanted(subject: Subject) -> set[str]:
    return {subject.task.kind} if subject.is_pending else set(undo_kinds(subject))

"""What must have happened in the demo, each thing as one small function over the evidence.

Rule: a check believes no process and no engine, only the log, the disk and what the operating system said; it gives how
often the thing happened and every fault it found. It fails on a fault, and as much on nothing having happened.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from sagalog import Recorded
from sagalog.kernel import events as e
from sagalog.testing.history import PROPERTIES
from sagalog.testing.history import check as check_history
from sagalog_cli.demo_evidence import Evidence, Held, Lost, leases_of

# What the holder of a lease may write; the sleeper tried them all.
VERBS: Final = ("heartbeat", "register", "complete", "fail", "release", "retry")


@dataclass(frozen=True)
class Finding:
    """What a check came to: what happened, how often (`count` of `what`, a noun in the singular), what was wrong."""

    name: str
    sentence: str
    count: int
    what: str
    faults: tuple[str, ...]

    @property
    def happened(self) -> bool:
        """Whether it happened at all, and without a fault."""
        return self.count > 0 and not self.faults


def check(evidence: Evidence) -> list[Finding]:
    """All checks, in the order in which things happen."""
    return [one(evidence) for one in CHECKS]


def every_task_ended(evidence: Evidence) -> Finding:
    """No task is pending, running or compensating any more."""
    living = [task for task in evidence.tasks.values() if not task.is_terminal]
    faults = [f"task {task.id} is still {task.state}" for task in living]
    return _finding("every_task_ended", "every task came to an end", len(evidence.tasks) - len(living), "task", faults)


def workers_raced(evidence: Evidence) -> Finding:
    """At least two processes got work, and all of them ended well."""
    owners = {held.lease.owner for _, held in _all_leases(evidence)}
    busy = [name for name in evidence.racing if name in owners]
    faults = [f"only {busy or 'nobody'} got any work"] if len(busy) < 2 else []
    exits = [(name, evidence.exits.get(name)) for name in evidence.racing]
    faults += [f"{name} ended with exit status {status}" for name, status in exits if status != 0]
    return _finding("workers_raced", "worker processes raced for the tasks", len(busy), "worker", faults)


def nobody_shared_a_task(evidence: Evidence) -> Finding:
    """Replayed from the log: no lease began while another one was open. [LEASE-1]"""
    count, faults = 0, []
    for id, history in evidence.histories.items():
        held = leases_of(history)
        count += len(held)
        faults += [
            f"task {id}: {later.lease.owner} leased it while {earlier.lease.owner} held it"
            for earlier, later in pairwise(held)
            if earlier.ended is None
        ]
    return _finding("nobody_shared_a_task", "no task was ever leased twice at once", count, "lease", faults)


def fences_rose(evidence: Evidence) -> Finding:
    """Each lease of a task has a higher fence than the one before. [FENCE-1]"""
    count, faults = 0, []
    for id, history in evidence.histories.items():
        fences = [held.lease.fence for held in leases_of(history)]
        steps = list(pairwise(fences))
        count += sum(earlier < later for earlier, later in steps)
        faults += [f"task {id}: fence {later} came after {earlier}" for earlier, later in steps if earlier >= later]
    return _finding("fences_rose", "each new lease of a task had a higher fence", count, "fence", faults)


def killed_worker_was_recovered(evidence: Evidence) -> Finding:
    """SIGKILL ended a worker, its leases ended by an event, and others finished its tasks."""
    doomed = evidence.doomed
    count, faults = _taken_over(evidence, doomed)
    if doomed.exit_status != -signal.SIGKILL:
        faults.append(f"{doomed.name} was to be killed and ended with exit status {doomed.exit_status}")
    sentence = "others finished what a worker held when SIGKILL came"
    return _finding("killed_worker_was_recovered", sentence, count, "task", faults)


def stopped_worker_was_replaced(evidence: Evidence) -> Finding:
    """A worker was stopped beyond its lease, and others finished its task."""
    count, faults = _taken_over(evidence, evidence.sleeper)
    if evidence.sleeper.exit_status:
        faults.append(f"{evidence.sleeper.name} ended with exit status {evidence.sleeper.exit_status}")
    sentence = "others finished what a stopped worker held too long"
    return _finding("stopped_worker_was_replaced", sentence, count, "task", faults)


def late_writes_were_refused(evidence: Evidence) -> Finding:
    """When it woke up, every verb was refused by its fence, and the log holds nothing of it. [FENCE-2]"""
    sleeper, histories = evidence.sleeper, evidence.histories
    count, faults = 0, []
    for id, fence in sleeper.holding.items():
        outcomes = evidence.late.get(id, {})
        count += sum(outcomes.get(verb) == "lease_lost" for verb in VERBS)
        faults += [
            f"task {id}: the late {verb} came to {outcomes.get(verb, 'nothing')}"
            for verb in VERBS
            if outcomes.get(verb) != "lease_lost"
        ]
        faults += [
            f"{late.name}: {late.type} of {sleeper.name} is on record after its lease had ended"
            for late in _after_expiry(histories.get(id, ()), fence)
            if late.actor == sleeper.name or getattr(late.event, "fence", None) == fence
        ]
    sentence = "its late writes were refused by their fence"
    return _finding("late_writes_were_refused", sentence, count, "write", faults)


def heartbeats_kept_a_lease(evidence: Evidence) -> Finding:
    """Work that took longer than its lease lasts was completed under that one lease. [LEASE-3]"""
    count = sum(
        held.ended is not None
        and held.ended.type == "completed"
        and held.ended.at_ms - held.leased.at_ms > (held.lease.ttl_ms or 0)
        and any(one.type == "heartbeat" for one in held.written)
        for _, held in _all_leases(evidence)
    )
    sentence = "heartbeats kept a lease for longer than it lasts"
    return _finding("heartbeats_kept_a_lease", sentence, count, "task", [])


def failed_tasks_were_undone(evidence: Evidence) -> Finding:
    """Whatever failed tasks owed was undone, all of it and the newest first, save in quarantine. [COMP-5]"""
    count, faults = 0, []
    for id, history in evidence.histories.items():
        types = [one.type for one in history]
        if "failed" not in types or "quarantined" in types:
            continue
        expected, done = _owed(history)[::-1], _done(history)
        if types[-1] != "compensated":
            faults.append(f"task {id} failed and ended as {types[-1]}")
        elif done != expected:
            faults.append(f"task {id}: {done} were undone and {expected} were to be")
        else:
            count += 1
    sentence = "failed tasks were undone in reverse order"
    return _finding("failed_tasks_were_undone", sentence, count, "task", faults)


def unknown_undo_was_quarantined(evidence: Evidence) -> Finding:
    """What owes an undo that nobody knows is quarantined, names all it owes, and nothing of it was undone. [UNDO-2]"""
    count, faults = 0, []
    for id, history in evidence.histories.items():
        last = history[-1].event
        if not isinstance(last, e.Quarantined):
            continue
        count += 1
        if last.code != "unknown_compensation":
            faults.append(f"task {id} was quarantined for {last.code}")
        if list(last.owed) != _owed(history):
            faults.append(f"task {id} owes {_owed(history)} and its quarantine names {list(last.owed)}")
        if _done(history) or any(held.lease.purpose == "undo" for held in leases_of(history)):
            faults.append(f"task {id} was leased for undoing, or undone in part: {_done(history)}")
    sentence = "owing an undo that nobody knows means quarantine"
    return _finding("unknown_undo_was_quarantined", sentence, count, "task", faults)


def nothing_is_left_over(evidence: Evidence) -> Finding:
    """No lease is open, and of the resources there are those of completed and of quarantined tasks, and no others."""
    faults, expected = [], set()
    for id, history in evidence.histories.items():
        faults += [f"task {id}: {held.lease.owner} still holds it" for held in leases_of(history) if held.ended is None]
        if history[-1].type in ("completed", "quarantined"):
            expected |= set(_things(history))
    faults += [f"{thing} was left behind" for thing in sorted(evidence.things - expected)]
    faults += [f"{thing} is missing" for thing in sorted(expected - evidence.things)]
    undone = {thing for history in evidence.histories.values() for thing in _things(history)} - evidence.things
    sentence = "nothing was left behind on the disk or in the log"
    return _finding("nothing_is_left_over", sentence, len(undone), "removed resource", faults)


def projections_were_rebuilt(evidence: Evidence) -> Finding:
    """Every projection was thrown away and folded afresh from the log, and came out the same. [RECORD-3]"""
    report = evidence.rebuilding
    faults = [f"task {id} cannot be read" for id in report.unreadable]
    ids = sorted({*evidence.tasks, *evidence.rebuilt})
    faults += [f"task {id} came out different" for id in ids if evidence.tasks.get(id) != evidence.rebuilt.get(id)]
    sentence = "every projection was rebuilt from the log, unchanged"
    return _finding("projections_were_rebuilt", sentence, report.tasks, "task", faults)


def log_was_verified(evidence: Evidence) -> Finding:
    """Each event fits its digest, its place and the table of the lifecycle; each projection fits the log. [LOG-4]"""
    report = evidence.verifying
    faults = [f"{fault.stream}@{fault.version}: {fault.text}" for fault in report.faults]
    if report.events != len(evidence.log):
        faults.append(f"{report.events} events were verified and the log has {len(evidence.log)}")
    sentence = "every event fits its digest, its place and the rules"
    return _finding("log_was_verified", sentence, report.events, "event", faults)


def log_breaks_no_property(evidence: Evidence) -> Finding:
    """The checker that sagalog ships for everybody's own logs has nothing to say about this one."""
    violations = check_history(evidence.log)
    faults = [f"{one.event} breaks {one.property!r}: {one.text}" for one in violations]
    sentence = "the shipped checker of histories found nothing wrong"
    return _finding("log_breaks_no_property", sentence, len(PROPERTIES), "rule", faults)


CHECKS: Final[Sequence[Callable[[Evidence], Finding]]] = (
    every_task_ended,
    workers_raced,
    nobody_shared_a_task,
    fences_rose,
    heartbeats_kept_a_lease,
    killed_worker_was_recovered,
    stopped_worker_was_replaced,
    late_writes_were_refused,
    failed_tasks_were_undone,
    unknown_undo_was_quarantined,
    nothing_is_left_over,
    projections_were_rebuilt,
    log_was_verified,
    log_breaks_no_property,
)


def _finding(name: str, sentence: str, count: int, what: str, faults: Sequence[str]) -> Finding:
    return Finding(name, sentence, count, what, tuple(faults))


def _all_leases(evidence: Evidence) -> Iterator[tuple[str, Held]]:
    for id, history in evidence.histories.items():
        for held in leases_of(history):
            yield id, held


def _taken_over(evidence: Evidence, lost: Lost) -> tuple[int, list[str]]:
    """How many of the tasks that a lost worker held were finished by others, and what went wrong with the rest."""
    count, faults, histories = 0, [], evidence.histories
    for id, fence in lost.holding.items():
        fault = _fault_of_take_over(histories.get(id, []), lost.name, fence)
        if fault is None:
            count += 1
        else:
            faults.append(f"task {id}: {fault}")
    if not lost.holding:
        faults.append(f"{lost.name} held nothing")
    return count, faults


def _fault_of_take_over(history: Sequence[Recorded], name: str, fence: int) -> str | None:
    """What is wrong with: its lease expired by an event, then came a higher fence of somebody else, who finished."""
    held = leases_of(history)
    mine = [place for place, one in enumerate(held) if one.lease.fence == fence and one.lease.owner == name]
    if len(mine) != 1:
        return f"{name} had {len(mine)} leases of it under fence {fence}"
    lost = held[mine[0]]
    if lost.ended is None or lost.ended.type != "lease_expired":
        return f"the lease of {name} ended by {lost.ended.type if lost.ended else 'nothing'}"
    later = held[mine[0] + 1 :]
    if not later:
        return "nobody took it over"
    if later[0].lease.fence <= fence or later[0].leased.position < lost.ended.position:
        return f"fence {later[0].lease.fence} of {later[0].lease.owner} did not come after fence {fence}"
    if later[-1].lease.owner == name or later[-1].ended is not history[-1]:
        return f"it was not finished by another than {name}"
    return None


def _after_expiry(history: Sequence[Recorded], fence: int) -> Sequence[Recorded]:
    """What is on record after the lease with this fence had expired."""
    for place, one in enumerate(history):
        if isinstance(one.event, e.LeaseExpired) and one.event.fence == fence:
            return history[place + 1 :]
    return ()


def _registered(history: Sequence[Recorded]) -> list[e.CompensationRegistered]:
    return [one.event for one in history if isinstance(one.event, e.CompensationRegistered)]


def _owed(history: Sequence[Recorded]) -> list[str]:
    """The ids of what the task came to owe, in order of registration."""
    return [one.id for one in _registered(history)]


def _done(history: Sequence[Recorded]) -> list[str]:
    """The ids of what was undone, in order."""
    return [one.event.id for one in history if isinstance(one.event, e.CompensationDone)]


def _things(history: Sequence[Recorded]) -> list[str]:
    """The resources that a task has made, as its compensations name them."""
    return [one.params["thing"] for one in _registered(history)]

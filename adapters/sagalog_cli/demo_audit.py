"""What must hold of any log, whatever was done: the checks of the demo that know nothing of its tasks.

Rule: a check believes no process and no engine, only the log and what was made of it; it gives how often the thing
happened and every fault it found, and fails on a fault as much as on nothing having happened.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from sagalog.testing.history import PROPERTIES
from sagalog.testing.history import check as check_history
from sagalog_cli.demo_evidence import Evidence, Held, leases_of


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


def finding(name: str, sentence: str, count: int, what: str, faults: Sequence[str]) -> Finding:
    """Put together what a check has found."""
    return Finding(name, sentence, count, what, tuple(faults))


def every_task_ended(evidence: Evidence) -> Finding:
    """No task is pending, running or compensating any more."""
    living = [task for task in evidence.tasks.values() if not task.is_terminal]
    faults = [f"task {task.id} is still {task.state}" for task in living]
    return finding("every_task_ended", "every task came to an end", len(evidence.tasks) - len(living), "task", faults)


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
    return finding("nobody_shared_a_task", "no task was ever leased twice at once", count, "lease", faults)


def fences_rose(evidence: Evidence) -> Finding:
    """Each lease of a task has a higher fence than the one before. [FENCE-1]"""
    count, faults = 0, []
    for id, history in evidence.histories.items():
        fences = [held.lease.fence for held in leases_of(history)]
        steps = list(pairwise(fences))
        count += sum(earlier < later for earlier, later in steps)
        faults += [f"task {id}: fence {later} came after {earlier}" for earlier, later in steps if earlier >= later]
    return finding("fences_rose", "each new lease of a task had a higher fence", count, "fence", faults)


def projections_were_rebuilt(evidence: Evidence) -> Finding:
    """Every projection was thrown away and folded afresh from the log, and came out the same. [RECORD-3]"""
    report = evidence.rebuilding
    faults = [f"task {id} cannot be read" for id in report.unreadable]
    ids = sorted({*evidence.tasks, *evidence.rebuilt})
    faults += [f"task {id} came out different" for id in ids if evidence.tasks.get(id) != evidence.rebuilt.get(id)]
    sentence = "every projection was rebuilt from the log, unchanged"
    return finding("projections_were_rebuilt", sentence, report.tasks, "task", faults)


def log_was_verified(evidence: Evidence) -> Finding:
    """Each event fits its digest, its place and the table of the lifecycle; each projection fits the log. [LOG-4]"""
    report = evidence.verifying
    faults = [f"{fault.stream}@{fault.version}: {fault.text}" for fault in report.faults]
    if report.events != len(evidence.log):
        faults.append(f"{report.events} events were verified and the log has {len(evidence.log)}")
    sentence = "every event fits its digest, its place and the rules"
    return finding("log_was_verified", sentence, report.events, "event", faults)


def log_breaks_no_property(evidence: Evidence) -> Finding:
    """The checker that sagalog ships for every user's own log has nothing to say about this one."""
    violations = check_history(evidence.log)
    faults = [f"{one.event} breaks {one.property!r}: {one.text}" for one in violations]
    sentence = "the shipped checker of histories found nothing wrong"
    return finding("log_breaks_no_property", sentence, len(PROPERTIES), "rule", faults)


def all_leases(evidence: Evidence) -> Iterator[tuple[str, Held]]:
    """Every lease of every task, with the id of the task."""
    for id, history in evidence.histories.items():
        for held in leases_of(history):
            yield id, held

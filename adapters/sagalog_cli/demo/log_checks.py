"""The checks that hold for any log, whatever its tasks are.

Rule: a check believes no process and no engine. It reads the log and what was made of it, counts how often the thing
happened, and lists every fault. It fails on a fault, and also if the thing never happened.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

from sagalog.testing.history import PROPERTIES
from sagalog.testing.history import check as check_history
from sagalog_cli.demo.evidence import Evidence
from sagalog_cli.demo.findings import Finding, Words, finding, history
from sagalog_cli.demo.histories import RecordedLease, leases_of


def every_task_ended(evidence: Evidence) -> Finding:
    """Check that no task is pending, running or compensating."""
    live = [task for task in evidence.tasks.values() if not task.is_terminal]
    return finding(
        "every_task_ended",
        "every task has ended",
        len(evidence.tasks) - len(live),
        "task",
        "ended",
        faults=[f"task {task.id} is still {task.state}" for task in live],
        look=[("sagalog", "list")],
    )


def no_task_had_two_leases_at_once(evidence: Evidence) -> Finding:
    """Check, by a replay of the log, that no lease began while another one was open. [LEASE-1]"""
    count, faults, tasks = 0, [], []
    for id, events in evidence.histories.items():
        leases = leases_of(events)
        count += len(leases)
        for earlier, later in pairwise(leases):
            if earlier.ended is None:
                faults.append(f"task {id}: {later.lease.owner} leased it while {earlier.lease.owner} held it")
                tasks.append(id)
    return finding(
        "no_task_had_two_leases_at_once",
        "a task has one lease at a time",
        count,
        "lease",
        "never overlapped on a task",
        faults=faults,
        look=_histories(tasks),
    )


def fences_rose(evidence: Evidence) -> Finding:
    """Check that each lease of a task has a higher fence than the one before. [FENCE-1]"""
    count, faults, tasks = 0, [], []
    for id, events in evidence.histories.items():
        fences = [lease.lease.fence for lease in leases_of(events)]
        for earlier, later in pairwise(fences):
            if earlier < later:
                count += 1
            else:
                faults.append(f"task {id}: fence {later} came after {earlier}")
                tasks.append(id)
    return finding(
        "fences_rose",
        "each new lease of a task has a higher fence than the one before",
        count,
        "fence",
        "rose with a new lease",
        faults=faults,
        look=_histories(tasks),
    )


def projections_were_rebuilt(evidence: Evidence) -> Finding:
    """Check that every projection, folded afresh from the log, is what it was. [RECORD-3]"""
    report = evidence.rebuilding
    ids = sorted({*evidence.tasks, *evidence.rebuilt})
    different = [id for id in ids if evidence.tasks.get(id) != evidence.rebuilt.get(id)]
    faults = [f"task {id} cannot be read" for id in report.unreadable]
    faults += [f"task {id} is different after the rebuild" for id in different]
    return finding(
        "projections_were_rebuilt",
        "every projection can be rebuilt from the log and does not change",
        report.tasks,
        "task",
        "rebuilt without a change",
        faults=faults,
        look=[("sagalog", "verify"), *_histories([*report.unreadable, *different])],
    )


def log_was_verified(evidence: Evidence) -> Finding:
    """Check that each event fits its digest, its place and the lifecycle, and each projection the log. [LOG-4]"""
    report = evidence.verifying
    faults = [f"{fault.stream}@{fault.version}: {fault.text}" for fault in report.faults]
    if report.events != len(evidence.log):
        faults.append(f"{report.events} events were verified and the log has {len(evidence.log)}")
    return finding(
        "log_was_verified",
        "every event fits its digest, its place and the lifecycle, and every projection fits the log",
        report.events,
        "event",
        "verified without a fault",
        faults=faults,
        look=[("sagalog", "verify")],
    )


def log_breaks_no_property(evidence: Evidence) -> Finding:
    """Check that `sagalog.testing.history`, which users run on their own logs, finds no violation in this one."""
    violations = check_history(evidence.log)
    return finding(
        "log_breaks_no_property",
        "the checker of `sagalog.testing.history` finds no violation",
        len(PROPERTIES),
        "rule",
        "kept by every history",
        faults=[f"{one.event} breaks {one.property!r}: {one.text}" for one in violations],
        look=_histories(one.event.removeprefix("task/").rpartition("@")[0] for one in violations),
    )


def all_leases(evidence: Evidence) -> Iterator[tuple[str, RecordedLease]]:
    """Give every lease of every task, with the id of the task."""
    for id, events in evidence.histories.items():
        for lease in leases_of(events):
            yield id, lease


def _histories(tasks: Iterable[str]) -> list[Words]:
    """Name the commands that show these tasks; without any, the one that lists all."""
    return [history(id) for id in tasks] or [("sagalog", "list")]

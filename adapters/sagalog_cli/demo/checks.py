"""The checks of what the demo does: each is one small function over the evidence.

Rule: a check believes no process and no engine. It reads the log, git, the disk and exit statuses, counts how often the
thing happened, and lists every fault. It fails on a fault, and also if the thing never happened.
"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from sagalog.actors import worker_actor
from sagalog.kernel import events as e
from sagalog_cli.demo.evidence import Evidence
from sagalog_cli.demo.findings import Finding, finding, history
from sagalog_cli.demo.histories import RecordedLease, created, leases_of, of_type, owed, result_of, types_of, undone
from sagalog_cli.demo.late_holder import ACCEPTED, VERBS
from sagalog_cli.demo.log_checks import (
    all_leases,
    every_task_ended,
    fences_rose,
    log_breaks_no_property,
    log_was_verified,
    no_task_had_two_leases_at_once,
    projections_were_rebuilt,
)
from sagalog_cli.demo.repository import MAIN, branch_of
from sagalog_cli.demo.tasks import (
    DONE_STEPS,
    FAILED,
    INTERRUPTED_STEP,
    LATE,
    LATE_HOLDER,
    PARENT,
    PARTS,
    QUARANTINED,
    RESUMED,
    REVIEWED,
)
from sagalog_cli.render import EXIT_STATUS


def check(evidence: Evidence) -> list[Finding]:
    """Run all checks, in the order of `CHECKS`."""
    return [one(evidence) for one in CHECKS]


def killed_worker_was_replaced(evidence: Evidence) -> Finding:
    """Check that SIGKILL ended a worker, an event ended its lease, and another completed its task. [LEASE-4]"""
    killed = evidence.killed
    leases = leases_of(evidence.histories.get(RESUMED, []))
    faults = []
    if killed.exit_status != -signal.SIGKILL:
        faults.append(f"{killed.name} ended with exit status {killed.exit_status}, not by SIGKILL")
    if len(leases) < 2:
        faults.append(f"no other worker leased task {RESUMED}")
    else:
        first, last = leases[0], leases[-1]
        if not _is_of(first, killed.name) or first.ended is None or first.ended.type != "lease_expired":
            faults.append(f"the lease of {killed.name} ended by {first.ended.type if first.ended else 'no event'}")
        if _is_of(last, killed.name) or last.ended is None or last.ended.type != "completed":
            faults.append(f"task {RESUMED} was not completed by another worker than {killed.name}")
    return finding(
        "killed_worker_was_replaced",
        f"SIGKILL ends {killed.name}, its lease of task {RESUMED} expires, and another worker completes the task",
        0 if faults else 1,
        "task",
        "of a killed worker completed",
        faults=faults,
        look=[history(RESUMED)],
    )


def recorded_steps_were_not_run_again(evidence: Evidence) -> Finding:
    """Check that each step on record at the kill ran once, in the process of the killed worker. [STEP-1]"""
    killed = evidence.killed
    leases = leases_of(evidence.histories.get(RESUMED, []))
    recorded = [one.name for one in of_type(e.StepCompleted, leases[0].written)] if leases else []
    runs = _runs(evidence, RESUMED)
    faults = [
        f"step {step!r} was on record and ran in {_pids(runs.get(step, []))}"
        for step in recorded
        if runs.get(step) != [killed.pid]
    ]
    if tuple(recorded) != DONE_STEPS:
        faults.append(f"on record at the kill were {recorded} and not {list(DONE_STEPS)}")
    return finding(
        "recorded_steps_were_not_run_again",
        f"the steps {', '.join(DONE_STEPS)} of task {RESUMED} are on record at the kill and run once",
        len(recorded),
        "step",
        "on record did not run again",
        faults=faults,
        look=[history(RESUMED), ("cat", "journal")],
    )


def interrupted_step_was_run_again(evidence: Evidence) -> Finding:
    """Check that the step that the kill interrupted ran in two processes and is on record once. [STEP-1]"""
    pids = _runs(evidence, RESUMED).get(INTERRUPTED_STEP, [])
    names = [one.name for one in of_type(e.StepCompleted, evidence.histories.get(RESUMED, []))]
    faults = []
    if len(set(pids)) < 2 or pids[0] != evidence.killed.pid:
        faults.append(f"step {INTERRUPTED_STEP!r} ran in {_pids(pids)}")
    if names.count(INTERRUPTED_STEP) != 1:
        faults.append(f"step {INTERRUPTED_STEP!r} is on record {names.count(INTERRUPTED_STEP)} times")
    return finding(
        "interrupted_step_was_run_again",
        f"the step {INTERRUPTED_STEP} of task {RESUMED} runs in the killed worker and in another, "
        "and is on record once",
        len(set(pids)) - 1,
        "step",
        "cut short ran once more",
        faults=faults,
        look=[history(RESUMED), ("cat", "journal")],
    )


def late_writes_were_refused(evidence: Evidence) -> Finding:
    """Check that the store refused every verb of the late holder, and another worker completed its task. [FENCE-2]"""
    late, events = evidence.late_writes, evidence.histories.get(LATE, [])
    refused = [verb for verb in VERBS if late.get(verb) == "lease_lost"]
    faults = [f"the late {verb} {_answered(late.get(verb))}" for verb in VERBS if verb not in refused]
    if types_of(events)[-1:] != ["completed"]:
        faults.append(f"task {LATE} ended as {types_of(events)[-1:]}")
    lease = next((one for one in leases_of(events) if one.lease.fence == evidence.late_fence), None)
    if lease is None or lease.ended is None or lease.ended.type != "lease_expired":
        faults.append(f"the lease of {LATE_HOLDER} did not expire")
    else:
        faults += [
            f"{one.name}: {one.type} is on record under a fence whose lease had ended"
            for one in events[lease.ended.version :]
            if one.actor == worker_actor(LATE_HOLDER) or getattr(one.event, "fence", None) == evidence.late_fence
        ]
    return finding(
        "late_writes_were_refused",
        f"once the lease of {LATE_HOLDER} has expired, the store refuses all {len(VERBS)} verbs of a holder, "
        "the log holds none of them, and another worker completes the task",
        len(refused),
        "write",
        "of a late holder refused",
        faults=faults,
        look=[history(LATE)],
    )


def failed_task_left_nothing(evidence: Evidence) -> Finding:
    """Check that the undos of a failed task ran, the newest first, and git knows neither its worktree nor branch."""
    events, repository = evidence.histories.get(FAILED, []), evidence.repository
    expected, done = owed(events)[::-1], undone(events)
    faults = []
    if types_of(events)[-1:] != ["compensated"]:
        faults.append(f"task {FAILED} ended as {types_of(events)[-1:]}")
    if done != expected:
        faults.append(f"{done} were undone and not {expected}")
    if FAILED in repository.worktrees | repository.folders:
        faults.append(f"its worktree is still there: {FAILED}")
    if branch_of(FAILED) in repository.branches:
        faults.append(f"its branch is still there: {branch_of(FAILED)}")
    return finding(
        "failed_task_left_nothing",
        f"the undos of task {FAILED} run, the newest first, and its worktree and its branch are gone",
        len(done),
        "undo",
        "cleaned up a failed task",
        faults=faults,
        look=[history(FAILED), ("git", "worktree", "list"), ("git", "branch", "--list")],
    )


def unknown_undo_was_quarantined(evidence: Evidence) -> Finding:
    """Check that a task with an undo that no worker knows is quarantined, and nothing of it was undone. [UNDO-2]"""
    events, repository = evidence.histories.get(QUARANTINED, []), evidence.repository
    ends, owing = list(of_type(e.Quarantined, events)), owed(events)
    faults = [f"it was quarantined for {one.code}" for one in ends if one.code != "unknown_compensation"]
    faults += [f"it owes {owing} and its quarantine names {list(one.owed)}" for one in ends if list(one.owed) != owing]
    if undone(events) or any(one.lease.purpose == "undo" for one in leases_of(events)):
        faults.append(f"it was leased for undoing, or undone in part: {undone(events)}")
    if QUARANTINED not in repository.worktrees & repository.folders:
        faults.append(f"its worktree is gone: {QUARANTINED}")
    if branch_of(QUARANTINED) not in repository.branches:
        faults.append(f"its branch is gone: {branch_of(QUARANTINED)}")
    return finding(
        "unknown_undo_was_quarantined",
        f"task {QUARANTINED} owes an undo that no worker knows; it is quarantined, names all that it owes, "
        "and keeps its worktree and its branch",
        len(ends),
        "task",
        "quarantined: unknown undo",
        faults=faults,
        look=[history(QUARANTINED), ("git", "worktree", "list"), ("git", "branch", "--list")],
    )


def signal_let_a_task_go_on(evidence: Evidence) -> Finding:
    """Check that a task waited without a lease for its signal, went on, and `main` holds its work. [WAIT-1]"""
    events = evidence.histories.get(REVIEWED, [])
    types = [one for one in types_of(events) if one in ("parked", "signalled", "unblocked", "completed")]
    faults = []
    if types != ["parked", "signalled", "unblocked", "completed"]:
        faults.append(f"its events were {types}")
    for parked in (one for one in events if one.type == "parked"):
        after = events[parked.version : parked.version + 1]
        faults += [f"{one.type} came while it waited" for one in after if one.type != "signalled"]
    commit = result_of(events).get("commit")
    if commit not in evidence.repository.commits.get(MAIN, frozenset()):
        faults.append(f"{MAIN} does not hold its commit {commit}")
    return finding(
        "signal_let_a_task_go_on",
        f"task {REVIEWED} waits without a lease, goes on after the signal, and merges its commit into {MAIN}",
        types.count("signalled"),
        "signal",
        "let a waiting task go on",
        faults=faults,
        look=[history(REVIEWED), ("git", "log", "--oneline", MAIN)],
    )


def children_were_waited_for(evidence: Evidence) -> Finding:
    """Check that a task went on only after its children had ended, and its branch holds their commits. [WAIT-3]"""
    histories = evidence.histories
    children = [f"{PARENT}/{part}" for part in PARTS]
    went_on = [one.position for one in histories.get(PARENT, []) if one.type == "unblocked"]
    commits = evidence.repository.commits.get(branch_of(PARENT), frozenset())
    faults = [] if len(went_on) == 1 else [f"its wait ended {len(went_on)} times"]
    count = 0
    for id in children:
        child = histories.get(id, [])
        ends = [one.position for one in child if one.type == "completed"]
        if not ends or not went_on or ends[0] > went_on[0]:
            faults.append(f"child {id} had not ended when it went on")
        elif result_of(child).get("commit") not in commits:
            faults.append(f"the commit of child {id} is not in {branch_of(PARENT)}")
        else:
            count += 1
    return finding(
        "children_were_waited_for",
        f"task {PARENT} goes on after its {len(PARTS)} children have ended, and merges their commits",
        count,
        "child",
        "awaited by their parent",
        faults=faults,
        look=[history(PARENT), ("git", "log", "--oneline", branch_of(PARENT))],
    )


def git_holds_what_the_log_says(evidence: Evidence) -> Finding:
    """Check that there are the worktrees and branches of completed and quarantined tasks, and no others."""
    repository = evidence.repository
    names = {
        created(events).payload["name"]
        for events in evidence.histories.values()
        if types_of(events)[-1] in ("completed", "quarantined")
    }
    branches = {branch_of(name) for name in names} | {MAIN}
    there = repository.worktrees | repository.folders
    faults = [f"worktree {name} was left behind" for name in sorted(there - names)]
    faults += [f"worktree {name} is missing" for name in sorted(names - (repository.worktrees & repository.folders))]
    faults += [f"branch {name} was left behind" for name in sorted(repository.branches - branches)]
    faults += [f"branch {name} is missing" for name in sorted(branches - repository.branches)]
    faults += [f"task {id}: {one.lease.owner} still holds it" for id, one in all_leases(evidence) if one.ended is None]
    return finding(
        "git_holds_what_the_log_says",
        "git and the disk hold the worktrees and branches of completed and quarantined tasks and no others, "
        "and no worker holds a task",
        len(repository.worktrees),
        "worktree",
        "in git match the log",
        faults=faults,
        look=[("git", "worktree", "list"), ("git", "branch", "--list"), ("sagalog", "list")],
    )


def workers_stopped_when_asked(evidence: Evidence) -> Finding:
    """Check that each worker that was not killed ended by SIGTERM as it ends when it stops in order."""
    asked = {name: status for name, status in evidence.exits.items() if name != evidence.killed.name}
    failed = {name: status for name, status in asked.items() if status != EXIT_STATUS["terminated"]}
    return finding(
        "workers_stopped_when_asked",
        f"each worker that was not killed ends with exit status {EXIT_STATUS['terminated']} on SIGTERM",
        len(asked),
        "worker",
        "stopped on SIGTERM",
        faults=[f"{name} ended with exit status {status}" for name, status in failed.items()],
        look=[("cat", f"{name}.log") for name in failed or asked],
    )


# First what becomes of the tasks, then what is true of all of them: the two columns of the table.
CHECKS: Final[Sequence[Callable[[Evidence], Finding]]] = (
    killed_worker_was_replaced,
    recorded_steps_were_not_run_again,
    interrupted_step_was_run_again,
    late_writes_were_refused,
    failed_task_left_nothing,
    unknown_undo_was_quarantined,
    signal_let_a_task_go_on,
    children_were_waited_for,
    every_task_ended,
    no_task_had_two_leases_at_once,
    fences_rose,
    git_holds_what_the_log_says,
    workers_stopped_when_asked,
    log_was_verified,
    projections_were_rebuilt,
    log_breaks_no_property,
)


# --- what a fault says ----------------------------------------------------------------------------------------------


def _is_of(lease: RecordedLease, name: str) -> bool:
    """Tell whether a lease is of the worker of this name: a worker adds an end of its own to it."""
    return lease.lease.owner.startswith(f"{name}-")


def _answered(code: str | None) -> str:
    """Say how the store answered a late write."""
    if code is None:
        return "was not tried"
    return "was accepted" if code == ACCEPTED else f"was refused with {code} and not with lease_lost"


def _runs(evidence: Evidence, task: str) -> dict[str, list[int]]:
    """Give step -> the processes in which it began, in order."""
    found: dict[str, list[int]] = {}
    for one in evidence.journal:
        if one.task == task:
            found.setdefault(one.step, []).append(one.pid)
    return found


def _pids(pids: Sequence[int]) -> str:
    return ", ".join(f"process {pid} ({times}x)" for pid, times in Counter(pids).items()) or "no process"

"""What must have happened in the demo, each thing as one small function over the evidence.

Rule: a check believes no process and no engine, only the log, git, the disk and what the operating system said; it
gives how often the thing happened and every fault it found. It fails on a fault, and as much on nothing having
happened.
"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

from sagalog import Recorded
from sagalog.actors import worker_actor
from sagalog.kernel import events as e
from sagalog_cli.demo_audit import (
    Finding,
    all_leases,
    every_task_ended,
    fences_rose,
    finding,
    log_breaks_no_property,
    log_was_verified,
    nobody_shared_a_task,
    projections_were_rebuilt,
)
from sagalog_cli.demo_evidence import Evidence, Held, leases_of
from sagalog_cli.demo_plan import (
    DONE_STEPS,
    FAILED,
    ODD,
    PARENT,
    PARTS,
    RESUMED,
    REVIEWED,
    SLEEPER,
    SLEPT,
    STEP_IN_HAND,
)
from sagalog_cli.demo_repository import MAIN, branch_of
from sagalog_cli.demo_sleeper import VERBS

E = TypeVar("E", bound=e.Recordable)


def check(evidence: Evidence) -> list[Finding]:
    """All checks, in the order in which things happen."""
    return [one(evidence) for one in CHECKS]


def killed_worker_was_replaced(evidence: Evidence) -> Finding:
    """SIGKILL ended a worker, its lease ended by an event, and another finished its task. [LEASE-4]"""
    killed, history = evidence.killed, evidence.histories.get(RESUMED, [])
    held = leases_of(history)
    faults = []
    if killed.exit_status != -signal.SIGKILL:
        faults.append(f"{killed.name} was to be killed and ended with exit status {killed.exit_status}")
    if len(held) < 2:
        faults.append("no worker took the task over")
    else:
        first, last = held[0], held[-1]
        if not _is_of(first, killed.name) or first.ended is None or first.ended.type != "lease_expired":
            faults.append(f"the lease of {killed.name} ended by {first.ended.type if first.ended else 'nothing'}")
        if _is_of(last, killed.name) or last.ended is None or last.ended.type != "completed":
            faults.append(f"it was not completed by another than {killed.name}")
    count = 0 if faults else 1
    return finding("killed_worker_was_replaced", "another finished what a worker killed held", count, "task", faults)


def recorded_steps_were_not_run_again(evidence: Evidence) -> Finding:
    """Of the steps that were on record when the worker was killed, each ran once, in its process. [STEP-1]"""
    killed = evidence.killed
    held = leases_of(evidence.histories.get(RESUMED, []))
    recorded = [one.name for one in _of_type(e.StepCompleted, held[0].written)] if held else []
    runs = _runs(evidence, RESUMED)
    faults = [
        f"step {step!r} was on record and ran in {_pids(runs.get(step, []))}"
        for step in recorded
        if runs.get(step) != [killed.pid]
    ]
    if tuple(recorded) != DONE_STEPS:
        faults.append(f"on record were {recorded}, and {list(DONE_STEPS)} were to be")
    sentence = "steps on record were not run again after the kill"
    return finding("recorded_steps_were_not_run_again", sentence, len(recorded), "step", faults)


def step_in_hand_was_run_again(evidence: Evidence) -> Finding:
    """The step in which the worker was killed ran twice, in two processes, and is on record once. [STEP-1]"""
    pids = _runs(evidence, RESUMED).get(STEP_IN_HAND, [])
    names = [one.name for one in _of_type(e.StepCompleted, evidence.histories.get(RESUMED, []))]
    faults = []
    if len(set(pids)) < 2 or pids[0] != evidence.killed.pid:
        faults.append(f"step {STEP_IN_HAND!r} ran in {_pids(pids)}")
    if names.count(STEP_IN_HAND) != 1:
        faults.append(f"step {STEP_IN_HAND!r} is on record {names.count(STEP_IN_HAND)} times")
    sentence = "the step in which the kill came was run again"
    return finding("step_in_hand_was_run_again", sentence, len(set(pids)) - 1, "step", faults)


def late_writes_were_refused(evidence: Evidence) -> Finding:
    """Who slept beyond a lease was refused with every verb, and the log holds nothing of it. [FENCE-2]"""
    late, history = evidence.late, evidence.histories.get(SLEPT, [])
    refused = [verb for verb in VERBS if late.get(verb) == "lease_lost"]
    faults = [f"the late {verb} came to {late.get(verb, 'nothing')}" for verb in VERBS if verb not in refused]
    held = next((one for one in leases_of(history) if one.lease.fence == evidence.slept), None)
    if held is None or held.ended is None or held.ended.type != "lease_expired":
        faults.append(f"the lease of {SLEEPER} did not expire")
    else:
        faults += [
            f"{one.name}: {one.type} is on record under a fence that was over"
            for one in history[held.ended.version :]
            if one.actor == worker_actor(SLEEPER) or getattr(one.event, "fence", None) == evidence.slept
        ]
    sentence = "late writes of who slept too long were refused"
    return finding("late_writes_were_refused", sentence, len(refused), "write", faults)


def failed_task_left_nothing(evidence: Evidence) -> Finding:
    """What a failed task had made is gone, the newest first, and git knows neither its worktree nor its branch."""
    history, kept = evidence.histories.get(FAILED, []), evidence.kept
    expected, done = _owed(history)[::-1], _done(history)
    faults = []
    if _types(history)[-1:] != ["compensated"]:
        faults.append(f"task {FAILED} ended as {_types(history)[-1:]}")
    if done != expected:
        faults.append(f"{done} were undone and {expected} were to be")
    if FAILED in kept.worktrees | kept.folders:
        faults.append(f"its worktree is still there: {FAILED}")
    if branch_of(FAILED) in kept.branches:
        faults.append(f"its branch is still there: {branch_of(FAILED)}")
    sentence = "a failed task's worktree and branch are gone"
    return finding("failed_task_left_nothing", sentence, len(done), "undo", faults)


def unknown_undo_was_quarantined(evidence: Evidence) -> Finding:
    """What owes an undo that no worker knows names all it owes, and nothing of it was undone. [UNDO-2]"""
    history, kept = evidence.histories.get(ODD, []), evidence.kept
    ends, owed = list(_of_type(e.Quarantined, history)), _owed(history)
    faults = [f"it was quarantined for {one.code}" for one in ends if one.code != "unknown_compensation"]
    faults += [f"it owes {owed} and its quarantine names {list(one.owed)}" for one in ends if list(one.owed) != owed]
    if _done(history) or any(held.lease.purpose == "undo" for held in leases_of(history)):
        faults.append(f"it was leased for undoing, or undone in part: {_done(history)}")
    if ODD not in kept.worktrees & kept.folders:
        faults.append(f"its worktree is gone: {ODD}")
    if branch_of(ODD) not in kept.branches:
        faults.append(f"its branch is gone: {branch_of(ODD)}")
    sentence = "an undo that no worker knows: quarantine, all still there"
    return finding("unknown_undo_was_quarantined", sentence, len(ends), "task", faults)


def signal_let_a_task_go_on(evidence: Evidence) -> Finding:
    """A task was parked without a lease until its signal came; then it went on, and `main` holds its work. [WAIT-1]"""
    history = evidence.histories.get(REVIEWED, [])
    types = [one for one in _types(history) if one in ("parked", "signalled", "unblocked", "completed")]
    faults = []
    if types != ["parked", "signalled", "unblocked", "completed"]:
        faults.append(f"it came to {types}")
    for parked in (one for one in history if one.type == "parked"):
        after = history[parked.version : parked.version + 1]
        faults += [f"{one.type} came while it waited" for one in after if one.type != "signalled"]
    commit = _result(history).get("commit")
    if commit not in evidence.kept.commits.get(MAIN, frozenset()):
        faults.append(f"{MAIN} does not hold its commit {commit}")
    count = types.count("signalled")
    sentence = "a task waited for a signal, and went on"
    return finding("signal_let_a_task_go_on", sentence, count, "signal", faults)


def children_were_waited_for(evidence: Evidence) -> Finding:
    """A task went on only after its children had ended, and its branch holds what they committed. [WAIT-3]"""
    histories = evidence.histories
    history = histories.get(PARENT, [])
    children = [f"{PARENT}/{part}" for part in PARTS]
    on = [one.position for one in history if one.type == "unblocked"]
    held = evidence.kept.commits.get(branch_of(PARENT), frozenset())
    faults = [] if len(on) == 1 else [f"its wait ended {len(on)} times"]
    count = 0
    for id in children:
        child = histories.get(id, [])
        ends = [one.position for one in child if one.type == "completed"]
        if not ends or not on or ends[0] > on[0]:
            faults.append(f"child {id} had not ended when it went on")
        elif _result(child).get("commit") not in held:
            faults.append(f"the commit of child {id} is not in {branch_of(PARENT)}")
        else:
            count += 1
    return finding("children_were_waited_for", "a task waited for its children's work", count, "child", faults)


def git_holds_what_the_log_says(evidence: Evidence) -> Finding:
    """Of worktrees and branches there are those of completed and of quarantined tasks, and no others."""
    kept = evidence.kept
    names = {
        _created(history).payload["name"]
        for history in evidence.histories.values()
        if _types(history)[-1] in ("completed", "quarantined")
    }
    branches = {branch_of(name) for name in names} | {MAIN}
    faults = [f"worktree {name} was left behind" for name in sorted((kept.worktrees | kept.folders) - names)]
    faults += [f"worktree {name} is missing" for name in sorted(names - (kept.worktrees & kept.folders))]
    faults += [f"branch {name} was left behind" for name in sorted(kept.branches - branches)]
    faults += [f"branch {name} is missing" for name in sorted(branches - kept.branches)]
    faults += [
        f"task {id}: {held.lease.owner} still holds it" for id, held in all_leases(evidence) if held.ended is None
    ]
    sentence = "git holds exactly what the log says, no worker holds a task"
    return finding("git_holds_what_the_log_says", sentence, len(kept.worktrees), "worktree", faults)


def workers_ended_well(evidence: Evidence) -> Finding:
    """Each worker that was not killed ended with status 0 when it was asked to."""
    asked = {name: status for name, status in evidence.exits.items() if name != evidence.killed.name}
    faults = [f"{name} ended with exit status {status}" for name, status in asked.items() if status != 0]
    return finding("workers_ended_well", "workers ended well when they were asked to", len(asked), "worker", faults)


CHECKS: Final[Sequence[Callable[[Evidence], Finding]]] = (
    every_task_ended,
    killed_worker_was_replaced,
    recorded_steps_were_not_run_again,
    step_in_hand_was_run_again,
    late_writes_were_refused,
    failed_task_left_nothing,
    unknown_undo_was_quarantined,
    signal_let_a_task_go_on,
    children_were_waited_for,
    git_holds_what_the_log_says,
    workers_ended_well,
    nobody_shared_a_task,
    fences_rose,
    projections_were_rebuilt,
    log_was_verified,
    log_breaks_no_property,
)


# --- reading the log ----------------------------------------------------------------------------------------------


def _is_of(held: Held, name: str) -> bool:
    """Whether a lease is of the worker of this name: a worker adds an end of its own to it."""
    return held.lease.owner.startswith(f"{name}-")


def _of_type(kind: type[E], history: Sequence[Recorded]) -> Iterator[E]:
    return (one.event for one in history if isinstance(one.event, kind))


def _types(history: Sequence[Recorded]) -> list[str]:
    return [one.type for one in history]


def _created(history: Sequence[Recorded]) -> e.Created:
    return next(_of_type(e.Created, history))


def _result(history: Sequence[Recorded]) -> Mapping[str, Any]:
    return next((one.result for one in _of_type(e.Completed, history)), {})


def _owed(history: Sequence[Recorded]) -> list[str]:
    """The ids of what the task came to owe, in order of registration."""
    return [one.id for one in _of_type(e.CompensationRegistered, history)]


def _done(history: Sequence[Recorded]) -> list[str]:
    """The ids of what was undone, in order."""
    return [one.id for one in _of_type(e.CompensationDone, history)]


def _runs(evidence: Evidence, task: str) -> dict[str, list[int]]:
    """Step -> the processes in which its effect began, in order."""
    found: dict[str, list[int]] = {}
    for one in evidence.journal:
        if one.task == task:
            found.setdefault(one.step, []).append(one.pid)
    return found


def _pids(pids: Sequence[int]) -> str:
    return ", ".join(f"process {pid} ({times}x)" for pid, times in Counter(pids).items()) or "no process"

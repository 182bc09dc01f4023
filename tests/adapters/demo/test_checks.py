"""Each check of `sagalog demo` can fail: one thing at a time goes wrong in a story in which all goes well."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import pytest

from sagalog.kernel import events as e
from sagalog_cli.demo.checks import CHECKS, check
from sagalog_cli.demo.evidence import Evidence
from sagalog_cli.demo.findings import Finding
from sagalog_cli.demo.repository import MAIN, branch_of
from sagalog_cli.demo.tasks import FAILED, LATE, LATE_HOLDER, PARENT, QUARANTINED, RESUMED, REVIEWED
from tests.adapters.demo.broken_evidence import (
    accepted,
    added,
    damaged,
    killed,
    left_leased,
    left_pending,
    lost_in_rebuild,
    no_commits,
    one_more,
    other_after_rebuild,
    ran,
    ran_once,
    repository,
    silent,
    undone_forwards,
    unreadable,
    with_field,
    without,
)
from tests.adapters.demo.story import CHILDREN, FIRST, FIRST_PID, SECOND, SECOND_PID, tell_story


@pytest.fixture(scope="module")
def good() -> Evidence:
    return tell_story().evidence()


def finding(evidence: Evidence, name: str) -> Finding:
    return next(one for one in check(evidence) if one.name == name)


BREAKS: Sequence[tuple[str, str, Callable[[Evidence], Evidence], str]] = [
    ("every_task_ended", "one is pending", one_more(left_pending), "forgotten is still pending"),
    ("killed_worker_was_replaced", "it was not killed", killed(exit_status=0), "exit status 0"),
    ("killed_worker_was_replaced", "another held it", killed(name="worker-9"), "the lease of worker-9 ended by"),
    ("killed_worker_was_replaced", "it finished itself", killed(name="worker-2"), "by another worker than worker-2"),
    ("killed_worker_was_replaced", "its lease did not expire", without("lease_expired", RESUMED), "ended by no event"),
    ("killed_worker_was_replaced", "no worker came", without("leased", RESUMED), "no other worker leased task resumed"),
    ("killed_worker_was_replaced", "no worker finished", without("completed", RESUMED), "was not completed"),
    ("recorded_steps_were_not_run_again", "one was", ran("commit", SECOND_PID), "step 'commit' was on record and ran"),
    ("recorded_steps_were_not_run_again", "one ran elsewhere", killed(pid=7), f"ran in process {FIRST_PID}"),
    (
        "recorded_steps_were_not_run_again",
        "none was",
        without("step_completed", RESUMED),
        "on record at the kill were []",
    ),
    ("interrupted_step_was_run_again", "it was not", ran_once, f"'build' ran in process {FIRST_PID} (1x)"),
    ("interrupted_step_was_run_again", "it has no result", without("step_completed", RESUMED), "on record 0 times"),
    (
        "interrupted_step_was_run_again",
        "it has two results",
        added(RESUMED, -1, "step_completed", e.StepCompleted("build", 2)),
        "on record 2 times",
    ),
    ("late_writes_were_refused", "one was accepted", accepted, "the late complete was accepted"),
    ("late_writes_were_refused", "none was tried", silent, "was not tried"),
    ("late_writes_were_refused", "the task did not end", without("completed", LATE), "ended as ['leased']"),
    ("late_writes_were_refused", "the lease did not expire", without("lease_expired", LATE), "did not expire"),
    (
        "late_writes_were_refused",
        "one by its name is on record",
        added(LATE, -1, "heartbeat", e.Heartbeat(2), f"worker:{LATE_HOLDER}"),
        "heartbeat is on record",
    ),
    (
        "late_writes_were_refused",
        "one by its fence is on record",
        added(LATE, -1, "heartbeat", e.Heartbeat(1)),
        "heartbeat is on record",
    ),
    ("failed_task_left_nothing", "in the wrong order", undone_forwards, "were undone and not"),
    ("failed_task_left_nothing", "an undo is missing", without("compensation_done", FAILED), "[] were undone"),
    ("failed_task_left_nothing", "it did not end", without("compensated", FAILED), "ended as ['compensation_done']"),
    (
        "failed_task_left_nothing",
        "git knows its worktree",
        repository(worktrees=lambda before: before | {FAILED}),
        "its worktree is still there",
    ),
    (
        "failed_task_left_nothing",
        "its folder is there",
        repository(folders=lambda before: before | {FAILED}),
        "its worktree is still there",
    ),
    (
        "failed_task_left_nothing",
        "git knows its branch",
        repository(branches=lambda before: before | {branch_of(FAILED)}),
        "its branch is still there",
    ),
    (
        "unknown_undo_was_quarantined",
        "it names half of what it owes",
        with_field("quarantined", QUARANTINED, owed=("delete-branch",)),
        "names ['delete-branch']",
    ),
    (
        "unknown_undo_was_quarantined",
        "for another reason",
        with_field("quarantined", QUARANTINED, code="other"),
        "for other",
    ),
    (
        "unknown_undo_was_quarantined",
        "undone in part",
        added(QUARANTINED, -1, "compensation_done", e.CompensationDone("return-machine", 1)),
        "undone in part",
    ),
    ("unknown_undo_was_quarantined", "not at all", without("quarantined", QUARANTINED), ""),
    (
        "unknown_undo_was_quarantined",
        "its folder is gone",
        repository(folders=lambda before: before - {QUARANTINED}),
        "its worktree is gone",
    ),
    (
        "unknown_undo_was_quarantined",
        "its branch is gone",
        repository(branches=lambda before: before - {branch_of(QUARANTINED)}),
        "its branch is gone",
    ),
    ("signal_let_a_task_go_on", "none came", without("signalled", REVIEWED), "its events were ['parked', 'unblocked'"),
    ("signal_let_a_task_go_on", "it went no further", without("completed", REVIEWED), "its events were"),
    (
        "signal_let_a_task_go_on",
        "it was leased meanwhile",
        added(REVIEWED, 3, "leased", e.Leased("anna", 9, 1, "work", False)),
        "leased came while it waited",
    ),
    ("signal_let_a_task_go_on", "its work is not there", no_commits(MAIN), "main does not hold its commit"),
    ("children_were_waited_for", "it waited for nothing", without("unblocked", PARENT), "its wait ended 0 times"),
    ("children_were_waited_for", "one had not ended", without("completed", CHILDREN[1]), f"{CHILDREN[1]} had not"),
    (
        "children_were_waited_for",
        "their work is not there",
        no_commits(branch_of(PARENT)),
        f"the commit of child {CHILDREN[0]} is not in",
    ),
    (
        "git_holds_what_the_log_says",
        "a worktree was forgotten",
        repository(folders=lambda before: before | {"stray"}),
        "worktree stray was left behind",
    ),
    (
        "git_holds_what_the_log_says",
        "a worktree is missing",
        repository(worktrees=lambda before: before - {LATE}),
        f"worktree {LATE} is missing",
    ),
    (
        "git_holds_what_the_log_says",
        "a branch was forgotten",
        repository(branches=lambda before: before | {"stray"}),
        "branch stray was left behind",
    ),
    (
        "git_holds_what_the_log_says",
        "a branch is missing",
        repository(branches=lambda before: before - {MAIN}),
        "branch main is missing",
    ),
    ("git_holds_what_the_log_says", "a lease is open", one_more(left_leased), f"{SECOND} still holds it"),
    (
        "workers_stopped_when_asked",
        "one crashed",
        lambda good: dataclasses.replace(good, exits={**good.exits, "worker-2": 1}),
        "worker-2 ended with exit status 1",
    ),
    (
        "no_task_had_two_leases_at_once",
        "a second lease over an open one",
        without("lease_expired", RESUMED),
        f"{SECOND} leased it while {FIRST} held it",
    ),
    ("fences_rose", "a fence does not rise", with_field("leased", RESUMED, fence=1), "fence 1 came after 1"),
    ("projections_were_rebuilt", "one differs", other_after_rebuild, "task quarantined is different after the rebuild"),
    ("projections_were_rebuilt", "one is gone", lost_in_rebuild, "task quarantined is different after the rebuild"),
    ("projections_were_rebuilt", "one is unreadable", unreadable, "task quarantined cannot be read"),
    ("log_was_verified", "an event was changed", damaged, "task/quarantined@2: it was changed"),
    (
        "log_was_verified",
        "not all was read",
        lambda good: dataclasses.replace(good, log=good.log[:-1]),
        "events were verified",
    ),
    ("log_breaks_no_property", "an event is missing", without("lease_expired", RESUMED), f"task/{RESUMED}@"),
]


def test_a_story_in_which_all_goes_well_passes_every_check(good: Evidence) -> None:
    found = check(good)

    assert [one.name for one in found if not one.passed] == []
    assert [one.name for one in found] == [one.__name__ for one in CHECKS]
    assert {name for name, _, _, _ in BREAKS} == {one.name for one in found}


@pytest.mark.parametrize(("name", "how", "change", "words"), BREAKS, ids=[f"{one[0]}-{one[1]}" for one in BREAKS])
def test_a_check_fails_when_its_thing_goes_wrong(
    good: Evidence, name: str, how: str, change: Callable[[Evidence], Evidence], words: str
) -> None:
    found = finding(change(good), name)

    assert not found.passed
    assert words in "; ".join(found.seen)


def test_a_check_that_saw_nothing_fails_and_says_so(good: Evidence) -> None:
    asked_none = dataclasses.replace(good, exits={"worker-1": -9})

    found = finding(asked_none, "workers_stopped_when_asked")

    assert not found.passed
    assert found.seen == ("it never happened",)


def test_every_check_says_what_it_expects_and_where_to_look(good: Evidence) -> None:
    for found in check(good):
        assert found.expected
        assert found.look
        assert {words[0] for words in found.look} <= {"sagalog", "git", "cat"}

"""Each check of `sagalog demo` can fail, and a failed one fails the demo.

A story in which all goes well is told on a memory store and a clock of ours; then one thing at a time goes wrong in it.
"""

from __future__ import annotations

import dataclasses
import json
import signal
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

import sagalog
from sagalog import Compensation, Engine, Fault, Lease, Recorded, Retry
from sagalog.kernel import events as e
from sagalog.testing import ManualClock
from sagalog_cli.demo import demo
from sagalog_cli.demo_audit import Finding
from sagalog_cli.demo_checks import check
from sagalog_cli.demo_crew import DidNotHappen
from sagalog_cli.demo_evidence import Effect, Evidence, Kept, Killed
from sagalog_cli.demo_plan import DONE_STEPS, FAILED, ODD, PARENT, PARTS, RESUMED, REVIEWED, SLEEPER, SLEPT, TTL_MS
from sagalog_cli.demo_repository import MAIN, branch_of
from sagalog_cli.demo_sleeper import fall_asleep, wake_up
from sagalog_cli.demo_stage import Stage

FIRST, SECOND = "worker-1-AAAA", "worker-2-BBBB"
FIRST_PID, SECOND_PID = 1_001, 1_002
CHILDREN = [f"{PARENT}/{part}" for part in PARTS]


class Story:
    """A demo in one process, step by step, on a memory store; `evidence` is what it left."""

    def __init__(self) -> None:
        self._clock = ManualClock(1_000_000)
        self.engine: Engine = sagalog.open("memory:", clock=self._clock)
        self.journal: list[Effect] = []
        self.late: dict[str, str] = {}
        self.slept = 0

    def create(self, id: str, name: str = "") -> None:
        self.engine.create("change", {"name": name or id}, id=id, retry=Retry(expiries_max=None))

    def lease(self, id: str, owner: str, purpose: Any = "work") -> Lease:
        return self.engine.acquire(id, owner=owner, ttl_ms=TTL_MS, purpose=purpose)

    def make(self, lease: Lease, *undos: str) -> None:
        for undo in undos:
            lease.register(Compensation(undo, {"name": lease.task.id}, id=undo))

    def step(self, lease: Lease, *names: str, pid: int, ends: bool = True) -> None:
        for name in names:
            self.journal.append(Effect(lease.task.id, name, pid))
            if ends:
                lease.step(name)

    def fail(self, id: str, *undos: str) -> None:
        lease = self.lease(id, SECOND)
        self.make(lease, *undos)
        lease.fail("the build failed")

    def undo(self, id: str) -> None:
        lease = self.lease(id, SECOND, "undo")
        for owed in lease.task.owed:
            lease.compensation_done(owed.id)

    def complete(self, id: str, owner: str = SECOND) -> None:
        self.lease(id, owner).complete({"commit": f"commit-of-{id}"})

    def pass_time(self, ms: int) -> None:
        self._clock.advance(ms)

    def evidence(self) -> Evidence:
        tasks = {task.id: task for task in self.engine.find()}
        rebuilding = self.engine.rebuild()
        names = frozenset({RESUMED, SLEPT, ODD, REVIEWED, PARENT, *PARTS})
        branches = frozenset({MAIN, *map(branch_of, names)})
        commits = {branch: frozenset[str]() for branch in branches}
        commits[MAIN] = frozenset({f"commit-of-{REVIEWED}"})
        commits[branch_of(PARENT)] = frozenset(f"commit-of-{child}" for child in CHILDREN)
        return Evidence(
            log=self.engine.events(limit=10_000),
            tasks=tasks,
            rebuilt={task.id: task for task in self.engine.find()},
            rebuilding=rebuilding,
            verifying=self.engine.verify(),
            killed=Killed("worker-1", FIRST_PID, -signal.SIGKILL),
            exits={"worker-1": -signal.SIGKILL, "worker-2": 0},
            slept=self.slept,
            late=self.late,
            journal=self.journal,
            kept=Kept(names, names, branches, commits),
        )


def tell_story() -> Story:
    """Everything that the demo shows, once."""
    story = Story()
    for id in (RESUMED, SLEPT, FAILED, ODD, REVIEWED, PARENT):
        story.create(id)
    asleep = fall_asleep(story.engine)
    story.slept = asleep.fence
    first = story.lease(RESUMED, FIRST)
    story.step(first, *DONE_STEPS, pid=FIRST_PID)
    story.step(first, "build", pid=FIRST_PID, ends=False)
    story.fail(FAILED, "delete-branch", "remove-worktree")
    story.undo(FAILED)
    story.fail(ODD, "delete-branch", "return-machine")
    story.lease(REVIEWED, SECOND).park("approved", signal="approved")
    story.engine.signal(REVIEWED, "approved", {"by": "you"})
    story.complete(REVIEWED)
    for child, part in zip(CHILDREN, PARTS, strict=True):
        story.create(child, part)
    story.lease(PARENT, SECOND).park("tasks", after=CHILDREN)
    for child in CHILDREN:
        story.complete(child)
    story.engine.recover()
    story.complete(PARENT)
    story.pass_time(TTL_MS)
    second = story.lease(RESUMED, SECOND)
    story.step(second, "build", pid=SECOND_PID)
    second.complete()
    story.complete(SLEPT)
    story.late = wake_up(asleep)
    story.engine.recover(unknown_kinds=["return-machine"])
    return story


@pytest.fixture(scope="module")
def good() -> Evidence:
    return tell_story().evidence()


def finding(evidence: Evidence, name: str) -> Finding:
    return next(one for one in check(evidence) if one.name == name)


Change = Callable[[Recorded], Recorded | None]


def forged(evidence: Evidence, change: Change) -> Evidence:
    """The same with other events in its log; None takes one out."""
    log = [changed for one in evidence.log if (changed := change(one)) is not None]
    return dataclasses.replace(evidence, log=log)


def without(type: str, task: str) -> Callable[[Evidence], Evidence]:
    return lambda good: forged(good, lambda one: None if (one.type, one.stream) == (type, f"task/{task}") else one)


def with_field(type: str, task: str, **fields: Any) -> Callable[[Evidence], Evidence]:
    """The same with other fields in all events of this type in this task."""

    def change(one: Recorded) -> Recorded:
        if (one.type, one.stream) != (type, f"task/{task}"):
            return one
        return msgspec.structs.replace(one, event=msgspec.structs.replace(one.event, **fields))

    return lambda good: forged(good, change)


def undone_forwards(good: Evidence) -> Evidence:
    """The two undos of a task have changed places."""
    turned = {"delete-branch": "remove-worktree", "remove-worktree": "delete-branch"}

    def change(one: Recorded) -> Recorded:
        if not isinstance(one.event, e.CompensationDone) or one.stream != f"task/{FAILED}":
            return one
        return msgspec.structs.replace(one, event=e.CompensationDone(turned[one.event.id], one.event.fence))

    return forged(good, change)


def added(
    task: str, place: int, type: str, event: e.Recordable, actor: str = "worker:anna"
) -> Callable[[Evidence], Evidence]:
    """The same with one more event in the history of a task, before the one at `place`; -1: at its end."""

    def change(good: Evidence) -> Evidence:
        at = good.histories[task][place]
        one = msgspec.structs.replace(at, actor=actor, type=type, event=event)
        index = good.log.index(at) + (place == -1)
        return dataclasses.replace(good, log=[*good.log[:index], one, *good.log[index:]])

    return change


def one_more(act: Callable[[Story], object]) -> Callable[[Evidence], Evidence]:
    """The story with another act at its end."""

    def tell(_good: Evidence) -> Evidence:
        story = tell_story()
        act(story)
        return story.evidence()

    return tell


def left_pending(story: Story) -> None:
    story.create("forgotten")


def left_leased(story: Story) -> None:
    story.create("forgotten")
    story.lease("forgotten", SECOND)


def killed(**fields: Any) -> Callable[[Evidence], Evidence]:
    return lambda good: dataclasses.replace(good, killed=dataclasses.replace(good.killed, **fields))


def kept(**fields: Callable[[Any], Any]) -> Callable[[Evidence], Evidence]:
    """Other things on the disk: each field is made from what it was."""

    def change(good: Evidence) -> Evidence:
        changed = {name: make(getattr(good.kept, name)) for name, make in fields.items()}
        return dataclasses.replace(good, kept=dataclasses.replace(good.kept, **changed))

    return change


def ran(step: str, pid: int) -> Callable[[Evidence], Evidence]:
    return lambda good: dataclasses.replace(good, journal=[*good.journal, Effect(RESUMED, step, pid)])


def ran_once(good: Evidence) -> Evidence:
    return dataclasses.replace(good, journal=[one for one in good.journal if one.pid == FIRST_PID])


def accepted(good: Evidence) -> Evidence:
    return dataclasses.replace(good, late={**good.late, "complete": "accepted"})


def silent(good: Evidence) -> Evidence:
    return dataclasses.replace(good, late={})


def other_after_rebuild(good: Evidence) -> Evidence:
    other = msgspec.structs.replace(good.rebuilt[ODD], version=99)
    return dataclasses.replace(good, rebuilt={**good.rebuilt, ODD: other})


def lost_in_rebuild(good: Evidence) -> Evidence:
    return dataclasses.replace(good, rebuilt={id: task for id, task in good.rebuilt.items() if id != ODD})


def unreadable(good: Evidence) -> Evidence:
    return dataclasses.replace(good, rebuilding=msgspec.structs.replace(good.rebuilding, unreadable=(ODD,)))


def damaged(good: Evidence) -> Evidence:
    fault = Fault("digest", "task/odd", 2, "it was changed")
    return dataclasses.replace(good, verifying=msgspec.structs.replace(good.verifying, faults=(fault,)))


def no_commits(branch: str) -> Callable[[Evidence], Evidence]:
    return kept(commits=lambda before: {**before, branch: frozenset()})


BREAKS: Sequence[tuple[str, str, Callable[[Evidence], Evidence], str]] = [
    ("every_task_ended", "one is pending", one_more(left_pending), "forgotten is still pending"),
    ("killed_worker_was_replaced", "it was not killed", killed(exit_status=0), "exit status 0"),
    ("killed_worker_was_replaced", "another held it", killed(name="worker-9"), "the lease of worker-9 ended by"),
    ("killed_worker_was_replaced", "it finished itself", killed(name="worker-2"), "by another than worker-2"),
    ("killed_worker_was_replaced", "its lease did not expire", without("lease_expired", RESUMED), "ended by nothing"),
    ("killed_worker_was_replaced", "no worker came", without("leased", RESUMED), "no worker took the task over"),
    ("killed_worker_was_replaced", "no worker finished", without("completed", RESUMED), "was not completed"),
    ("recorded_steps_were_not_run_again", "one was", ran("commit", SECOND_PID), "step 'commit' was on record and ran"),
    ("recorded_steps_were_not_run_again", "one ran elsewhere", killed(pid=7), f"ran in process {FIRST_PID}"),
    ("recorded_steps_were_not_run_again", "none was", without("step_completed", RESUMED), "on record were []"),
    ("step_in_hand_was_run_again", "it was not", ran_once, f"'build' ran in process {FIRST_PID} (1x)"),
    ("step_in_hand_was_run_again", "it has no result", without("step_completed", RESUMED), "on record 0 times"),
    (
        "step_in_hand_was_run_again",
        "it has two results",
        added(RESUMED, -1, "step_completed", e.StepCompleted("build", 2)),
        "on record 2 times",
    ),
    ("late_writes_were_refused", "one was accepted", accepted, "the late complete came to accepted"),
    ("late_writes_were_refused", "none was tried", silent, "came to nothing"),
    ("late_writes_were_refused", "the lease did not expire", without("lease_expired", SLEPT), "did not expire"),
    (
        "late_writes_were_refused",
        "one by its name is on record",
        added(SLEPT, -1, "heartbeat", e.Heartbeat(2), f"worker:{SLEEPER}"),
        "heartbeat is on record",
    ),
    (
        "late_writes_were_refused",
        "one by its fence is on record",
        added(SLEPT, -1, "heartbeat", e.Heartbeat(1)),
        "heartbeat is on record",
    ),
    ("failed_task_left_nothing", "in the wrong order", undone_forwards, "were undone and"),
    ("failed_task_left_nothing", "an undo is missing", without("compensation_done", FAILED), "[] were undone"),
    ("failed_task_left_nothing", "it did not end", without("compensated", FAILED), "ended as ['compensation_done']"),
    (
        "failed_task_left_nothing",
        "git knows its worktree",
        kept(worktrees=lambda before: before | {FAILED}),
        "its worktree is still there",
    ),
    (
        "failed_task_left_nothing",
        "its folder is there",
        kept(folders=lambda before: before | {FAILED}),
        "its worktree is still there",
    ),
    (
        "failed_task_left_nothing",
        "git knows its branch",
        kept(branches=lambda before: before | {branch_of(FAILED)}),
        "its branch is still there",
    ),
    (
        "unknown_undo_was_quarantined",
        "it names half of what it owes",
        with_field("quarantined", ODD, owed=("delete-branch",)),
        "names ['delete-branch']",
    ),
    ("unknown_undo_was_quarantined", "for another reason", with_field("quarantined", ODD, code="other"), "for other"),
    (
        "unknown_undo_was_quarantined",
        "undone in part",
        added(ODD, -1, "compensation_done", e.CompensationDone("return-machine", 1)),
        "undone in part",
    ),
    ("unknown_undo_was_quarantined", "not at all", without("quarantined", ODD), ""),
    (
        "unknown_undo_was_quarantined",
        "its folder is gone",
        kept(folders=lambda before: before - {ODD}),
        "its worktree is gone",
    ),
    (
        "unknown_undo_was_quarantined",
        "its branch is gone",
        kept(branches=lambda before: before - {branch_of(ODD)}),
        "its branch is gone",
    ),
    ("signal_let_a_task_go_on", "none came", without("signalled", REVIEWED), "it came to ['parked', 'unblocked'"),
    ("signal_let_a_task_go_on", "it went no further", without("completed", REVIEWED), "it came to"),
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
        kept(folders=lambda before: before | {"stray"}),
        "worktree stray was left behind",
    ),
    (
        "git_holds_what_the_log_says",
        "a worktree is missing",
        kept(worktrees=lambda before: before - {SLEPT}),
        f"worktree {SLEPT} is missing",
    ),
    (
        "git_holds_what_the_log_says",
        "a branch was forgotten",
        kept(branches=lambda before: before | {"stray"}),
        "branch stray was left behind",
    ),
    (
        "git_holds_what_the_log_says",
        "a branch is missing",
        kept(branches=lambda before: before - {MAIN}),
        "branch main is missing",
    ),
    ("git_holds_what_the_log_says", "a lease is open", one_more(left_leased), f"{SECOND} still holds it"),
    (
        "workers_ended_well",
        "one crashed",
        lambda good: dataclasses.replace(good, exits={**good.exits, "worker-2": 1}),
        "worker-2 ended with exit status 1",
    ),
    (
        "nobody_shared_a_task",
        "a second lease over an open one",
        without("lease_expired", RESUMED),
        f"{SECOND} leased it while {FIRST} held it",
    ),
    ("fences_rose", "a fence stands still", with_field("leased", RESUMED, fence=1), "fence 1 came after 1"),
    ("projections_were_rebuilt", "one differs", other_after_rebuild, "odd came out different"),
    ("projections_were_rebuilt", "one is gone", lost_in_rebuild, "odd came out different"),
    ("projections_were_rebuilt", "one is unreadable", unreadable, "odd cannot be read"),
    ("log_was_verified", "an event was changed", damaged, "task/odd@2: it was changed"),
    (
        "log_was_verified",
        "not all was read",
        lambda good: dataclasses.replace(good, log=good.log[:-1]),
        "events were verified",
    ),
    ("log_breaks_no_property", "an event is missing", without("lease_expired", RESUMED), f"task/{RESUMED}@"),
]


def test_a_story_in_which_all_went_well_passes_every_check(good: Evidence) -> None:
    found = check(good)

    assert [one.name for one in found if not one.happened] == []
    assert {name for name, _, _, _ in BREAKS} == {one.name for one in found}


@pytest.mark.parametrize(("name", "how", "change", "words"), BREAKS, ids=[f"{one[0]}-{one[1]}" for one in BREAKS])
def test_what_did_not_happen_is_found(
    good: Evidence, name: str, how: str, change: Callable[[Evidence], Evidence], words: str
) -> None:
    found = finding(change(good), name)

    assert not found.happened
    assert words in "; ".join(found.faults)


# --- what is told of it -----------------------------------------------------------------------------------------------


@pytest.fixture
def broken(good: Evidence, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stage, "play", lambda *_: accepted(good))


def test_a_demo_that_did_not_show_everything_exits_with_1_and_says_what(broken: None) -> None:
    answer = CliRunner().invoke(demo, [])

    assert answer.exit_code == 1
    assert "did not happen: late writes of who slept too long were refused" in answer.stderr
    assert "the late complete came to accepted" in answer.stderr
    assert answer.stdout.count("✗") == 1


def test_a_program_is_told_what_did_not_happen_too(broken: None) -> None:
    answer = CliRunner().invoke(demo, ["--json"])

    assert answer.exit_code == 1
    document = json.loads(answer.stdout)
    assert not document["ok"]
    assert len(document["missing"]) == 1
    assert not document["findings"]["late_writes_were_refused"]["happened"]


def test_a_demo_that_came_to_no_end_exits_with_1_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def fall_over(*_: object) -> Evidence:
        raise DidNotHappen("the curtain would not rise")

    monkeypatch.setattr(Stage, "play", fall_over)

    answer = CliRunner().invoke(demo, ["--json"])

    assert answer.exit_code == 1
    assert json.loads(answer.stdout) == {"ok": False, "missing": ["the curtain would not rise"]}
    assert "the curtain would not rise" in answer.stderr

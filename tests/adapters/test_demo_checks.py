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
from sagalog import Compensation, Engine, Fault, Lease, LeaseLost, Recorded, Retry
from sagalog.kernel import events as e
from sagalog.testing import ManualClock
from sagalog_cli.demo import demo
from sagalog_cli.demo_checks import VERBS, Finding, check
from sagalog_cli.demo_crew import DidNotHappen
from sagalog_cli.demo_evidence import Evidence, Lost
from sagalog_cli.demo_plan import undo_kind
from sagalog_cli.demo_report import report
from sagalog_cli.demo_stage import Stage


class Story:
    """A demo in one process, step by step, on a memory store; `evidence` is what it left."""

    def __init__(self) -> None:
        self._clock = ManualClock(1_000_000)
        self.engine: Engine = sagalog.open("memory:", clock=self._clock)
        self._late: dict[str, dict[str, str]] = {}

    def create(self, id: str) -> None:
        self.engine.create("some", id=id, retry=Retry(expiries_max=None))

    def lease(self, id: str, owner: str, purpose: Any = "work") -> Lease:
        return self.engine.acquire(id, owner=owner, ttl_ms=1_000, purpose=purpose)

    def pass_time(self, ms: int) -> None:
        self._clock.advance(ms)

    def fail(self, lease: Lease, *resources: str) -> None:
        for resource in resources:
            thing = {"thing": f"{resource}-{lease.task.id}"}
            lease.register(Compensation(undo_kind(resource), thing, id=undo_kind(resource)))
        lease.fail("no capacity")

    def undo(self, id: str, owner: str) -> None:
        lease = self.lease(id, owner, "undo")
        for owed in lease.task.owed:
            lease.compensation_done(owed.id)

    def wake(self, lease: Lease) -> None:
        with pytest.raises(LeaseLost):
            lease.complete()
        self._late[lease.task.id] = dict.fromkeys(VERBS, "lease_lost")

    def evidence(self) -> Evidence:
        tasks = {task.id: task for task in self.engine.find()}
        rebuilding = self.engine.rebuild()
        return Evidence(
            log=self.engine.events(limit=10_000),
            tasks=tasks,
            rebuilt={task.id: task for task in self.engine.find()},
            rebuilding=rebuilding,
            verifying=self.engine.verify(),
            racing=["anna", "bela"],
            exits={"anna": 0, "bela": 0, "doomed": -signal.SIGKILL, "sleeper": 0},
            doomed=Lost("doomed", {"killed": 1}, -signal.SIGKILL),
            sleeper=Lost("sleeper", {"slept": 1}, 0),
            late=self._late,
            things=frozenset({"network-odd", "tape-odd"}),
        )


def tell_story() -> Story:
    """Everything that the demo shows, once."""
    story = Story()
    for id in ("killed", "slept", "failed", "odd", "long"):
        story.create(id)
    story.lease("killed", "doomed")
    late = story.lease("slept", "sleeper")
    long = story.lease("long", "bela")
    story.fail(story.lease("failed", "anna"), "network", "disk", "machine")
    story.fail(story.lease("odd", "anna"), "network", "tape")
    story.undo("failed", "anna")
    story.pass_time(700)
    long.heartbeat()
    story.pass_time(700)
    story.lease("killed", "anna").complete()
    story.fail(story.lease("slept", "bela"), "network", "disk")
    story.undo("slept", "bela")
    long.complete()
    story.wake(late)
    story.engine.recover(unknown_kinds=["remove-tape"])
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


def without(evidence: Evidence, type: str, task: str) -> Evidence:
    return forged(evidence, lambda one: None if (one.type, one.stream) == (type, f"task/{task}") else one)


def with_field(evidence: Evidence, type: str, task: str, **fields: Any) -> Evidence:
    """The same with other fields in all events of this type in this task."""

    def change(one: Recorded) -> Recorded:
        if (one.type, one.stream) != (type, f"task/{task}"):
            return one
        return msgspec.structs.replace(one, event=msgspec.structs.replace(one.event, **fields))

    return forged(evidence, change)


def lost(worker: str, /, **details: Any) -> Callable[[Evidence], Evidence]:
    return lambda good: dataclasses.replace(good, **{worker: dataclasses.replace(getattr(good, worker), **details)})


def undone_forwards(good: Evidence) -> Evidence:
    """The two undos of a task have changed places."""
    turned = {"remove-network": "remove-disk", "remove-disk": "remove-network"}

    def change(one: Recorded) -> Recorded:
        if not isinstance(one.event, e.CompensationDone) or one.stream != "task/slept":
            return one
        return msgspec.structs.replace(one, event=e.CompensationDone(turned[one.event.id], one.event.fence))

    return forged(good, change)


def written_late(fence: int, actor: str) -> Callable[[Evidence], Evidence]:
    """A heartbeat was let in at the end of the log."""

    def change(good: Evidence) -> Evidence:
        last = good.histories["slept"][-1]
        late = msgspec.structs.replace(last, actor=actor, type="heartbeat", event=e.Heartbeat(fence=fence))
        return dataclasses.replace(good, log=[*good.log, late])

    return change


def quarantined_after_one_undo(good: Evidence) -> Evidence:
    """An undo of the task that nobody should have touched is on record before its quarantine."""
    place = good.log.index(good.histories["odd"][-1])
    done = msgspec.structs.replace(good.log[place], event=e.CompensationDone("remove-tape", 1))
    return dataclasses.replace(good, log=[*good.log[:place], done, *good.log[place:]])


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
    story.lease("forgotten", "anna")


def failed_and_left(story: Story) -> None:
    story.create("half")
    story.fail(story.lease("half", "anna"), "disk")


def accepted(good: Evidence) -> Evidence:
    return dataclasses.replace(good, late={"slept": {**good.late["slept"], "complete": "accepted"}})


def silent(good: Evidence) -> Evidence:
    return dataclasses.replace(good, late={})


def other_after_rebuild(good: Evidence) -> Evidence:
    other = msgspec.structs.replace(good.rebuilt["long"], version=99)
    return dataclasses.replace(good, rebuilt={**good.rebuilt, "long": other})


def lost_in_rebuild(good: Evidence) -> Evidence:
    return dataclasses.replace(good, rebuilt={id: task for id, task in good.rebuilt.items() if id != "long"})


def unreadable(good: Evidence) -> Evidence:
    return dataclasses.replace(good, rebuilding=msgspec.structs.replace(good.rebuilding, unreadable=("long",)))


def damaged(good: Evidence) -> Evidence:
    fault = Fault("digest", "task/long", 2, "it was changed")
    return dataclasses.replace(good, verifying=msgspec.structs.replace(good.verifying, faults=(fault,)))


BREAKS: Sequence[tuple[str, str, Callable[[Evidence], Evidence], str]] = [
    ("every_task_ended", "one is pending", one_more(left_pending), "forgotten is still pending"),
    ("workers_raced", "only one got work", lambda good: dataclasses.replace(good, racing=["anna", "carl"]), "anna"),
    (
        "workers_raced",
        "one died",
        lambda good: dataclasses.replace(good, exits={**good.exits, "bela": 1}),
        "bela ended with exit status 1",
    ),
    (
        "nobody_shared_a_task",
        "a second lease over an open one",
        lambda good: without(good, "lease_expired", "killed"),
        "anna leased it while doomed held it",
    ),
    (
        "fences_rose",
        "a fence stands still",
        lambda good: with_field(good, "leased", "killed", fence=1),
        "fence 1 came after 1",
    ),
    ("heartbeats_kept_a_lease", "no heartbeat", lambda good: without(good, "heartbeat", "long"), ""),
    ("killed_worker_was_recovered", "it was not killed", lost("doomed", exit_status=0), "exit status 0"),
    ("killed_worker_was_recovered", "it held nothing", lost("doomed", holding={}), "held nothing"),
    ("killed_worker_was_recovered", "under another fence", lost("doomed", holding={"killed": 7}), "0 leases"),
    ("killed_worker_was_recovered", "it finished itself", lost("doomed", name="anna", holding={"killed": 2}), "anna"),
    (
        "killed_worker_was_recovered",
        "its lease ended by no event",
        lambda good: without(good, "lease_expired", "killed"),
        "ended by nothing",
    ),
    (
        "killed_worker_was_recovered",
        "under no higher fence",
        lambda good: with_field(good, "leased", "killed", fence=1),
        "fence 1 of anna did not come after fence 1",
    ),
    (
        "killed_worker_was_recovered",
        "nobody finished",
        lambda good: without(good, "completed", "killed"),
        "not finished by another",
    ),
    (
        "killed_worker_was_recovered",
        "nobody came",
        lambda good: without(without(good, "completed", "killed"), "leased", "killed"),
        "0 leases",
    ),
    ("stopped_worker_was_replaced", "it crashed when it woke", lost("sleeper", exit_status=1), "exit status 1"),
    ("stopped_worker_was_replaced", "it held nothing", lost("sleeper", holding={}), "held nothing"),
    ("late_writes_were_refused", "one was accepted", accepted, "the late complete came to accepted"),
    ("late_writes_were_refused", "none was tried", silent, "came to nothing"),
    ("late_writes_were_refused", "one by its name is on record", written_late(2, "sleeper"), "heartbeat of sleeper"),
    ("late_writes_were_refused", "one by its fence is on record", written_late(1, "anna"), "heartbeat of sleeper"),
    ("failed_tasks_were_undone", "in the wrong order", undone_forwards, "were undone and"),
    ("failed_tasks_were_undone", "one was left", one_more(failed_and_left), "half failed and ended as failed"),
    (
        "failed_tasks_were_undone",
        "an undo is missing",
        lambda good: without(good, "compensation_done", "failed"),
        "[] were undone",
    ),
    (
        "unknown_undo_was_quarantined",
        "it names half of what it owes",
        lambda good: with_field(good, "quarantined", "odd", owed=("remove-tape",)),
        "names ['remove-tape']",
    ),
    (
        "unknown_undo_was_quarantined",
        "for another reason",
        lambda good: with_field(good, "quarantined", "odd", code="undo_wait"),
        "undo_wait",
    ),
    ("unknown_undo_was_quarantined", "undone in part", quarantined_after_one_undo, "undone in part"),
    ("unknown_undo_was_quarantined", "not at all", lambda good: without(good, "quarantined", "odd"), ""),
    (
        "nothing_is_left_over",
        "a resource was forgotten",
        lambda good: dataclasses.replace(good, things=good.things | {"disk-failed"}),
        "disk-failed was left behind",
    ),
    (
        "nothing_is_left_over",
        "a resource is gone that is still owed",
        lambda good: dataclasses.replace(good, things=frozenset({"network-odd"})),
        "tape-odd is missing",
    ),
    ("nothing_is_left_over", "a lease is open", one_more(left_leased), "anna still holds it"),
    ("projections_were_rebuilt", "one differs", other_after_rebuild, "long came out different"),
    ("projections_were_rebuilt", "one is gone", lost_in_rebuild, "long came out different"),
    ("projections_were_rebuilt", "one is unreadable", unreadable, "long cannot be read"),
    ("log_was_verified", "an event was changed", damaged, "task/long@2: it was changed"),
    (
        "log_was_verified",
        "not all was read",
        lambda good: dataclasses.replace(good, log=good.log[:-1]),
        "events were verified",
    ),
    (
        "log_breaks_no_property",
        "an event is missing",
        lambda good: without(good, "lease_expired", "killed"),
        "task/killed@",
    ),
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
    assert "did not happen: its late writes were refused" in answer.stderr
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


def test_throughput_counts_neither_what_was_lost_nor_the_time_it_took_to_run_out(good: Evidence) -> None:
    """All untouched work of the story was taken up in its first moment; what came 1,400 ms later was a take-over."""
    speed = report(good, seed=0, durability="full", file=None, elapsed_ms=1).throughput

    assert speed.span_ms == 0
    assert speed.workers == 2

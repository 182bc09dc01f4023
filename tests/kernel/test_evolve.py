"""Folding a sound log: what each event adds, all of it and nothing else."""

from __future__ import annotations

import msgspec
import pytest

from sagalog.kernel import events as e
from sagalog.kernel.evolve import evolve, fold
from sagalog.kernel.state import (
    CompensationRecord,
    EndedLease,
    KeptPolicy,
    TaskFold,
)
from sagalog.kernel.values import Budget, Compensation, LeaseRecord, State
from sagalog.testing import given
from tests.kernel.event_changes import ALL_UNDONE, CHANGES, CREATED, RUNNING, folded
from tests.kernel.making import (
    ERROR,
    LATER_UNDO,
    UNDO,
    acquire,
    cancel,
    complete,
    create,
    fail,
    heartbeat,
    leased,
    maintain,
    policy,
    quarantine,
    register,
    registered,
    release,
    retry,
)


@pytest.mark.parametrize("name", CHANGES)
def test_each_event_changes_what_it_says_and_nothing_else(name: str) -> None:
    """[RECORD-1] [RECORD-3]"""
    story, event, changes = CHANGES[name]
    before = folded(story)
    expected = {"version": before.version + 1, "length": before.length + 1, "updated_ms": 20, **changes}
    assert evolve(before, event, before.version + 1, 20) == msgspec.structs.replace(before, **expected)


def test_every_event_that_ends_a_lease_names_its_fence_and_the_verb() -> None:
    """[REPEAT-5]"""
    ended = set()
    for story, event, _ in (*CHANGES.values(), ALL_UNDONE):
        before = folded(story)
        after = evolve(before, event, before.version + 1, 20)
        if before.lease is not None and after.lease is None:
            assert after.ended == EndedLease(event.fence, event.verb, after.version)  # type: ignore[attr-defined]
            ended.add(type(event))
    assert ended == {kind for kind in e.TASK_EVENTS if "verb" in kind.__struct_fields__}


def test_a_creation_begins_the_fold() -> None:
    """[RECORD-1] [COMP-1]"""
    created = e.Created(
        "build",
        "q",
        -3,
        70,
        policy(),
        State.PENDING,
        compensations=(UNDO,),
        waiver="harmless",
        tags={"team": "red"},
        affinity="host",
        key="repo",
    )
    assert evolve(TaskFold("t"), created, 1, 10) == TaskFold(
        "t",
        version=1,
        state=State.PENDING,
        kind="build",
        queue="q",
        priority=-3,
        affinity="host",
        key="repo",
        tags={"team": "red"},
        run_at_ms=70,
        policy=KeptPolicy.of(policy()),
        has_waiver=True,
        compensations={"u1": CompensationRecord("remove", 1, 0, "planned")},
        length=1,
        created_ms=10,
        updated_ms=10,
    )


def test_a_run_of_quota_retries_ends_with_another_sort_of_retry() -> None:
    """[ATTEMPT-2] It begins with the first."""
    story = given(create(UNDO, quota_wait_max_ms=None, transient_max=None))
    run: list[tuple[Budget, int | None]] = [("quota", 10), ("quota", 10), ("transient", None), ("quota", 40)]
    for n, (budget, since_ms) in enumerate(run, start=1):
        story = story.given(acquire(), retry(n, budget), now_ms=n * 10)
        assert folded(story).quota_since_ms == since_ms


def test_a_fold_keeps_where_things_are_and_not_the_things() -> None:
    """[RECORD-1]"""
    story = given(create(UNDO), acquire(), now_ms=5).given(heartbeat(progress={"n": 1}), register(LATER_UNDO), now_ms=7)
    task = folded(story.given(complete(result={"large": "x" * 999}), now_ms=9))
    assert (task.progress_version, task.result_version, task.created_ms, task.updated_ms) == (3, 5, 5, 9)
    planned, brought = task.compensations["u1"], task.compensations["u2"]
    assert (planned.version, planned.index, planned.fence) == (1, 0, 0)
    assert (brought.version, brought.index, brought.fence) == (4, -1, 1)
    assert "large" not in msgspec.json.encode(task).decode()


def test_the_last_ended_lease_is_remembered_by_the_verb_that_was_asked() -> None:
    """[REPEAT-5]"""
    held = given(create(UNDO, attempts_max=1), acquire())
    endings = {
        "release": held.given(release()),
        "expire": held.given(maintain(), now_ms=100),
        "fail": held.given(fail()),
        "cancel": held.given(cancel(now=True)),
        "quarantine": held.given(quarantine()),
        "complete": held.given(complete()),
        "retry": held.given(e.Failed(State.COMPENSATING, "attempts_spent", ERROR, fence=1, verb="retry")),
    }
    for verb, story in endings.items():
        assert folded(story).ended == EndedLease(1, verb, 3)
        assert folded(story).lease is None


def test_a_heartbeat_renews_the_lease_and_changes_nothing_else_of_it() -> None:
    """[LEASE-3]"""
    task = folded(
        given(CREATED).given(e.Leased("ann", 1, 1, "work", True, 100, 140), e.Heartbeat(1, 50, 90), now_ms=40)
    )
    assert task.lease == LeaseRecord("ann", 1, 1, "work", 50, 90, 40, True)


def test_a_recorded_time_may_be_earlier_than_the_one_before() -> None:
    """[TIME-2]"""
    story = given(now_ms=1_000).given(create(), acquire()).given(complete(), now_ms=400)
    assert (folded(story).created_ms, folded(story).updated_ms) == (1_000, 400)


def test_folding_at_once_is_folding_step_by_step() -> None:
    """[RECORD-3]"""
    events: list[e.Recordable] = [
        CREATED,
        leased(at_ms=20),
        registered(Compensation("x", id="u3")),
        e.CancelRequested(),
    ]
    task = TaskFold("t")
    for version, event in enumerate(events, start=1):
        task = evolve(task, event, version, version * 10)
    assert fold("t", [(event, n, n * 10) for n, event in enumerate(events, start=1)]) == task


def test_older_folds_stay_as_they_were() -> None:
    """[RECORD-3] They share what has not changed, and nothing that has."""
    first = folded(RUNNING)
    before = msgspec.json.encode(first)
    evolve(evolve(first, registered(Compensation("x", id="u3")), 3, 1), e.CompensationWaived("u1", "gone"), 4, 2)
    assert msgspec.json.encode(first) == before

"""The store's calls: what each did in the hand-written store it does here, and what it could not do there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from saga_store import SagaCompensation, SagaStore, TaskSaga, TaskState, open_store
from saga_store.tests.conftest import START_MS
from sagalog import (
    AlreadyExists,
    Blocked,
    CompensationRequired,
    Conflict,
    InvalidValue,
    LeaseHeld,
    LeaseLost,
    NotFound,
    Rejected,
    TerminalTask,
)
from sagalog.testing import ManualClock

TTL_MS = 1_000
WORKTREE = SagaCompensation("remove-worktree", "wt/1", "left over")
BRANCH = SagaCompensation("delete-branch", "fix/1")


def plan(store: SagaStore, task_id: str = "t1", *compensations: SagaCompensation, **changed: Any) -> TaskSaga:
    given: dict[str, Any] = {"saga_id": f"saga of {task_id}", "issue": 168, "branch": "fix/1", "worktree": "wt/1"}
    return store.create(task_id=task_id, compensations=compensations, **{**given, **changed})


def running(store: SagaStore, task_id: str = "t1", *compensations: SagaCompensation) -> TaskSaga:
    plan(store, task_id, *compensations)
    return store.acquire(task_id, "ann", TTL_MS)


def failed(store: SagaStore, task_id: str = "t1") -> TaskSaga:
    return store.mark_failed(running(store, task_id, WORKTREE), "the tests do not pass", BRANCH)


# --- create and get --------------------------------------------------------------------------------------------------


def test_create_gives_a_planned_saga_with_all_that_was_said(store: SagaStore) -> None:
    saga = plan(store, "t1", WORKTREE)
    assert saga == TaskSaga("t1", "saga of t1", TaskState.PLANNED, 168, "fix/1", "wt/1", (WORKTREE,))
    assert store.get("t1") == saga


def test_create_with_a_task_id_that_is_taken_is_refused_and_the_row_is_kept(store: SagaStore) -> None:
    saga = plan(store)
    with pytest.raises(AlreadyExists):
        plan(store, saga_id="another", issue=169)
    assert store.get("t1") == saga


def test_create_with_a_saga_id_that_is_taken_is_refused_and_nothing_is_added(store: SagaStore) -> None:
    saga = plan(store)
    with pytest.raises(Conflict):
        plan(store, "t2", saga_id=saga.saga_id)
    assert (store.get("t2"), store.get("t1")) == (None, saga)


def test_create_repeated_as_it_was_adds_nothing(store: SagaStore) -> None:
    assert plan(store) == plan(store)
    assert store.status() == {"planned": 1, "stale": 0}


def test_get_of_a_missing_saga_gives_none(store: SagaStore) -> None:
    assert store.get("nobody") is None


# --- acquire ---------------------------------------------------------------------------------------------------------


def test_acquire_sets_running_owner_expiry_and_heartbeat(store: SagaStore) -> None:
    saga = running(store)
    assert (saga.state, saga.lease_owner, saga.fence) == (TaskState.RUNNING, "ann", 1)
    assert (saga.last_heartbeat_ms, saga.lease_expires_ms) == (START_MS, START_MS + TTL_MS)


@pytest.mark.parametrize("ttl_ms", [0, -1])
def test_acquire_needs_an_expiry_after_its_own_time(store: SagaStore, ttl_ms: int) -> None:
    plan(store)
    with pytest.raises(InvalidValue, match="ttl_ms"):
        store.acquire("t1", "ann", ttl_ms)


def test_acquire_of_a_missing_saga_is_not_found(store: SagaStore) -> None:
    with pytest.raises(NotFound):
        store.acquire("nobody", "ann")


def test_acquire_of_an_ended_saga_is_refused(store: SagaStore) -> None:
    store.mark_completed(running(store))
    with pytest.raises(TerminalTask):
        store.acquire("t1", "ann")


@pytest.mark.parametrize("owner", ["bob", "ann"])
def test_acquire_of_a_live_lease_is_refused_even_for_its_own_owner(store: SagaStore, owner: str) -> None:
    saga = running(store)
    with pytest.raises(LeaseHeld):
        store.acquire("t1", owner)
    assert store.get("t1") == saga


def test_acquire_takes_over_a_lease_from_its_expiry_on_and_not_before(store: SagaStore, clock: ManualClock) -> None:
    running(store)
    clock.advance(TTL_MS - 1)
    with pytest.raises(LeaseHeld):
        store.acquire("t1", "bob")
    clock.advance(1)
    assert (store.acquire("t1", "bob").lease_owner, store.engine.history("t1")[2].type) == ("bob", "lease_expired")


def test_of_two_that_acquire_at_once_through_two_handles_one_is_refused(tmp_path: Path, clock: ManualClock) -> None:
    url = f"sqlite:///{tmp_path}/sagas.db"
    with open_store(url, clock=clock) as first, open_store(url, clock=clock) as second:
        plan(first)
        first.acquire("t1", "ann")
        with pytest.raises(LeaseHeld):
            second.acquire("t1", "bob")


# --- heartbeat -------------------------------------------------------------------------------------------------------


def test_heartbeat_moves_the_expiry_and_says_when(store: SagaStore, clock: ManualClock) -> None:
    saga = running(store)
    clock.advance(400)
    renewed = store.heartbeat(saga)
    assert (renewed.last_heartbeat_ms, renewed.lease_expires_ms) == (START_MS + 400, START_MS + 400 + TTL_MS)
    assert store.get("t1") == renewed


def test_heartbeat_of_who_does_not_hold_the_saga_is_refused(store: SagaStore, clock: ManualClock) -> None:
    late = running(store)
    clock.advance(TTL_MS)
    held = store.acquire("t1", "bob")
    with pytest.raises(LeaseLost):
        store.heartbeat(late)
    with pytest.raises(Conflict):
        store.heartbeat(plan(store, "t2"))
    assert store.get("t1") == held


def test_heartbeat_at_the_expiry_is_too_late_though_nobody_has_taken_over(store: SagaStore, clock: ManualClock) -> None:
    saga = running(store)
    clock.advance(TTL_MS)
    with pytest.raises(LeaseLost):
        store.heartbeat(saga)


def test_heartbeat_that_would_not_move_the_expiry_forward_writes_nothing(store: SagaStore) -> None:
    saga = running(store)
    before = store.engine.newest_position()
    assert (store.heartbeat(saga), store.heartbeat(saga, TTL_MS - 1)) == (saga, saga)
    assert store.engine.newest_position() == before


# --- listings --------------------------------------------------------------------------------------------------------


def test_list_stale_gives_what_has_not_ended_and_whose_lease_is_over(store: SagaStore, clock: ManualClock) -> None:
    running(store, "t1")
    plan(store, "t2")
    store.mark_completed(running(store, "t3"))
    clock.advance(TTL_MS - 1)
    assert store.stale() == []
    clock.advance(1)
    assert [saga.task_id for saga in store.stale()] == ["t1"]


def test_list_in_flight_gives_what_has_not_ended_in_the_order_of_planning(store: SagaStore) -> None:
    plan(store, "t3")
    running(store, "t1")
    failed(store, "t2")
    store.mark_completed(running(store, "t0"))
    assert [saga.task_id for saga in store.in_flight()] == ["t3", "t1", "t2"]


def test_status_counts_the_sagas_of_each_state_and_the_stale_ones(store: SagaStore, clock: ManualClock) -> None:
    plan(store, "t1")
    running(store, "t2")
    failed(store, "t3")
    store.mark_quarantined("t1", "odd")
    clock.advance(TTL_MS)
    assert store.status() == {"running": 1, "compensating": 1, "quarantined": 1, "stale": 1}


# --- marks -----------------------------------------------------------------------------------------------------------


def test_mark_completed_ends_a_saga_with_its_reason(store: SagaStore) -> None:
    saga = store.mark_completed(running(store), "merged")
    assert (saga.state, saga.terminal_reason, saga.lease_owner) == (TaskState.COMPLETED, "merged", None)


def test_mark_failed_appends_its_compensation_and_what_is_owed_comes_next(store: SagaStore) -> None:
    saga = failed(store)
    assert (saga.state, saga.compensations) == (TaskState.COMPENSATING, (WORKTREE, BRANCH))


def test_mark_failed_without_any_compensation_is_refused_and_the_saga_goes_on(store: SagaStore) -> None:
    saga = running(store)
    with pytest.raises(CompensationRequired):
        store.mark_failed(saga, "no way on")
    assert store.get("t1") == saga


def test_a_failed_saga_is_marked_compensated_once_it_was_acquired_for_undoing(store: SagaStore) -> None:
    failed(store)
    saga = store.acquire_undo("t1", "bob")
    done = store.mark_compensated(saga, "cleaned up")
    assert done.state is TaskState.COMPENSATED
    types = [event.type for event in store.engine.history("t1")]
    assert types[-4:] == ["compensation_done", "compensation_done", "compensated", "noted"]


def test_mark_compensated_by_who_holds_no_undo_is_refused(store: SagaStore) -> None:
    saga = running(store, "t1", WORKTREE)
    store.mark_failed(saga, "no way on")
    with pytest.raises(LeaseLost):
        store.mark_compensated(saga)
    with pytest.raises(Blocked):
        store.acquire("t1", "ann")


def test_mark_quarantined_ends_a_saga_whoever_holds_it(store: SagaStore) -> None:
    late = running(store)
    saga = store.mark_quarantined("t1", "odd")
    assert (saga.state, saga.terminal_reason) == (TaskState.QUARANTINED, "odd")
    with pytest.raises(LeaseLost):
        store.mark_completed(late)


MARKS: dict[str, Callable[[SagaStore, TaskSaga], object]] = {
    "completed": lambda store, saga: store.mark_completed(saga),
    "failed": lambda store, saga: store.mark_failed(saga, "no way on", BRANCH),
    "compensated": lambda store, saga: store.mark_compensated(saga),
    "quarantined": lambda store, saga: store.mark_quarantined(saga.task_id, "odd"),
}


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize("ended", ["completed", "quarantined", "compensated"])
def test_marks_on_an_ended_saga_are_refused(store: SagaStore, mark: str, ended: str) -> None:
    saga = running(store, "t1", WORKTREE)
    if ended == "compensated":
        store.mark_failed(saga, "no way on")
        saga = store.acquire_undo("t1", "bob")
    MARKS[ended](store, saga)
    before = store.get("t1")
    if mark == ended:
        # The same holder says the same again: a repeat, which adds nothing.
        MARKS[mark](store, saga)
    else:
        with pytest.raises((LeaseLost, TerminalTask)):
            MARKS[mark](store, saga)
    assert store.get("t1") == before


@pytest.mark.parametrize("mark", MARKS)
def test_marks_on_a_missing_saga_are_not_found(store: SagaStore, mark: str) -> None:
    nobody = TaskSaga("nobody", "x", TaskState.RUNNING, 1, "b", "w", fence=1)
    with pytest.raises(NotFound):
        MARKS[mark](store, nobody)


def test_a_late_holder_can_mark_nothing(store: SagaStore, clock: ManualClock) -> None:
    late = running(store, "t1", WORKTREE)
    clock.advance(TTL_MS)
    held = store.acquire("t1", "bob")
    for mark in ("completed", "failed", "compensated"):
        with pytest.raises(LeaseLost):
            MARKS[mark](store, late)
    assert store.get("t1") == held


# --- compensations ---------------------------------------------------------------------------------------------------


def test_a_compensation_is_appended_while_the_saga_runs_and_is_there_once(store: SagaStore) -> None:
    saga = running(store, "t1", WORKTREE)
    assert store.register(saga, BRANCH).compensations == (WORKTREE, BRANCH)
    before = store.engine.newest_position()
    assert store.register(saga, BRANCH).compensations == (WORKTREE, BRANCH)
    assert store.engine.newest_position() == before


def test_a_late_holder_appends_nothing(store: SagaStore, clock: ManualClock) -> None:
    late = running(store)
    clock.advance(TTL_MS)
    store.acquire("t1", "bob")
    with pytest.raises(LeaseLost):
        store.register(late, BRANCH)


# --- put -------------------------------------------------------------------------------------------------------------


def test_put_of_a_new_saga_plans_it(store: SagaStore) -> None:
    saga = TaskSaga("t1", "s1", TaskState.PLANNED, 168, "fix/1", "wt/1", (WORKTREE,))
    assert store.put(saga) == store.get("t1") == saga
    with pytest.raises(Rejected):
        store.put(replace(saga, task_id="t2", saga_id="s2", state=TaskState.COMPLETED))


def test_put_of_a_changed_copy_says_what_has_changed(store: SagaStore) -> None:
    saga = running(store)
    saga = store.put(replace(saga, compensations=(WORKTREE,)))
    assert saga.compensations == (WORKTREE,)
    done = store.put(replace(saga, state=TaskState.COMPLETED, terminal_reason="merged"))
    assert (done.state, done.terminal_reason) == (TaskState.COMPLETED, "merged")


@pytest.mark.parametrize("lost", [{"lease_owner": None}, {"lease_expires_ms": 5}, {"fence": 0}, {"lease_owner": "bob"}])
def test_put_that_would_drop_or_change_a_lease_is_refused_as_stale(store: SagaStore, lost: dict[str, Any]) -> None:
    saga = running(store)
    with pytest.raises(Conflict):
        store.put(replace(saga, state=TaskState.COMPLETED, **lost))
    assert store.get("t1") == saga


def test_put_on_an_ended_saga_is_refused_unless_only_a_reason_is_added(store: SagaStore) -> None:
    ended = store.mark_completed(running(store))
    with pytest.raises(TerminalTask):
        store.put(replace(ended, state=TaskState.RUNNING))
    with pytest.raises(TerminalTask):
        store.put(replace(ended, branch="fix/2", terminal_reason="x"))
    assert store.put(ended) == ended
    store.put(replace(ended, terminal_reason="merged by hand"))
    noted = store.engine.history("t1")[-1].event
    assert getattr(noted, "text", None) == "merged by hand"


def test_put_of_a_failed_saga_without_compensations_is_refused(store: SagaStore) -> None:
    saga = running(store)
    with pytest.raises(CompensationRequired):
        store.put(replace(saga, state=TaskState.FAILED))
    assert store.get("t1") == saga


@pytest.mark.parametrize(
    "changed", [{"issue": 1}, {"branch": "x"}, {"worktree": "x"}, {"saga_id": "x"}, {"compensations": ()}]
)
def test_put_of_what_no_verb_changes_is_refused(store: SagaStore, changed: dict[str, Any]) -> None:
    saga = running(store, "t1", WORKTREE)
    with pytest.raises(Rejected):
        store.put(replace(saga, **changed))
    assert store.get("t1") == saga


# --- again -----------------------------------------------------------------------------------------------------------


def test_a_quarantined_saga_is_planned_once_more_and_owes_what_was_left(store: SagaStore) -> None:
    running(store, "t1", WORKTREE)
    store.mark_quarantined("t1", "odd")
    again = store.retry("t1")
    assert (again.state, again.saga_id, again.compensations) == (TaskState.PLANNED, "saga of t1", (WORKTREE,))
    assert store.retry("t1") == again
    assert store.mark_completed(store.acquire(again.task_id, "bob")).state is TaskState.COMPLETED


def test_what_was_written_is_there_when_the_store_is_opened_again(tmp_path: Path, clock: ManualClock) -> None:
    url = f"sqlite:///{tmp_path}/sagas.db"
    with open_store(url, clock=clock) as store:
        saga = running(store, "t1", WORKTREE)
    with open_store(url, clock=clock) as store:
        assert store.get("t1") == saga
        assert store.mark_completed(saga).state is TaskState.COMPLETED

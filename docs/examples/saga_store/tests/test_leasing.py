"""acquire_lease, heartbeat, list_stale, list_in_flight, appended compensations."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

import sagalog
from saga_store import Compensation, SagaStore, TaskState
from saga_store.tests.conftest import START_MS
from saga_store.tests.making import BRANCH, TTL_MS, WORKTREE, loaded, planned, running
from sagalog.testing import ManualClock


def test_acquiring_marks_a_saga_running_and_sets_its_heartbeat(store: SagaStore, clock: ManualClock) -> None:
    """The heartbeat is the time of the acquisition."""
    planned(store)
    clock.advance(5)

    saga = store.acquire_lease("t1", "agent-1", ttl_ms=TTL_MS)

    assert (saga.state, saga.lease_owner) == (TaskState.RUNNING, "agent-1")
    assert (saga.last_heartbeat_at, saga.lease_expires_at) == (START_MS + 5, START_MS + 5 + TTL_MS)
    assert saga.fence > 0
    assert loaded(store) == saga


@pytest.mark.parametrize("ttl_ms", [0, -1])
def test_a_lease_that_would_end_before_it_begins_is_refused(store: SagaStore, ttl_ms: int) -> None:
    saga = planned(store)

    with pytest.raises(sagalog.InvalidValue):
        store.acquire_lease("t1", "agent-1", ttl_ms=ttl_ms)

    assert loaded(store) == saga


def test_leasing_a_missing_saga_is_refused_as_not_found(store: SagaStore) -> None:
    with pytest.raises(sagalog.NotFound):
        store.acquire_lease("absent", "agent-1", ttl_ms=TTL_MS)


def test_leasing_a_terminal_saga_is_refused(store: SagaStore) -> None:
    store.mark_completed(running(store))

    with pytest.raises(sagalog.TerminalTask):
        store.acquire_lease("t1", "agent-2", ttl_ms=TTL_MS)


@pytest.mark.parametrize("owner", ["agent-1", "agent-2"])
def test_a_live_lease_is_refused_even_to_the_same_owner(store: SagaStore, owner: str) -> None:
    saga = running(store)

    with pytest.raises(sagalog.LeaseHeld):
        store.acquire_lease("t1", owner, ttl_ms=TTL_MS)

    assert loaded(store) == saga


def test_the_loser_of_a_race_for_a_lease_is_refused(store: SagaStore) -> None:
    planned(store)

    def race(number: int) -> bool:
        try:
            store.acquire_lease("t1", f"agent-{number}", ttl_ms=TTL_MS)
        except sagalog.LeaseHeld:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(race, range(8)))

    assert won.count(True) == 1
    assert loaded(store).lease_owner == f"agent-{won.index(True)}"


def test_a_heartbeat_moves_the_expiry_on(store: SagaStore, clock: ManualClock) -> None:
    saga = running(store)
    clock.advance(10)

    beaten = store.heartbeat(saga, ttl_ms=2 * TTL_MS)

    assert (beaten.last_heartbeat_at, beaten.lease_expires_at) == (START_MS + 10, START_MS + 10 + 2 * TTL_MS)
    assert loaded(store) == beaten


def test_a_heartbeat_under_another_fence_is_refused(store: SagaStore) -> None:
    saga = running(store)

    with pytest.raises(sagalog.NotFound):
        store.heartbeat(replace(saga, fence=saga.fence + 1), ttl_ms=2 * TTL_MS)

    assert loaded(store) == saga


def test_a_heartbeat_at_the_very_expiry_is_too_late(store: SagaStore, clock: ManualClock) -> None:
    saga = running(store)
    clock.advance(TTL_MS - 1)
    saga = store.heartbeat(saga, ttl_ms=TTL_MS)
    clock.advance(TTL_MS)

    with pytest.raises(sagalog.LeaseLost):
        store.heartbeat(saga, ttl_ms=TTL_MS)


@pytest.mark.parametrize("ttl_ms", [TTL_MS, TTL_MS - 1])
def test_a_heartbeat_that_would_not_expire_later_has_no_effect(store: SagaStore, ttl_ms: int) -> None:
    saga = running(store)
    position = store.engine.newest_position()

    assert store.heartbeat(saga, ttl_ms=ttl_ms) == saga
    assert store.engine.newest_position() == position


def test_of_two_copies_of_a_lease_neither_sets_the_expiry_back(store: SagaStore, clock: ManualClock) -> None:
    saga = running(store)
    clock.advance(10)
    newest = store.heartbeat(saga, ttl_ms=2 * TTL_MS)

    store.heartbeat(saga, ttl_ms=TTL_MS)

    assert loaded(store) == newest


def test_a_heartbeat_of_a_lease_that_was_ended_is_refused(store: SagaStore, clock: ManualClock) -> None:
    saga = running(store, compensations=[WORKTREE])
    clock.advance(TTL_MS)
    store.engine.recover()
    after = loaded(store)

    with pytest.raises(sagalog.LeaseLost):
        store.heartbeat(saga, ttl_ms=TTL_MS)

    assert loaded(store) == after


def test_stale_are_those_that_have_not_ended_and_whose_expiry_has_come(store: SagaStore, clock: ManualClock) -> None:
    running(store, 1)
    store.mark_completed(running(store, 2))
    planned(store, 3)
    clock.advance(TTL_MS - 1)
    late = running(store, 4)
    assert store.list_stale() == []

    clock.advance(1)

    assert [saga.task_id for saga in store.list_stale()] == ["t1"]
    assert late in store.list_in_flight()


def test_in_flight_are_those_that_have_not_ended_in_order_of_insertion(store: SagaStore) -> None:
    for number in (3, 1, 2, 4):
        planned(store, number)
    store.mark_completed(store.acquire_lease("t2", "agent-1", ttl_ms=TTL_MS))
    store.acquire_lease("t1", "agent-1", ttl_ms=TTL_MS)
    store.mark_failed(store.acquire_lease("t4", "agent-1", ttl_ms=TTL_MS), "tests fail", WORKTREE)

    assert [saga.task_id for saga in store.list_in_flight()] == ["t3", "t1", "t4"]


def test_a_compensation_is_on_record_before_its_effect(store: SagaStore) -> None:
    saga = running(store, compensations=[WORKTREE])

    appended = store.append_compensation(saga, BRANCH)

    assert appended.compensations == (WORKTREE, BRANCH)
    assert loaded(store) == appended


def test_the_same_compensation_appended_again_changes_nothing(store: SagaStore) -> None:
    saga = store.append_compensation(running(store), BRANCH)
    position = store.engine.newest_position()

    assert store.append_compensation(saga, Compensation(BRANCH.kind, BRANCH.target, "said otherwise")) == saga
    assert store.engine.newest_position() == position


def test_a_late_holder_cannot_append_a_compensation(store: SagaStore, clock: ManualClock) -> None:
    saga = running(store, compensations=[WORKTREE])
    clock.advance(TTL_MS)
    store.engine.recover()

    with pytest.raises(sagalog.LeaseLost):
        store.append_compensation(saga, BRANCH)


def test_the_store_shows_nothing_of_other_queues_and_leases_nothing_there(store: SagaStore) -> None:
    store.engine.create("build", id="foreign", queue="ci")

    assert store.get("foreign") is None
    assert store.list_in_flight() == []
    with pytest.raises(sagalog.Blocked):
        store.acquire_lease("foreign", "agent-1", ttl_ms=TTL_MS)

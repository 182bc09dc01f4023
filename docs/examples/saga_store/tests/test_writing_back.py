"""put: whole values written back become verbs, and what no verb says is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

import sagalog
from saga_store import SagaStore, TaskSaga, TaskState, put
from saga_store.tests.conftest import START_MS
from saga_store.tests.making import BRANCH, TTL_MS, WORKTREE, loaded, planned, running
from sagalog.testing import ManualClock

NEW = TaskSaga("t1", "s1", TaskState.PLANNED, 1, "fix/1", "wt/1", (WORKTREE,))


def types(store: SagaStore) -> list[str]:
    return [event.type for event in store.engine.history("t1")]


@pytest.mark.parametrize("state", [TaskState.PLANNED, TaskState.DISPATCHED])
def test_putting_a_new_saga_creates_it(store: SagaStore, state: TaskState) -> None:
    saga = replace(NEW, state=state)

    assert put(store, saga) == saga
    assert loaded(store) == saga


@pytest.mark.parametrize(
    "change",
    [
        {"state": TaskState.RUNNING},
        {"state": TaskState.COMPLETED},
        {"fence": 1},
        {"lease_owner": "agent-1"},
        {"terminal_reason": "odd"},
    ],
)
def test_putting_a_new_saga_that_is_not_at_its_beginning_is_refused(store: SagaStore, change: dict[str, Any]) -> None:
    with pytest.raises(sagalog.InvalidValue):
        put(store, replace(NEW, **change))

    assert store.get("t1") is None


def test_putting_a_failed_saga_without_compensations_is_refused(store: SagaStore) -> None:
    with pytest.raises(sagalog.CompensationRequired):
        put(store, replace(NEW, state=TaskState.FAILED, compensations=()))
    saga = running(store)

    with pytest.raises(sagalog.CompensationRequired):
        put(store, replace(saga, state=TaskState.FAILED, terminal_reason="tests fail"))

    assert loaded(store) == saga


def test_putting_what_is_there_changes_nothing(store: SagaStore) -> None:
    for saga in (running(store, 1), planned(store, 2), store.mark_completed(running(store, 3))):
        position = store.engine.newest_position()
        assert put(store, saga) == saga
        assert store.engine.newest_position() == position


@pytest.mark.parametrize("name", ["saga_id", "branch", "worktree"])
def test_changing_what_a_saga_is_about_is_refused(store: SagaStore, name: str) -> None:
    saga = running(store)

    with pytest.raises(sagalog.InvalidValue, match=name):
        put(store, replace(saga, **{name: "another"}))  # type: ignore[arg-type]  # every one of them is a str
    with pytest.raises(sagalog.InvalidValue, match="issue"):
        put(store, replace(saga, issue=2))

    assert loaded(store) == saga


@pytest.mark.parametrize("kept", [(), (BRANCH,), (BRANCH, WORKTREE)])
def test_dropping_or_changing_compensations_is_refused(store: SagaStore, kept: tuple[Any, ...]) -> None:
    saga = running(store, compensations=[WORKTREE, BRANCH])

    with pytest.raises(sagalog.InvalidValue, match="compensations"):
        put(store, replace(saga, compensations=kept))

    assert loaded(store) == saga


@pytest.mark.parametrize(
    "change",
    [
        {"lease_owner": None, "lease_expires_at": None, "last_heartbeat_at": None},
        {"lease_owner": None, "state": TaskState.PLANNED},
        {"lease_owner": "agent-2"},
        {"lease_expires_at": START_MS + TTL_MS - 1},
        {"fence": 0},
        {"fence": 7},
    ],
)
def test_a_stale_write_that_would_change_an_active_lease_is_refused(store: SagaStore, change: dict[str, Any]) -> None:
    """One that would drop it is refused too."""
    saga = running(store)

    with pytest.raises(sagalog.LeaseLost):
        put(store, replace(saga, **change))

    assert loaded(store) == saga


def test_a_value_from_before_the_lease_cannot_be_put(store: SagaStore) -> None:
    before = planned(store)
    saga = store.acquire_lease("t1", "agent-1", ttl_ms=TTL_MS)

    with pytest.raises(sagalog.LeaseLost):
        put(store, before)

    assert loaded(store) == saga


def test_a_lease_cannot_be_put_where_there_is_none(store: SagaStore) -> None:
    saga = planned(store)

    for state in (TaskState.RUNNING, TaskState.PLANNED):
        with pytest.raises(sagalog.InvalidValue, match="lease_owner"):
            put(store, replace(saga, state=state, lease_owner="agent-1"))

    assert loaded(store) == saga


def test_a_later_expiry_becomes_a_heartbeat(store: SagaStore, clock: ManualClock) -> None:
    saga = running(store)
    clock.advance(10)

    after = put(store, replace(saga, lease_expires_at=START_MS + 2 * TTL_MS))

    assert (after.lease_expires_at, after.last_heartbeat_at) == (START_MS + 2 * TTL_MS, START_MS + 10)
    assert types(store)[-1] == "heartbeat"


def test_a_heartbeat_that_moves_no_expiry_is_refused(store: SagaStore) -> None:
    with pytest.raises(sagalog.InvalidValue, match="last_heartbeat_at"):
        put(store, replace(running(store), last_heartbeat_at=START_MS + 1))


def test_appended_compensations_and_the_end_are_one_commit(store: SagaStore) -> None:
    saga = running(store, compensations=[WORKTREE])
    value = replace(saga, state=TaskState.FAILED, compensations=(WORKTREE, BRANCH), terminal_reason="tests fail")

    after = put(store, value)

    assert (after.state, after.compensations) == (TaskState.COMPENSATING, (WORKTREE, BRANCH))
    assert types(store)[-2:] == ["compensation_registered", "failed"]


def test_a_put_that_is_refused_at_its_end_writes_nothing(store: SagaStore) -> None:
    saga = running(store)

    with pytest.raises(sagalog.InvalidValue):
        put(store, replace(saga, compensations=(BRANCH,), terminal_reason="too early"))

    assert loaded(store) == saga


@pytest.mark.parametrize(
    "state", [TaskState.COMPLETED, TaskState.COMPENSATED, TaskState.QUARANTINED], ids=lambda state: str(state)
)
def test_an_end_that_is_put_becomes_the_mark(store: SagaStore, state: TaskState) -> None:
    saga = running(store, compensations=[WORKTREE])

    after = put(store, replace(saga, state=state, terminal_reason="because"))

    assert (after.state, after.terminal_reason) == (state, "because")
    assert put(store, replace(saga, state=state, terminal_reason="because")) == after


def test_a_planned_saga_may_be_put_as_dispatched_and_a_running_one_not(store: SagaStore) -> None:
    saga = planned(store)
    put(store, replace(saga, state=TaskState.DISPATCHED))
    assert loaded(store).state is TaskState.DISPATCHED
    held = store.acquire_lease("t1", "agent-1", ttl_ms=TTL_MS)

    with pytest.raises(sagalog.InvalidValue):
        put(store, replace(held, state=TaskState.DISPATCHED))


def test_a_compensation_cannot_be_appended_on_the_way_into_quarantine(store: SagaStore) -> None:
    saga = running(store, compensations=[WORKTREE])

    with pytest.raises(sagalog.InvalidValue, match="compensations"):
        put(store, replace(saga, state=TaskState.QUARANTINED, compensations=(WORKTREE, BRANCH)))

    assert loaded(store) == saga


def test_a_compensating_saga_that_is_put_as_compensated_is_that(store: SagaStore) -> None:
    failed = store.mark_failed(running(store), "tests fail", WORKTREE)

    assert put(store, replace(failed, state=TaskState.COMPENSATED)).state is TaskState.COMPENSATED


@pytest.mark.parametrize("state", [TaskState.COMPLETED, TaskState.RUNNING, TaskState.COMPENSATED])
def test_a_planned_saga_cannot_be_put_where_only_a_lease_leads(store: SagaStore, state: TaskState) -> None:
    saga = planned(store, compensations=[WORKTREE])

    with pytest.raises(sagalog.InvalidValue):
        put(store, replace(saga, state=state))

    assert loaded(store) == saga


@pytest.mark.parametrize(
    "change", [{"state": TaskState.PLANNED}, {"compensations": (WORKTREE,)}, {"state": TaskState.QUARANTINED}]
)
def test_putting_on_a_terminal_saga_is_refused(store: SagaStore, change: dict[str, Any]) -> None:
    ended = store.mark_completed(running(store))

    with pytest.raises(sagalog.TerminalTask):
        put(store, replace(ended, terminal_reason="added", **change))

    assert loaded(store) == ended


def test_a_missing_reason_can_be_added_to_a_terminal_saga_once(store: SagaStore) -> None:
    ended = store.mark_completed(running(store))

    noted = put(store, replace(ended, terminal_reason="merged by hand"))

    assert noted == replace(ended, terminal_reason="merged by hand")
    assert loaded(store) == noted
    assert types(store)[-1] == "noted"
    with pytest.raises(sagalog.TerminalTask):
        put(store, replace(ended, terminal_reason="another"))

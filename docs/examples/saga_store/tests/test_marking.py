"""The marks: how a saga ends, under the fence that its value carries."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import sagalog
from saga_store import SagaStore, TaskSaga, TaskState
from saga_store.tests.making import BRANCH, TTL_MS, WORKTREE, loaded, planned, running
from sagalog.testing import ManualClock

Mark = Callable[[SagaStore, TaskSaga], TaskSaga]

MARKS: dict[str, Mark] = {
    "completed": lambda store, saga: store.mark_completed(saga, "merged"),
    "failed": lambda store, saga: store.mark_failed(saga, "tests fail", WORKTREE),
    "compensated": lambda store, saga: store.mark_compensated(saga, "undone by hand"),
    "quarantined": lambda store, saga: store.mark_quarantined(saga, "odd"),
}
each_mark = pytest.mark.parametrize("mark", list(MARKS.values()), ids=list(MARKS))


@pytest.mark.parametrize("reason", [None, "merged"])
def test_completed_is_terminal_and_keeps_its_reason(store: SagaStore, reason: str | None) -> None:
    ended = store.mark_completed(running(store, compensations=[WORKTREE]), reason)

    assert (ended.state, ended.terminal_reason) == (TaskState.COMPLETED, reason)
    assert ended.state.is_terminal
    assert (ended.lease_owner, ended.lease_expires_at) == (None, None)
    assert loaded(store) == ended


def test_failing_appends_the_compensation_that_it_is_given(store: SagaStore) -> None:
    failed = store.mark_failed(running(store, compensations=[WORKTREE]), "tests fail", BRANCH)

    assert failed.compensations == (WORKTREE, BRANCH)
    assert failed.terminal_reason == "tests fail"


def test_failing_needs_at_least_one_compensation(store: SagaStore) -> None:
    saga = running(store)

    with pytest.raises(sagalog.CompensationRequired):
        store.mark_failed(saga, "tests fail")

    assert loaded(store) == saga


def test_a_failed_saga_is_compensating_until_all_is_undone(store: SagaStore) -> None:
    """Then it is compensated."""
    failed = store.mark_failed(running(store), "tests fail", WORKTREE)
    assert (failed.state, failed.state.is_terminal) == (TaskState.COMPENSATING, False)

    ended = store.mark_compensated(failed, "undone by hand")

    assert (ended.state, ended.terminal_reason) == (TaskState.COMPENSATED, "undone by hand")
    assert loaded(store) == ended


def test_a_saga_that_fails_with_nothing_left_to_undo_is_failed(store: SagaStore) -> None:
    saga = running(store, compensations=[WORKTREE])
    (owed,) = store.existing("t1").owed
    store.engine.waive("t1", owed.id, "removed by its user")

    failed = store.mark_failed(saga, "tests fail")

    assert (failed.state, failed.terminal_reason) == (TaskState.FAILED, "tests fail")


def test_a_holder_that_has_undone_everything_marks_it_in_one_commit(store: SagaStore) -> None:
    saga = store.append_compensation(running(store, compensations=[WORKTREE]), BRANCH)

    ended = store.mark_compensated(saga, "undone by its agent")

    assert (ended.state, ended.terminal_reason) == (TaskState.COMPENSATED, "undone by its agent")
    history = store.engine.history("t1")
    assert [one.type for one in history][-4:] == ["failed", *["compensation_waived"] * 2, "compensated"]
    assert store.mark_compensated(saga, "undone by its agent") == ended


def test_a_saga_that_is_being_undone_is_not_marked_compensated(store: SagaStore) -> None:
    failed = store.mark_failed(running(store), "tests fail", WORKTREE)
    store.engine.acquire("t1", owner="sweep", ttl_ms=TTL_MS, purpose="undo")

    with pytest.raises(sagalog.LeaseHeld):
        store.mark_compensated(failed)


def test_quarantined_is_terminal_and_keeps_its_reason(store: SagaStore) -> None:
    ended = store.mark_quarantined(running(store, compensations=[WORKTREE]), "odd")

    assert (ended.state, ended.terminal_reason) == (TaskState.QUARANTINED, "odd")
    assert ended.state.is_terminal
    assert loaded(store) == ended


def test_a_planned_saga_can_be_quarantined_and_not_under_an_older_value(store: SagaStore) -> None:
    saga = planned(store)
    other = planned(store, 2)
    store.acquire_lease("t2", "agent-1", ttl_ms=TTL_MS)

    assert store.mark_quarantined(saga, "odd").state is TaskState.QUARANTINED
    with pytest.raises(sagalog.LeaseLost):
        store.mark_quarantined(other, "odd")


@each_mark
def test_the_holder_of_a_saga_that_is_to_be_cancelled_may_still_mark_it(store: SagaStore, mark: Mark) -> None:
    saga = running(store, compensations=[WORKTREE])
    store.engine.cancel("t1", "no longer wanted")

    ended = mark(store, saga)

    assert "cancelled" not in [one.type for one in store.engine.history("t1")]
    assert loaded(store) == ended


def test_a_saga_that_its_holder_quarantined_may_be_quarantined_again(store: SagaStore) -> None:
    """A caller that loads it quarantines it once more."""
    ended = store.mark_quarantined(running(store), "odd")

    assert store.mark_quarantined(ended, "odd") == ended


# The same mark again is a repeat, with a test of its own.
@pytest.mark.parametrize(
    ("end", "mark"),
    [(end, mark) for end in ("completed", "compensated", "quarantined") for mark in MARKS if mark != end],
)
def test_a_mark_on_a_terminal_saga_raises(store: SagaStore, end: str, mark: str) -> None:
    ended = MARKS[end](store, running(store, compensations=[WORKTREE]))

    with pytest.raises((sagalog.TerminalTask, sagalog.Conflict)):
        MARKS[mark](store, ended)

    assert loaded(store) == ended


@each_mark
def test_a_mark_on_a_missing_saga_raises_not_found(store: SagaStore, mark: Mark) -> None:
    for fence in (0, 1):
        missing = TaskSaga("absent", "s", TaskState.RUNNING, 1, "b", "w", fence=fence)
        with pytest.raises(sagalog.NotFound):
            mark(store, missing)


@each_mark
def test_a_late_holder_cannot_mark(store: SagaStore, clock: ManualClock, mark: Mark) -> None:
    saga = running(store, compensations=[WORKTREE])
    clock.advance(TTL_MS)
    store.engine.recover()
    after = loaded(store)

    with pytest.raises(sagalog.LeaseLost):
        mark(store, saga)

    assert loaded(store) == after


@each_mark
def test_the_same_mark_again_gets_its_first_answer(store: SagaStore, mark: Mark) -> None:
    saga = running(store, compensations=[WORKTREE])
    ended = mark(store, saga)
    position = store.engine.newest_position()

    assert mark(store, saga) == ended
    assert store.engine.newest_position() == position


def test_the_same_mark_with_another_reason_is_refused(store: SagaStore) -> None:
    saga = running(store)
    ended = store.mark_completed(saga, "merged")

    with pytest.raises(sagalog.Conflict):
        store.mark_completed(saga, "closed")

    assert loaded(store) == ended

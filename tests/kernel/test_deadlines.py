"""Deadlines: what the engine cancels, or asks to stop, once a time has come, and what it leaves alone."""

from __future__ import annotations

import pytest

from sagalog.errors import Blocked, LeaseLost
from sagalog.kernel import events as e
from sagalog.kernel.deadlines import cancel_ms
from sagalog.kernel.values import State
from sagalog.testing import Scenario, given
from tests.kernel.making import (
    UNDO,
    acquire,
    acquire_undo,
    amend,
    cancel,
    complete,
    create,
    fail,
    heartbeat,
    maintain,
    maintain_unchanged,
    park,
    release,
    retry,
)

TIMED = given(create(UNDO, deadline_ms=50, start_by_ms=30))
RUNNING = TIMED.given(acquire(ttl_ms=None))


def test_a_task_without_a_lease_is_cancelled_at_its_time_to_start() -> None:
    """[DEADLINE-1]"""
    TIMED.when(maintain(), now_ms=29).then_nothing()
    ended = TIMED.when(maintain(), now_ms=30).then(e.Cancelled(State.CANCELLED, code="start_by"))
    assert ended.task is not None
    assert (ended.task.code, ended.task.outcome) == ("start_by", "cancelled")


def test_a_task_that_a_worker_has_leased_once_has_no_time_to_start() -> None:
    """[DEADLINE-1]"""
    TIMED.given(acquire(), release()).when(maintain(), now_ms=49).then_nothing()


def test_the_earlier_of_both_cancels_and_the_deadline_where_both_have_come() -> None:
    """[DEADLINE-1]"""
    given(create(deadline_ms=20, start_by_ms=30)).when(maintain(), now_ms=20).then(
        e.Cancelled(State.CANCELLED, code="deadline")
    )
    TIMED.when(maintain(), now_ms=60).then(e.Cancelled(State.CANCELLED, code="deadline"))


@pytest.mark.parametrize(
    "story",
    [
        RUNNING.given(release()),
        RUNNING.given(retry(run_at_ms=500)),
        RUNNING.given(park(signal="go")),
        RUNNING.given(park(until_ms=40)),
    ],
)
def test_a_task_without_a_lease_is_cancelled_at_its_deadline_and_undoes(story: Scenario) -> None:
    """[DEADLINE-1] Wherever it waits, a wait that is over at the same time included."""
    story.when(maintain(), now_ms=50).then(e.Cancelled(State.COMPENSATING, code="deadline"))


def test_the_holder_of_a_running_task_is_asked_to_stop_once() -> None:
    """[DEADLINE-1] [CANCEL-2]"""
    RUNNING.when(maintain(), now_ms=49).then_nothing()
    asked = RUNNING.when(maintain(), now_ms=50).then(e.CancelRequested(code="deadline"))
    asked.when(maintain(), now_ms=60).then_nothing()
    asked.when(cancel("too late")).then_nothing()
    asked.when(complete()).then(e.Completed(1, "complete"))
    ended = asked.when(release(run_at_ms=70)).then(
        e.Released(1, "release", 70), e.Cancelled(State.COMPENSATING, code="deadline")
    )
    assert ended.task is not None
    assert ended.task.code == "deadline"


def test_a_task_that_an_operator_asked_to_stop_is_asked_once() -> None:
    """[DEADLINE-1]"""
    asked = RUNNING.given(cancel("too late"))
    asked.when(maintain(), now_ms=50).then_nothing()
    asked.when(release(run_at_ms=70), now_ms=60).then(e.Released(1, "release", 70), e.Cancelled(State.COMPENSATING))


def test_undoing_has_no_deadline() -> None:
    """[DEADLINE-1]"""
    undoing = RUNNING.given(fail())
    undoing.when(maintain(), now_ms=5_000).then_nothing()
    undoing.given(acquire_undo()).when(maintain(), now_ms=90).then_nothing()


def test_a_deadline_goes_before_a_budget_that_an_expiry_spends() -> None:
    """[DEADLINE-2] [CANCEL-2]"""
    story = given(create(UNDO, deadline_ms=150, expiries_max=1), acquire())
    story.when(maintain(), now_ms=160).then(
        e.LeaseExpired(1, "expire", "clock"), e.Cancelled(State.COMPENSATING, code="deadline")
    )


def test_no_worker_leases_a_task_whose_deadline_has_come() -> None:
    """[DEADLINE-2]"""
    TIMED.when(acquire(), now_ms=30).then_refused(Blocked, task="t")
    RUNNING.given(release()).when(acquire(), now_ms=50).then_refused(Blocked, task="t")
    assert RUNNING.given(fail()).when(acquire_undo(), now_ms=60).then(e.Leased("ann", 2, 1, "undo", False, 100, 160))


def test_a_holder_may_renew_and_finish_after_the_deadline() -> None:
    """[DEADLINE-1]"""
    story = given(create(deadline_ms=50), acquire(ttl_ms=100)).at(60)
    assert not isinstance(story.when(heartbeat()).decision, LeaseLost)
    story.when(complete()).then(e.Completed(1, "complete"))


def test_a_clock_set_back_delays_a_deadline_and_takes_nothing_back() -> None:
    """[DEADLINE-3] What an observer saw of the task does not count."""
    story = given(create(deadline_ms=1_050), now_ms=1_000)
    seen = maintain_unchanged(1, 5_000)
    story.when(seen, now_ms=10).then_nothing()
    ended = story.when(seen, now_ms=1_050).then(e.Cancelled(State.CANCELLED, code="deadline"))
    ended.at(10).when(maintain()).then_nothing()


def test_a_deadline_that_has_come_at_creation_is_no_error() -> None:
    """[DEADLINE-4]"""
    story = given(now_ms=1_000).given(create(run_at_ms=None, deadline_ms=5))
    story.when(maintain()).then(e.Cancelled(State.CANCELLED, code="deadline"))


def test_a_row_shows_when_a_deadline_has_something_to_do() -> None:
    """[DEADLINE-2]"""
    stories = {
        "pending": (TIMED, 30),
        "leased before": (RUNNING.given(release()), 50),
        "running": (RUNNING, 50),
        "asked to stop": (RUNNING.given(cancel()), None),
        "undoing": (RUNNING.given(fail()), None),
        "ended": (RUNNING.given(complete()), None),
        "without": (TIMED.given(amend(removes=("deadline_ms", "start_by_ms"))), None),
    }
    found = {name: cancel_ms(story.task) for name, (story, _) in stories.items() if story.task is not None}
    assert found == {name: at_ms for name, (_, at_ms) in stories.items()}

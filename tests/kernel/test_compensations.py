"""compensation_done, compensation_failed, waive: how what is owed gets settled."""

from __future__ import annotations

import pytest

from sagalog.errors import AlreadySettled, Blocked, CompensationOrder, LeaseLost, NotFound, TerminalTask
from sagalog.kernel import commands as c
from sagalog.kernel import events as e
from sagalog.kernel.values import Parameters, State
from sagalog.testing import given
from tests.kernel.making import (
    ERROR,
    LATER_UNDO,
    TTL_MS,
    UNDO,
    acquire,
    acquire_undo,
    cancel,
    compensation_done,
    compensation_failed,
    complete,
    create,
    fail,
    leased,
    maintain,
    quarantine,
    quarantine_held,
    register,
    waive,
)

OWING_TWO = given(create(UNDO), acquire(), register(LATER_UNDO), fail())
UNDOING_TWO = OWING_TWO.given(acquire_undo())

# --- compensation_done -----------------------------------------------------------------------------------------------


def test_what_is_owed_is_undone_in_reverse_and_the_last_ends_the_task() -> None:
    """[COMP-5] [COMP-6]"""
    story = UNDOING_TWO.when(compensation_done("u2")).then(e.CompensationDone("u2", 2))
    ended = story.when(compensation_done("u1")).then(
        e.CompensationDone("u1", 2), e.Compensated("failed", 2, "compensation_done")
    )
    assert ended.task is not None
    assert (ended.task.state, ended.task.lease) == (State.COMPENSATED, None)


def test_an_undo_out_of_order_is_refused_naming_the_one_that_comes_first() -> None:
    """[COMP-5]"""
    UNDOING_TWO.when(compensation_done("u1")).then_refused(
        CompensationOrder, task="t", compensation="u1", expected="u2"
    )
    UNDOING_TWO.when(compensation_failed("u1")).then_refused(CompensationOrder, compensation="u1", expected="u2")


def test_the_end_says_what_the_forward_work_had_come_to() -> None:
    """[COMP-6]"""
    cancelled = given(create(UNDO), acquire(), cancel(now=True), acquire_undo())
    cancelled.when(compensation_done()).then(
        e.CompensationDone("u1", 2), e.Compensated("cancelled", 2, "compensation_done")
    )


def test_doing_it_twice_under_one_fence_is_a_repeat_also_after_the_end() -> None:
    """[REPEAT-3]"""
    story = UNDOING_TWO.given(compensation_done("u2"))
    story.when(compensation_done("u2")).then_repeat(6)
    story.given(compensation_done("u1")).when(compensation_done("u1")).then_repeat(7)
    story.given(compensation_done("u1")).when(compensation_done("u2")).then_repeat(6)


def test_doing_what_another_lease_has_done_is_refused() -> None:
    """[COMP-5] [FENCE-2]"""
    story = UNDOING_TWO.given(compensation_done("u2"), c.Release(task="t", fence=2))
    story.when(compensation_done("u2", fence=2)).then_repeat(6)
    later = story.given(acquire_undo())
    later.when(compensation_done("u2", fence=3)).then_refused(
        AlreadySettled, task="t", compensation="u2", status="done"
    )
    later.when(compensation_done("u1", fence=2)).then_refused(LeaseLost)


@pytest.mark.parametrize("command", [compensation_done("u9"), compensation_failed("u9")])
def test_a_compensation_that_is_not_on_record_is_not_found(command: c.Held) -> None:
    UNDOING_TWO.when(command).then_refused(NotFound, task="t", compensation="u9")


# --- compensation_failed ---------------------------------------------------------------------------------------------


def test_an_undo_that_failed_is_due_again_with_a_count_of_its_own() -> None:
    """[UNDO-3] [ATTEMPT-1] Its failures count from nothing."""
    story = given(
        create(UNDO, attempts_max=9),
        acquire(),
        c.Retry(task="t", fence=1, error=ERROR, budget="attempt", jitter=0.0),
        acquire(),
        fail(fence=2),
    )
    undoing = story.when(acquire_undo()).then(leased(3, attempt=1, purpose="undo"))
    again = undoing.when(compensation_failed(fence=3), now_ms=5).then(
        e.CompensationFailed("u1", 3, "compensation_failed", ERROR, 15)
    )
    assert again.task is not None
    assert (again.task.state, again.task.run_at_ms) == (State.COMPENSATING, 15)
    again.when(acquire_undo()).then(leased(4, attempt=2, at_ms=5, purpose="undo"))


def test_the_caller_may_say_when_the_undo_is_due_again() -> None:
    """[ATTEMPT-4]"""
    UNDOING_TWO.when(compensation_failed("u2", run_at_ms=700)).then(
        e.CompensationFailed("u2", 2, "compensation_failed", ERROR, 700)
    )


def test_a_delay_that_is_asked_for_is_the_least_for_an_undo_too() -> None:
    """[ATTEMPT-4]"""
    for asked_ms, run_at_ms in ((0, 60), (11, 61)):
        asked = compensation_failed("u2", retry_after_ms=asked_ms)
        UNDOING_TWO.when(asked, now_ms=50).then(e.CompensationFailed("u2", 2, "compensation_failed", ERROR, run_at_ms))


def test_a_delay_that_is_asked_for_is_drawn_longer_for_an_undo_too() -> None:
    """[ATTEMPT-4]"""
    undoing = given(create(UNDO, delay_max_ms=300_000), acquire(), fail(), acquire_undo())

    asked = compensation_failed("u1", jitter=0.999_999_9, retry_after_ms=3_600_000)

    undoing.when(asked, now_ms=50).then(e.CompensationFailed("u1", 2, "compensation_failed", ERROR, 50 + 3_780_000))


def test_an_undo_may_be_given_up_and_names_what_is_left() -> None:
    """[COMP-6]"""
    story = UNDOING_TWO.given(compensation_done("u2"))
    ended = story.when(quarantine_held(2)).then(e.Quarantined("broken", "it broke", ERROR, ("u1",), 2, "quarantine"))
    ended.when(quarantine_held(2)).then_repeat(7)
    assert ended.task is not None
    assert ended.task.outcome == "failed"


def test_the_delay_of_an_undo_doubles_with_its_own_failures() -> None:
    """[ATTEMPT-4] [UNDO-3]"""
    story = given(create(UNDO, delay_max_ms=100), acquire(), fail())
    for n, ceiling_ms in enumerate((10, 20, 40, 80), start=2):
        held = story.given(acquire_undo())
        story = held.when(compensation_failed(fence=n, jitter=0.999)).then(
            e.CompensationFailed("u1", n, "compensation_failed", ERROR, ceiling_ms)
        )


def test_a_repeated_failure_of_an_undo_is_known_until_the_next_lease() -> None:
    """[REPEAT-5] It is known until that lease ends."""
    story = UNDOING_TWO.given(compensation_failed("u2"))
    story.when(compensation_failed("u2")).then_repeat(6)
    story.given(acquire_undo()).when(compensation_failed("u2")).then_repeat(6)
    story.given(acquire_undo(), compensation_failed("u2", fence=3)).when(compensation_failed("u2")).then_refused(
        LeaseLost
    )


def test_a_spent_budget_of_undoing_always_quarantines() -> None:
    """[UNDO-3] [COMP-6] What the policy says of other spent budgets does not matter."""
    story = given(
        create(UNDO, undo_attempts_max=2, spent="fail"), acquire(), fail(), acquire_undo(), compensation_failed()
    )
    parameters: Parameters = {"compensation": "u1", "kind": "remove", "failures": 2}
    spent = (
        story.given(acquire_undo())
        .when(compensation_failed(fence=3))
        .then(e.Quarantined("undo_attempts_spent", None, ERROR, ("u1",), 3, "compensation_failed", (), parameters))
    )
    spent.when(compensation_failed(fence=3)).then_repeat(7)


def test_an_undo_without_a_budget_is_tried_for_ever() -> None:
    """[ATTEMPT-2]"""
    story = given(create(UNDO, undo_attempts_max=None), acquire(), fail())
    for n in range(2, 32):
        story = (
            story.given(acquire_undo())
            .when(compensation_failed(fence=n))
            .then(e.CompensationFailed("u1", n, "compensation_failed", ERROR, 10))
        )


def test_an_undo_whose_worker_is_gone_is_tried_until_its_budget_is_spent() -> None:
    """[UNDO-3]"""
    story = given(create(UNDO, expiries_max=2), acquire(), now_ms=0).given(maintain(), acquire(), now_ms=TTL_MS)
    story = story.given(fail(fence=2), acquire_undo())
    story = story.when(maintain(), now_ms=2 * TTL_MS).then(e.LeaseExpired(3, "expire", "clock")).given(acquire_undo())
    story.when(maintain(), now_ms=3 * TTL_MS).then(
        e.LeaseExpired(4, "expire", "clock"),
        e.Quarantined("undo_expiries_spent", owed=("u1",)),
    )


# --- waive -----------------------------------------------------------------------------------------------------------


def test_what_is_owed_may_be_waived_in_any_order() -> None:
    """[COMP-4] It does not matter which worker holds the task."""
    story = UNDOING_TWO.when(waive("u1")).then(e.CompensationWaived("u1", "gone already"))
    ended = story.when(waive("u2")).then(
        e.CompensationWaived("u2", "gone already"), e.Compensated("failed", 2, "waive")
    )
    assert ended.task is not None
    assert (ended.task.state, ended.task.lease) == (State.COMPENSATED, None)
    ended.when(compensation_done("u2")).then_refused(LeaseLost, state="compensated")


def test_waiving_the_one_in_the_way_lets_those_before_it_be_done() -> None:
    """[COMP-4] [COMP-5]"""
    story = UNDOING_TWO.given(waive("u2"))
    story.when(compensation_done("u2")).then_refused(AlreadySettled, status="waived")
    story.when(compensation_done("u1")).then(
        e.CompensationDone("u1", 2), e.Compensated("failed", 2, "compensation_done")
    )


def test_waiving_a_task_that_is_not_compensating_does_not_end_it() -> None:
    """[COMP-4]"""
    for story in (given(create(UNDO)), given(create(UNDO), acquire())):
        after = story.when(waive()).then(e.CompensationWaived("u1", "gone already"))
        assert after.task is not None
        assert story.task is not None
        assert after.task.state is story.task.state


def test_a_planned_compensation_that_was_waived_is_never_owed() -> None:
    """[COMP-4] [COMP-1]"""
    given(create(UNDO), waive(), acquire()).when(cancel(now=True)).then(
        e.Cancelled(State.CANCELLED, fence=1, verb="cancel")
    )


def test_waiving_twice_is_a_repeat_also_after_the_end() -> None:
    """[REPEAT-3]"""
    OWING_TWO.given(waive("u1")).when(waive("u1")).then_repeat(5)
    OWING_TWO.given(waive("u1"), waive("u2")).when(waive("u1")).then_repeat(5)


def test_what_was_done_is_not_waived() -> None:
    UNDOING_TWO.given(compensation_done("u2")).when(waive("u2")).then_refused(AlreadySettled, status="done")


def test_nothing_is_waived_after_the_end() -> None:
    """[TERM-1]"""
    given(create(UNDO), acquire(), complete()).when(waive()).then_refused(TerminalTask)
    given(create(UNDO), acquire(), quarantine()).when(waive()).then_refused(TerminalTask)


def test_waiving_what_is_not_on_record_is_refused() -> None:
    given(create()).when(waive("u9")).then_refused(NotFound, task="t", compensation="u9")


def test_a_planned_compensation_cannot_be_done_or_failed() -> None:
    """[COMP-1] [UNDO-1] No worker can hold an undo of what never began."""
    given(create(UNDO)).when(acquire_undo()).then_refused(Blocked)
    given(create(UNDO)).when(compensation_done(fence=1)).then_refused(LeaseLost)

"""register, retry, complete, fail, quarantine_held: what the holder of a lease for forward work may say."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from sagalog.errors import CompensationRequired, LeaseLost, Rejected, WrongState
from sagalog.kernel import commands as c
from sagalog.kernel import events as e
from sagalog.kernel.bounds import TIME_MS_MAX
from sagalog.kernel.values import Budget, Compensation, Failure, State, UnrecordedStep
from sagalog.testing import Scenario, given
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
    registered,
    release,
    retry,
    step,
    waive,
)


def undo_missing(code: str, **said: Any) -> e.Quarantined:
    """The quarantine of a task that was to fail by this code."""
    return e.Quarantined("compensation_required", parameters={"instead_of": code}, **said)


# --- register --------------------------------------------------------------------------------------------------------


def test_a_registered_compensation_is_owed_at_once() -> None:
    """[COMP-1]"""
    story = given(create(), acquire()).when(register()).then(registered())
    assert story.task is not None
    assert story.task.owed() == ["u1"]


def test_a_planned_compensation_is_owed_from_the_first_lease_on() -> None:
    """[COMP-1]"""
    planned = given(create(UNDO))
    assert planned.task is not None
    assert planned.task.owed() == []
    planned.when(cancel()).then(e.Cancelled(State.CANCELLED))
    begun = planned.given(acquire(), release())
    assert begun.task is not None
    assert begun.task.owed() == ["u1"]
    begun.when(cancel()).then(e.Cancelled(State.COMPENSATING))


def test_registering_an_id_again_is_a_repeat_in_any_later_attempt() -> None:
    """[REPEAT-3] It is one in this attempt, too."""
    story = given(create(LATER_UNDO), acquire(), register())
    story.when(register()).then_repeat(3)
    story.when(register(LATER_UNDO)).then_repeat(1)
    story.given(release(), acquire()).when(register(fence=2)).then_repeat(3)


def test_a_late_worker_gets_the_answer_of_its_own_registration_only() -> None:
    """[REPEAT-3] [FENCE-2]"""
    late = given(create(LATER_UNDO), acquire(), register(), release())
    late.when(register()).then_repeat(3)
    late.when(register(LATER_UNDO)).then_refused(LeaseLost)
    late.when(register(LATER_UNDO, fence=0)).then_refused(LeaseLost)
    late.when(register(Compensation("new", id="u3"))).then_refused(LeaseLost)
    late.given(acquire()).when(register(fence=1)).then_repeat(3)


def test_a_late_worker_gets_that_answer_when_the_undo_is_settled_too() -> None:
    """[REPEAT-3] Who did it is not who registered it."""
    undone = given(create(), acquire(), register(), fail(), acquire_undo(), compensation_done())
    undone.when(register(fence=1)).then_repeat(3)
    undone.when(register(fence=2)).then_refused(LeaseLost)
    undone.when(compensation_done(fence=1)).then_refused(LeaseLost)
    waived = given(create(), acquire(), register(), fail(), waive())
    waived.when(register(fence=1)).then_repeat(3)


@pytest.mark.parametrize("command", [register(fence=2), retry(2), complete(2), fail(fence=2)])
def test_a_lease_for_undoing_does_no_forward_work(command: c.Held) -> None:
    """[LIFE-1]"""
    undoing = given(create(UNDO), acquire(), fail(), acquire_undo())
    undoing.when(command).then_refused(WrongState, task="t", state="compensating")


@pytest.mark.parametrize("command", [compensation_done(fence=1), compensation_failed(fence=1)])
def test_a_lease_for_forward_work_undoes_nothing(command: c.Held) -> None:
    """[LIFE-1]"""
    given(create(UNDO), acquire()).when(command).then_refused(WrongState, task="t", state="running")


# --- retry -----------------------------------------------------------------------------------------------------------


def test_a_retry_counts_the_failure_and_says_when_the_next_attempt_is_due() -> None:
    """[ATTEMPT-1] [ATTEMPT-4] [RECORD-1]"""
    story = given(create(), acquire()).when(retry(), now_ms=50).then(e.Retried(1, "retry", ERROR, "attempt", 60))
    assert story.task is not None
    assert (story.task.state, story.task.run_at_ms, story.task.attempt) == (State.PENDING, 60, 2)
    story.when(acquire(), now_ms=60).then(leased(2, attempt=2, at_ms=60))


def test_the_caller_may_say_when_the_next_attempt_is_due() -> None:
    """[ATTEMPT-4]"""
    given(create(), acquire()).when(retry(run_at_ms=5_000)).then(e.Retried(1, "retry", ERROR, "attempt", 5_000))


def test_a_named_time_goes_before_a_delay_and_a_delay_is_the_least() -> None:
    """[ATTEMPT-4]"""
    held = given(create(UNDO, transient_max=None), acquire())
    budgets: tuple[Budget, ...] = ("attempt", "transient", "quota")
    for budget in budgets:
        for asked_ms, run_at_ms in ((0, 60), (10, 60), (11, 61), (5_000, 5_050)):
            asked = retry(budget=budget, retry_after_ms=asked_ms)
            back_ms = 50 + asked_ms if budget == "quota" else None
            held.when(asked, now_ms=50).then(e.Retried(1, "retry", ERROR, budget, run_at_ms, back_ms))
    held.when(retry(run_at_ms=7, retry_after_ms=5_000), now_ms=50).then(e.Retried(1, "retry", ERROR, "attempt", 7))


def test_a_delay_is_drawn_longer_by_a_second_or_a_twentieth() -> None:
    """[ATTEMPT-4]"""
    held = given(create(UNDO, delay_max_ms=300_000), acquire())
    for asked_ms, longest_ms in ((0, 1_000), (20_000, 21_000), (40_000, 42_000), (3_600_000, 3_780_000)):
        for jitter, delay_ms in ((0.0, max(asked_ms, 10)), (0.999_999_9, longest_ms)):
            asked = retry(jitter=jitter, retry_after_ms=asked_ms)
            held.when(asked, now_ms=50).then(e.Retried(1, "retry", ERROR, "attempt", 50 + delay_ms))


def test_what_is_drawn_on_top_of_a_delay_is_within_the_longest_delay() -> None:
    """[ATTEMPT-4] The delay itself is kept."""
    held = given(create(UNDO, delay_max_ms=60_000), acquire())
    day_ms = 86_400_000

    asked = retry(jitter=0.999_999_9, retry_after_ms=day_ms)

    held.when(asked, now_ms=50).then(e.Retried(1, "retry", ERROR, "attempt", 50 + day_ms + 60_000))


def test_no_due_time_lies_beyond_the_last_one_that_there_is() -> None:
    """[ATTEMPT-4] [BOUND-2]"""
    held = given(create(UNDO), acquire())

    asked = retry(jitter=0.5, retry_after_ms=TIME_MS_MAX)

    held.when(asked, now_ms=50).then(e.Retried(1, "retry", ERROR, "attempt", TIME_MS_MAX))


def test_the_delay_doubles_with_every_failure_recorded_up_to_its_maximum() -> None:
    """[ATTEMPT-4]"""
    story = given(create(UNDO, delay_min_ms=10, delay_max_ms=35, attempts_max=None))
    for n, ceiling_ms in enumerate((10, 20, 35, 35), start=1):
        held = story.given(acquire())
        held.when(retry(n, jitter=0.0)).then(e.Retried(n, "retry", ERROR, "attempt", 10))
        story = held.when(retry(n, jitter=0.999)).then(e.Retried(n, "retry", ERROR, "attempt", ceiling_ms))


def test_transient_failures_have_a_delay_and_a_budget_of_their_own() -> None:
    """[ATTEMPT-2] [ATTEMPT-4]"""
    story = given(create(UNDO, delay_max_ms=100, attempts_max=1, transient_max=2), acquire())
    story = story.when(retry(1, "transient")).then(e.Retried(1, "retry", ERROR, "transient", 10))
    assert story.task is not None
    assert story.task.attempt == 1
    spent = story.given(acquire()).when(retry(2, "transient"))
    spent.then(e.Failed(State.COMPENSATING, "transients_spent", ERROR, fence=2, verb="retry"))


def test_a_retry_is_a_repeat_until_the_next_lease_ends() -> None:
    """[REPEAT-5]"""
    story = given(create(), acquire(), retry())
    story.when(retry()).then_repeat(3)
    story.when(release()).then_refused(LeaseLost)
    story.given(acquire()).when(retry(1)).then_repeat(3)
    story.given(acquire(), retry(2)).when(retry(1)).then_refused(LeaseLost)


def test_a_retry_that_spends_the_budget_is_a_repeat_too() -> None:
    """[REPEAT-5]"""
    given(create(UNDO, attempts_max=1), acquire(), retry()).when(retry()).then_repeat(3)


SPENDING: list[tuple[Budget, dict[str, Any], str]] = [
    ("attempt", {"attempts_max": 1}, "attempts_spent"),
    ("transient", {"transient_max": 1}, "transients_spent"),
    ("quota", {"quota_wait_max_ms": 0}, "quota_wait_spent"),
]


@pytest.mark.parametrize(("budget", "policy", "code"), SPENDING)
def test_the_retry_that_spends_its_budget_ends_the_forward_work(
    budget: Budget, policy: dict[str, Any], code: str
) -> None:
    """[ATTEMPT-2] [ATTEMPT-3] A budget of one allows no second try."""
    held = given(create(UNDO, **policy), acquire())
    held.when(retry(budget=budget)).then(e.Failed(State.COMPENSATING, code, ERROR, fence=1, verb="retry"))


@pytest.mark.parametrize(("budget", "policy", "code"), SPENDING)
def test_a_spent_budget_quarantines_where_the_policy_says_so(budget: Budget, policy: dict[str, Any], code: str) -> None:
    """[ATTEMPT-3] [COMP-6]"""
    held = given(create(UNDO, spent="quarantine", **policy), acquire())
    held.when(retry(budget=budget)).then(e.Quarantined(code, None, ERROR, ("u1",), 1, "retry"))


def test_a_budget_of_null_is_never_spent() -> None:
    """[ATTEMPT-2]"""
    story = given(create(UNDO, attempts_max=None, transient_max=None, quota_wait_max_ms=None))
    budgets: tuple[Budget, ...] = ("attempt", "transient", "quota")
    for n in range(1, 31):
        story = story.given(acquire(), now_ms=n * 10**9)
        story = story.when(retry(n, budgets[n % 3])).then(
            e.Retried(n, "retry", ERROR, budgets[n % 3], story.now_ms + 10)
        )


def test_a_run_of_quota_retries_is_spent_by_its_time() -> None:
    """[ATTEMPT-2] Any other retry ends it."""
    story = given(create(UNDO, quota_wait_max_ms=100, transient_max=9), now_ms=0)
    story = story.given(acquire(), retry(1, "quota"), now_ms=10)
    story.given(acquire(), now_ms=109).when(retry(2, "quota")).then(e.Retried(2, "retry", ERROR, "quota", 119))
    story.given(acquire(), now_ms=110).when(retry(2, "quota")).then(
        e.Failed(State.COMPENSATING, "quota_wait_spent", ERROR, fence=2, verb="retry")
    )
    other = story.given(acquire(), retry(2, "transient"), now_ms=110)
    other.given(acquire()).when(retry(3, "quota")).then(e.Retried(3, "retry", ERROR, "quota", 120))


def test_a_spent_budget_without_an_undo_quarantines_a_leased_task() -> None:
    """[COMP-3]"""
    held = given(create(attempts_max=1), acquire())
    held.when(retry()).then(undo_missing("attempts_spent", error=ERROR, fence=1, verb="retry"))


@pytest.mark.parametrize(
    "held",
    [
        given(create(waiver="harmless", attempts_max=1), acquire()),
        given(create(UNDO, attempts_max=1), waive(), acquire()),
    ],
)
def test_a_spent_budget_fails_a_task_whose_undo_is_waived_or_settled(held: Scenario) -> None:
    """[COMP-3] [COMP-2]"""
    held.when(retry()).then(e.Failed(State.FAILED, "attempts_spent", ERROR, fence=1, verb="retry"))


def test_a_retry_after_a_requested_cancel_cancels_the_task() -> None:
    """[CANCEL-2] It does so where a budget is spent, too."""
    asked = given(create(UNDO, attempts_max=1), acquire(), cancel())
    asked.when(retry()).then(e.Retried(1, "retry", ERROR, "attempt", 10), e.Cancelled(State.COMPENSATING))


# --- complete --------------------------------------------------------------------------------------------------------


def test_completing_ends_the_task_and_what_was_registered_is_never_undone() -> None:
    """[COMP-6]"""
    done = (
        given(create(), acquire(), register())
        .when(complete(result={"pr": 42}))
        .then(e.Completed(1, "complete", {"pr": 42}))
    )
    assert done.task is not None
    assert (done.task.state, done.task.lease) == (State.COMPLETED, None)


def test_completing_twice_is_a_repeat() -> None:
    """[REPEAT-5]"""
    given(create(), acquire(), complete()).when(complete()).then_repeat(3)


def test_who_completes_first_wins_over_a_requested_cancel() -> None:
    """[CANCEL-2] [CANCEL-3]"""
    given(create(UNDO), acquire(), cancel()).when(complete()).then(e.Completed(1, "complete"))


# --- fail ------------------------------------------------------------------------------------------------------------


def test_a_quarantine_for_a_missing_undo_holds_the_workers_words() -> None:
    """[COMP-2]"""
    declined = Failure("card", "the card was declined")
    held = given(create(), acquire())
    ended = held.when(fail(error=declined, or_quarantine=True)).then(
        undo_missing("failed", error=declined, fence=1, verb="fail")
    )
    ended.when(fail(error=declined, or_quarantine=True)).then_repeat(3)


def test_failing_or_being_quarantined_fails_where_it_may() -> None:
    """[COMP-2]"""
    given(create(UNDO), acquire()).when(fail(or_quarantine=True)).then(
        e.Failed(State.COMPENSATING, "failed", ERROR, fence=1, verb="fail")
    )
    given(create(), acquire()).when(fail(waiver="read only", or_quarantine=True)).then(
        e.Failed(State.FAILED, "failed", ERROR, "read only", fence=1, verb="fail")
    )


def test_a_task_fails_without_an_undo_where_every_lease_has_waived_one() -> None:
    """[COMP-2] [COMP-3] Every lease for work counts."""
    waived = acquire(waiver="writes nothing")
    planned = given(create(attempts_max=2))
    story = planned.when(waived).then(msgspec.structs.replace(leased(), waiver="writes nothing"))
    story.when(fail()).then(e.Failed(State.FAILED, "failed", ERROR, fence=1, verb="fail"))
    again = story.given(retry(), waived)
    again.when(retry(2)).then(e.Failed(State.FAILED, "attempts_spent", ERROR, fence=2, verb="retry"))


def test_a_lease_that_waived_nothing_needs_an_undo_for_good() -> None:
    """[COMP-2] [COMP-3]"""
    bare, waived = acquire(), acquire(waiver="writes nothing")
    for first, second in ((bare, waived), (waived, bare)):
        story = given(create(attempts_max=2), first, retry(), second)
        story.when(fail(fence=2)).then_refused(CompensationRequired, task="t")


def test_a_lease_that_no_worker_ends_has_said_that_no_undo_is_needed() -> None:
    """[COMP-3] Its worker is dead: only what is in the log counts."""
    for waiver, ended in (
        ("writes nothing", e.Failed(State.FAILED, "expiries_spent")),
        (None, undo_missing("expiries_spent")),
    ):
        story = given(create(expiries_max=1), acquire(waiver=waiver))
        story.when(maintain(), now_ms=TTL_MS).then(e.LeaseExpired(1, "expire", "clock"), ended)


def test_a_lease_for_undoing_waives_nothing() -> None:
    """[COMP-2]"""
    undoing = given(create(UNDO), acquire(), fail())
    undoing.when(acquire(purpose="undo", waiver="no")).then(leased(2, purpose="undo"))


def test_failing_without_an_undo_or_a_waiver_is_refused() -> None:
    """[COMP-2] The lease lives on."""
    held = given(create(), acquire())
    held.when(fail()).then_refused(CompensationRequired, task="t").when(complete()).then(e.Completed(1, "complete"))


def test_failing_with_something_owed_leads_to_undoing_it() -> None:
    """[COMP-2]"""
    given(create(UNDO), acquire()).when(fail()).then(
        e.Failed(State.COMPENSATING, "failed", ERROR, fence=1, verb="fail")
    )


def test_failing_may_bring_undos_that_the_same_commit_registers() -> None:
    """[COMP-2]"""
    owing = (
        given(create(), acquire())
        .when(fail(UNDO, LATER_UNDO))
        .then(
            registered(UNDO),
            registered(LATER_UNDO),
            e.Failed(State.COMPENSATING, "failed", ERROR, compensations=("u1", "u2"), fence=1, verb="fail"),
        )
    )
    assert owing.task is not None
    assert owing.task.owed() == ["u1", "u2"]


def test_failing_registers_only_what_is_not_on_record_and_each_once() -> None:
    """[REPEAT-3]"""
    held = given(create(UNDO), acquire())
    held.when(fail(UNDO, LATER_UNDO, LATER_UNDO)).then(
        registered(LATER_UNDO),
        e.Failed(State.COMPENSATING, "failed", ERROR, compensations=("u2",), fence=1, verb="fail"),
    )


def test_failing_with_a_waiver_ends_the_task() -> None:
    """[COMP-2]"""
    given(create(), acquire()).when(fail(waiver="read only")).then(
        e.Failed(State.FAILED, "failed", ERROR, "read only", fence=1, verb="fail")
    )
    given(create(waiver="read only"), acquire()).when(fail()).then(
        e.Failed(State.FAILED, "failed", ERROR, fence=1, verb="fail")
    )


def test_a_waiver_settles_nothing_that_is_owed() -> None:
    """[COMP-2]"""
    given(create(UNDO), acquire()).when(fail(waiver="never mind")).then(
        e.Failed(State.COMPENSATING, "failed", ERROR, "never mind", fence=1, verb="fail")
    )


def test_a_settled_compensation_is_on_record_too() -> None:
    """[COMP-2]"""
    given(create(UNDO), acquire(), waive()).when(fail()).then(
        e.Failed(State.FAILED, "failed", ERROR, fence=1, verb="fail")
    )


def test_failing_twice_is_a_repeat() -> None:
    """[REPEAT-5]"""
    story = given(create(), acquire(), fail(UNDO))
    story.when(fail(UNDO)).then_repeat(4)
    story.given(acquire_undo()).when(fail(UNDO)).then_repeat(4)
    story.given(acquire_undo(), release(2)).when(fail(UNDO)).then_refused(LeaseLost)


def test_a_worker_that_was_asked_to_stop_may_still_fail() -> None:
    """[CANCEL-2]"""
    given(create(UNDO), acquire(), cancel()).when(fail()).then(
        e.Failed(State.COMPENSATING, "failed", ERROR, fence=1, verb="fail")
    )


# --- quarantine_held -------------------------------------------------------------------------------------------------


def test_a_holder_who_quarantines_leaves_a_human_what_the_task_owes() -> None:
    """[COMP-6]"""
    story = given(create(UNDO), acquire(), register(LATER_UNDO))
    ended = story.when(quarantine_held()).then(
        e.Quarantined("broken", "it broke", ERROR, ("u1", "u2"), 1, "quarantine")
    )
    assert ended.task is not None
    assert (ended.task.state, ended.task.lease, ended.task.code) == (State.QUARANTINED, None, "broken")


def test_a_quarantine_by_the_holder_goes_before_a_requested_cancel() -> None:
    """[COMP-3] [CANCEL-2] It needs no compensation."""
    given(create(), acquire(), cancel()).when(quarantine_held()).then(
        e.Quarantined("broken", "it broke", ERROR, (), 1, "quarantine")
    )


def test_a_quarantine_by_the_holder_names_the_steps_that_had_begun() -> None:
    """[STEP-1] [WORKER-1] [REPEAT-5] It leaves out what is on record by then."""
    held = given(create(UNDO), acquire(), step("s1"))
    one, two, undone = UnrecordedStep("s1"), UnrecordedStep("s2"), UnrecordedStep("s3", "u1")
    quarantined = e.Quarantined("broken", "it broke", ERROR, ("u1",), 1, "quarantine", (two, undone))
    ended = held.when(quarantine_held(1, ERROR, one, two, undone)).then(quarantined)
    assert ended.task is not None
    assert ended.task.unrecorded_steps == (two, undone)
    ended.when(quarantine_held(1, ERROR, one, two, undone)).then_repeat(4)
    held.when(quarantine_held(1, ERROR, UnrecordedStep("s2", "u9"))).then_refused(
        Rejected, step="s2", compensation="u9"
    )
    undoing = held.given(fail(), acquire_undo())
    undoing.when(quarantine_held(2, ERROR, two)).then_refused(Rejected, step="s2")


def test_a_second_quarantine_repeats_and_a_late_one_does_nothing() -> None:
    """[REPEAT-5] [FENCE-2] The holder gives both."""
    held = given(create(UNDO), acquire())
    held.given(quarantine_held()).when(quarantine_held()).then_repeat(3)
    held.given(complete()).when(quarantine_held()).then_refused(LeaseLost)
    held.given(release(), acquire("bob")).when(quarantine_held()).then_refused(LeaseLost, fence=1, current=2)
    held.when(quarantine_held(), epoch=1).then_refused(LeaseLost)


def test_an_operators_quarantine_is_no_repeat_of_its_holders() -> None:
    """[REPEAT-5] [FENCE-2] Both end the lease by one verb."""
    by_operator = given(create(UNDO), acquire(), quarantine())
    by_operator.when(quarantine_held()).then_refused(LeaseLost, fence=1, state="quarantined")


def test_expiries_and_releases_are_no_failures() -> None:
    """[ATTEMPT-1]"""
    story = given(create(), acquire(), now_ms=0).given(maintain(), now_ms=TTL_MS).given(acquire(), release(2))
    story.when(acquire()).then(leased(3, attempt=1, at_ms=TTL_MS))


def test_the_error_of_a_failure_is_kept_as_it_was_given() -> None:
    """[RECORD-1]"""
    error = Failure("http_500", "the server said no", {"status": 500})
    given(create(UNDO), acquire()).when(fail(error=error)).then(
        e.Failed(State.COMPENSATING, "failed", error, fence=1, verb="fail")
    )

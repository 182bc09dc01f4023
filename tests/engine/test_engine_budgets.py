"""Budgets, backoff and what a spent policy does. [ATTEMPT-1] to [ATTEMPT-4], [UNDO-3]"""

from __future__ import annotations

import pytest

from sagalog import Compensation, Engine, Failure, Lease, Retry
from sagalog.kernel.values import Budget
from sagalog.testing import ManualClock, SeededEntropy
from tests.conftest import START_MS, OpenEngine
from tests.engine.checking import REMOVE, TTL_MS, get, leased, types, undoing

PLAIN = Retry(delay_min_ms=0, delay_max_ms=0)


def again(engine: Engine, id: str = "t") -> Lease:
    return engine.acquire(id, owner="ann", ttl_ms=TTL_MS)


@pytest.mark.parametrize(
    ("budget", "retry", "code"),
    [
        ("attempt", Retry(attempts_max=3, transient_max=1, quota_wait_max_ms=0), "attempts_spent"),
        ("transient", Retry(attempts_max=1, transient_max=3, quota_wait_max_ms=0), "transients_spent"),
    ],
)
def test_a_budget_of_three_is_spent_by_the_third(engine: Engine, budget: Budget, retry: Retry, code: str) -> None:
    engine.create("build", id="t", retry=retry, compensations=[REMOVE])
    for number in range(2):
        task = again(engine).retry(f"failure {number}", 0, budget)
        assert (task.state, task.error) == ("pending", Failure("error", f"failure {number}"))
    task = again(engine).retry("the last", 0, budget)
    assert (task.state, task.code, task.outcome) == ("compensating", code, "failed")
    assert task.error == Failure("error", "the last")
    assert types(engine, "t")[-1] == "failed"


def test_only_real_failures_count_as_attempts(engine: Engine, clock: ManualClock) -> None:
    leased(engine, retry=Retry(attempts_max=5)).retry("x", 0)
    assert again(engine).attempt == 2
    clock.advance(TTL_MS)
    lease = again(engine)
    assert lease.attempt == 2
    lease.retry("overloaded", 0, "transient")
    lease = again(engine)
    assert lease.attempt == 2
    lease.release()
    assert again(engine).attempt == 2
    assert get(engine).leases == 5


def test_budgets_that_are_left_open_are_never_spent(engine: Engine, clock: ManualClock) -> None:
    engine.create("build", id="t", retry=Retry(None, None, None, None, None, 0, 0))
    budgets: tuple[Budget, ...] = ("attempt", "transient", "quota")
    for budget in budgets * 8:
        assert again(engine).retry("x", 0, budget).state == "pending"
        again(engine).release()
        again(engine)
        clock.advance(TTL_MS)
    assert get(engine).state == "running"
    assert engine.recover()[0].state == "pending"


@pytest.mark.parametrize(
    ("spent", "compensations", "waiver", "state", "code"),
    [
        ("fail", [REMOVE], None, "compensating", "attempts_spent"),
        ("fail", [], "it has no effects", "failed", "attempts_spent"),
        ("fail", [], None, "quarantined", "compensation_required"),
        ("quarantine", [REMOVE], None, "quarantined", "attempts_spent"),
        ("quarantine", [], "it has no effects", "quarantined", "attempts_spent"),
    ],
)
def test_the_policy_says_what_a_spent_budget_does(
    engine: Engine, spent: str, compensations: list[Compensation], waiver: str | None, state: str, code: str
) -> None:
    retry = Retry(attempts_max=1, spent=spent)  # type: ignore[arg-type]
    lease = leased(engine, retry=retry, compensations=compensations, waive_compensation=waiver)
    task = lease.retry("x")
    assert (task.state, task.code, task.lease) == (state, code, None)
    assert task.error == Failure("error", "x")


def test_expiries_have_a_budget_that_maintenance_spends(engine: Engine, clock: ManualClock) -> None:
    engine.create("build", id="t", retry=Retry(expiries_max=2), compensations=[REMOVE])
    for state in ("pending", "compensating"):
        again(engine)
        clock.advance(TTL_MS)
        [done] = engine.recover()
        assert (done.state, done.events[0]) == (state, "lease_expired")
    assert get(engine).code == "expiries_spent"


def test_a_claim_spends_the_budget_of_expiries_too(engine: Engine, clock: ManualClock) -> None:
    leased(engine, retry=Retry(expiries_max=1, spent="quarantine"))
    clock.advance(TTL_MS)
    assert engine.claim("default", owner="bob", ttl_ms=TTL_MS) == []
    assert (get(engine).state, get(engine).code) == ("quarantined", "expiries_spent")


def test_releases_have_a_budget_of_their_own(engine: Engine) -> None:
    engine.create("build", id="t", retry=Retry(releases_max=2), waive_compensation="it has no effects")
    assert again(engine).release().state == "pending"
    task = again(engine).release("not mine")
    assert (task.state, task.code) == ("failed", "releases_spent")


def test_quota_waits_are_bounded_by_the_wall_clock(engine: Engine, clock: ManualClock) -> None:
    """They begin anew after another failure."""
    retry = Retry(attempts_max=None, quota_wait_max_ms=1_000)
    engine.create("build", id="t", retry=retry, waive_compensation="it has no effects")
    for _ in range(4):
        assert again(engine).retry("come back later", 0, "quota").state == "pending"
        clock.advance(200)
    assert again(engine).retry("a real one", 0).state == "pending"
    clock.advance(5_000)
    assert again(engine).retry("come back later", 0, "quota").state == "pending"
    clock.advance(999)
    assert again(engine).retry("come back later", 0, "quota").state == "pending"
    clock.advance(1)
    task = again(engine).retry("come back later", 0, "quota")
    assert (task.state, task.code) == ("failed", "quota_wait_spent")


def test_no_quota_wait_at_all_may_be_allowed(engine: Engine) -> None:
    lease = leased(engine, retry=Retry(quota_wait_max_ms=0), waive_compensation="it has no effects")
    assert lease.retry("come back later", budget="quota").code == "quota_wait_spent"


def test_a_backoff_doubles_between_its_bounds_and_is_drawn_from_chance(
    open_engine: OpenEngine, clock: ManualClock
) -> None:
    seed = 99
    engine = open_engine(entropy=SeededEntropy(seed))
    engine.create("build", id="t", retry=Retry(attempts_max=None, delay_min_ms=100, delay_max_ms=1_000))
    delays = []
    for ceiling_ms in (100, 200, 400, 800, 1_000, 1_000):
        task = again(engine).retry("x")
        delays.append(task.run_at_ms - clock.now_ms())
        assert 100 <= delays[-1] <= ceiling_ms
        assert engine.history("t")[-1].event.run_at_ms == task.run_at_ms  # type: ignore[attr-defined]
    assert len(set(delays)) > 2
    # The store's own id was drawn first; a reopened store would draw none.
    entropy = SeededEntropy(seed)
    entropy.token_bytes(10)
    drawn = [entropy.fraction() for _ in delays]
    assert delays == [
        100 + int(fraction * (ceiling_ms - 100 + 1))
        for fraction, ceiling_ms in zip(drawn, (100, 200, 400, 800, 1_000, 1_000), strict=True)
    ]


def test_a_due_time_that_the_caller_names_is_taken_as_it_is(engine: Engine) -> None:
    assert leased(engine, retry=PLAIN).retry("x", START_MS + 7).run_at_ms == START_MS + 7
    assert again(engine).retry("x", 0).run_at_ms == 0


def test_undoing_counts_from_nothing(engine: Engine) -> None:
    retry = Retry(attempts_max=3, undo_attempts_max=2, delay_min_ms=0, delay_max_ms=0)
    engine.create("build", id="t", retry=retry, compensations=[REMOVE])
    for _ in range(3):
        again(engine).retry("x", 0)
    undo = engine.acquire("t", owner="ann", ttl_ms=TTL_MS, purpose="undo")
    assert undo.attempt == 1
    task = undo.compensation_failed("remove", "x")
    assert (task.state, task.attempt) == ("compensating", 2)
    undo = engine.acquire("t", owner="ann", ttl_ms=TTL_MS, purpose="undo")
    task = undo.compensation_failed("remove", Failure("stuck", "it is locked"))
    assert (task.state, task.code) == ("quarantined", "undo_attempts_spent")
    assert task.error == Failure("stuck", "it is locked")
    assert [one.id for one in task.owed] == ["remove"]


def test_expiries_and_releases_of_undoing_have_their_own_count(engine: Engine, clock: ManualClock) -> None:
    retry = Retry(expiries_max=2, releases_max=2, spent="fail")
    for id, expire in (("a", True), ("b", False)):
        engine.create("build", id=id, retry=retry, compensations=[REMOVE])
        lease = again(engine, id)
        if expire:
            clock.advance(TTL_MS)
            lease = again(engine, id)
        else:
            lease.release()
            lease = again(engine, id)
        lease.fail("no way on")
        for state in ("compensating", "quarantined"):
            undo = engine.acquire(id, owner="ann", ttl_ms=TTL_MS, purpose="undo")
            if expire:
                clock.advance(TTL_MS)
                engine.recover()
            else:
                undo.release("not mine")
            assert get(engine, id).state == state
    assert (get(engine, "a").code, get(engine, "b").code) == ("undo_expiries_spent", "undo_releases_spent")


def test_an_undo_backs_off_between_its_bounds(engine: Engine) -> None:
    undo = undoing(engine, retry=Retry(delay_min_ms=50, delay_max_ms=70))
    task = undo.compensation_failed("remove", "x")
    assert START_MS + 50 <= task.run_at_ms <= START_MS + 70


def test_a_requested_cancel_goes_before_a_spent_budget(engine: Engine, clock: ManualClock) -> None:
    for id in ("a", "b", "c"):
        leased(engine, id, retry=Retry(1, 1, 1, 1, 0), compensations=[REMOVE])
        engine.cancel(id, "called off")
    leases = {id: Lease(get(engine, id), engine._executor) for id in ("a", "b")}
    assert leases["a"].retry("x").outcome == "cancelled"
    assert leases["b"].release().outcome == "cancelled"
    clock.advance(TTL_MS)
    engine.recover()
    assert get(engine, "c").outcome == "cancelled"
    assert {get(engine, id).state for id in ("a", "b", "c")} == {"compensating"}

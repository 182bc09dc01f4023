"""Holding and ending leases: what the verbs give, and what makes a second call of one a repeat. [REPEAT-5] [FENCE-2]"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import sagalog
from sagalog import (
    Compensation,
    Conflict,
    Engine,
    Failure,
    Lease,
    LeaseHeld,
    LeaseLost,
    NotFound,
    Retry,
    Task,
)
from sagalog.testing import ManualClock, SeededEntropy
from tests.conftest import START_MS, OpenEngine
from tests.engine.checking import CLOSE, REMOVE, TTL_MS, get, leased, refused, types, unchanged, undoing


def test_a_lease_shows_the_task_as_it_was_leased(engine: Engine, clock: ManualClock) -> None:
    lease = leased(engine)
    assert (lease.owner, lease.fence, lease.attempt, lease.purpose) == ("ann", 1, 1, "work")
    assert (lease.ttl_ms, lease.expires_ms) == (TTL_MS, START_MS + TTL_MS)
    assert lease.task == get(engine)
    assert lease.task.lease == lease.record
    clock.advance(5)
    lease.heartbeat()
    assert lease.task.version == 2


def test_the_owner_is_on_record_as_the_actor_of_what_a_holder_does(engine: Engine, clock: ManualClock) -> None:
    lease = leased(engine)
    clock.advance(1)
    lease.heartbeat().register(REMOVE).release("why")
    assert [event.actor for event in engine.history("t")] == [None, *["worker:ann"] * 4]


def test_each_verb_gives_the_lease_while_it_lives_and_else_the_task(engine: Engine) -> None:
    assert isinstance(leased(engine, "a").register(REMOVE), Lease)
    assert isinstance(leased(engine, "b").heartbeat(), Lease)
    assert isinstance(leased(engine, "c").release(), Task)
    assert isinstance(leased(engine, "d").retry("x"), Task)
    assert isinstance(leased(engine, "e").complete(), Task)
    assert isinstance(leased(engine, "f").fail("x", [REMOVE]), Task)
    undo = undoing(engine, "g")
    assert isinstance(undo.compensation_done("remove"), Lease)
    assert isinstance(undo.compensation_done("close"), Task)
    assert isinstance(undoing(engine, "h").compensation_failed("remove", "x"), Task)


def test_a_lease_without_end_stays_so_until_a_heartbeat_sets_one(engine: Engine) -> None:
    engine.create("build", id="t")
    lease = engine.acquire("t", owner="ann", ttl_ms=None)
    assert (lease.ttl_ms, lease.expires_ms) == (None, None)
    assert unchanged(engine, lease.heartbeat, 500) == lease


def test_many_heartbeats_keep_their_order_and_say_which_were_lost(engine: Engine, clock: ManualClock) -> None:
    leases = [leased(engine, id) for id in "abcd"]
    clock.advance(TTL_MS - 1)
    leases[1].complete()
    engine.cancel("d", "called off")
    renewal = engine.heartbeat(reversed(leases))
    assert [lease.task.id for lease in renewal.renewed] == ["d", "c", "a"]
    assert [lease.expires_ms for lease in renewal.renewed] == [START_MS + 2 * TTL_MS - 1] * 3
    assert renewal.renewed[0].task.cancel_requested
    assert [(type(lost), lost.task) for lost in renewal.lost] == [(LeaseLost, "b")]
    clock.advance(TTL_MS)
    assert [lost.task for lost in engine.heartbeat(leases).lost] == ["a", "b", "c", "d"]
    assert unchanged(engine, engine.heartbeat, []) == engine.heartbeat([])


def test_a_lease_that_is_over_is_held_until_an_event_ends_it(engine: Engine, clock: ManualClock) -> None:
    lease = leased(engine)
    clock.advance(TTL_MS)
    refused(engine, LeaseLost, lease.heartbeat)
    refused(engine, LeaseLost, lease.heartbeat, 10 * TTL_MS, "alive")
    assert lease.register(REMOVE).task.state == "running"
    assert lease.complete("done all the same").state == "completed"


def test_acquiring_passes_over_order_and_due_time(engine: Engine) -> None:
    engine.create("build", id="first", priority=-9)
    engine.create("build", id="later", run_at_ms=START_MS + 10**9)
    assert engine.acquire("later", owner="ann", ttl_ms=1).task.id == "later"


def test_a_held_task_names_its_holder(engine: Engine) -> None:
    held = leased(engine)
    refusal = refused(engine, LeaseHeld, engine.acquire, "t", owner="bob", ttl_ms=1)
    assert refusal.fields == {"task": "t", "owner": "ann", "fence": held.fence, "expires_ms": held.expires_ms}


SOON_MS = START_MS + 5

Ending = tuple[Callable[[Lease], object], Callable[[Lease], object]]

# For each verb: how it was called first, and how it is then called with other content.
ENDINGS: dict[str, Ending] = {
    "release": (lambda lease: lease.release("why", SOON_MS), lambda lease: lease.release("why not", SOON_MS)),
    "release, time": (lambda lease: lease.release("why", SOON_MS), lambda lease: lease.release("why", SOON_MS + 1)),
    "retry": (lambda lease: lease.retry("x", SOON_MS), lambda lease: lease.retry("y", SOON_MS)),
    "retry, time": (lambda lease: lease.retry("x", SOON_MS), lambda lease: lease.retry("x", SOON_MS + 1)),
    "retry, budget": (lambda lease: lease.retry("x"), lambda lease: lease.retry("x", budget="transient")),
    "retry, code": (lambda lease: lease.retry("x"), lambda lease: lease.retry(Failure("other", "x"))),
    "complete": (lambda lease: lease.complete({"n": 1}), lambda lease: lease.complete({"n": 1.0})),
    "fail": (lambda lease: lease.fail("x", [REMOVE]), lambda lease: lease.fail("y", [REMOVE])),
    "fail, waiver": (
        lambda lease: lease.fail("x", waive_compensation="a"),
        lambda lease: lease.fail("x", waive_compensation="b"),
    ),
    "fail, undo": (
        lambda lease: lease.fail("x", [REMOVE]),
        lambda lease: lease.fail("x", [Compensation("remove", {"n": 2}, id="remove")]),
    ),
    "fail, another undo": (
        lambda lease: lease.fail("x", [REMOVE]),
        lambda lease: lease.fail("x", [REMOVE, CLOSE]),
    ),
}


@pytest.mark.parametrize("name", ENDINGS)
def test_a_repeated_ending_gives_the_same_answer(engine: Engine, name: str) -> None:
    """With other content it is refused."""
    first, other = ENDINGS[name]
    lease = leased(engine)
    answer = first(lease)
    assert unchanged(engine, first, lease) == answer
    assert refused(engine, Conflict, other, lease).task == "t"
    assert unchanged(engine, first, lease) == answer


@pytest.mark.parametrize("name", ["release", "retry", "fail"])
def test_an_ending_may_be_repeated_until_the_next_lease_has_ended(engine: Engine, name: str) -> None:
    first, other = ENDINGS[name]
    lease = leased(engine)
    first(lease)
    purpose: Any = "undo" if get(engine).state == "compensating" else "work"
    holder = engine.acquire("t", owner="bob", ttl_ms=TTL_MS, purpose=purpose)
    assert unchanged(engine, first, lease).lease == holder.record
    refused(engine, Conflict, other, lease)
    holder.release()
    refused(engine, LeaseLost, first, lease)
    refused(engine, LeaseLost, other, lease)


def test_a_repeat_of_a_late_holder_never_gives_it_the_lease_of_another(engine: Engine) -> None:
    late = leased(engine)
    late.register(REMOVE)
    late.release()
    holder = engine.acquire("t", owner="bob", ttl_ms=TTL_MS)
    again = unchanged(engine, late.register, REMOVE)
    assert (again.owner, again.fence) == ("ann", late.fence)
    refused(engine, LeaseLost, again.complete)
    holder.complete()
    assert unchanged(engine, late.register, REMOVE).fence == late.fence


def test_an_ending_that_spent_a_budget_is_repeated_by_its_verb(engine: Engine) -> None:
    spent = Retry(attempts_max=1, releases_max=1, expiries_max=1)
    retried = leased(engine, "a", retry=spent, compensations=[REMOVE])
    assert retried.retry("x").code == "attempts_spent"
    assert unchanged(engine, retried.retry, "x").state == "compensating"
    refused(engine, Conflict, retried.retry, "y")
    refused(engine, LeaseLost, retried.fail, "x")
    released = leased(engine, "b", retry=spent, compensations=[REMOVE])
    assert released.release("why").code == "releases_spent"
    assert unchanged(engine, released.release, "why").state == "compensating"


def test_an_ending_under_a_requested_cancel_is_repeated_by_its_verb(engine: Engine) -> None:
    lease = leased(engine)
    engine.cancel("t", "called off")
    assert lease.release("why").state == "cancelled"
    assert types(engine, "t")[-2:] == ["released", "cancelled"]
    assert unchanged(engine, lease.release, "why").state == "cancelled"
    refused(engine, LeaseLost, lease.complete)


def test_an_undo_is_said_twice_under_its_own_lease_only(engine: Engine) -> None:
    first = undoing(engine)
    first.compensation_done("remove")
    unchanged(engine, first.compensation_done, "remove")
    first.compensation_failed("close", "x", 0)
    unchanged(engine, first.compensation_failed, "close", "x", 0)
    refused(engine, Conflict, first.compensation_failed, "close", "y", 0)
    second = engine.acquire("t", owner="bob", ttl_ms=TTL_MS, purpose="undo")
    refused(engine, LeaseLost, first.compensation_done, "close")
    assert second.compensation_done("close").state == "compensated"  # type: ignore[union-attr]
    unchanged(engine, second.compensation_done, "close")
    refused(engine, LeaseLost, first.compensation_failed, "close", "x", 0)


def test_failing_brings_its_compensations_in_the_same_commit(engine: Engine) -> None:
    lease = leased(engine, compensations=[REMOVE])
    task = lease.fail(Failure("lost", "no way on", {"step": 3}), [CLOSE, REMOVE])
    assert types(engine, "t")[-2:] == ["compensation_registered", "failed"]
    assert (task.state, task.outcome, task.code) == ("compensating", "failed", "failed")
    assert task.error == Failure("lost", "no way on", {"step": 3})
    assert [one.id for one in task.owed] == ["close", "remove"]


def test_completing_leaves_what_was_registered_for_ever_undone(engine: Engine, clock: ManualClock) -> None:
    task = leased(engine).register(REMOVE).complete()
    assert (task.state, [one.status for one in task.compensations]) == ("completed", ["void"])
    clock.advance(10 * TTL_MS)
    assert unchanged(engine, engine.claim, "default", owner="bob", ttl_ms=1, purpose="undo") == []
    assert unchanged(engine, engine.recover, unknown_kinds=["remove"]) == []


def test_progress_is_seen_on_the_task_and_may_be_any_small_json(engine: Engine, clock: ManualClock) -> None:
    lease = leased(engine)
    assert lease.heartbeat(progress=[1, {"a": None}]).task.progress == [1, {"a": None}]
    clock.advance(1)
    assert lease.heartbeat().task.progress == [1, {"a": None}]
    assert lease.complete().progress == [1, {"a": None}]


def test_a_given_back_task_is_due_when_it_was_said(engine: Engine, clock: ManualClock) -> None:
    task = leased(engine).release("later", START_MS + 50)
    assert (task.state, task.run_at_ms, task.attempt, task.leases) == ("pending", START_MS + 50, 1, 1)
    assert engine.claim("default", owner="bob", ttl_ms=1) == []
    clock.advance(50)
    [lease] = engine.claim("default", owner="bob", ttl_ms=1)
    assert (lease.fence, lease.attempt) == (2, 1)


def test_a_heartbeat_of_many_renews_the_good_and_names_the_bad(
    engine: Engine, open_engine: OpenEngine, clock: ManualClock
) -> None:
    with sagalog.open("memory:", clock=clock, entropy=SeededEntropy(9)) as elsewhere:
        stray = leased(elsewhere, "stray")
    first, ended, last = (leased(engine, id) for id in ("first", "ended", "last"))
    ended.complete()
    clock.advance(1)
    renewal = engine.heartbeat([first, stray, ended, last])
    assert [lease.task.id for lease in renewal.renewed] == ["first", "last"]
    assert [type(error) for error in renewal.lost] == [NotFound, LeaseLost]
    assert [error.task for error in renewal.lost] == ["stray", "ended"]
    assert [lease.expires_ms for lease in renewal.renewed] == [clock.now_ms() + TTL_MS] * 2

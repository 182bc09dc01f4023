"""The contract of named limits: slots and rates, who is ready or held back, and who comes in when units are free.

Rule: what the store keeps of it follows from the log, so a rebuild gives the same. [LIMIT-7]
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sagalog.errors import Blocked, InvalidValue, NotFound, OverBound, WrongState
from sagalog.kernel.bounds import LINE_LOOK_MS, MOVES_MAX, PASS_MS, READY_MAX, UNITS_MAX
from sagalog.kernel.values import Compensation, Rate, Units
from sagalog.testing.contract.base import BROKEN, TTL_MS, ids
from sagalog.testing.contract.limited import LimitedContract


class LimitContract(LimitedContract):
    """The tests of named limits."""

    # --- slots ----------------------------------------------------------------------------------------------------

    def test_no_more_units_are_leased_than_there_are_slots(self) -> None:
        """[LIMIT-2] [LIMIT-5]"""
        self.engine.set_limit("gpu", slots=2)
        self.users("a", "b", "c", "d")
        assert self.gates("a", "b", "c", "d") == ["ready", "ready", "held limit/gpu", "held limit/gpu"]
        leases = self.claim(limit=10)
        assert ids(leases) == ["a", "b"]
        assert leases[0].task.lease is not None
        assert leases[0].task.lease.uses == (Units("limit/gpu", 1),)
        assert self.claim(limit=10) == []
        assert self.engine.holders(limit="gpu") == [("a", 1), ("b", 1)]
        self.fair()

    def test_holders_of_a_limit_that_there_is_not_are_not_found(self) -> None:
        """[LIMIT-2]"""
        self.engine.set_limit("gpu", slots=2)
        assert self.engine.holders(limit="gpu") == []
        assert self.refused(NotFound, self.engine.holders, limit="gpo").limit == "gpo"
        self.engine.remove_limit("gpu")
        self.refused(NotFound, self.engine.holders, limit="gpu")
        assert self.engine.holders(queue="nothing") == []

    def test_the_end_of_a_lease_lets_the_next_one_in_by_the_same_commit(self) -> None:
        """[LIMIT-5]"""
        self.engine.set_limit("gpu", slots=1)
        self.users("a", "b", "c")
        ends: list[Any] = [
            lambda lease: lease.complete(), lambda lease: lease.retry(BROKEN, run_at_ms=self.clock.now_ms() + 1),
            lambda lease: lease.park("w", signal="go"), lambda lease: lease.quarantine(BROKEN),
        ]  # fmt: skip
        self.users("d", "e")
        for end, next_one in zip(ends, ("b", "c", "d", "e"), strict=True):
            [lease] = self.claim(limit=10)
            end(lease)
            assert self.gates(next_one) == ["ready"]
            assert self.account("limit/gpu").slots_used == 0
        self.fair()

    def test_an_expired_lease_gives_its_slots_back_to_tasks_of_every_queue(self) -> None:
        """[UPKEEP-2] [LIMIT-5]"""
        self.engine.set_limit("gpu", slots=1)
        self.users("dead", queue="left")
        self.users("next", queue="right")
        assert ids(self.claim("left")) == ["dead"]
        assert self.claim("right") == []
        self.clock.advance(TTL_MS)
        assert self.engine.claim("right", owner="bob", ttl_ms=TTL_MS)[0].task.id == "next"
        assert self.types("dead") == ["created", "leased", "lease_expired"]
        assert self.claim("left") == []
        assert self.gates("dead") == ["held limit/gpu"]
        self.fair()

    def test_a_listing_counts_the_tasks_that_a_limit_holds_back(self) -> None:
        """[LIMIT-5]"""
        self.engine.set_limit("gpu", slots=2)
        self.engine.set_limit("idle", slots=1)
        self.users("a", "b", "c", "d", "e")
        self.users("f", kind="other")
        assert [(one.name, one.used, one.free, one.held) for one in self.engine.limits()] == [
            ("gpu", 0, 2, 3),
            ("idle", 0, 1, 0),
        ]
        assert len(self.claim(limit=2)) == 2
        with self.store.read() as snapshot:
            assert [snapshot.placed("limit/gpu", "held", most) for most in (9, 3, 1)] == [3, 3, 1]
            assert snapshot.placed("limit/gpu", "leased", 9) == 2
            assert snapshot.placed("limit/gpu", "held", 9, section="default\x1fbuild") == 3
            assert snapshot.placed("limit/gpu", "ready", 9, section="default\x1fother") == 1
            assert snapshot.placed("limit/gpu", "held", 9, section="default\x1fother") == 0
        self.fair()

    def test_a_held_task_comes_in_by_its_place_and_a_better_one_takes_a_place(self) -> None:
        """[LIMIT-5]"""
        self.engine.set_limit("gpu", slots=1)
        self.users("old", priority=5)
        self.users("older", priority=9)
        assert self.gates("old", "older") == ["ready", "held limit/gpu"]
        self.users("first", priority=1)
        assert self.gates("old", "older", "first") == ["held limit/gpu", "held limit/gpu", "ready"]
        self.users("same", priority=1)
        assert self.gates("first", "same") == ["ready", "held limit/gpu"]
        done = []
        while leases := self.claim():
            done += ids(leases)
            leases[0].complete()
        assert done == ["first", "same", "old", "older"]
        self.fair()

    def test_each_queue_and_kind_has_a_line_of_its_own(self) -> None:
        """[LIMIT-5] A worker that knows one kind finds its first task, whatever waits before it."""
        self.engine.set_limit("gpu", slots=1)
        for kind in ("x", "y"):
            for queue in ("left", "right"):
                self.users(f"{kind}-{queue}-1", f"{kind}-{queue}-2", kind=kind, queue=queue)
        ready = [f"{kind}-{queue}-1" for kind in ("x", "y") for queue in ("left", "right")]
        assert self.gates(*ready) == ["ready"] * 4
        assert ids(self.claim(["left", "right"], kinds=["y"], limit=9)) == ["y-left-1"]
        # The three others lack the unit now: the claim that meets them moves them under the limit.
        assert self.claim(["left", "right"], limit=9) == []
        assert self.gates("x-left-1", "x-right-1", "y-right-1") == ["held limit/gpu"] * 3
        self.fair()

    def test_at_most_64_of_a_line_are_ready_and_each_lease_lets_one_in(self) -> None:
        """[LIMIT-5]"""
        self.engine.set_limit("gpu", slots=READY_MAX * 2)
        tasks = [f"t{number:03}" for number in range(READY_MAX + 2)]
        self.engine.create_many([{"kind": "build", "id": task, "uses": {"gpu": 1}} for task in tasks])
        assert self.gates(*tasks).count("ready") == READY_MAX
        assert len(self.claim(limit=1)) == 1
        assert self.gates(*tasks).count("ready") == READY_MAX
        assert len(self.claim(limit=READY_MAX + 2)) == READY_MAX
        assert self.gates(tasks[-1]) == ["ready"]
        self.fair()

    def test_what_one_commit_does_not_let_in_maintenance_does(self) -> None:
        """[LIMIT-5] [UPKEEP-1]"""
        self.engine.set_limit("gpu", slots=1)
        kinds = [f"k{number:03}" for number in range(MOVES_MAX + 6)]
        specs = [{"kind": kind, "id": kind, "uses": {"gpu": 1}} for kind in kinds]
        self.users("first", kind="other")
        [lease] = self.claim(kinds=["other"])
        self.engine.create_many(specs)
        assert set(self.gates(*kinds)) == {"held limit/gpu"}
        lease.complete()
        assert self.gates(*kinds).count("ready") == MOVES_MAX
        self.engine.recover()
        assert self.gates(*kinds).count("ready") == len(kinds)
        self.fair()

    # --- several limits, and larger tasks -------------------------------------------------------------------------

    def test_a_task_waits_under_the_limit_that_it_lacks(self) -> None:
        """[LIMIT-2] [LIMIT-5]"""
        self.engine.set_limit("cpu", slots=1)
        self.engine.set_limit("gpu", slots=1)
        self.create("cpu", uses={"cpu": 1})
        self.create("gpu", uses={"gpu": 1})
        first, second = self.claim(limit=2)
        self.create("both", uses={"gpu": 1, "cpu": 1})
        assert self.gates("both") == ["held limit/cpu"]
        first.complete()
        assert self.gates("both") == ["held limit/gpu"]
        self.create("other", uses={"cpu": 1})
        assert self.gates("other") == ["ready"]
        second.complete()
        assert self.gates("both") == ["ready"]
        leases = self.claim(limit=2)
        # Both were ready; the older one has the unit that they share.
        assert ids(leases) == ["both"]
        assert self.gates("other") == ["held limit/cpu"]
        self.fair()

    def test_smaller_tasks_pass_a_larger_one_for_a_minute_and_then_none_does(self) -> None:
        """[LIMIT-6]"""
        self.engine.set_limit("gpu", slots=2)
        self.users("small-0")
        [held] = self.claim(ttl_ms=None)
        self.create("large", uses={"gpu": 2}, kind="large")
        assert self.gates("large") == ["held limit/gpu"]
        for number in range(1, 4):
            self.users(f"small-{number}")
            [lease] = self.claim(ttl_ms=None)
            self.clock.advance(PASS_MS // 4)
            lease.complete()
        self.clock.advance(PASS_MS // 4)
        self.users("late")
        assert self.gates("late") == ["held limit/gpu"]
        assert self.refused(Blocked, self.acquire, "late").fields["why"] == "line"
        held.complete()
        assert ids(self.claim(limit=9, ttl_ms=None)) == ["large"]
        self.fair()

    def test_a_larger_task_that_lacks_something_else_holds_up_no_other(self) -> None:
        """[LIMIT-6]"""
        self.engine.set_limit("cpu", slots=1)
        self.engine.set_limit("gpu", slots=2)
        self.create("cpu", uses={"cpu": 1}, kind="other")
        [_] = self.claim(kinds=["other"], ttl_ms=None)
        self.users("small")
        [_] = self.claim(ttl_ms=None)
        self.create("large", uses={"gpu": 2, "cpu": 1})
        self.clock.advance(PASS_MS)
        self.users("next")
        assert self.gates("next") == ["ready"]
        assert ids(self.claim()) == ["next"]
        self.fair()

    def test_two_large_tasks_that_are_first_in_line_do_not_hold_each_other_up(self) -> None:
        """[LIMIT-6]"""
        for name in ("cpu", "gpu"):
            self.engine.set_limit(name, slots=2)
            self.create(f"{name}-user", uses={name: 1}, kind="user")
        leases = self.claim(kinds=["user"], limit=2, ttl_ms=None)
        self.create("cpu-first", uses={"cpu": 2, "gpu": 1})
        self.clock.advance(1)
        self.create("gpu-first", uses={"gpu": 2, "cpu": 1})
        self.clock.advance(PASS_MS)
        for lease in leases:
            lease.complete()
        done = []
        while leases := self.claim(ttl_ms=None):
            done += ids(leases)
            for lease in leases:
                lease.complete()
        assert done == ["cpu-first", "gpu-first"]
        self.fair()

    def test_a_task_that_asks_for_more_than_a_lowered_limit_takes_all_of_it(self) -> None:
        """[LIMIT-4]"""
        self.engine.set_limit("gpu", slots=4)
        self.create("large", uses={"gpu": 4})
        self.users("small", kind="small")
        self.engine.set_limit("gpu", slots=2)
        [lease] = self.claim(kinds=["build"])
        assert lease.task.lease is not None
        assert lease.task.lease.uses == (Units("limit/gpu", 2),)
        assert self.claim() == []
        lease.complete()
        assert ids(self.claim()) == ["small"]
        self.fair()

    def test_a_limit_that_is_lowered_below_what_runs_lets_nothing_start(self) -> None:
        """[LIMIT-1]"""
        self.engine.set_limit("gpu", slots=3)
        self.users("a", "b", "c", "d")
        leases = self.claim(limit=3)
        self.engine.set_limit("gpu", slots=1)
        assert self.engine.limits()[0].free == -2
        leases[0].complete()
        leases[1].complete()
        assert self.claim() == []
        assert leases[2].heartbeat().fence == leases[2].fence
        leases[2].complete()
        assert ids(self.claim()) == ["d"]
        types = [event.type for event in self.log()]
        assert types[-5:] == ["limit_set", "completed", "completed", "completed", "leased"]
        self.fair()

    def test_a_raised_limit_lets_tasks_in_by_the_same_commit(self) -> None:
        """[LIMIT-1]"""
        self.engine.set_limit("gpu", slots=1)
        self.users("a", "b", "c", "d")
        self.engine.set_limit("gpu", slots=3)
        assert self.gates("a", "b", "c", "d") == ["ready", "ready", "ready", "held limit/gpu"]
        assert len(self.claim(limit=9)) == 3
        self.fair()

    def test_a_look_ends_where_many_tasks_that_wait_must_stay(self) -> None:
        """[LIMIT-5] However many ask for more than is free; a small one of another section comes in."""
        self.engine.set_limit("gpu", slots=10)
        self.create("large", uses={"gpu": 7})
        self.create("ends", uses={"gpu": 1})
        ends = {lease.task.id: lease for lease in self.claim(limit=2, ttl_ms=None)}
        self.engine.create_many([{"kind": "big", "uses": {"gpu": 5}} for _ in range(MOVES_MAX + 6)])
        self.create("small", kind="small", queue="other", uses={"gpu": 4})
        ends["ends"].complete()
        assert self.claim("elsewhere") == []
        assert self.engine.recover() == []
        self.create("smaller", kind="small", queue="other", uses={"gpu": 1})
        assert ids(self.claim("other")) == ["smaller"]
        self.fair()

    def test_a_ready_task_that_a_batch_rewrites_keeps_its_place(self) -> None:
        """[LIMIT-5] So units that are freed beside it let in as many as there are."""
        self.engine.set_limit("gpu", slots=2)
        self.users("runs", "ready", "next", "last")
        [lease] = self.claim()
        with self.engine.batch() as batch:
            batch.amend("ready", deadline_ms=self.clock.now_ms() + 3_600_000)
            batch.complete(lease)
        assert self.gates("ready", "next", "last") == ["ready", "ready", "held limit/gpu"]
        self.fair()

    def test_what_a_rate_has_given_back_goes_to_the_oldest_first(self) -> None:
        """[LIMIT-5] [ORDER-1] Whatever was created, leased or amended since, before any claim."""
        self.engine.set_limit("gpu", rate=Rate(2, 1_000_000))
        self.users("a", "b", "old", "older")
        assert ids(self.claim(limit=5, ttl_ms=None)) == ["a", "b"]
        self.clock.advance(500_000)
        self.create("large", uses={"gpu": 2})
        self.users("new")
        self.engine.amend("older", priority=1)
        assert ids(self.claim(limit=5, ttl_ms=None)) == ["old"]
        self.fair()

    def test_two_large_tasks_that_wait_for_each_other_both_start(self) -> None:
        """[LIMIT-6] One is held behind the other at one limit, and goes before it at the other one."""
        self.engine.set_limit("gpu", slots=2)
        self.engine.set_limit("cpu", slots=2)
        self.create("x", uses={"cpu": 1})
        self.create("y", uses={"gpu": 1})
        ends = {lease.task.id: lease for lease in self.claim(limit=2, ttl_ms=None)}
        for id, uses in (("first", {"cpu": 2}), ("second", {"cpu": 2, "gpu": 1}), ("third", {"cpu": 2, "gpu": 2})):
            self.create(id, uses=uses)
            self.clock.advance(1)
        self.clock.advance(PASS_MS)
        for id in ("x", "y"):
            ends[id].complete()
        done = []
        for _ in range(6):
            for lease in self.claim(limit=9):
                done += ids([lease])
                lease.complete()
            self.clock.advance(LINE_LOOK_MS)
        assert sorted(done) == ["first", "second", "third"]
        self.fair()

    def test_tasks_pass_the_first_in_line_once_that_cannot_start(self) -> None:
        """[LIMIT-6] Whatever keeps it, and though no event of their limit says so."""

        def use_up() -> None:
            self.create("z", uses={"cpu": 1}, queue="q2")
            self.claim("q2", ttl_ms=None)

        keeps: list[Callable[[], object]] = [
            lambda: self.engine.pause(kind="large"),
            lambda: self.engine.pause(queue="qa"),
            lambda: self.engine.pause(limit="cpu"),
            lambda: self.engine.amend("large", run_at_ms=self.clock.now_ms() + 3_600_000),
            use_up,
        ]
        undo: list[Callable[[], object]] = [
            lambda: self.engine.resume(kind="large"),
            lambda: self.engine.resume(queue="qa"),
            lambda: self.engine.resume(limit="cpu"),
            lambda: self.engine.amend("large", run_at_ms=self.clock.now_ms()),
            lambda: None,
        ]
        self.engine.set_limit("gpu", slots=2)
        self.engine.set_limit("cpu", slots=1)
        self.create("holds", queue="q1", uses={"gpu": 1})
        self.claim("q1", ttl_ms=None)
        self.create("large", kind="large", queue="qa", uses={"gpu": 2, "cpu": 1})
        self.clock.advance(PASS_MS)
        for number, (keep, let) in enumerate(zip(keeps, undo, strict=True)):
            self.create(f"small-{number}", queue="q1", uses={"gpu": 1})
            assert self.claim("q1") == []
            keep()
            self.clock.advance(LINE_LOOK_MS)
            [lease] = self.claim("q1")
            lease.complete()
            let()
            self.clock.advance(PASS_MS)
        self.fair()

    # --- rates ----------------------------------------------------------------------------------------------------

    def test_no_more_tasks_start_than_a_rate_has_units_and_ends_give_none_back(self) -> None:
        """[LIMIT-2] [LIMIT-8]"""
        self.engine.set_limit("gpu", rate=Rate(2, period_ms=1_000))
        self.users("a", "b", "c", "d")
        leases = self.claim(limit=9, ttl_ms=None)
        assert ids(leases) == ["a", "b"]
        for lease in leases:
            lease.complete()
        self.clock.advance(499)
        assert self.claim() == []
        self.clock.advance(1)
        assert ids(self.claim(limit=9)) == ["c"]
        self.clock.advance(499)
        assert self.claim() == []
        self.clock.advance(1)
        assert ids(self.claim(limit=9)) == ["d"]
        self.fair()

    def test_a_crashed_attempt_stays_charged(self) -> None:
        """[LIMIT-2]"""
        self.engine.set_limit("gpu", rate=Rate(1, period_ms=TTL_MS * 2))
        self.users("a")
        [_] = self.claim()
        self.clock.advance(TTL_MS)
        assert self.claim() == []
        assert self.types("a") == ["created", "leased", "lease_expired"]
        self.clock.advance(TTL_MS)
        assert ids(self.claim()) == ["a"]
        self.fair()

    def test_a_burst_is_what_a_rate_keeps_at_most(self) -> None:
        """[LIMIT-8]"""
        self.engine.set_limit("gpu", rate=Rate(1, period_ms=1_000, burst=3))
        self.users(*"abcdefgh")
        assert len(self.claim(limit=9, ttl_ms=None)) == 3
        self.clock.advance(3_600_000)
        assert len(self.claim(limit=9, ttl_ms=None)) == 3
        self.fair()

    def test_a_higher_rate_begins_with_what_the_lower_one_kept(self) -> None:
        """[LIMIT-8] Not with the units that the lower one could not keep."""
        self.engine.set_limit("gpu", rate=Rate(2, period_ms=1_000))
        self.users("a")
        self.claim(ttl_ms=None)
        self.clock.advance(3_600_000)
        self.engine.set_limit("gpu", rate=Rate(5, period_ms=1_000))
        assert self.engine.limits()[0].free == 2
        self.fair()

    def test_a_ready_task_that_loses_its_units_to_a_statement_comes_in_later(self) -> None:
        """[LIMIT-3] [LIMIT-5] The claim that meets it moves it, and a look follows once there is a unit again."""
        self.engine.set_limit("gpu", rate=Rate(5, period_ms=1_000))
        self.users("a", "b")
        [lease] = self.claim(limit=1, ttl_ms=None)
        lease.use("gpu", 5)
        assert self.claim() == []
        self.clock.advance(199)
        assert self.claim() == []
        self.clock.advance(1)
        assert ids(self.claim()) == ["b"]
        self.fair()

    def test_what_an_attempt_uses_is_stated_and_may_overdraw(self) -> None:
        """[LIMIT-3]"""
        self.engine.set_limit("gpu", rate=Rate(10, period_ms=1_000))
        self.users("a", "b")
        first, second = self.claim(limit=2, ttl_ms=None)
        assert self.engine.limits()[0].free == 8
        first.use("gpu", 5)
        first.use("gpu", 5)
        assert self.engine.limits()[0].free == 4
        first.use("gpu", 0)
        assert self.engine.limits()[0].free == 9
        second.use("gpu", 25)
        assert self.engine.limits()[0].free == -15
        assert self.types("a") == ["created", "leased", "used", "used"]
        self.users("c")
        assert self.claim() == []
        first.complete()
        second.complete()
        self.clock.advance(1_599)
        assert self.claim() == []
        self.clock.advance(1)
        assert ids(self.claim()) == ["c"]
        self.fair()

    def test_only_a_rate_that_the_task_uses_takes_a_statement(self) -> None:
        """[LIMIT-3]"""
        self.engine.set_limit("gpu", slots=1)
        self.engine.set_limit("other", rate=Rate(1, period_ms=1))
        self.users("a")
        [lease] = self.claim()
        for limit in ("gpu", "other", "none"):
            assert self.refused(NotFound, lease.use, limit, 1).fields["limit"] == limit
        self.refused(InvalidValue, lease.use, "gpu", -1)

    def test_a_clock_that_jumped_a_year_does_not_stop_a_rate(self) -> None:
        """[LIMIT-8]"""
        self.engine.set_limit("gpu", rate=Rate(1, period_ms=1_000))
        year_ms = 365 * 86_400_000
        self.users("a", "b", "c")
        self.clock.step(year_ms)
        [lease] = self.claim(ttl_ms=None)
        lease.complete()
        self.clock.step(-year_ms)
        # The account begins anew: no clock can say what it has.
        [lease] = self.claim(ttl_ms=None)
        assert lease.task.id == "b"
        lease.complete()
        assert self.claim(ttl_ms=None) == []
        self.clock.advance(1_000)
        assert ids(self.claim(ttl_ms=None)) == ["c"]
        self.fair()

    def test_a_clock_that_steps_back_by_less_than_a_period_gives_no_unit_early(self) -> None:
        """[LIMIT-8]"""
        self.engine.set_limit("gpu", rate=Rate(1, period_ms=1_000))
        self.users("a", "b")
        self.claim(ttl_ms=None)[0].complete()
        self.clock.step(-900)
        self.clock.advance(1_000)
        assert self.claim(ttl_ms=None) == []
        self.clock.advance(900)
        assert ids(self.claim(ttl_ms=None)) == ["b"]
        self.fair()

    def test_a_claim_that_waits_is_woken_when_a_unit_comes_back(self) -> None:
        """[LIMIT-5]"""
        self.engine.set_limit("gpu", rate=Rate(1, period_ms=50))
        self.users("a", "b")
        [lease] = self.claim(ttl_ms=None)
        lease.complete()
        with self.store.read() as snapshot:
            assert snapshot.accounts_due_ms() == self.clock.now_ms() + 50
        self.clock.advance(50)
        assert ids(self.claim(wait_ms=1_000)) == ["b"]

    # --- settings -------------------------------------------------------------------------------------------------

    def test_unknown_limits_and_more_units_than_there_are_refuse_a_creation(self) -> None:
        """[LIMIT-1]"""
        self.engine.set_limit("gpu", slots=2)
        self.engine.set_limit("rate", rate=Rate(1, period_ms=1, burst=3))
        assert self.refused(NotFound, self.engine.create, "build", uses={"cpu": 1}).fields["limit"] == "cpu"
        for uses in ({"gpu": 3}, {"rate": 4}):
            self.refused(InvalidValue, self.engine.create, "build", uses=uses)
        bad: list[Any] = [{"gpu": 0}, {"gpu": UNITS_MAX + 1}, {"gpu": True}, ["gpu"]]
        for uses in bad:
            self.refused(InvalidValue, self.engine.create, "build", uses=uses)
        self.refused(OverBound, self.engine.create, "build", uses=dict.fromkeys("abcde", 1))
        self.create("whole", uses={"gpu": 2, "rate": 3})

    def test_a_limit_is_of_one_kind_and_of_one_unit_or_more(self) -> None:
        """[LIMIT-1]"""
        bad: list[dict[str, Any]] = [
            {}, {"slots": 1, "rate": Rate(1, 1)}, {"slots": 0}, {"slots": -1}, {"rate": Rate(0, 1)}, {"slots": 1.5},
            {"rate": Rate(1, 0)}, {"rate": Rate(1, 1, 0)}, {"rate": 5}, {"slots": UNITS_MAX + 1},
        ]  # fmt: skip
        for setting in bad:
            self.refused(InvalidValue, self.engine.set_limit, "gpu", **setting)
        assert "pause" in str(self.refused(InvalidValue, self.engine.set_limit, "gpu", slots=0))
        assert self.engine.limits() == []

    def test_a_limit_that_a_live_task_uses_is_not_removed(self) -> None:
        """[LIMIT-1]"""
        self.engine.set_limit("gpu", slots=1)
        self.users("later", run_at_ms=self.clock.now_ms() + 1)
        assert self.refused(WrongState, self.engine.remove_limit, "gpu").fields["task"] == "later"
        self.engine.cancel("later")
        self.engine.remove_limit("gpu")
        self.refused(NotFound, self.engine.remove_limit, "gpu")
        self.refused(NotFound, self.engine.create, "build", uses={"gpu": 1})
        self.refused(NotFound, self.engine.retry_as_new, "later")
        assert self.engine.limits() == []
        self.engine.set_limit("gpu", slots=2)
        self.users("a")
        self.sound()

    def test_a_setting_that_is_so_already_writes_nothing(self) -> None:
        """[LIMIT-1]"""
        self.engine.set_limit("gpu", slots=1, actor="user:ann")
        self.writes_nothing(self.engine.set_limit, "gpu", slots=1)
        self.engine.set_limit("gpu", rate=Rate(1, 1_000))
        self.writes_nothing(self.engine.set_limit, "gpu", rate=Rate(1, 1_000, burst=1))
        found = [(one.type, one.actor) for one in self.log() if one.stream == "limit/gpu"]
        assert found == [("limit_set", "user:ann"), ("limit_set", None)]

    # --- beside the lifecycle --------------------------------------------------------------------------------------

    def test_undo_takes_no_units(self) -> None:
        """[LIMIT-2]"""
        self.engine.set_limit("gpu", slots=1)
        undo = Compensation("remove", id="u")
        self.users("a", compensations=[undo])
        self.users("b")
        [lease] = self.claim()
        lease.fail(BROKEN)
        [other] = self.claim()
        assert other.task.id == "b"
        [undoing] = self.claim(purpose="undo")
        assert undoing.task.lease is not None
        assert undoing.task.lease.uses == ()
        undoing.compensation_done("u")
        self.fair()

    def test_a_successor_uses_what_its_predecessor_used(self) -> None:
        """[TERM-2] [LIMIT-2]"""
        self.engine.set_limit("gpu", slots=1)
        self.users("a", waive_compensation="none")
        self.claim()[0].fail(BROKEN)
        successor = self.engine.retry_as_new("a")
        [lease] = self.claim()
        assert (lease.task.id, lease.task.lease and lease.task.lease.uses) == (successor.id, (Units("limit/gpu", 1),))
        self.fair()

    def test_a_lease_by_id_takes_units_or_is_refused(self) -> None:
        """[LIMIT-2]"""
        self.engine.set_limit("gpu", slots=1)
        self.users("a", "b")
        lease = self.acquire("b")
        refusal = self.refused(Blocked, self.acquire, "a")
        assert (refusal.fields["limit"], refusal.fields["why"]) == ("limit/gpu", "units")
        lease.release()
        assert self.acquire("a").task.lease is not None
        self.fair()

    def test_a_cancelled_ready_task_makes_room(self) -> None:
        """[LIMIT-5]"""
        self.engine.set_limit("gpu", slots=1)
        self.users("a", "b")
        self.engine.cancel("a")
        assert self.gates("b") == ["ready"]
        self.fair()

    def test_a_task_that_becomes_due_goes_to_the_place_that_is_its_own(self) -> None:
        """[LIMIT-5]"""
        self.engine.set_limit("gpu", slots=1)
        self.users("later", run_at_ms=self.clock.now_ms() + 10, priority=1)
        self.users("now", priority=5)
        assert self.gates("later", "now") == ["later", "ready"]
        self.clock.advance(10)
        assert ids(self.claim(limit=9)) == ["later"]
        assert self.gates("now") == ["held limit/gpu"]
        self.fair()

    def test_a_batch_that_ends_and_creates_leaves_the_units_right(self) -> None:
        """[LIMIT-5]"""
        self.engine.set_limit("gpu", slots=2)
        self.users("a", "b", "c")
        first, second = self.claim(limit=2)
        with self.engine.batch() as batch:
            batch.complete(first)
            batch.create("build", id="d", uses={"gpu": 1}, priority=-1)
            batch.complete(second)
            batch.claim("default", owner="bob", ttl_ms=None, limit=9)
        assert self.gates("c", "d") == ["ready", "ready"]
        assert ids(self.claim(limit=9)) == ["d", "c"]
        self.fair()

    def test_after_a_rebuild_held_tasks_come_in_by_maintenance(self) -> None:
        """[RECORD-3] [LIMIT-7]"""
        self.engine.set_limit("gpu", slots=1)
        self.users("a", "b", "c")
        [lease] = self.claim()
        self.engine.rebuild()
        assert self.claim() == []
        lease.complete()
        assert ids(self.claim()) == ["b"]
        self.fair()

"""The contract of amended limits: a task that gains, loses or changes them is judged anew in that very commit.

Rule: the places of a task follow from what it uses now, and not from what it was created with. [AMEND-1] [LIMIT-5]
Knows no store.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from sagalog.engine.lease import Lease
from sagalog.errors import Conflict, InvalidValue, LeaseHeld, NotFound, OverBound, TerminalTask, WrongState
from sagalog.kernel.bounds import PASS_MS
from sagalog.kernel.values import Compensation, Rate, Units
from sagalog.testing.contract.base import BROKEN, ids
from sagalog.testing.contract.limited import LimitedContract

# What is no mapping of limits to units, each 1 or more.
BAD: Final[tuple[Any, ...]] = ({"gpu": 0}, {"gpu": True}, {"": 1}, ["gpu"], "gpu", 1)


def units_of(lease: Lease) -> tuple[Units, ...]:
    """Return the units that a lease has taken."""
    assert lease.task.lease is not None
    return lease.task.lease.uses


class AmendedLimitsContract(LimitedContract):
    """The tests of `amend` with `uses`, and of amendments that move tasks under the limits of another queue."""

    def test_a_task_that_uses_no_limit_any_more_is_ready_at_once(self) -> None:
        """[AMEND-1] [LIMIT-5] However it was held."""
        self.engine.set_limit("gpu", slots=1)
        self.users("first", "second", "third")
        [_] = self.claim()
        amended = self.engine.amend("second", uses={})
        self.engine.amend("third", uses=None)
        assert (amended.uses, self.gates("second", "third")) == ({}, ["ready", "ready"])
        assert self.log()[-2].body == '{"removes":["uses"]}'
        self.fair()
        leases = self.claim(limit=9)
        assert ids(leases) == ["second", "third"]
        assert all(units_of(lease) == () for lease in leases)
        self.fair()

    def test_a_task_that_gains_its_first_limit_waits_under_it(self) -> None:
        """[AMEND-1] [LIMIT-5] And takes its units when it is leased."""
        self.engine.set_limit("gpu", slots=1)
        self.users("holder")
        self.create("plain")
        [holder] = self.claim()
        self.engine.amend("plain", uses={"gpu": 1})
        assert self.gates("plain") == ["held limit/gpu"]
        assert self.log()[-1].body == '{"uses":{"gpu":1}}'
        self.fair()
        self.engine.recover()
        assert self.claim() == []
        holder.complete()
        [lease] = self.claim()
        assert (lease.task.id, units_of(lease)) == ("plain", (Units("limit/gpu", 1),))
        self.fair()

    def test_a_limit_that_a_ready_task_leaves_lets_the_next_one_in(self) -> None:
        """[LIMIT-5] In the same commit; and so does an amendment by which it asks for fewer units."""
        self.engine.set_limit("gpu", slots=2)
        self.users("first", uses={"gpu": 2})
        self.users("second", "third")
        assert self.gates("first", "second", "third") == ["ready", "ready", "held limit/gpu"]
        self.engine.set_limit("cpu", slots=1)
        self.engine.amend("first", uses={"cpu": 1})
        assert self.gates("first", "second", "third") == ["ready", "ready", "ready"]
        self.fair()
        self.engine.recover()
        assert sorted(ids(self.claim(limit=9))) == ["first", "second", "third"]
        self.fair()

    def test_a_held_task_is_judged_by_the_limits_that_it_uses_now(self) -> None:
        """[AMEND-1] It is ready under a free limit, held under a full one, and keeps no place under the old one."""
        for name in ("cpu", "gpu", "tpu"):
            self.engine.set_limit(name, slots=1)
        self.create("cpu", uses={"cpu": 1}, kind="other")
        self.create("gpu", uses={"gpu": 1}, kind="other")
        leases = self.claim(kinds=["other"], limit=2)
        self.users("task")
        assert self.gates("task") == ["held limit/gpu"]
        self.engine.amend("task", uses={"cpu": 1})
        assert self.gates("task") == ["held limit/cpu"]
        self.engine.amend("task", uses={"tpu": 1})
        assert self.gates("task") == ["ready"]
        self.engine.amend("task", uses={"tpu": 1, "cpu": 1})
        assert self.gates("task") == ["held limit/cpu"]
        self.fair()
        leases[1].complete()
        self.engine.remove_limit("gpu")
        self.engine.recover()
        assert self.claim() == []
        leases[0].complete()
        assert units_of(self.claim()[0]) == (Units("limit/cpu", 1), Units("limit/tpu", 1))
        self.fair()

    def test_an_amendment_takes_the_place_of_a_worse_task(self) -> None:
        """[LIMIT-5] By age, as if it had used the limit from its creation on."""
        self.engine.set_limit("gpu", slots=1)
        self.create("older")
        self.users("younger")
        self.engine.amend("older", uses={"gpu": 1})
        assert self.gates("older", "younger") == ["ready", "held limit/gpu"]
        self.engine.amend("younger", priority=-1)
        assert self.gates("older", "younger") == ["held limit/gpu", "ready"]
        self.fair()

    def test_a_task_that_gives_way_under_two_limits_keeps_what_was_amended(self) -> None:
        """[LIMIT-5] It is held once, as the commit that writes it leaves it."""
        for name in ("cpu", "gpu"):
            self.engine.set_limit(name, slots=1)
        self.create("worse", uses={"cpu": 1, "gpu": 1})
        with self.engine.batch() as batch:
            batch.amend("worse", priority=5)
            batch.create("build", id="better", uses={"cpu": 1, "gpu": 1})
        assert self.gates("better", "worse") == ["ready", "held limit/cpu"]
        assert (self.get("worse").priority, self.get("worse").version) == (5, 2)
        self.fair()

    def test_the_first_in_line_that_asks_no_more_holds_up_no_other(self) -> None:
        """[LIMIT-6] Those that it did not let pass come in by the same commit; so they do where it is cancelled."""
        leaves: list[Callable[[str], object]] = [
            lambda id: self.engine.amend(id, uses=None),
            lambda id: self.engine.amend(id, uses={"cpu": 1}),
            lambda id: self.engine.cancel(id),
        ]
        for number, leave in enumerate(leaves):
            name, large, late = f"gpu-{number}", f"large-{number}", f"late-{number}"
            self.engine.set_limit("cpu", slots=9)
            self.engine.set_limit(name, slots=2)
            self.create(f"small-{number}", uses={name: 1})
            [held] = self.claim(ttl_ms=None)
            self.create(large, uses={name: 2}, kind="large")
            self.clock.advance(PASS_MS)
            self.create(late, uses={name: 1})
            assert self.gates(large, late) == [f"held limit/{name}"] * 2
            leave(large)
            assert self.gates(late) == ["ready"]
            assert self.account(f"limit/{name}").refused == ()
            self.fair()
            held.complete()
            for lease in self.claim(limit=9, ttl_ms=None):
                lease.complete()

    def test_a_larger_task_that_starts_lets_in_those_that_waited_behind_it(self) -> None:
        """[LIMIT-6] The units that it leaves are free for them at once."""
        self.engine.set_limit("gpu", slots=3)
        self.users("small", "other", kind="small")
        first, second = self.claim(limit=2, ttl_ms=None)
        self.create("large", uses={"gpu": 2}, kind="large")
        self.clock.advance(PASS_MS)
        self.users("late")
        assert self.gates("large", "late") == ["held limit/gpu"] * 2
        first.complete()
        second.complete()
        assert ids(self.claim(limit=9, kinds=["large"])) == ["large"]
        assert self.gates("late") == ["ready"]
        self.fair()

    def test_unknown_limits_and_too_many_units_refuse_an_amendment(self) -> None:
        """[LIMIT-1] And change nothing; what the task uses already is no new wish."""
        self.engine.set_limit("gpu", slots=3)
        self.users("a", uses={"gpu": 3})
        self.create("plain")
        self.engine.set_limit("gpu", slots=2)
        unknown = self.refused(NotFound, self.engine.amend, "a", uses={"cpu": 1, "gpu": 3}, priority=1)
        assert (unknown.fields["limit"], unknown.fields["task"]) == ("cpu", "a")
        for task in ("a", "plain"):
            refused = self.refused(InvalidValue, self.engine.amend, task, uses={"gpu": 4})
            assert (refused.fields["path"], refused.fields["limit"]) == ("uses['gpu']", "gpu")
        self.refused(InvalidValue, self.engine.amend, "plain", uses={"gpu": 3})
        self.refused(OverBound, self.engine.amend, "a", uses=dict.fromkeys("abcde", 1))
        for bad in BAD:
            self.refused(InvalidValue, self.engine.amend, "a", uses=bad)
        assert self.writes_nothing(self.engine.amend, "a", uses={"gpu": 3}) == self.get("a")
        self.engine.set_limit("cpu", slots=1)
        assert self.engine.amend("a", uses={"gpu": 3, "cpu": 1}).uses == {"gpu": 3, "cpu": 1}
        self.fair()

    def test_the_units_of_a_lease_stay_as_they_are_while_it_lives(self) -> None:
        """[AMEND-2] An ended task never changes, and names no limit that it could lack."""
        self.engine.set_limit("gpu", slots=1)
        self.users("a")
        [lease] = self.claim()
        for uses in ({"gpu": 2}, {"nope": 1}, {}):
            self.refused(LeaseHeld, self.engine.amend, "a", uses=uses)
        assert self.writes_nothing(self.engine.amend, "a", uses={"gpu": 1}) == self.get("a")
        lease.release()
        self.engine.amend("a", uses={})
        assert self.account("limit/gpu").slots_used == 0
        self.engine.cancel("a")
        self.refused(TerminalTask, self.engine.amend, "a", uses={"nope": 1})
        self.fair()

    def test_a_rate_charges_no_attempt_of_a_task_that_left_it(self) -> None:
        """[LIMIT-2] What was charged before stays charged."""
        self.engine.set_limit("tokens", rate=Rate(2, 1_000))
        self.create("a", "b", uses={"tokens": 2})
        [lease] = self.claim()
        lease.release()
        assert self.claim() == []
        assert self.gates("a", "b") == ["held limit/tokens"] * 2
        self.engine.amend("a", uses=None)
        assert units_of(self.claim(ttl_ms=None)[0]) == ()
        self.fair()
        self.clock.advance(1_000)
        assert ids(self.claim()) == ["b"]
        self.fair()

    def test_a_successor_and_an_undo_keep_the_amended_limits(self) -> None:
        """[AMEND-3] The successor uses what its predecessor used last; undoing takes no units whatever they are."""
        self.engine.set_limit("cpu", slots=1)
        self.engine.set_limit("gpu", slots=1)
        self.users("a", "b", compensations=[Compensation("remove", id="remove")])
        self.engine.amend("a", uses={"cpu": 1})
        self.engine.amend("b", uses={})
        for task in ("a", "b"):
            assert self.acquire(task).fail(BROKEN).state == "compensating"
        self.engine.amend("a", uses={"cpu": 1, "gpu": 1})
        self.users("holder", uses={"cpu": 1, "gpu": 1})
        [_] = self.claim()
        for lease in self.claim(purpose="undo", limit=2):
            assert units_of(lease) == ()
            lease.compensation_done("remove")
        heirs = [self.engine.retry_as_new(task) for task in ("a", "b")]
        assert [heir.uses for heir in heirs] == [{"cpu": 1, "gpu": 1}, {}]
        assert self.gates(*[heir.id for heir in heirs]) == ["held limit/cpu", "ready"]
        self.fair()

    def test_a_parked_task_comes_back_under_its_new_limits(self) -> None:
        """[AMEND-2]"""
        self.engine.set_limit("gpu", slots=1)
        self.create("parked")
        self.park("parked", signal="go")
        self.users("holder")
        [_] = self.claim()
        self.engine.amend("parked", uses={"gpu": 1})
        self.engine.signal("parked", "go")
        assert self.gates("parked") == ["held limit/gpu"]
        self.refused(WrongState, self.engine.remove_limit, "gpu")
        self.fair()

    def test_a_repeat_of_amended_limits_is_compared_as_a_whole(self) -> None:
        """[AMEND-1] [REPEAT-4] [REPEAT-6]"""
        self.engine.set_limit("gpu", slots=2)
        self.engine.set_limit("cpu", slots=2)
        self.create("a")
        given = {"gpu": 1, "cpu": 2}
        amended = self.engine.amend("a", uses=given, idempotency_key="k")
        again = self.writes_nothing(self.engine.amend, "a", uses={"cpu": 2, "gpu": 1}, idempotency_key="k")
        assert again == amended
        for other in ({"gpu": 1}, {"gpu": 2, "cpu": 2}, {}):
            self.refused(Conflict, self.engine.amend, "a", uses=other, idempotency_key="k")
        self.writes_nothing(self.engine.create, "build", id="a")
        gone = self.engine.amend("a", uses=None, idempotency_key="l")
        assert self.writes_nothing(self.engine.amend, "a", uses={}, idempotency_key="l") == gone
        self.refused(Conflict, self.engine.amend, "a", uses=given, idempotency_key="l")

    def test_a_batch_amends_limits_and_settles_them_once(self) -> None:
        """[LIMIT-5] Each task is judged as the whole commit leaves it."""
        self.engine.set_limit("gpu", slots=1)
        self.users("a", "b", "c")
        with self.engine.batch() as batch:
            batch.amend("a", uses=None)
            batch.amend("c", priority=-1)
            batch.create("build", id="d", uses={"gpu": 1})
        assert self.gates("a", "b", "c", "d") == ["ready", "held limit/gpu", "ready", "held limit/gpu"]
        self.fair()

    def test_a_task_that_moves_into_a_limited_queue_waits_under_its_key(self) -> None:
        """[AMEND-1] [LIMIT-5] It leaves the plain way of tasks without limits, and comes back to it."""
        self.engine.limit_queue("left", per_key_slots=1)
        self.create("holder", queue="left", key="k")
        [_] = self.claim("left")
        self.create("moved", key="k")
        self.engine.amend("moved", queue="left")
        assert self.gates("moved") == ["held key/left/k"]
        self.fair()
        self.engine.amend("moved", queue="default")
        assert self.gates("moved") == ["ready"]
        assert ids(self.claim()) == ["moved"]
        self.fair()

"""The contract of deadlines: what has to be cancelled, or asked to stop, is found by its time alone. [DEADLINE-2]

Rule: the clock of the store decides, wherever a task waits and whichever caller is first. Knows no store.
"""

from __future__ import annotations

from typing import Any, Final

from sagalog.engine import Engine
from sagalog.errors import Conflict, InvalidValue, TerminalTask
from sagalog.kernel.bounds import UPKEEP_LIMIT
from sagalog.kernel.values import Compensation, Retry
from sagalog.store import Claim, Due, View
from sagalog.testing.contract.base import START_MS, TTL_MS, ids
from sagalog.testing.contract.declarations import DeclarationContract

REMOVE: Final = Compensation("remove", id="remove")
_YEAR_MS: Final = 31_536_000_000


class DeadlineContract(DeclarationContract):
    """The tests of `deadline_ms` and `start_by_ms`."""

    def test_a_task_that_no_worker_began_in_time_is_cancelled_by_a_claim(self) -> None:
        """[DEADLINE-1] The engine does it by itself, and says why as a code."""
        self.create("late", "begun", start_by_ms=START_MS + 10)
        self.create("elsewhere", queue="elsewhere", start_by_ms=START_MS + 10)
        self.acquire("begun").release()
        self.clock.advance(9)
        assert self.writes_nothing(self.engine.recover) == []
        self.clock.advance(1)
        assert ids(self.claim(limit=9)) == ["begun"]
        late = self.get("late")
        assert (late.state, late.code, late.outcome) == ("cancelled", "start_by", "cancelled")
        assert late.reason is not None
        assert self.log()[-2].actor == "system:maintenance"
        assert self.get("elsewhere").state == "pending"
        [done] = self.engine.recover()
        assert (done.task, done.events, done.state) == ("elsewhere", ("cancelled",), "cancelled")
        self.sound()

    def test_no_claim_leases_a_task_whose_deadline_has_come_among_any_number(self) -> None:
        """[DEADLINE-2] [UPKEEP-2] Behind those that a look may cancel there are more."""
        many = UPKEEP_LIMIT + 6
        self.engine.create_many({"kind": "build", "deadline_ms": START_MS + 5} for _ in range(many))
        self.create("ready")
        self.clock.advance(5)
        assert ids(self.claim()) == ["ready"]
        assert self.claim(limit=9) == []
        assert self.engine.counts()["default"] == {"cancelled": many, "running": 1}
        self.sound()

    def test_a_deadline_that_has_come_at_creation_ends_it_at_the_first_look(self) -> None:
        """[DEADLINE-4] [REPEAT-2] Within a batch too; a repeat gets the task as it is now."""
        self.create("a", deadline_ms=START_MS - 1)
        assert self.get("a").state == "pending"
        with self.engine.batch(together=False) as batch:
            batch.create("build", id="b", start_by_ms=START_MS)
            batch.claim("default", owner="ann", ttl_ms=TTL_MS, limit=9)
        assert batch.results[1] == []
        assert {self.get(id).state for id in ("a", "b")} == {"cancelled"}
        assert self.writes_nothing(self.engine.create, "build", id="a", deadline_ms=START_MS - 1).state == "cancelled"
        never: dict[str, Any] = {"run_at_ms": START_MS + 5, "deadline_ms": START_MS + 5}
        self.refused(InvalidValue, self.engine.create, "build", None, **never)
        self.refused(InvalidValue, self.engine.create, "build", deadline_ms=START_MS // 1_000)

    def test_the_holder_of_a_running_task_is_asked_to_stop_once(self) -> None:
        """[DEADLINE-1] [CANCEL-2]"""
        self.create("a", deadline_ms=START_MS + 10, compensations=[REMOVE])
        lease = self.acquire("a")
        self.clock.advance(10)
        assert self.claim() == []
        assert self.types("a") == ["created", "leased", "cancel_requested"]
        assert self.log()[-1].actor == "system:maintenance"
        assert self.writes_nothing(self.claim) == []
        assert self.writes_nothing(self.engine.recover) == []
        assert lease.heartbeat().task.cancel_requested
        ended = lease.release()
        assert (ended.state, ended.code, ended.outcome) == ("compensating", "deadline", "cancelled")
        self.sound()

    def test_a_heartbeat_asks_its_own_holder_to_stop(self) -> None:
        """[DEADLINE-2] A worker that is too busy to claim learns it as soon as it renews."""
        self.create("a", "b", deadline_ms=START_MS + 10)
        first, second = self.claim(limit=2)
        self.clock.advance(10)
        assert first.heartbeat().task.cancel_requested
        assert [one.type for one in self.engine.history("a")][-2:] == ["heartbeat", "cancel_requested"]
        assert [one.actor for one in self.engine.history("a")][-2:] == ["worker:ann", "system:maintenance"]
        renewed = self.engine.heartbeat([first, second])
        assert [one.task.cancel_requested for one in renewed.renewed] == [True, True]
        assert self.types("a").count("cancel_requested") == 1
        self.sound()

    def test_a_task_is_cancelled_wherever_it_waits(self) -> None:
        """[DEADLINE-1] Delayed, parked, between attempts, or under a lease that is over at the same time."""
        retry = Retry(delay_min_ms=60_000, delay_max_ms=60_000, expiries_max=1)
        deadline_ms = START_MS + TTL_MS
        self.create("delayed", run_at_ms=START_MS + TTL_MS - 1, deadline_ms=deadline_ms)
        self.create("parked", "retried", "lost", "other", retry=retry, deadline_ms=deadline_ms, compensations=[REMOVE])
        self.park("parked", after="other")
        self.acquire("retried").retry("it broke")
        self.acquire("lost")
        self.clock.advance(TTL_MS)
        assert self.claim(limit=9) == []
        for id in ("parked", "retried", "lost"):
            assert (self.get(id).state, self.get(id).code) == ("compensating", "deadline")
        assert {self.get(id).state for id in ("delayed", "other")} == {"cancelled"}
        assert self.types("lost")[-2:] == ["lease_expired", "cancelled"]
        assert ids(self.claim(limit=9, purpose="undo")) == ["parked", "retried", "lost"]
        self.sound()
        self.engine.rebuild()
        self.sound()

    def test_undoing_has_no_deadline(self) -> None:
        """[DEADLINE-1]"""
        self.create("a", deadline_ms=START_MS + 10, compensations=[REMOVE])
        self.acquire("a").fail("no way on")
        self.clock.advance(20)
        assert self.writes_nothing(self.engine.recover) == []
        [lease] = self.claim(purpose="undo")
        assert not lease.heartbeat().task.cancel_requested
        lease.compensation_done("remove")
        assert self.get("a").state == "compensated"

    def test_acquire_cancels_what_it_cannot_lease(self) -> None:
        """[DEADLINE-2] [UPKEEP-2] Its refusal undoes none of the maintenance."""
        self.create("a", deadline_ms=START_MS + 10)
        self.clock.advance(10)
        try:
            self.acquire("a")
        except TerminalTask:
            assert self.types("a") == ["created", "cancelled"]
        else:
            raise AssertionError("a task whose deadline has come was leased")

    def test_a_clock_that_jumps_a_year_ahead_and_back_takes_nothing_back(self) -> None:
        """[DEADLINE-3] What has come stays done; what has not come waits for that clock."""
        self.create("a", "b", deadline_ms=START_MS + 60_000)
        self.create("far", deadline_ms=START_MS + 2 * _YEAR_MS)
        lease = self.acquire("a")
        self.clock.step(_YEAR_MS)
        self.create("ahead", deadline_ms=START_MS + _YEAR_MS + 60_000)
        assert [one.events for one in self.engine.recover()] == [("lease_expired", "cancelled"), ("cancelled",)]
        self.clock.step(-_YEAR_MS)
        assert {self.get(id).state for id in ("a", "b")} == {"cancelled"}
        assert lease.owner == "ann"
        for _ in range(3):
            self.clock.advance(60_000)
            assert self.writes_nothing(self.engine.recover) == []
        assert ids(self.claim(limit=9)) == ["far", "ahead"]
        self.sound()

    def test_a_deadline_says_from_when_on_there_may_be_something_to_claim(self) -> None:
        """[DEADLINE-2]"""

        def claimable_ms(queue: str = "default") -> int | None:
            with self.store.read() as snapshot:
                return snapshot.claimable_ms(Claim((queue,), "work", 1))

        self.create("a", run_at_ms=START_MS + 70, start_by_ms=START_MS + 90)
        assert claimable_ms() == START_MS + 70
        self.engine.amend("a", start_by_ms=START_MS + 40, run_at_ms=START_MS + 35)
        self.engine.amend("a", start_by_ms=START_MS + 30)
        assert (claimable_ms(), claimable_ms("empty")) == (START_MS + 30, None)
        self.create("b", queue="running", deadline_ms=START_MS + 20)
        self.acquire("b", ttl_ms=None)
        assert claimable_ms("running") == START_MS + 20
        self.clock.advance(20)
        assert self.claim("running") == []
        assert claimable_ms("running") is None

    def test_a_deadline_is_found_after_a_claim_that_found_nothing(self) -> None:
        """[DEADLINE-2] Whatever a store keeps of earlier looks, and whether or not a worker holds the task."""
        assert self.claim() == []
        self.create("ready", kind="other", deadline_ms=START_MS + 10)
        self.create("held", deadline_ms=START_MS + 10)
        self.acquire("held", ttl_ms=None)
        self.create("later", kind="other")
        assert self.claim(kinds=["build"]) == []
        self.engine.amend("later", deadline_ms=START_MS + 10)
        self.clock.advance(10)
        assert self.claim(kinds=["build"]) == []
        assert {id: self.types(id)[-1] for id in ("ready", "held", "later")} == {
            "ready": "cancelled",
            "held": "cancel_requested",
            "later": "cancelled",
        }

    def test_deadlines_are_shown_the_earliest_first_up_to_a_limit(self) -> None:
        """[DEADLINE-2] Looking changes nothing."""
        for id, ms in (("c", 30), ("a", 10), ("b", 20), ("d", 40)):
            self.create(id, queue="left" if id == "a" else "default", deadline_ms=START_MS + ms)
        self.create("none")
        with self.store.read() as snapshot:
            assert [task.id for task in snapshot.deadlines_over(START_MS + 30)] == ["a", "b", "c"]
            assert [task.id for task in snapshot.deadlines_over(START_MS + 30, 2)] == ["a", "b"]
            assert snapshot.deadlines_over(START_MS + 9) == []
        self.clock.advance(30)

        def look(view: View) -> list[str]:
            return [saved.stream for saved in view.deadlines_over]

        assert self.rounds(look, due=Due(None, 2)) == (["task/a", "task/b"], 1)
        assert self.rounds(look, due=Due(("default",), 10)) == (["task/b", "task/c"], 1)

    def test_a_successor_has_the_deadlines_that_its_retry_gives(self) -> None:
        """[DEADLINE-4] [REPEAT-6] [REPEAT-7]"""
        for id in ("a", "b"):
            self.create(id, deadline_ms=START_MS + 10)
        self.clock.advance(10)
        self.engine.recover()
        plain = self.engine.retry_as_new("a")
        assert (plain.deadline_ms, plain.start_by_ms) == (None, None)
        given: dict[str, Any] = {"deadline_ms": START_MS + 90, "start_by_ms": START_MS + 80}
        timed = self.engine.retry_as_new("b", idempotency_key="k", **given)
        assert (timed.deadline_ms, timed.start_by_ms) == (START_MS + 90, START_MS + 80)
        assert self.writes_nothing(self.engine.retry_as_new, "b", idempotency_key="k", **given) == timed
        other = {**given, "start_by_ms": START_MS + 70}
        assert self.refused(Conflict, self.engine.retry_as_new, "b", **other).fields["differs"] == ["start_by_ms"]
        self.refused(Conflict, self.engine.retry_as_new, "b", idempotency_key="k", **other)
        self.clock.advance(90)
        assert ids(self.claim(limit=9)) == [plain.id]

    def test_another_process_finds_a_deadline_that_came_between_two(self) -> None:
        """[UPKEEP-1] It is read from the state, so the death of a process loses none."""
        self.create("a", deadline_ms=START_MS + 10)
        self.create("b", deadline_ms=START_MS + 10)
        self.acquire("b", ttl_ms=None)
        self.clock.advance(10)
        other = Engine(self.another_store() if self.persists else self.store, clock=self.clock)
        assert {one.task: one.events for one in other.recover()} == {"a": ("cancelled",), "b": ("cancel_requested",)}
        assert self.writes_nothing(self.engine.recover) == []

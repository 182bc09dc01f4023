"""The contract of maintenance: the next caller finds what is due in the state, and does it once. [UPKEEP-1]

Rule: `recover` does all that was due when it began; a claim does a bounded share.
"""

from __future__ import annotations

from collections.abc import Callable

from sagalog.engine import Engine
from sagalog.errors import Blocked, Conflict, SagalogError
from sagalog.kernel.bounds import LEASE_CHECKS_MAX, UPKEEP_LIMIT
from sagalog.kernel.values import Compensation, Retry
from sagalog.testing.contract.base import TTL_MS, Contract, ids

REMOVE = Compensation("remove", id="remove")
WAIVED = "it has no effects"


class MaintenanceContract(Contract):
    """The tests of `recover`, `stale`, and the maintenance of a claim."""

    def test_recover_goes_on_with_what_waits_for_a_task_that_it_has_ended(self) -> None:
        """[UPKEEP-1] [WAIT-3] So a second call finds nothing more."""
        self.create("first", start_by_ms=self.clock.now_ms() + 1)
        self.create("second", after=["first"])
        self.create("third", after=["second"])
        self.clock.advance(1)
        assert {one.task for one in self.engine.recover()} == {"first", "second", "third"}
        assert [self.get(id).state for id in ("first", "second", "third")] == ["cancelled"] * 3
        assert self.engine.recover() == []
        self.sound()

    def test_a_clock_that_was_set_back_delays_nothing(self) -> None:
        """[TIME-3]"""
        retry = Retry(delay_min_ms=1_000, delay_max_ms=1_000)
        now_ms = self.clock.now_ms()
        self.create("retried", "undone", "asleep", retry=retry, compensations=[REMOVE])
        self.acquire("retried").retry("it broke")
        self.acquire("undone").fail("no way on")
        self.acquire("undone", purpose="undo").compensation_failed("remove", "it broke")
        self.acquire("asleep").park("pause", until_ms=now_ms + 1_000)
        self.create("delayed", run_at_ms=now_ms + 1_000)
        self.create("far", run_at_ms=now_ms + 60_000)
        self.create("elsewhere", queue="elsewhere", run_at_ms=now_ms + 1_000)
        self.clock.step(-7_200_000)
        for _ in range(3):
            assert self.claim(limit=9) == []
            self.clock.advance(400)
        # Ready tasks hide no delayed one.
        self.create("ready")
        assert ids(self.claim(limit=9)) == ["retried", "asleep", "delayed", "ready"]
        assert ids(self.claim(limit=9, purpose="undo")) == ["undone"]
        assert self.types("retried")[-2:] == ["promoted", "leased"]
        assert self.types("asleep")[-2:] == ["unblocked", "leased"]
        assert ids(self.engine.claim("elsewhere", owner="ann", ttl_ms=None)) == ["elsewhere"]
        assert self.claim(limit=9) == []
        self.clock.advance(59_000)
        assert [one.events for one in self.engine.recover() if one.task == "far"] == [("promoted",)]
        assert "far" in ids(self.claim(limit=9))
        self.sound()
        self.engine.rebuild()
        self.sound()

    def test_only_so_many_delayed_tasks_become_due_at_a_look(self) -> None:
        """[TIME-3] [UPKEEP-2]"""
        due_ms = self.clock.now_ms() + 1_000
        for number in range(UPKEEP_LIMIT + 1):
            self.create(f"t{number}", run_at_ms=due_ms)
        self.clock.step(-7_200_000)
        self.engine.recover()
        self.clock.advance(1_000)
        assert len(self.engine.recover()) == UPKEEP_LIMIT
        assert len(self.engine.recover()) == 1

    def test_a_look_alone_has_seen_nothing_for_long(self) -> None:
        """[TIME-3]"""
        self.create("a", run_at_ms=self.clock.now_ms() + 1_000)
        self.clock.step(-7_200_000)
        for _ in range(3):
            self.clock.advance(5_000)
            assert Engine(self.store, clock=self.clock).recover() == []

    def test_recover_ends_every_lease_that_is_over_and_says_what_it_did(self) -> None:
        self.create("a", "b", "c")
        for id in ("b", "a"):
            self.acquire(id)
            self.clock.advance(1)
        self.acquire("c", ttl_ms=TTL_MS * 10)
        self.clock.advance(TTL_MS)
        assert {task.id for task in self.engine.stale()} == {"a", "b"}
        done = self.engine.recover()
        assert [(one.task, one.events, one.state) for one in done] == [
            ("b", ("lease_expired",), "pending"),
            ("a", ("lease_expired",), "pending"),
        ]
        assert self.engine.stale() == []
        assert self.writes_nothing(self.engine.recover) == []

    def test_recover_goes_beyond_what_one_claim_does(self) -> None:
        names = [f"{number:03}" for number in range(2 * UPKEEP_LIMIT + 5)]
        self.engine.create_many({"kind": "build", "id": id} for id in names)
        assert len(self.claim(limit=1_000)) == len(names)
        self.clock.advance(TTL_MS)
        assert [one.task for one in self.engine.recover()] == names
        assert ids(self.claim(limit=1_000)) == names

    def test_recover_lets_in_everything_that_has_come_due(self) -> None:
        names = [f"{number:03}" for number in range(2 * UPKEEP_LIMIT + 5)]
        due_ms = self.clock.now_ms() + 10
        self.engine.create_many({"kind": "build", "id": id, "run_at_ms": due_ms} for id in names)
        self.clock.advance(10)
        self.engine.recover()
        assert ids(self.claim(limit=1_000)) == names

    def test_recover_keeps_to_its_limit(self) -> None:
        self.create("a", "b", "c")
        self.claim(limit=3)
        self.clock.advance(TTL_MS)
        assert len(self.engine.recover(limit=2)) == 2
        assert len(self.engine.stale()) == 1
        assert len(self.engine.recover(limit=2)) == 1

    def test_a_claim_does_at_most_its_share(self) -> None:
        names = [f"{number:03}" for number in range(UPKEEP_LIMIT + 5)]
        self.engine.create_many({"kind": "build", "id": id} for id in names)
        self.claim(limit=1_000)
        self.clock.advance(TTL_MS)
        assert len(self.claim(limit=1_000, owner="bob")) == UPKEEP_LIMIT
        assert len(self.engine.stale()) == 5

    def test_a_claim_finds_an_expired_lease_behind_many_renewed_ones(self) -> None:
        """[UPKEEP-1]"""
        renewed = 2 * (UPKEEP_LIMIT + LEASE_CHECKS_MAX) + 1
        self.engine.create_many({"kind": "build"} for _ in range(renewed))
        held = self.claim(limit=renewed)
        self.create("over")
        self.acquire("over")
        self.clock.advance(TTL_MS - 1)
        assert len(self.engine.heartbeat(held).renewed) == renewed
        self.clock.advance(1)
        assert ids(self.claim(owner="bob")) == ["over"]
        assert self.writes_nothing(self.claim, owner="bob") == []
        self.sound()

    def test_leases_that_are_over_longest_end_first(self) -> None:
        names = [f"{number:03}" for number in range(UPKEEP_LIMIT + 1)]
        self.engine.create_many({"kind": "build", "id": id} for id in names)
        for id in reversed(names):
            self.acquire(id)
            self.clock.advance(1)
        self.clock.advance(TTL_MS)
        self.claim(owner="bob", limit=1_000)
        assert [task.id for task in self.engine.stale()] == [names[0]]

    def test_a_budget_of_expiries_is_spent_by_the_last_one(self) -> None:
        self.create("a", "b", retry=Retry(expiries_max=2), waive_compensation=WAIVED)
        self.create("c", retry=Retry(expiries_max=1))
        for _ in range(2):
            for id in ("a", "b"):
                self.acquire(id)
            self.clock.advance(TTL_MS)
            self.engine.recover()
        self.acquire("c")
        self.clock.advance(TTL_MS)
        self.engine.recover()
        assert (self.get("a").state, self.get("a").code) == ("failed", "expiries_spent")
        assert (self.get("c").state, self.get("c").code) == ("quarantined", "compensation_required")
        self.sound()

    def test_a_requested_cancel_comes_with_the_end_of_the_lease(self) -> None:
        self.create("a", retry=Retry(expiries_max=1), compensations=[REMOVE])
        self.acquire("a")
        self.engine.cancel("a", "called off")
        self.clock.advance(TTL_MS)
        [done] = self.engine.recover()
        assert (done.events, done.state) == (("lease_expired", "cancelled"), "compensating")

    def test_recover_quarantines_what_no_worker_knows_how_to_undo(self) -> None:
        for id, kind in (("a", "remove"), ("b", "close"), ("held", "close")):
            self.create(id, compensations=[Compensation(kind)])
            self.acquire(id).fail("no way on")
        self.acquire("held", purpose="undo")
        [done] = self.engine.recover(unknown_kinds=["close", "unheard of"])
        assert (done.task, done.events, done.state) == ("b", ("quarantined",), "quarantined")
        assert self.get("b").code == "unknown_compensation"
        assert self.get("held").state == "compensating"

    def test_what_a_lease_that_is_over_leaves_is_looked_at_in_the_same_call(self) -> None:
        self.create("a", compensations=[REMOVE])
        self.acquire("a").fail("no way on")
        self.acquire("a", purpose="undo")
        self.clock.advance(TTL_MS)
        events = [name for one in self.engine.recover(unknown_kinds=["remove"]) for name in one.events]
        assert events == ["lease_expired", "quarantined"]
        assert self.writes_nothing(self.engine.recover, unknown_kinds=["remove"]) == []

    def test_recover_quarantines_an_undo_that_no_worker_claimed(self) -> None:
        """It does so only if the policy says so, and no other call does it."""
        self.create("bound", compensations=[REMOVE], retry=Retry(undo_wait_ms=100))
        self.create("free", compensations=[REMOVE])
        for id in ("bound", "free"):
            self.acquire(id).fail("no way on")
        self.clock.advance(99)
        assert self.engine.recover() == []
        self.clock.advance(1)
        assert self.writes_nothing(self.claim, limit=10) == []
        [done] = self.engine.recover()
        assert (done.task, self.get("bound").code, self.get("free").state) == ("bound", "undo_wait", "compensating")

    def test_recover_sees_through_a_clock_that_was_set_back(self) -> None:
        self.create("a")
        self.acquire("a")
        self.clock.step(-3_600_000)
        assert self.engine.recover() == []
        self.clock.advance(TTL_MS)
        [done] = self.engine.recover()
        assert (done.task, done.events) == ("a", ("lease_expired",))

    def test_a_lease_renewed_behind_a_clock_that_was_set_back_counts_as_seen(self) -> None:
        self.create("a")
        lease = self.acquire("a")
        self.clock.step(-3_600_000)
        self.engine.recover()
        self.clock.advance(TTL_MS // 2)
        lease.heartbeat()
        self.clock.advance(TTL_MS // 2)
        assert self.engine.recover() == []
        self.clock.advance(TTL_MS // 2)
        [done] = self.engine.recover()
        assert self.engine.history("a")[-1].event.why == "clock"  # type: ignore[attr-defined]
        assert done.state == "pending"

    def test_maintenance_is_kept_though_the_call_that_did_it_is_refused(self) -> None:
        self.create("a", retry=Retry(expiries_max=1), compensations=[REMOVE])
        self.create("b")
        self.acquire("a")
        self.engine.note("b", "seen", idempotency_key="r")
        self.clock.advance(TTL_MS)
        self.refused_after(["lease_expired", "failed"], Blocked, lambda: self.acquire("a"))
        self.acquire("b")
        self.clock.advance(TTL_MS)
        self.refused_after(["lease_expired"], Conflict, lambda: self.claim(idempotency_key="r"))

    def refused_after(self, types: list[str], kind: type[SagalogError], call: Callable[[], object]) -> None:
        """Check that the store refuses a call, and that the maintenance before it has written exactly these events."""
        before = self.log()
        try:
            call()
        except SagalogError as refusal:
            assert type(refusal) is kind, refusal
        assert [one.type for one in self.log()[len(before) :]] == types

    def test_a_claim_that_names_all_known_kinds_puts_unknown_ones_aside(self) -> None:
        """[UNDO-2] It puts aside what owes another kind of undo, and only in its own queues."""
        for id, queue in (("a", "left"), ("b", "right")):
            self.create(id, queue=queue, compensations=[REMOVE, Compensation("close", id="close")])
            self.acquire(id).fail("no way on")
        recover = self.engine.recover
        assert recover(known_kinds=["remove", "close", "move"]) == []
        assert [(one.task, one.events) for one in recover(queues="left", known_kinds=["remove"])] == [
            ("a", ("quarantined",))
        ]
        assert (self.get("a").code, self.get("b").state) == ("unknown_compensation", "compensating")
        [put_aside] = recover(queues=["left", "right"], known_kinds=["remove", "close"], unknown_kinds=["close"])
        assert (put_aside.task, self.get("b").reason) == ("b", "no worker knows the compensation kinds 'close'")
        self.sound()

    def test_maintenance_of_some_queues_touches_tasks_there_only(self) -> None:
        for queue in ("left", "right"):
            self.create(f"{queue} held", queue=queue)
            self.create(f"{queue} later", queue=queue, run_at_ms=self.clock.now_ms() + 1)
            self.acquire(f"{queue} held")
        self.clock.advance(TTL_MS)
        assert [one.task for one in self.engine.recover(queues="right")] == ["right held"]
        assert [task.id for task in self.engine.stale()] == ["left held"]
        assert [one.task for one in self.engine.recover()] == ["left held"]
        assert self.engine.recover() == []

"""The contract of waits for other tasks: claims and `recover` see that a wait is over, also after a rebuild. [WAIT-3]

Rule: a waiting task never misses the end of another, whatever else callers write in between and in whichever order.
"""

from __future__ import annotations

from sagalog.errors import Conflict, LeaseLost, Rejected, WaitOver
from sagalog.kernel.bounds import UPKEEP_LIMIT
from sagalog.kernel.events import Unblocked
from sagalog.kernel.values import Compensation
from sagalog.testing.contract.base import TTL_MS, ids
from sagalog.testing.contract.claim_waits import ClaimWaitContract


class TaskWaitContract(ClaimWaitContract):
    """The tests of waits for the end of tasks, and of what sees that a wait is over."""

    # --- for other tasks --------------------------------------------------------------------------------------

    def test_a_wait_for_tasks_is_over_once_all_have_ended(self) -> None:
        """[WAIT-3] How they have ended does not matter."""
        self.create("a", "b", "c")
        self.park("a", after=["b", "c", "b"])
        self.acquire("b").complete()
        assert ids(self.claim(limit=3)) == ["c"]
        assert self.came_to("a") is None
        self.engine.quarantine("c", "odd")
        assert [(one.task, one.events) for one in self.engine.recover()] == [("a", ("unblocked",))]
        assert self.came_to("a") == ("tasks", None)
        assert ids(self.claim()) == ["a"]
        self.sound()

    def test_the_end_of_a_wait_for_tasks_names_the_end_of_each(self) -> None:
        """[WAIT-3] A note that follows an end does not matter."""
        self.create("a", "b", "c", "d")
        self.engine.cancel("b")
        self.engine.note("b", "looked at it")
        self.park("a", after=["d", "c", "b"])
        for id in ("c", "d"):
            self.acquire(id).complete()
        self.engine.recover()
        outcome = self.engine.wait_end("a", "w")
        assert outcome is not None
        assert list(outcome.ended.items()) == [("d", "completed"), ("c", "completed"), ("b", "cancelled")]
        event = self.engine.history("a")[-1].event
        assert isinstance(event, Unblocked)
        assert event.counts == {"completed": 2, "cancelled": 1}
        assert [(one.task, one.version) for one in event.ended] == [("d", 3), ("c", 3), ("b", 3)]
        assert self.engine.wait_ends("a") == {"w": [outcome]}
        self.sound()

    def test_a_task_that_undoes_has_not_ended(self) -> None:
        """[WAIT-3]"""
        self.create("a")
        self.create("b", compensations=[Compensation("remove", id="remove")])
        self.park("a", after="b")
        self.acquire("b").fail("no way on")
        assert self.claim() == []
        self.acquire("b", purpose="undo").compensation_done("remove")
        assert ids(self.claim()) == ["a"]

    def test_tasks_that_have_ended_before_count_at_once(self) -> None:
        """[WAIT-3]"""
        self.create("a", "b", "c")
        self.engine.cancel("b")
        assert self.park("a", after="b").waits == {"w": 1}
        parked = self.park("a", "more", after=["b", "c"])
        assert parked.waiting is not None
        self.engine.cancel("c")
        assert ids(self.claim()) == ["a"]

    def test_an_end_in_the_same_batch_counts_in_whichever_order_it_is_said(self) -> None:
        """[WAIT-3]"""
        for together in (True, False):
            for ends_first in (True, False):
                waiter, other = (f"{name} {together} {ends_first}" for name in ("a", "b"))
                self.create(waiter, other, queue="left")
                held, holds = self.acquire(waiter), self.acquire(other)
                with self.engine.batch(together=together) as batch:
                    # Its stream is then the first that the commit writes.
                    batch.note(other, "nearly there")
                    if ends_first:
                        batch.complete(holds)
                    batch.park(held, "w", after=[other])
                    if not ends_first:
                        batch.complete(holds)
                assert ids(self.claim("left")) == [waiter], (together, ends_first)
                assert self.came_to(waiter) == ("tasks", None)
        self.sound()

    def test_a_group_of_a_batch_parks_and_ends_as_one(self) -> None:
        self.create("a", "b", "c")
        held, other, late = (self.acquire(task) for task in ("a", "b", "c"))
        late.complete()
        with self.engine.batch(together=False) as batch:
            with batch.group():
                batch.step(held, "checkout")
                batch.park(held, "w", after=["b"])
                batch.complete(other)
            with batch.group():
                batch.signal("a", "go")
                batch.quarantine_held(late, "too late")
        [done, refused] = batch.results
        assert isinstance(done, tuple)
        assert isinstance(refused, LeaseLost)
        assert [type(one).__name__ for one in done] == ["Lease", "Task", "Task"]
        assert (self.get("a").steps, self.get("a").signals) == (("checkout",), ())
        assert ids(self.claim()) == ["a"]
        self.sound()

    def test_a_waiter_may_be_claimed_in_the_commit_that_ends_its_wait(self) -> None:
        """[WAIT-3] [UPKEEP-2] The awaited task ends in that commit."""
        self.create("a", "b")
        self.park("a", after="b")
        lease = self.acquire("b")
        with self.engine.batch(together=False) as batch:
            batch.complete(lease)
            batch.claim("default", owner="bob", ttl_ms=TTL_MS)
        [_, claimed] = batch.results
        assert isinstance(claimed, list)
        assert ids(claimed) == ["a"]
        self.sound()

    def test_a_write_to_who_waits_does_not_make_an_end_unseen(self) -> None:
        """[WAIT-3] [LIFE-2] A remark, a signal, a waiver, between the end and the next maintenance."""
        self.create("a", "b", compensations=[Compensation("remove", id="remove")])
        self.park("a", after="b")
        self.engine.cancel("b")
        self.engine.note("a", "seen")
        self.engine.signal("a", "go")
        self.engine.waive("a", "remove", "gone already")
        assert self.claimable_in_ms() == 0
        assert ids(self.claim()) == ["a"]
        self.sound()

    def test_letting_in_what_is_due_does_not_make_an_end_unseen(self) -> None:
        """[WAIT-3] [UPKEEP-2] However few tasks `recover` may touch."""
        self.create(*(f"w{number}" for number in range(3)), "b", "c", "d")
        self.park("w0", after=["b", "c"])
        self.park("w1", after="b")
        self.park("w2", after="b")
        self.create("due", run_at_ms=self.clock.now_ms() + 1)
        self.engine.cancel("b")
        self.clock.advance(1)
        assert [one.task for one in self.engine.recover(limit=1)] == ["w1"]
        assert [one.task for one in self.engine.recover(limit=1)] == ["w2"]
        assert self.engine.recover(limit=1) == []
        self.engine.cancel("c")
        assert [one.task for one in self.engine.recover(limit=1)] == ["w0"]
        self.sound()

    def test_maintenance_of_some_queues_is_not_held_up_by_others(self) -> None:
        self.create("a", queue="left")
        self.create("b", queue="right")
        self.create("c", queue="left")
        self.create("d", queue="right")
        self.acquire("a")
        self.clock.advance(1)
        self.acquire("b")
        for id in ("c", "d"):
            self.park(id, until_ms=self.clock.now_ms() + 1)
        self.clock.advance(TTL_MS)
        found = [self.engine.recover(limit=1, queues="right")[0].task for _ in range(2)]
        assert found == ["b", "d"]
        assert self.engine.recover(queues="right") == []
        assert [one.task for one in self.engine.recover()] == ["a", "c"]

    def test_a_waiter_of_what_ends_as_new_waits_no_longer(self) -> None:
        """[TERM-2] A successor is another task."""
        self.create("a", "b")
        self.park("a", after="b")
        self.engine.cancel("b")
        self.engine.retry_as_new("b")
        assert ids(self.claim(limit=1)) == ["a"]

    def test_a_repeat_or_a_late_call_is_told_so_whatever_other_tasks_do(self) -> None:
        """[REPEAT-5] [FENCE-2] [WAIT-4]"""
        self.create("a", "b")
        lease = self.acquire("a")
        parked = lease.park("w", after="b", until_ms=self.clock.now_ms())
        self.park("b", after="a")
        assert self.writes_nothing(lease.park, "w", after="b", until_ms=self.clock.now_ms()) == parked
        self.refused(Conflict, lease.park, "w", after="nobody")
        again = self.acquire("a")
        self.refused(WaitOver, again.park, "w", after="b")
        self.refused(Rejected, again.park, "circle", after="b")
        again.release()
        self.refused(LeaseLost, lease.park, "w", after="b")
        self.refused(LeaseLost, lease.park, "w", after="nobody")
        self.sound()

    def test_tasks_do_not_wait_for_one_another_in_a_circle(self) -> None:
        """[WAIT-4] However long it is, and though it is closed within one commit."""
        names = ["a", "b", "c", "d"]
        self.create(*names)
        self.park("a", after="b")
        self.park("b", after=["c", "d"])
        leases = [self.acquire(task) for task in ("c", "d")]
        self.refused(Rejected, leases[0].park, "w", after="a")
        self.refused(Rejected, leases[0].park, "w", after="c")

        def at_once() -> None:
            with self.engine.batch() as batch:
                batch.park(leases[0], "w", after=["d"])
                batch.park(leases[1], "w", after=["c"])

        assert self.refused(Rejected, at_once).fields["command"] == 1
        for lease in leases:
            lease.complete()
        [lease] = self.claim(limit=4)
        lease.complete()
        assert ids(self.claim(limit=4)) == ["a"]
        self.sound()

    # --- when it is seen --------------------------------------------------------------------------------------

    def test_a_claim_knows_when_a_wait_may_be_over(self) -> None:
        self.create("a", "b", "c")
        self.park("a", signal="go")
        assert ids(self.claim(limit=2)) == ["b", "c"]
        assert self.claimable_in_ms() == TTL_MS
        self.engine.cancel("c", now=True)
        self.engine.signal("a", "go")
        assert self.claimable_in_ms() == 0
        self.park("a", "tasks", after="b", until_ms=self.clock.now_ms() + 300)
        assert self.claimable_in_ms() == 300
        self.engine.cancel("b", now=True)
        assert (self.claimable_in_ms(), self.claimable_in_ms("other")) == (0, None)

    def test_a_claim_that_waits_is_woken_by_a_signal_by_an_end_and_by_time(self) -> None:
        self.create("a")
        self.create("b", queue="other")
        self.park("a", "signal", signal="go")
        found = self.waiting()
        self.engine.signal("a", "go")
        [lease] = found()
        lease.park("tasks", after="b")
        found = self.waiting()
        self.engine.cancel("b")
        [lease] = found()
        lease.park("time", until_ms=self.clock.now_ms() + 100)
        found = self.waiting()
        self.clock.advance(100)
        assert ids(found()) == ["a"]
        self.sound()

    def test_waits_are_known_after_a_rebuild(self) -> None:
        """[WAIT-3] Those that are over and that no maintenance has seen, and those that go on."""
        self.create("a", "b", "c", "d", "over")
        self.park("a", after="over")
        self.engine.cancel("over")
        self.park("b", signal="go")
        self.park("c", until_ms=self.clock.now_ms() + 300)
        self.engine.rebuild()
        self.sound()
        assert self.claimable_in_ms() == 0
        assert ids(self.claim(limit=5)) == ["a", "d"]
        assert self.claimable_in_ms() == 300
        self.engine.rebuild()
        self.engine.signal("b", "go")
        self.clock.advance(300)
        assert ids(self.claim(limit=5)) == ["b", "c"]

    def test_a_wait_for_tasks_is_woken_after_a_rebuild_too(self) -> None:
        self.create("a", "b")
        self.park("a", after="b")
        self.engine.rebuild()
        assert self.claim("default", kinds=["none"]) == []
        assert self.claimable_in_ms() == 0
        assert ids(self.claim(limit=2)) == ["b"]
        self.engine.rebuild()
        self.engine.cancel("b", now=True)
        assert ids(self.claim()) == ["a"]
        self.sound()

    def test_a_claim_does_a_bounded_share_ends_before_times_and_oldest_first(self) -> None:
        """[UPKEEP-2] [WAIT-3]"""
        count = UPKEEP_LIMIT + 2
        names = [f"w{number}" for number in range(count)]
        self.create("b", queue="other")
        self.create("slept", *names)
        self.park("slept", until_ms=self.clock.now_ms() + 1)
        leases = self.claim(limit=count)
        with self.engine.batch() as batch:
            for lease in leases:
                batch.park(lease, "w", after="b")
        self.engine.cancel("b")
        self.clock.advance(1)
        assert len(self.claim(limit=count)) == UPKEEP_LIMIT
        unblocked = [event.stream.removeprefix("task/") for event in self.log() if event.type == "unblocked"]
        assert unblocked == names[:UPKEEP_LIMIT]
        assert ids(self.claim(limit=count)) == ["slept", *names[UPKEEP_LIMIT:]]
        assert self.claimable_in_ms() == TTL_MS

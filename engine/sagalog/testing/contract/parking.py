"""The contract of parking: a task that waits for a signal or a time, and what ends its wait. [WAIT-1] [WAIT-2]

Rule: the wait or what it waits for may come first; the next caller ends the wait, once, and no worker leases the task
meanwhile.
"""

from __future__ import annotations

from sagalog.engine.queries import WaitOutcome
from sagalog.errors import (
    Blocked,
    Conflict,
    InvalidValue,
    LeaseLost,
    NotFound,
    OverBound,
    Rejected,
    TerminalTask,
    WaitOver,
)
from sagalog.kernel.bounds import AFTER_MAX, SIGNALS_MAX
from sagalog.kernel.values import Compensation
from sagalog.testing.contract.base import Contract, ids


class ParkingContract(Contract):
    """The tests of waits, and of what ends them."""

    # --- for a signal -----------------------------------------------------------------------------------------

    def test_a_signal_ends_the_open_wait(self) -> None:
        """[WAIT-2]"""
        self.create("a")
        parked = self.park("a", signal="go")
        assert (parked.state, parked.lease, parked.attempt) == ("pending", None, 1)
        assert parked.waiting is not None
        assert (parked.waiting.name, parked.waiting.signal) == ("w", "go")
        assert self.claim() == []
        self.refused(Blocked, self.acquire, "a")
        task = self.engine.signal("a", "go", {"by": "ann"})
        assert (task.waiting, task.waits, task.signals) == (None, {"w": 1}, ())
        assert self.came_to("a") == ("signal", {"by": "ann"})
        assert ids(self.claim()) == ["a"]
        self.sound()

    def test_a_signal_may_come_first_and_is_kept_until_a_wait_takes_it(self) -> None:
        """[WAIT-2]"""
        self.create("a")
        assert self.engine.signal("a", "go", 1).signals == ("go",)
        parked = self.park("a", signal="go")
        assert (parked.waiting, self.came_to("a")) == (None, ("signal", 1))
        assert self.types("a")[-2:] == ["parked", "unblocked"]
        self.sound()

    def test_signals_are_taken_oldest_first_and_each_once(self) -> None:
        """[WAIT-2]"""
        self.create("a")
        for number in (1, 2):
            self.engine.signal("a", "go", number)
        self.engine.signal("a", "stop", 3)
        for name, data in (("first", 1), ("second", 2)):
            assert self.park("a", name, signal="go").waits[name] == 1
            assert self.came_to("a", name) == ("signal", data)
        assert self.park("a", "third", signal="go").waiting is not None
        assert self.engine.signal("a", "go", 4).signals == ("stop",)
        assert self.came_to("a", "third") == ("signal", 4)
        self.sound()

    def test_a_signal_of_another_name_is_kept_and_ends_nothing(self) -> None:
        self.create("a")
        self.park("a", signal="go")
        assert self.engine.signal("a", "stop").waiting is not None
        assert self.engine.recover() == []
        assert self.came_to("a") is None

    def test_a_signal_with_an_idempotency_key_is_sent_once(self) -> None:
        """[REPEAT-4]"""
        self.create("a")
        sent = self.engine.signal("a", "go", 1, idempotency_key="r")
        assert self.writes_nothing(self.engine.signal, "a", "go", 1, idempotency_key="r") == sent
        self.refused(Conflict, self.engine.signal, "a", "go", 2, idempotency_key="r")
        assert self.engine.signal("a", "go", 1).signals == ("go", "go")

    def test_a_signal_goes_to_a_task_whose_work_is_not_over(self) -> None:
        self.create("a")
        self.refused(NotFound, self.engine.signal, "nobody", "go")
        self.engine.cancel("a")
        self.refused(TerminalTask, self.engine.signal, "a", "go")

    def test_a_wait_takes_its_signal_though_the_task_keeps_as_many_as_it_may(self) -> None:
        """[BOUND-1] [LIFE-2]"""
        self.create("a")
        with self.engine.batch() as batch:
            for _ in range(SIGNALS_MAX):
                batch.signal("a", "noise")
        self.refused(OverBound, self.engine.signal, "a", "go")
        self.park("a", signal="go")
        self.refused(OverBound, self.engine.signal, "a", "noise")
        self.engine.signal("a", "go", "at last")
        assert self.came_to("a") == ("signal", "at last")

    # --- for a time -------------------------------------------------------------------------------------------

    def test_any_call_ends_a_sleep_whose_time_has_come(self) -> None:
        """[WAIT-3] [UPKEEP-1]"""
        self.create("a", "b")
        until_ms = self.clock.now_ms() + 500
        self.park("a", until_ms=until_ms)
        self.park("b", until_ms=until_ms)
        self.clock.advance(499)
        assert self.engine.recover() == []
        assert self.claim() == []
        self.clock.advance(1)
        assert [(one.task, one.events) for one in self.engine.recover(limit=1)] == [("a", ("unblocked",))]
        assert ids(self.claim(limit=2)) == ["a", "b"]
        assert self.came_to("a") == self.came_to("b") == ("time", None)
        self.sound()

    def test_a_sleep_that_is_over_already_is_over_at_once(self) -> None:
        self.create("a")
        assert self.park("a", until_ms=self.clock.now_ms()).waiting is None
        assert self.came_to("a") == ("time", None)

    def test_whichever_comes_first_ends_the_wait_and_a_late_signal_is_kept(self) -> None:
        self.create("a", "b")
        self.park("a", signal="go", until_ms=self.clock.now_ms() + 500)
        self.park("b", after=["a"], until_ms=self.clock.now_ms() + 500)
        self.clock.advance(500)
        assert {one.task for one in self.engine.recover()} == {"a", "b"}
        assert self.came_to("a") == self.came_to("b") == ("time", None)
        assert self.engine.signal("a", "go").signals == ("go",)
        self.acquire("a").complete()
        assert self.engine.recover() == []
        self.sound()

    # --- what comes between -----------------------------------------------------------------------------------

    def test_a_wait_ends_with_the_work_by_a_cancel_or_a_quarantine(self) -> None:
        """[WAIT-1]"""
        self.create("a", "b", "c", "other")
        self.park("a", signal="go")
        self.park("b", after="other")
        self.park("c", until_ms=self.clock.now_ms() + 1)
        assert self.engine.cancel("a").state == self.engine.cancel("b").state == "cancelled"
        assert self.engine.quarantine("c", "odd").waiting is None
        self.engine.cancel("other")
        self.clock.advance(1)
        assert self.engine.recover() == []
        assert (self.came_to("a"), self.claim()) == (None, [])
        self.sound()

    def test_a_parked_task_that_owes_is_undone_when_it_is_cancelled(self) -> None:
        self.create("a", compensations=[Compensation("remove", id="remove")])
        self.park("a", signal="go")
        task = self.engine.cancel("a")
        assert (task.state, task.waiting) == ("compensating", None)
        assert ids(self.claim(purpose="undo")) == ["a"]
        self.sound()

    def test_a_holder_that_parks_after_a_requested_cancel_is_cancelled(self) -> None:
        """[CANCEL-2]"""
        self.create("a")
        lease = self.acquire("a")
        self.engine.signal("a", "go")
        self.engine.cancel("a")
        assert lease.park("w", signal="go").state == "cancelled"
        self.sound()

    def test_a_waiter_that_was_put_aside_is_retried_as_new_and_waits_anew(self) -> None:
        """[TERM-2] [WAIT-1]"""
        self.create("a", "b")
        self.park("a", after="b")
        self.engine.quarantine("a", "odd")
        successor = self.engine.retry_as_new("a")
        assert (successor.waiting, successor.waits) == (None, {})
        assert self.park(successor.id, after="b").waiting is not None
        self.engine.cancel("b")
        assert ids(self.claim()) == [successor.id]
        self.sound()

    def test_a_successor_keeps_sleeps_and_signals_and_asks_timeouts_anew(self) -> None:
        """[WAIT-1] [STEP-1] It takes sleeps and signals for over, and waits again for what ran out of time."""
        self.create("a")
        self.park("a", until_ms=0)
        self.park("a", number=2, until_ms=0)
        self.park("a", number=3, signal="go")
        self.engine.signal("a", "go", {"by": "ann"})
        self.park("a", "late", signal="stop", until_ms=0)
        self.engine.signal("a", "stop", "nobody waits")
        self.engine.quarantine("a", "odd")
        second = self.engine.retry_as_new("a")
        assert (second.waits, second.signals) == ({"w": 3}, ())
        ends = self.engine.wait_ends(second.id)["w"]
        assert [(one.by, one.data) for one in ends] == [("time", None), ("time", None), ("signal", {"by": "ann"})]
        self.refused(WaitOver, self.acquire(second.id).park, "w", signal="go", number=3)
        self.engine.quarantine(second.id, "odd again")
        third = self.engine.retry_as_new(second.id).id
        assert self.engine.wait_end(third, "w", 3) == ends[2]
        self.park(third, number=4, signal="go")
        self.engine.signal(third, "go", "at last")
        self.engine.rebuild()
        end = self.engine.wait_end(third, "w", 4)
        assert end is not None
        assert (end.by, end.data) == ("signal", "at last")
        self.sound()

    def test_a_successors_waits_have_the_numbers_of_its_predecessor(self) -> None:
        """[WAIT-1] Both those that it asks anew and those that it keeps have them."""
        self.create("a")
        for number in (1, 3):
            self.park("a", signal="go", until_ms=0, number=number)
            self.engine.signal("a", "go", number)
            self.park("a", signal="go", number=number + 1)
        self.engine.quarantine("a", "odd")
        heir = self.engine.retry_as_new("a")
        for _ in range(2):
            assert (self.get(heir.id).waits, list(self.engine.wait_ends(heir.id))) == ({}, ["w"])
            assert [(one.number, one.data) for one in self.engine.wait_ends(heir.id)["w"]] == [(2, 1), (4, 3)]
            assert [self.engine.wait_end(heir.id, "w", number) for number in (1, 3, 5)] == [None] * 3
            self.engine.rebuild()
        lease = self.acquire(heir.id)
        for number in (2, 3, 5):
            assert self.refused(Rejected, lease.park, "w", signal="go", number=number).fields["next"] == 1
        waiting = lease.park("w", signal="go", number=1).waiting
        assert waiting is not None
        assert waiting.number == 1
        self.engine.signal(heir.id, "go", "now")
        assert self.get(heir.id).waits == {"w": 2}
        self.refused(WaitOver, self.acquire(heir.id).park, "w", signal="go", number=2)
        assert [(one.number, one.data) for one in self.engine.wait_ends(heir.id)["w"]] == [(1, "now"), (2, 1), (4, 3)]
        self.sound()

    def test_a_wait_that_is_over_is_not_begun_again(self) -> None:
        """[WAIT-1]"""
        self.create("a")
        lease = self.acquire("a")
        self.engine.signal("a", "go", 1)
        parked = lease.park("w", signal="go")
        assert self.writes_nothing(lease.park, "w", signal="go") == parked
        self.refused(Conflict, lease.park, "w", signal="stop")
        again = self.acquire("a")
        assert self.refused(WaitOver, again.park, "w", signal="go").fields["wait"] == "w"
        again.release()
        self.refused(LeaseLost, lease.park, "another", signal="go")
        assert self.engine.wait_end("a", "w") == WaitOutcome("w", "signal", 1)

    def test_waits_of_one_name_are_numbered_and_each_takes_a_signal_of_its_own(self) -> None:
        """[WAIT-1] [WAIT-2]"""
        self.create("a")
        for number in (1, 2):
            self.engine.signal("a", "go", number)
            parked = self.park("a", signal="go", number=number)
            assert (parked.waiting, parked.waits) == (None, {"w": number})
        again = self.acquire("a")
        assert self.refused(WaitOver, again.park, "w", "go", number=2).fields["next"] == 3
        assert self.refused(Rejected, again.park, "w", "go", number=4).fields["next"] == 3
        self.refused(InvalidValue, again.park, "w", "go", number=0)
        waiting = again.park("w", "go", number=3).waiting
        assert waiting is not None
        assert (waiting.name, waiting.number) == ("w", 3)
        assert self.writes_nothing(again.park, "w", "go", number=3).waiting == waiting
        self.refused(Conflict, again.park, "w", "go", number=4)
        assert self.engine.wait_end("a", "w", 3) is None
        self.engine.signal("a", "go", 3)
        expected = [WaitOutcome("w", "signal", number, number) for number in (1, 2, 3)]
        assert [self.engine.wait_end("a", "w", number) for number in (1, 2, 3)] == expected
        assert self.engine.wait_ends("a") == {"w": expected}
        self.sound()

    def test_sleeps_and_waits_of_one_name_are_told_apart_by_their_numbers(self) -> None:
        """[WAIT-1]"""
        self.create("a", "b")
        self.engine.cancel("b")
        now_ms = self.clock.now_ms()
        self.park("a", until_ms=now_ms)
        self.park("a", until_ms=now_ms, number=2)
        self.park("a", after="b", number=3)
        self.park("a", signal="go", until_ms=now_ms, number=4)
        self.park("a", until_ms=now_ms, number=5)
        ends = [(one.number, one.by) for one in self.engine.wait_ends("a")["w"]]
        assert ends == [(1, "time"), (2, "time"), (3, "tasks"), (4, "time"), (5, "time")]
        assert self.engine.wait_end("a", "w", 5) == WaitOutcome("w", "time", None, 5)
        assert self.get("a").waits == {"w": 5}
        self.sound()

    def test_a_wait_is_for_one_thing(self) -> None:
        self.create("a", "b")
        lease = self.acquire("a")
        self.refused(InvalidValue, lease.park, "w")
        self.refused(InvalidValue, lease.park, "w", "go", ["b"])
        self.refused(OverBound, lease.park, "w", None, [f"n{number}" for number in range(AFTER_MAX + 1)])
        self.refused(NotFound, lease.park, "w", None, ["nobody"])

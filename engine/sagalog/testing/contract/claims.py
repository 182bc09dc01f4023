"""The contract of claims: which tasks they lease, ordered by the affinities asked for, priority, then age. [UPKEEP-2]

Rule: each test expects the whole list, in its order.
"""

from __future__ import annotations

from sagalog.testing.contract.base import TTL_MS, Contract, ids


class ClaimContract(Contract):
    """The tests of what a claim for forward work selects."""

    def test_equal_tasks_are_claimed_in_order_of_age(self) -> None:
        self.create("c", "a", "b")
        assert ids(self.claim(limit=2)) == ["c", "a"]
        assert ids(self.claim(limit=2)) == ["b"]
        assert self.writes_nothing(self.claim) == []

    def test_a_smaller_priority_goes_first(self) -> None:
        for id, priority in (("mid", 0), ("late", 2**31 - 1), ("first", -(2**31)), ("mid too", 0)):
            self.create(id, priority=priority)
        assert ids(self.claim(limit=10)) == ["first", "mid", "mid too", "late"]

    def test_a_claim_looks_only_into_its_queues(self) -> None:
        self.create("a", queue="left")
        self.create("b", queue="right")
        assert self.claim("middle") == []
        assert ids(self.claim("right", limit=10)) == ["b"]

    def test_several_queues_are_one_order(self) -> None:
        self.create("a", queue="left", priority=1)
        self.create("b", queue="right")
        self.create("c", queue="left")
        self.create("d", queue="right", priority=1)
        self.create("e", queue="other", priority=-1)
        assert ids(self.claim(["right", "left"], limit=10)) == ["b", "c", "a", "d"]

    def test_only_the_kinds_that_are_named_are_claimed(self) -> None:
        self.create("a", kind="build", priority=1)
        self.create("b", kind="test")
        self.create("c", kind="ship", priority=-1)
        self.create("d", kind="test", priority=-2)
        assert self.claim(kinds=["paint"]) == []
        assert self.claim(kinds=[]) == []
        assert ids(self.claim(kinds=["ship", "test"], limit=10)) == ["d", "c", "b"]
        assert ids(self.claim(limit=10)) == ["a"]

    def test_affinities_that_are_asked_for_go_first_in_the_order_asked(self) -> None:
        self.create("plain", priority=-5)
        self.create("red", affinity="red")
        self.create("blue", affinity="blue", priority=3)
        self.create("blue first", affinity="blue", priority=1)
        self.create("green", affinity="green", priority=-9)
        leased = ids(self.claim(affinity=["blue", "red"], limit=10))
        assert leased == ["blue first", "blue", "red", "green", "plain"]

    def test_an_affinity_that_no_task_has_changes_no_order(self) -> None:
        self.create("a", affinity="red")
        self.create("b")
        assert ids(self.claim(affinity="white", limit=10)) == ["a", "b"]

    def test_affinity_counts_across_queues_and_within_kinds(self) -> None:
        self.create("a", queue="left", affinity="red", kind="build")
        self.create("b", queue="right", affinity="red", kind="build", priority=-1)
        self.create("c", queue="right", affinity="red", kind="test", priority=-2)
        self.create("d", queue="left", kind="build", priority=-3)
        assert ids(self.claim(["left", "right"], affinity="red", kinds=["build"], limit=10)) == ["b", "a", "d"]

    def test_a_limit_is_kept_across_affinities_queues_and_kinds(self) -> None:
        for number in range(4):
            self.create(f"red {number}", affinity="red", queue="left")
            self.create(f"plain {number}", queue="right")
        assert ids(self.claim(["left", "right"], affinity="red", limit=5)) == [
            "red 0", "red 1", "red 2", "red 3", "plain 0",
        ]  # fmt: skip

    def test_a_delayed_task_is_claimed_from_its_time_on(self) -> None:
        now_ms = self.clock.now_ms()
        self.create("a", run_at_ms=now_ms + 100, priority=-1)
        self.create("b")
        assert ids(self.claim(limit=10)) == ["b"]
        self.clock.advance(99)
        assert self.writes_nothing(self.claim) == []
        self.clock.advance(1)
        assert ids(self.claim()) == ["a"]

    def test_a_time_that_has_passed_already_is_no_delay(self) -> None:
        self.create("a", run_at_ms=0)
        assert ids(self.claim()) == ["a"]

    def test_tasks_that_came_due_are_claimed_in_the_common_order(self) -> None:
        now_ms = self.clock.now_ms()
        self.create("late", run_at_ms=now_ms + 50)
        self.create("early", run_at_ms=now_ms + 10)
        self.create("urgent", run_at_ms=now_ms + 90, priority=-1)
        self.clock.advance(100)
        assert ids(self.claim(limit=10)) == ["urgent", "late", "early"]

    def test_a_claim_lets_in_at_most_sixty_four_and_those_due_longest_first(self) -> None:
        now_ms = self.clock.now_ms()
        for number in range(70):
            self.create(f"{number:02}", run_at_ms=now_ms + 100 - number)
        self.clock.advance(100)
        first = ids(self.claim(limit=100))
        assert first == [f"{number:02}" for number in range(6, 70)]
        assert ids(self.claim(limit=100)) == [f"{number:02}" for number in range(6)]

    def test_a_claim_lets_in_only_what_lies_in_its_queues(self) -> None:
        now_ms = self.clock.now_ms()
        for number in range(64):
            self.create(f"other {number}", queue="other", run_at_ms=now_ms + 1)
        self.create("mine", run_at_ms=now_ms + 2)
        self.clock.advance(2)
        assert ids(self.claim()) == ["mine"]

    def test_work_that_was_given_back_or_failed_waits_for_its_time(self) -> None:
        now_ms = self.clock.now_ms()
        self.create("a", "b", "c")
        a, b, c = self.claim(limit=3)
        a.release("not now", run_at_ms=now_ms + 50)
        b.retry("it broke", run_at_ms=now_ms + 70)
        c.release()
        assert ids(self.claim(limit=10)) == ["c"]
        self.clock.advance(50)
        assert ids(self.claim(limit=10)) == ["a"]
        self.clock.advance(20)
        assert ids(self.claim(limit=10)) == ["b"]

    def test_a_claim_ends_expired_leases_of_its_queues_and_takes_their_tasks(self) -> None:
        self.create("a", queue="left")
        self.create("b", queue="right")
        self.claim("left")
        self.claim("right")
        self.clock.advance(TTL_MS)
        [lease] = self.claim("left", "bob")
        assert (lease.task.id, lease.fence) == ("a", 2)
        assert self.types("b") == ["created", "leased"]

    def test_an_acquired_task_is_in_no_claim(self) -> None:
        self.create("a", "b", run_at_ms=self.clock.now_ms() + 10)
        self.acquire("a")
        self.clock.advance(10)
        assert ids(self.claim(limit=10)) == ["b"]

    def test_ended_tasks_leave_the_claims(self) -> None:
        self.create("a", "b", "c", "d")
        self.claim()[0].complete()
        self.engine.cancel("b", "called off")
        self.engine.quarantine("c", "odd")
        assert ids(self.claim(limit=10)) == ["d"]
        self.clock.advance(10 * TTL_MS)
        self.acquire("d").complete()
        assert self.writes_nothing(self.claim, limit=10) == []
        self.sound()

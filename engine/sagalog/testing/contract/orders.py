"""The contract of the order of claims: affinities, priority and age, and how long an affinity may be passed over.

Rule: the order is among the tasks that are ready; whatever it is, no task is leased that could not be. Knows no store.
"""

from __future__ import annotations

from sagalog.errors import InvalidValue
from sagalog.kernel.values import Retry
from sagalog.testing.contract.base import START_MS, TTL_MS, Contract, ids

WAIT_MS = 60_000


class OrderContract(Contract):
    """The tests of the order, and of `set_queue`."""

    def bound(self, queue: str = "default", wait_ms: int | None = WAIT_MS) -> None:
        """Bound how long affinities may be passed over in a queue."""
        self.engine.set_queue(queue, affinity_wait_ms=wait_ms)

    def test_affinity_goes_before_priority_and_priority_before_age(self) -> None:
        """[ORDER-1]"""
        self.create("old", "young")
        self.create("urgent", priority=-5)
        self.create("blue", affinity="blue", priority=9)
        self.create("red", affinity="red", priority=8)
        self.create("other", affinity="green", priority=-1)
        asked = ids(self.claim(limit=9, affinity=["blue", "red"]))
        assert asked == ["blue", "red", "urgent", "other", "old", "young"]

    def test_a_task_that_waits_too_long_goes_before_all_others(self) -> None:
        """[ORDER-2] The oldest first, from its bound on and no sooner."""
        self.bound()
        self.create("second", "third", affinity="blue", priority=7)
        self.create("plain")
        self.clock.advance(1)
        self.create("later", affinity="green")
        self.clock.advance(WAIT_MS - 2)
        self.create("red", affinity="red", priority=-9)
        assert ids(self.claim(affinity="red")) == ["red"]
        self.create("red again", affinity="red", priority=-9)
        self.clock.advance(1)
        assert ids(self.claim(affinity="red")) == ["second"]
        self.clock.advance(1)
        assert ids(self.claim(affinity="red", limit=9)) == ["third", "later", "red again", "plain"]
        self.sound()

    def test_without_a_bound_an_affinity_waits_for_as_long_as_others_come(self) -> None:
        """[ORDER-2] Another setting of the queue, and the bound of another queue, change nothing."""
        self.bound("other")
        self.engine.limit_queue("default", slots=9)
        self.create("blue", affinity="blue")
        self.clock.advance(10 * WAIT_MS)
        self.create("red", affinity="red")
        assert ids(self.claim(affinity="red")) == ["red"]

    def test_a_task_without_an_affinity_is_never_passed_over_for_too_long(self) -> None:
        """[ORDER-2] Its place is that of its priority."""
        self.bound()
        self.create("plain", priority=1)
        self.clock.advance(10 * WAIT_MS)
        self.create("urgent")
        assert ids(self.claim(limit=9)) == ["urgent", "plain"]

    def test_a_bound_counts_for_tasks_that_were_there_before_it(self) -> None:
        """[ORDER-2] Taking it away counts at once too, and what is so already writes nothing."""
        self.create("blue", "blue too", affinity="blue")
        self.clock.advance(WAIT_MS)
        self.create("red", "red too", affinity="red")
        self.bound()
        self.writes_nothing(self.bound)
        assert [queue.affinity_wait_ms for queue in self.engine.queues()] == [WAIT_MS]
        assert ids(self.claim(affinity="red")) == ["blue"]
        self.bound(wait_ms=None)
        assert ids(self.claim(affinity="red", limit=9)) == ["red", "red too", "blue too"]
        assert [queue.affinity_wait_ms for queue in self.engine.queues()] == [None]
        self.sound()

    def test_a_task_waits_from_its_due_time_or_its_creation_on(self) -> None:
        """[ORDER-2] Whichever is later: a time in the past makes no task older than it is."""
        self.bound()
        self.create("past", affinity="blue", run_at_ms=START_MS - 10 * WAIT_MS)
        self.create("due", affinity="blue", run_at_ms=START_MS + 10)
        self.create("red", "red too", affinity="red")
        self.clock.advance(WAIT_MS - 1)
        assert ids(self.claim(affinity="red")) == ["red"]
        self.clock.advance(1)
        assert ids(self.claim(affinity="red", limit=2)) == ["past", "red too"]
        self.clock.advance(10)
        self.create("red three", affinity="red")
        assert ids(self.claim(affinity="red")) == ["due"]
        self.sound()

    def test_a_task_that_was_tried_waits_anew_from_when_it_is_due_again(self) -> None:
        """[ORDER-2] After a retry, a release, an expired lease and a wait."""
        self.bound()
        self.create("a", "b", "c", "d", affinity="blue", retry=Retry(delay_min_ms=0, delay_max_ms=0))
        self.clock.advance(WAIT_MS)
        first, second, _, last = self.claim(limit=4)
        first.retry("again")
        second.release()
        last.park("w", until_ms=self.clock.now_ms() + TTL_MS)
        self.clock.advance(TTL_MS)
        self.engine.recover()
        self.create("red", "red too", "red three", affinity="red")
        assert ids(self.claim(affinity="red", ttl_ms=None)) == ["red"]
        self.clock.advance(WAIT_MS - TTL_MS)
        assert ids(self.claim(affinity="red", limit=3, ttl_ms=None)) == ["a", "b", "red too"]
        self.clock.advance(TTL_MS)
        assert ids(self.claim(affinity="red", limit=9)) == ["c", "d", "red three"]
        self.sound()

    def test_the_longest_wait_of_several_queues_and_kinds_goes_first(self) -> None:
        """[ORDER-2] Tasks of a queue without a bound keep their order behind."""
        self.bound("left")
        self.bound("right", 2 * WAIT_MS)
        self.create("unbound", queue="other", priority=-9)
        self.create("right", queue="right", affinity="blue", kind="test")
        self.clock.advance(WAIT_MS)
        self.create("left", queue="left", affinity="blue")
        self.clock.advance(WAIT_MS)
        self.create("red", queue="left", affinity="red", priority=-9)
        assert ids(self.claim(["other", "left", "right"], affinity="red", kinds=["build"])) == ["left"]
        found = ids(self.claim(["other", "right", "left"], affinity="red", limit=9))
        assert found == ["right", "red", "unbound"]

    def test_a_claim_of_one_task_minds_the_bound_of_every_queue_that_it_names(self) -> None:
        """[ORDER-2] Also where the first task by priority is of a queue without settings."""
        self.bound("left")
        self.create("blue", queue="left", affinity="blue", priority=9)
        self.clock.advance(WAIT_MS)
        self.create("urgent", queue="right", priority=-9)
        assert ids(self.claim(["right", "left"])) == ["blue"]

    def test_a_claim_that_asks_for_no_affinity_minds_the_bound_too(self) -> None:
        """[ORDER-2] Also one of a queue of which a store knows that it has one kind and no suspect."""
        self.bound()
        for _ in range(2):
            assert self.claim(kinds=["build"]) == []
        self.create("blue", affinity="blue", priority=9)
        self.clock.advance(WAIT_MS)
        self.create("urgent")
        assert ids(self.claim(kinds=["build"])) == ["blue"]
        assert ids(self.claim(kinds=["build"])) == ["urgent"]

    def test_a_claim_leases_no_task_of_another_kind_or_build_for_its_wait(self) -> None:
        """[ORDER-2] [BUILD-1]"""
        self.bound()
        self.create("kind", kind="test", affinity="blue")
        self.create("pinned", affinity="blue", build="two")
        self.create("mine", affinity="blue", build="one", priority=9)
        self.clock.advance(WAIT_MS)
        self.create("red", affinity="red")
        assert ids(self.claim(affinity="red", kinds=["build"], build="one", limit=9)) == ["mine", "red"]
        assert self.claim(affinity="red", kinds=["build"], limit=9) == []

    def test_only_ready_tasks_are_chosen_among(self) -> None:
        """[ORDER-2] One that a limit holds back is not leased for its wait, and counts from its due time."""
        self.bound()
        self.engine.set_limit("gpu", slots=1)
        self.create("first", "held", affinity="blue", uses={"gpu": 1})
        [lease] = self.claim(affinity="blue", ttl_ms=None)
        self.clock.advance(WAIT_MS)
        self.create("red", "red too", affinity="red")
        assert ids(self.claim(affinity="red")) == ["red"]
        lease.complete()
        assert ids(self.claim(affinity="red")) == ["held"]
        self.sound()

    def test_a_suspect_that_waits_too_long_goes_first_and_alone(self) -> None:
        """[ORDER-2] [LEASE-5]"""
        self.bound()
        self.create("suspect", affinity="blue")
        for _ in range(2):
            self.acquire("suspect")
            self.clock.advance(TTL_MS)
            self.engine.recover()
        assert self.get("suspect").is_suspect
        self.create("red", affinity="red")
        self.clock.advance(WAIT_MS)
        assert ids(self.claim(affinity="red", suspects="never")) == ["red"]
        self.create("red too", affinity="red")
        assert ids(self.claim(affinity="red", limit=9)) == ["suspect"]

    def test_amending_the_affinity_changes_which_bound_counts(self) -> None:
        """[ORDER-2] [AMEND-1]"""
        self.bound()
        self.create("a", "b", affinity="blue", priority=1)
        self.create("c", priority=1)
        self.clock.advance(WAIT_MS)
        self.create("urgent")
        self.engine.amend("a", affinity=None)
        self.engine.amend("c", affinity="blue")
        self.sound()
        assert ids(self.claim(limit=9)) == ["b", "c", "urgent", "a"]

    def test_a_rebuild_gives_the_same_order(self) -> None:
        """[ORDER-2] The wait follows from the log."""
        self.bound()
        self.create("first", affinity="blue", priority=3)
        self.clock.advance(1)
        self.create("second", affinity="red", priority=2)
        self.clock.advance(WAIT_MS)
        self.create("third", affinity="green", priority=1)
        self.engine.rebuild()
        self.sound()
        assert ids(self.claim(limit=9)) == ["first", "second", "third"]

    def test_a_bound_is_at_least_one_millisecond(self) -> None:
        """[ORDER-2]"""
        self.create("a")
        for wait_ms in (0, -1):
            assert self.refused(InvalidValue, self.bound, "default", wait_ms).fields["path"] == "affinity_wait_ms"

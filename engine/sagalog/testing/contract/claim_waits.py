"""Waiting: from when on a claim may find something, and claims that wait for it. [UPKEEP-1]

Rule: the clock is moved by hand; only the wake-up itself is real, in a second thread of the same process.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final

from sagalog.engine.lease import Lease
from sagalog.kernel.values import Compensation
from sagalog.store import Claim
from sagalog.testing.contract.base import TTL_MS, Contract, ids

_PATIENCE_S: Final = 30
_LONG_MS: Final = 3_600_000


class ClaimWaitContract(Contract):
    """Claims that wait."""

    def claimable_in_ms(self, *queues: str, **given: Any) -> int | None:
        """How long until such a claim may find something."""
        claim = Claim(queues or ("default",), given.pop("purpose", "work"), 1, **given)
        with self.store.read() as snapshot:
            at_ms = snapshot.claimable_ms(claim)
        return at_ms if not at_ms else at_ms - self.clock.now_ms()

    def waiting(self, **given: Any) -> Callable[[], list[Lease]]:
        """A claim that waits in a thread of its own; what is returned gives its answer."""
        found: list[Lease] = []
        thread = threading.Thread(target=lambda: found.extend(self.claim(wait_ms=_LONG_MS, **given)), daemon=True)
        thread.start()

        def result() -> list[Lease]:
            thread.join(_PATIENCE_S)
            assert not thread.is_alive(), "the claim still waits"
            return found

        return result

    def test_an_empty_store_has_nothing_to_wait_for(self) -> None:
        assert self.claimable_in_ms() is None

    def test_a_ready_task_can_be_claimed_now_by_its_queue_and_kind(self) -> None:
        self.create("a", queue="left", kind="build")
        assert self.claimable_in_ms("left") == 0
        assert self.claimable_in_ms("right", "left", kinds=frozenset({"build", "test"})) == 0
        assert self.claimable_in_ms("right") is None
        assert self.claimable_in_ms("left", kinds=frozenset({"test"})) is None
        assert self.claimable_in_ms("left", purpose="undo") is None

    def test_what_is_due_later_can_be_claimed_then(self) -> None:
        self.create("a", run_at_ms=self.clock.now_ms() + 700)
        self.create("b", run_at_ms=self.clock.now_ms() + 400)
        assert self.claimable_in_ms() == 400
        assert self.claimable_in_ms("empty", "default") == 400

    def test_a_leased_task_can_be_claimed_when_its_lease_is_over(self) -> None:
        """A lease without an end is never over."""
        self.create("a")
        self.acquire("a", ttl_ms=None)
        assert self.claimable_in_ms() is None
        self.create("b")
        self.acquire("b")
        assert self.claimable_in_ms() == self.claimable_in_ms("empty", "default") == TTL_MS

    def test_what_owes_can_be_claimed_for_undoing_by_who_knows_its_kinds(self) -> None:
        self.create("a", compensations=[Compensation("remove")])
        self.acquire("a").fail("no way on")
        assert self.claimable_in_ms(purpose="undo") == 0
        assert self.claimable_in_ms(purpose="undo", kinds=frozenset({"close"})) is None
        assert self.claimable_in_ms() is None

    def test_of_several_times_the_earliest_counts_whatever_it_is_of(self) -> None:
        self.create("a", queue="left", run_at_ms=self.clock.now_ms() + TTL_MS + 100)
        self.create("b", queue="left")
        self.acquire("b")
        self.create("c", queue="right", run_at_ms=self.clock.now_ms() + 300)
        assert self.claimable_in_ms("left") == TTL_MS
        assert self.claimable_in_ms("left", "right") == self.claimable_in_ms("right", "left") == 300

    def test_a_claim_of_no_kinds_and_a_repeated_one_have_nothing_to_wait_for(self) -> None:
        self.create("a", "b")
        [lease] = self.claim(idempotency_key="r")
        lease.complete()
        assert self.writes_nothing(self.claim, kinds=[], wait_ms=_LONG_MS) == []
        assert self.writes_nothing(self.claim, idempotency_key="r", wait_ms=_LONG_MS) == []

    def test_a_claim_that_may_not_wait_comes_back_empty(self) -> None:
        self.create("a", queue="other")
        assert self.writes_nothing(self.claim, wait_ms=0) == []

    def test_a_claim_finds_what_is_there_without_waiting(self) -> None:
        self.create("a")
        assert ids(self.claim(wait_ms=_LONG_MS)) == ["a"]

    def test_a_claim_that_waits_is_woken_by_who_creates(self) -> None:
        found = self.waiting()
        self.create("elsewhere", queue="other")
        self.create("a")
        assert ids(found()) == ["a"]

    def test_a_claim_that_waits_takes_over_what_its_holder_let_go(self) -> None:
        self.create("a")
        self.acquire("a", owner="bob")
        found = self.waiting(owner="eve")
        self.clock.advance(TTL_MS)
        [lease] = found()
        assert (lease.owner, self.types("a")) == ("eve", ["created", "leased", "lease_expired", "leased"])

    def test_a_claim_that_waits_finds_what_has_become_due(self) -> None:
        self.create("a", run_at_ms=self.clock.now_ms() + 10)
        found = self.waiting()
        self.clock.advance(10)
        assert ids(found()) == ["a"]

    def test_a_waiting_claim_takes_over_from_a_dead_worker(self) -> None:
        """[TIME-3] It does so where the clock has stepped back, too."""
        self.create("a")
        self.acquire("a", owner="bob")
        self.clock.step(-_LONG_MS)
        assert self.claim(owner="eve") == []
        found = self.waiting(owner="eve")
        self.clock.advance(TTL_MS)
        [lease] = found()
        assert (lease.owner, self.types("a")[2]) == ("eve", "lease_expired")

    def test_of_two_that_wait_one_gets_what_there_is(self) -> None:
        first, second = self.waiting(), self.waiting()
        self.create("a")
        self.create("b")
        assert sorted(ids([*first(), *second()])) == ["a", "b"]
        self.sound()

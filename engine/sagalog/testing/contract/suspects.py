"""The contract of suspects: a claim leases them alone, since their next expired lease would end them. [LEASE-5]

Rule: whatever else a claim asks for, it never leases a suspect with another task, and a suspect never delays another.
"""

from __future__ import annotations

from typing import Any

from sagalog.kernel.values import Compensation, Retry
from sagalog.store import Claim
from sagalog.testing.contract.base import TTL_MS, Contract, ids

UNDO = Compensation("remove", {"n": 1}, "left over", "remove")


class SuspectContract(Contract):
    """The tests of claims of tasks whose handler may be what kills its worker."""

    def expire(self, *tasks: str, times: int = 1, **arguments: Any) -> None:
        """Let leases of these tasks expire."""
        for _ in range(times):
            for task in tasks:
                self.acquire(task, **arguments)
            self.clock.advance(TTL_MS)
            self.engine.recover()

    def suspect(self, *ids: str, **arguments: Any) -> None:
        """Create tasks of which two of three leases have expired."""
        self.create(*ids, **arguments)
        self.expire(*ids, times=2)

    def test_a_suspect_that_is_first_is_leased_alone(self) -> None:
        self.suspect("bad")
        self.create("a", "b")
        assert ids(self.claim(limit=10)) == ["bad"]
        assert ids(self.claim(limit=10)) == ["a", "b"]

    def test_a_claim_that_has_another_task_first_looks_past_suspects(self) -> None:
        self.create("a")
        self.suspect("bad", "worse")
        self.create("b")
        assert ids(self.claim(limit=10)) == ["a", "b"]
        assert ids(self.claim(limit=10)) == ["bad"]
        assert ids(self.claim(limit=10)) == ["worse"]
        self.sound()

    def test_priority_and_affinity_say_also_of_a_suspect_whether_it_is_first(self) -> None:
        self.suspect("bad", priority=1, affinity="red")
        self.create("a", priority=1, affinity="blue")
        self.create("b")
        assert ids(self.claim(limit=1)) == ["b"]
        assert ids(self.claim(affinity=["blue", "red"], limit=10)) == ["a"]
        self.create("c")
        assert ids(self.claim(affinity=["blue", "red"], limit=10)) == ["bad"]

    def test_the_kind_of_a_suspect_is_not_listed_as_ready(self) -> None:
        """Its worker is known: it has leased the task before."""
        self.suspect("bad", kind="build")
        self.create("a", kind="test")
        assert self.engine.ready_kinds("default") == ["test"]

    def test_kinds_and_queues_of_a_claim_count_for_suspects(self) -> None:
        self.suspect("bad", kind="build", queue="left")
        assert self.claim("right") == []
        assert self.claim("left", kinds=["test"]) == []
        assert ids(self.claim(["right", "left"], kinds=["test", "build"])) == ["bad"]

    def test_a_caller_may_look_past_suspects_or_ask_for_nothing_else(self) -> None:
        self.suspect("bad", "worse")
        self.create("a")
        assert ids(self.claim(limit=10, suspects="never")) == ["a"]
        assert self.writes_nothing(self.claim, suspects="never") == []
        self.create("b", priority=-1)
        assert ids(self.claim(limit=10, suspects="only")) == ["bad"]
        assert ids(self.claim(limit=10, suspects="only")) == ["worse"]
        assert self.writes_nothing(self.claim, suspects="only") == []
        assert ids(self.claim(limit=10)) == ["b"]

    def test_one_expired_lease_makes_a_suspect_only_before_the_last_one(self) -> None:
        self.create("usual", "patient")
        self.create("never", retry=Retry(expiries_max=None))
        self.create("strict", retry=Retry(expiries_max=2))
        self.create("strictest", retry=Retry(expiries_max=1))
        self.expire("usual", "never", "strict")
        assert ids(self.claim(limit=10)) == ["usual", "patient", "never", "strictest"]
        assert ids(self.claim(limit=10)) == ["strict"]

    def test_undos_are_counted_apart_and_leased_alone_too(self) -> None:
        self.create("bad", "other", compensations=[UNDO])
        self.expire("bad", times=2)
        for id in ("bad", "other"):
            self.acquire(id).fail("no way on")
        undo: dict[str, Any] = {"purpose": "undo", "limit": 10}
        assert ids(self.claim(**undo)) == ["bad", "other"]
        self.clock.advance(TTL_MS)
        self.engine.recover()
        self.expire("bad", purpose="undo")
        assert ids(self.claim(suspects="never", **undo)) == ["other"]
        assert self.claim(kinds=["close"], **undo) == []
        assert ids(self.claim(kinds=["remove"], **undo)) == ["bad"]
        self.sound()

    def test_a_suspect_may_always_be_acquired(self) -> None:
        self.suspect("bad")
        self.create("a")
        self.claim(suspects="never")
        assert self.acquire("bad").task.id == "bad"

    def test_a_suspect_that_is_not_due_is_leased_alone_once_it_is(self) -> None:
        self.create("bad")
        self.expire("bad", times=2)
        self.acquire("bad").release(run_at_ms=self.clock.now_ms() + 100)
        assert self.claim() == []
        self.clock.advance(100)
        self.create("a", "b", priority=1)
        assert ids(self.claim(limit=10)) == ["bad"]
        assert ids(self.claim(limit=10)) == ["a", "b"]

    def test_in_one_batch_a_suspect_comes_with_no_other_task_of_its_claim(self) -> None:
        self.suspect("bad")
        self.create("a", "b")
        with self.engine.batch(together=False) as batch:
            batch.claim("default", owner="ann", ttl_ms=TTL_MS, limit=10)
            batch.claim("default", owner="ann", ttl_ms=TTL_MS, limit=1)
        first, second = batch.results
        assert isinstance(first, list)
        assert isinstance(second, list)
        assert (ids(first), ids(second)) == (["bad"], ["a"])
        with self.engine.batch() as batch:
            batch.create("build", id="c")
            batch.claim("default", owner="ann", ttl_ms=TTL_MS, limit=10, suspects="never")
        assert isinstance(batch.results[-1], list)
        assert ids(batch.results[-1]) == ["b"]

    def test_what_a_claim_would_find_is_told_without_a_claim(self) -> None:
        self.suspect("bad")
        self.create("a", "b")
        claims = {how: self.asked(how) for how in ("alone", "never", "only")}
        with self.store.read() as snapshot:
            assert {how: snapshot.standing(claim) for how, claim in claims.items()} == {
                "alone": ["bad"],
                "never": ["a", "b"],
                "only": ["bad"],
            }
            assert [snapshot.claimable_ms(claim) for claim in claims.values()] == [0, 0, 0]
        self.claim(limit=10, suspects="never")
        due_ms = self.clock.now_ms() + TTL_MS
        with self.store.read() as snapshot:
            assert snapshot.standing(claims["never"]) == []
            assert [snapshot.claimable_ms(claim) for claim in claims.values()] == [0, due_ms, 0]

    def asked(self, suspects: str) -> Claim:
        """Make a claim of everything in the default queue."""
        return Claim(("default",), "work", 10, suspects=suspects)  # type: ignore[arg-type]  # one of the three words

    def test_rebuilding_and_verifying_know_the_gates_of_suspects(self) -> None:
        self.suspect("bad")
        self.create("a")
        self.sound()
        self.engine.rebuild()
        assert ids(self.claim(limit=10)) == ["bad"]
        self.sound()

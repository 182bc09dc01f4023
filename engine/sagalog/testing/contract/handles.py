"""The contract of handles: reopening, two handles on one store, waiting for changes, and the end of a handle.

Rule: every handle sees what another one has committed; the calls of a closed one raise Closed.
"""

from __future__ import annotations

import threading
from unittest import SkipTest

from sagalog.engine import Engine
from sagalog.errors import Closed, LeaseLost
from sagalog.kernel.values import Compensation
from sagalog.testing.contract.base import TTL_MS, Contract, ids
from sagalog.testing.entropy import SeededEntropy

REMOVE = Compensation("remove", id="remove")


class HandleContract(Contract):
    """The tests of several handles, one after another and at once."""

    def another_engine(self) -> Engine:
        """Make an engine over another handle on the same store, as another process would have it."""
        if not self.persists:
            raise SkipTest("this store lives and dies with its handle")
        return Engine(self.another_store(), clock=self.clock, entropy=SeededEntropy(2))

    def test_reopening_keeps_everything(self) -> None:
        self.create("a", "b", "c", compensations=[REMOVE], tags={"team": "red"})
        lease = self.acquire("a", ttl_ms=None)
        self.acquire("b").fail("no way on")
        log, tasks, id = self.log(), self.engine.find(), self.engine.store_id
        self.store.close()
        again = self.another_engine()
        assert (again.store_id, again.find(tags={"team": "red"})) == (id, tasks)
        assert [one.position for one in again.events()] == [one.position for one in log]
        assert again.acquire("b", owner="bob", ttl_ms=None, purpose="undo").fence == 2
        assert [one.task.id for one in again.claim("default", owner="bob", ttl_ms=None, limit=10)] == ["c"]
        assert again.get("a") == lease.task
        assert again.verify().ok

    def test_a_lease_outlives_the_handle_that_took_it(self) -> None:
        self.create("a")
        [taken] = self.claim(idempotency_key="r")
        self.store.close()
        again = self.another_engine()
        [lease] = again.claim("default", owner="ann", ttl_ms=TTL_MS, idempotency_key="r")
        assert lease == taken
        assert lease.complete().state == "completed"

    def test_two_handles_see_what_the_other_commits(self) -> None:
        other = self.another_engine()
        assert other.store_id == self.engine.store_id
        self.create("a")
        found = other.get("a")
        assert found == self.get("a")
        other.note("a", "seen by the other")
        assert self.get("a").version == 2
        [lease] = other.claim("default", owner="bob", ttl_ms=TTL_MS)
        assert self.claim() == []
        lease.complete()
        assert self.get("a").state == "completed"
        self.sound()

    def test_two_handles_agree_on_who_holds_a_task(self) -> None:
        other = self.another_engine()
        self.create("a")
        late = self.acquire("a")
        self.clock.advance(TTL_MS)
        [lease] = other.claim("default", owner="bob", ttl_ms=TTL_MS)
        assert self.refused(LeaseLost, late.complete).current == lease.fence
        assert ids([lease]) == ["a"]

    def test_two_handles_write_by_turns(self) -> None:
        other = self.another_engine()
        for number in range(20):
            (other if number % 2 else self.engine).create("build", id=f"{number:02}")
        assert [task.id for task in self.engine.find()] == [f"{number:02}" for number in range(20)]
        assert self.engine.verify().ok
        assert other.verify().ok

    def test_a_change_by_another_handle_is_noticed(self) -> None:
        other = self.another_engine()
        seen = self.store.changes()
        assert self.store.changes() == seen
        other.create("build", id="a")
        assert self.store.changes() != seen

    def test_a_commit_changes_the_number_of_changes_and_a_reading_does_not(self) -> None:
        self.create("a")
        seen = self.store.changes()
        self.get("a")
        assert self.store.changes() == seen
        self.engine.note("a", "seen")
        assert self.store.changes() != seen

    def test_waiting_for_a_change_that_was_made_returns_at_once(self) -> None:
        self.create("a")
        seen = self.store.changes()
        self.engine.note("a", "seen")
        self.store.wait_change(seen, 600_000)

    def test_waiting_for_a_change_ends_with_its_time(self) -> None:
        self.create("a")
        seen = self.store.changes()
        self.store.wait_change(seen, 1)
        assert self.store.changes() == seen

    def test_a_sleeper_is_woken_by_a_commit(self) -> None:
        self.create("a")
        seen = self.store.changes()
        sleeper = threading.Thread(target=self.store.wait_change, args=(seen, 600_000))
        sleeper.start()
        self.engine.note("a", "wake up")
        sleeper.join(30)
        assert not sleeper.is_alive()

    def test_threads_share_a_handle(self) -> None:
        self.engine.create_many({"kind": "build"} for _ in range(40))
        taken: list[str] = []
        failures: list[BaseException] = []

        def work(owner: str) -> None:
            try:
                while leases := self.engine.claim("default", owner=owner, ttl_ms=TTL_MS):
                    taken.extend(ids(leases))
                    leases[0].complete(owner)
            except BaseException as failure:
                failures.append(failure)
                raise

        threads = [threading.Thread(target=work, args=(f"worker {number}",)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert failures == []
        assert len(taken) == len(set(taken)) == 40
        assert self.engine.counts() == {"default": {"completed": 40}}
        self.sound()

    def test_a_closed_handle_says_so(self) -> None:
        self.create("a")
        lease = self.acquire("a")
        engine, store = self.engine, self.store
        store.close()
        for call in (
            lambda: engine.get("a"),
            lambda: engine.create("build"),
            lambda: engine.claim("default", owner="ann", ttl_ms=TTL_MS),
            lambda: engine.events(),
            lambda: engine.rebuild(),
            lambda: engine.verify(),
            lease.complete,
        ):
            try:
                answer = call()
            except Closed:
                continue
            raise AssertionError(f"expected Closed, found {answer!r}")

    def test_closing_twice_does_nothing(self) -> None:
        self.create("a")
        self.store.close()
        self.store.close()

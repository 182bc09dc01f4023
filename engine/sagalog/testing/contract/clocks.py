"""The contract of clocks that step back: the engine ends each lease and delays no task, however often asked. [TIME-3]

Rule: every test has a lease whose holder is gone, or a delayed task, and a clock that steps back by a day.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from sagalog.engine import Engine
from sagalog.testing.contract.base import TTL_MS, Contract, ids

DAY_MS: Final = 86_400_000
EVERY_MS: Final = TTL_MS // 4


class ClockContract(Contract):
    """The tests with an engine from before the step, and with one that began long after it."""

    def engines(self) -> Iterator[Engine]:
        """Set the clock back under a lease of the task `held`, and then let an engine go on, or begin."""
        for begins_anew in (False, True):
            engine = self.engine
            engine.recover()
            engine.create("build", id=f"held {begins_anew}", queue="held")
            engine.acquire(f"held {begins_anew}", owner="ann", ttl_ms=TTL_MS)
            self.clock.step(-DAY_MS)
            yield self.late_engine() if begins_anew else engine
            self.clock.step(DAY_MS)

    def late_engine(self) -> Engine:
        """Begin an engine long after the step, when the newest events no longer show it."""
        for _ in range(2):
            self.engine.create_many({"kind": "other", "queue": "other"} for _ in range(600))
        return Engine(self.store, clock=self.clock)

    def lasts(self, call: Callable[[], object]) -> int:
        """Return how long the lease lives while a process repeats a call."""
        for passed_ms in range(0, 120_000, EVERY_MS):
            call()
            if not any(task.lease for task in self.engine.find(queue="held")):
                return passed_ms
            self.clock.advance(EVERY_MS)
        raise AssertionError("the lease is immortal")

    def test_frequent_recovers_end_a_lease_that_lies_ahead_of_the_clock(self) -> None:
        for engine in self.engines():
            assert self.lasts(engine.recover) <= TTL_MS
        self.sound()

    def test_recovering_one_queue_forgets_nothing_of_another(self) -> None:
        for engine in self.engines():

            def both(engine: Engine = engine) -> None:
                engine.recover(queues="other")
                assert engine.claim("held", owner="bob", ttl_ms=None, kinds=["other"]) == []
                engine.recover(queues="another")

            assert self.lasts(both) <= TTL_MS

    def test_a_claim_that_always_finds_something_ends_it_too(self) -> None:
        for engine in self.engines():

            def work(engine: Engine = engine) -> None:
                engine.create("other", queue="held")
                [lease] = engine.claim("held", owner="bob", ttl_ms=None, kinds=["other"])
                lease.complete()

            assert self.lasts(work) <= TTL_MS

    def test_a_claim_in_a_batch_ends_it_too(self) -> None:
        for together in (True, False):
            for engine in self.engines():

                def work(engine: Engine = engine, together: bool = together) -> None:
                    engine.create("other", queue="held")
                    with engine.batch(together=together) as batch:
                        batch.claim("held", owner="bob", ttl_ms=None, kinds=["other"])
                    [leases] = batch.results
                    assert isinstance(leases, list)
                    leases[0].complete()

                assert self.lasts(work) <= TTL_MS

    def test_what_is_delayed_is_let_in_however_many_others_are_due_before_it(self) -> None:
        for queue in ("default", "other"):
            due_ms = self.clock.now_ms() + TTL_MS
            self.engine.create_many({"kind": "other", "queue": queue, "run_at_ms": due_ms - 1} for _ in range(600))
            self.create(f"in {queue}", run_at_ms=due_ms)
            self.clock.step(-DAY_MS)
            self.engine.create_many({"kind": "other", "queue": queue, "run_at_ms": due_ms - 1} for _ in range(600))
            late = Engine(self.store, clock=self.clock)
            assert late.claim("default", owner="ann", ttl_ms=None, kinds=["build"]) == []
            self.clock.advance(TTL_MS)
            assert ids(late.claim("default", owner="ann", ttl_ms=None, kinds=["build"])) == [f"in {queue}"]
        self.sound()

    def test_a_process_that_began_long_after_the_step_lets_in_what_that_delays(self) -> None:
        self.create("a", run_at_ms=self.clock.now_ms() + TTL_MS)
        self.clock.step(-DAY_MS)
        late = self.late_engine()
        assert late.claim("default", owner="ann", ttl_ms=None) == []
        self.clock.advance(TTL_MS)
        assert ids(late.claim("default", owner="ann", ttl_ms=None)) == ["a"]

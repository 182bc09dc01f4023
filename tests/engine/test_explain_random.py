"""Random stores: whether `explain` says that a claim leases a task is what a claim of its kind and build does."""

from __future__ import annotations

import random
from typing import Any

import pytest

import sagalog
from sagalog import Breaker, Engine, Failure, Lease, Rate, Retry
from sagalog.engine.explanation import OF_WORKERS
from sagalog.testing import ManualClock
from tests.conftest import START_MS

RUNS = 100
KINDS, KEYS, BUILDS = ("a", "b"), (None, "k", "l"), (None, None, "new", "old")


class Run:
    """One store with one queue, in which chance sets, creates, claims, ends and lets time pass."""

    def __init__(self, engine: Engine, clock: ManualClock, seed: int) -> None:
        self.engine, self.clock, self.chance = engine, clock, random.Random(seed)
        self.leases: list[Lease] = []
        self.tasks = 0
        engine.set_limit("x", slots=3)
        engine.set_limit("y", rate=Rate(2, 10_000))

    def go(self) -> None:
        steps = [
            self.set,
            self.pause,
            self.resume,
            *[self.create] * 6,
            *[self.claim] * 3,
            *[self.end] * 3,
            self.pass_on,
        ]
        for _ in range(40):
            self.chance.choice(steps)()

    def set(self) -> None:
        breaker = self.chance.choice([None, Breaker(1, 5_000)])
        name = self.chance.choice(["x", "x", "y", "queue"])
        if name == "x":
            self.engine.set_limit("x", slots=self.chance.randint(1, 4), breaker=breaker)
        elif name == "y":
            self.engine.set_limit("y", rate=Rate(self.chance.randint(1, 3), 10_000), breaker=breaker)
        else:
            slots, key_slots = self.chance.choice([None, 2, 9]), self.chance.choice([None, 1, 2])
            self.engine.limit_queue("default", breaker=breaker, slots=slots, per_key_slots=key_slots)

    def target(self) -> dict[str, str]:
        return self.chance.choice([{"limit": "x"}, {"limit": "y"}, {"kind": "b"}, {"queue": "default"}, {"key": "k"}])

    def pause(self) -> None:
        if self.chance.random() < 0.5:
            self.engine.pause(**self.target())

    def resume(self) -> None:
        for _ in range(3):
            self.engine.resume(**self.target())

    def create(self) -> None:
        self.tasks += 1
        allowed = {one.name: one.slots for one in self.engine.limits()}
        uses = self.chance.choice([None, {"x": 1}, {"x": min(2, allowed["x"] or 2)}, {"y": 1}, {"x": 1, "y": 1}])
        self.engine.create(
            self.chance.choice(KINDS),
            id=f"t{self.tasks}",
            uses=uses,
            key=self.chance.choice(KEYS),
            build=self.chance.choice(BUILDS),
            priority=self.chance.choice([0, 0, 1]),
            run_at_ms=self.engine.now_ms() + self.chance.choice([0, 0, 3_000]),
            retry=Retry(expiries_max=2, delay_min_ms=0, transient_max=None),
        )

    def claim(self) -> None:
        given: dict[str, Any] = {"build": self.chance.choice(BUILDS), "limit": self.chance.randint(1, 3)}
        self.leases += self.engine.claim("default", owner="ann", ttl_ms=self.chance.choice([4_000, 10**6]), **given)

    def end(self) -> None:
        if not self.leases:
            return
        lease = self.leases.pop(self.chance.randrange(len(self.leases)))
        try:
            verb = self.chance.randrange(3)
            if verb == 0:
                lease.complete()
            elif verb == 1:
                lease.release()
            else:
                limit = next(iter(lease.task.uses), None)
                lease.retry(Failure("down", "", limit=limit), budget="transient", run_at_ms=self.engine.now_ms())
        except sagalog.LeaseLost:
            pass

    def pass_on(self) -> None:
        self.clock.advance(self.chance.choice([1, 1_000, 5_000]))

    def check(self) -> bool:
        """Compare one task that waits; return whether there was one."""
        if self.engine.stale():
            # A claim ends these leases first, and what that frees is not said before.
            self.engine.recover()
        waiting = self.engine.find(state="pending")
        if not waiting:
            return False
        task = self.chance.choice(waiting)
        found = self.engine.explain(task.id)
        assert found.is_claimable == all(one.code in OF_WORKERS for one in found.reasons)
        told = [one.sentence for one in (*found.reasons, *found.notes)]
        given: dict[str, Any] = {"kinds": [task.kind], "build": task.build, "limit": 64}
        first = claimed = [one.task.id for one in self.engine.claim("default", owner="bob", ttl_ms=10**6, **given)]
        if task.id in first:
            assert found.is_claimable, (task, told)
            return True
        while found.is_claimable and claimed and task.id not in claimed:
            # Those before it have taken the units, or a suspect was leased alone, or it is one and has to be alone.
            claimed = [one.task.id for one in self.engine.claim("default", owner="bob", ttl_ms=10**6, **given)]
        if found.is_claimable and task.id not in claimed:
            assert first, (task, told)
            assert not self.engine.explain(task.id).is_claimable, (task, told)
        return True


@pytest.mark.parametrize("part", range(4))
def test_what_explain_calls_claimable_is_what_a_claim_leases(part: int) -> None:
    """[EXPLAIN-1]"""
    checked = 0
    for seed in range(part * RUNS, (part + 1) * RUNS):
        clock = ManualClock(START_MS)
        with sagalog.open("memory:", clock=clock) as engine:
            run = Run(engine, clock, seed)
            run.go()
            checked += run.check()
    assert checked > RUNS / 2

"""The time of a claim of a task with two limits, one of slots and one with a rate, against a task without any.

Rule: both kinds of tasks are in one store, each in a queue of its own with the same number of tasks that wait; the
sides take turns, and tasks that are used up are replaced outside the measured time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from typing import Final

from bench import stores
from bench.plan import Plan
from bench.report import Figure, Goal
from bench.rounds import interleave, part_of, ratios, spread
from sagalog import Engine, Rate

_GOAL: Final = Goal("<=", 1.5)
_WAITING: Final = 100
_USES: Final[dict[str, dict[str, int]]] = {"without limits": {}, "with two limits": {"slots": 1, "rate": 1}}


def measure(plan: Plan) -> Iterator[Figure]:
    """Yield the microseconds of a claim as p50 and p99, with and without limits, and their ratio."""
    for durability in ("full", "normal"):
        yield from _measure(plan, durability)


def _measure(plan: Plan, durability: str) -> Iterator[Figure]:
    count = plan.count(200)
    with stores.open_engine(plan.folder / f"{durability}.db", durability) as engine:
        engine.set_limit("slots", slots=4)
        engine.set_limit("rate", rate=Rate(1_000_000, 1_000))
        for queue in _USES:
            for _ in range(_WAITING):
                _create(engine, queue)
        times: dict[str, list[float]] = {queue: [] for queue in _USES}
        interleave(
            {queue: partial(_claims, engine, queue, count, times[queue]) for queue in _USES},
            plan.rounds,
        )
        report = engine.verify()
        assert report.ok, report.faults
    for part, label in ((0.5, "p50"), (0.99, "p99")):
        found = {
            queue: [part_of(taken[at : at + count], part) for at in range(0, len(taken), count)]
            for queue, taken in times.items()
        }
        for queue in _USES:
            yield Figure(f"claim {queue}, durability {durability}: {label}", spread(found[queue]), "us")
        ratio = spread(ratios(found["with two limits"], found["without limits"]))
        yield Figure(f"claim, durability {durability}: {label}, two limits of none", ratio, "x", _GOAL)


def _claims(engine: Engine, queue: str, count: int, times: list[float]) -> float:
    for _ in range(count):
        started = time.perf_counter()
        leases = engine.claim(queue, owner=stores.OWNER, ttl_ms=None)
        times.append((time.perf_counter() - started) * 1e6)
        (lease,) = leases
        assert lease.task.uses == _USES[queue]
        lease.complete()
        _create(engine, queue)
    return 0.0


def _create(engine: Engine, queue: str) -> None:
    engine.create(stores.KIND, stores.PAYLOAD, queue=queue, uses=_USES[queue])

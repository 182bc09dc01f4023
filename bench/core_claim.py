"""The time of a claim among a million tasks against one among a thousand: it must not grow with the store.

Rule: the same code makes both stores. The suite audits all of the small store and a sample of the large one, so that it
measures stores and not mere tables. It completes claimed tasks outside the measured time.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from functools import partial
from typing import Final

from bench import crowd, stores
from bench.plan import Plan
from bench.report import Figure, Goal, single
from bench.rounds import interleave, ratios, spread
from sagalog import Engine
from sagalog.codec import digest_of
from sagalog.kernel.events import Created

_GOAL: Final = Goal("<=", 1.5)
_CLAIMS_MAX: Final = 30
_SAMPLE: Final = 200
# The kinds that a claim asks for: all, or two of four.
_KINDS: Final = {"all kinds": None, "two of four kinds": crowd.KINDS[1:3]}


def measure(plan: Plan) -> Iterator[Figure]:
    """Yield the microseconds of a claim of one task in either store, their ratio, and the size of the large one."""
    sizes = {"small": 100, "large": 2_000} if plan.tiny else {"small": 1_000, "large": 1_000_000}
    paths = {name: plan.folder / f"{name}.db" for name in sizes}
    for name, tasks in sizes.items():
        started = time.perf_counter()
        crowd.build(paths[name], tasks)
        yield single(f"building {tasks:,} tasks", time.perf_counter() - started, "s")
        yield single(f"file of {tasks:,} tasks", paths[name].stat().st_size / 1e6, "MB")
    # Half of the small store's tasks are ready, and half of those have the two kinds: they must last for all rounds.
    claims = min(_CLAIMS_MAX, sizes["small"] // 2 // (4 * plan.rounds + 1))
    with stores.open_engine(paths["small"], "normal") as small, stores.open_engine(paths["large"], "normal") as large:
        sides = {
            f"{label}: {size}": partial(_claim, engine, kinds, claims)
            for label, kinds in _KINDS.items()
            for size, engine in (("small", small), ("large", large))
        }
        taken = interleave(sides, plan.rounds)
        _audit(small, large)
    for label in _KINDS:
        of_small, of_large = taken[f"{label}: small"], taken[f"{label}: large"]
        yield Figure(f"claim among {sizes['small']:,} tasks, {label}", spread(of_small), "us")
        yield Figure(f"claim among {sizes['large']:,} tasks, {label}", spread(of_large), "us")
        yield Figure(f"claim, {label}: large of small", spread(ratios(of_large, of_small)), "x", _GOAL)


def _claim(engine: Engine, kinds: tuple[str, ...] | None, claims: int) -> float:
    """Return the median of some claims, in microseconds."""
    taken = []
    for _ in range(claims):
        started = time.perf_counter()
        leases = engine.claim(stores.QUEUE, owner=stores.OWNER, ttl_ms=stores.TTL_MS, kinds=kinds)
        taken.append((time.perf_counter() - started) * 1e6)
        (lease,) = leases
        assert kinds is None or lease.task.kind in kinds
        lease.complete()
    return statistics.median(taken)


def _audit(small: Engine, large: Engine) -> None:
    """Audit all of the small store, and the first tasks of the large one."""
    report = small.verify()
    assert report.ok, report.faults
    for task in large.find(queue=stores.QUEUE, limit=_SAMPLE):
        history = large.history(task.id)
        assert [event.digest for event in history] == [digest_of(event) for event in history]
        created = history[0].event
        assert isinstance(created, Created)
        assert (len(history), created.kind, created.priority) == (task.version, task.kind, task.priority)

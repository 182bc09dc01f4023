"""The cost of large things: an audit of many tagged tasks, and a lease of a task with the most undos that it may have.

Rule: the store is made before the measured time; each claim leases a task that no call has read before.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from bench import stores
from bench.plan import Plan
from bench.report import Figure, Goal, single
from bench.rounds import spread
from sagalog import Compensation, Engine
from sagalog.kernel.bounds import COMPENSATIONS_MAX

_AUDIT_GOAL: Final = Goal("<=", 20)
_CLAIM_GOAL: Final = Goal("<=", 10)
_BATCH: Final = 1_000
_PARAMS_BYTES: Final = 4_096


def measure(plan: Plan) -> Iterator[Figure]:
    """Yield the seconds of an audit and the milliseconds of claims: by the clock, and of the processor."""
    tasks, claims = (50, 2) if plan.tiny else (200_000, 4 * plan.rounds)
    with stores.open_engine(plan.folder / "tagged.db", "normal") as engine:
        _tag(engine, tasks)
        took, processor = _audit(engine)
        yield single(f"verify {tasks:,} tasks with a tag each", took, "s", _AUDIT_GOAL)
        yield single("of that, processor time", processor, "s")
    with stores.open_engine(plan.folder / "undos.db", "normal") as engine:
        _plan_undos(engine, claims)
        times = [_claim(engine) for _ in range(claims)]
        name = f"claim a task with {COMPENSATIONS_MAX} planned undos of 4 kB"
        yield Figure(name, spread([took for took, _ in times]), "ms", _CLAIM_GOAL)
        yield Figure("of that, processor time", spread([processor for _, processor in times]), "ms")


def _tag(engine: Engine, tasks: int) -> None:
    for first in range(0, tasks, _BATCH):
        numbers = range(first, min(first + _BATCH, tasks))
        engine.create_many([{"kind": "build", "tags": {"number": str(number)}} for number in numbers])


def _audit(engine: Engine) -> tuple[float, float]:
    started, worked = time.perf_counter(), time.process_time()
    report = engine.verify()
    took, processor = time.perf_counter() - started, time.process_time() - worked
    assert report.ok, report.faults
    return took, processor


def _plan_undos(engine: Engine, tasks: int) -> None:
    params = {"path": "x" * (_PARAMS_BYTES - len('{"path":""}'))}
    undos = [Compensation("remove", params, id=str(number)) for number in range(COMPENSATIONS_MAX)]
    for _ in range(tasks):
        engine.create("build", compensations=undos)


def _claim(engine: Engine) -> tuple[float, float]:
    started, worked = time.perf_counter(), time.process_time()
    [lease] = engine.claim("default", owner="ann", ttl_ms=60_000)
    took, processor = time.perf_counter() - started, time.process_time() - worked
    assert len(lease.task.compensations) == COMPENSATIONS_MAX
    return 1_000 * took, 1_000 * processor

"""The times of claims and completions among a million tasks that no claim may give, against those among a thousand.

Rule: both stores have the same mixture, and tasks that are used up are replaced outside the measured time. The sides
take turns, every call counts, and the suite audits the small stores.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from bench import crowd, stores
from bench.plan import Plan
from bench.report import Figure, Goal, single
from bench.rounds import interleave, part_of, ratios, spread
from sagalog import Engine, Lease
from sagalog.system import SystemClock

_GOAL: Final = Goal("<=", 1.5)
_LIMIT: Final = "provider"
_SLOTS: Final = 4
_SAMPLE: Final = 200
# Before all tasks that are ready: an index over both would have to step over them.
_BETTER: Final = -1

# The microseconds of each call, by what was done.
Times = dict[str, list[float]]
Turn = Callable[[Times], None]


def measure_held(plan: Plan) -> Iterator[Figure]:
    """Yield the microseconds of claims and completions where one limit holds 9 of 10 tasks back."""
    yield from _measure(plan, "held", build_held, _Held, ("claim", "complete", "claim of what that lets in"))


def measure_delayed(plan: Plan) -> Iterator[Figure]:
    """Yield the microseconds of claims of ready tasks beside those that have a better priority and are not due."""
    yield from _measure(plan, "delayed", build_delayed, _Delayed, ("claim",))


def _measure(
    plan: Plan,
    what: str,
    build: Callable[[Path, int], None],
    turn_of: Callable[[Engine], Turn],
    calls: tuple[str, ...],
) -> Iterator[Figure]:
    sizes = {"small": 100, "large": 1_000} if plan.tiny else {"small": 1_000, "large": 1_000_000}
    paths = {name: plan.folder / f"{what}-{name}.db" for name in sizes}
    for name, tasks in sizes.items():
        started = time.perf_counter()
        build(paths[name], tasks)
        yield single(f"building {tasks:,} tasks, {what}", time.perf_counter() - started, "s")
    count = plan.count(200)
    times: dict[str, Times] = {name: {call: [] for call in calls} for name in sizes}
    with stores.open_engine(paths["small"], "normal") as small, stores.open_engine(paths["large"], "normal") as large:
        sides = {
            name: partial(_take, turn_of(engine), count, times[name])
            for name, engine in (("small", small), ("large", large))
        }
        interleave(sides, plan.rounds)
        report = small.verify()
        assert report.ok, report.faults
    for path in paths.values():
        stores.remove(path)
    for call in calls:
        yield from _compare(call, what, sizes, {name: times[name][call] for name in sizes}, count)


def _compare(
    call: str, what: str, sizes: Mapping[str, int], times: Mapping[str, list[float]], count: int
) -> Iterator[Figure]:
    """Yield the halves and the ninety-nine hundredths of both stores, and their ratios."""
    for part, label in ((0.5, "p50"), (0.99, "p99")):
        found = {
            name: [part_of(taken[at : at + count], part) for at in range(0, len(taken), count)]
            for name, taken in times.items()
        }
        for name, tasks in sizes.items():
            yield Figure(f"{call} among {tasks:,} tasks, {what}: {label}", spread(found[name]), "us")
        yield Figure(
            f"{call}, {what}: {label}, large of small", spread(ratios(found["large"], found["small"])), "x", _GOAL
        )


def _take(turn: Turn, count: int, times: Times) -> float:
    for _ in range(count):
        turn(times)
    return 0.0


class _Held:
    """Turns in a store where the units of a limit are all leased: one ends, and the next task has its place."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._leases = [_claim(engine, {"claim": []}, "claim") for _ in range(_SLOTS)]

    def __call__(self, times: Times) -> None:
        plain = _claim(self._engine, times, "claim")
        assert plain.task.uses == {}
        plain.complete()
        done = self._leases.pop(0)
        started = time.perf_counter()
        done.complete()
        times["complete"].append((time.perf_counter() - started) * 1e6)
        let_in = _claim(self._engine, times, "claim of what that lets in")
        assert let_in.task.uses == {_LIMIT: 1}
        self._leases.append(let_in)
        _create_ready(self._engine)
        _create_held(self._engine)


class _Delayed:
    """Turns in a store with tasks that are not due."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __call__(self, times: Times) -> None:
        _claim(self._engine, times, "claim").complete()
        _create_ready(self._engine)


def _claim(engine: Engine, times: Times, call: str) -> Lease:
    started = time.perf_counter()
    leases = engine.claim(stores.QUEUE, owner=stores.OWNER, ttl_ms=None)
    times[call].append((time.perf_counter() - started) * 1e6)
    (lease,) = leases
    return lease


def build_held(path: Path, tasks: int) -> None:
    """Make a store of so many tasks, of which 9 of 10 use a limit, and all but a few of those are held."""
    with stores.open_engine(path, "normal") as engine:
        engine.set_limit(_LIMIT, slots=_SLOTS)
        for _ in range(_SLOTS):
            _create_held(engine)
        held, ready = _create_held(engine), _create_ready(engine)
    of_limit = tasks * 9 // 10
    crowd.multiply(path, {held: of_limit - _SLOTS - 1, ready: tasks - of_limit - 1})


def build_delayed(path: Path, tasks: int) -> None:
    """Make a store of so many tasks that are not due, beside a hundred that are ready."""
    with stores.open_engine(path, "normal") as engine:
        later_ms = SystemClock().now_ms() + crowd.LATER_MS
        delayed = engine.create(
            stores.KIND, stores.PAYLOAD, queue=stores.QUEUE, priority=_BETTER, run_at_ms=later_ms
        ).id
        ready = _create_ready(engine)
    # Besides the delayed ones, which are as many as the name of the store says.
    crowd.multiply(path, {delayed: tasks - 1, ready: 99})


def _create_ready(engine: Engine) -> str:
    return engine.create(stores.KIND, stores.PAYLOAD, queue=stores.QUEUE).id


def _create_held(engine: Engine) -> str:
    """Create a task under the limit; it is held unless a unit is free."""
    return engine.create(stores.KIND, stores.PAYLOAD, queue=stores.QUEUE, priority=_BETTER, uses={_LIMIT: 1}).id

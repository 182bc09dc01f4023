"""The suite `race`: processes claim and complete tasks from one file, and the evidence that none hinders another.

Rule: the workers are real processes that begin together. A checker that trusts neither the store nor the kernel reads
from the log whether a task was leased twice at once. A wait is measured around the call, as a caller sees it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench import stores
from bench.report import Figure, Goal, single
from bench.rounds import Spread, spread
from sagalog import Engine, Recorded
from sagalog.testing.history import PROPERTIES, check

SUMMARY: Final = "processes that claim and complete from one file: nothing twice, no process refused, fair shares"

_SHARE: Final = Goal("<=", 0.25)
_WAIT_MS: Final = Goal("<=", 250)
_NONE: Final = Goal("<=", 0)
_PAGE: Final = 10_000
_ROOT: Final = Path(__file__).parents[1]


@dataclass(frozen=True)
class WorkerReport:
    """The report of one worker at its end: tasks completed, errors by class, and how long each call took."""

    completed: int
    errors: dict[str, int]
    waits_ms: list[float]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add how many processes, how many tasks, and how many tasks a claim."""
    parser.add_argument("--processes", type=int, default=8, help="how many processes race (8)")
    parser.add_argument("--tasks", type=int, default=20_000, help="how many tasks there are (20000)")
    parser.add_argument("--batch", type=int, default=1, help="how many tasks a claim takes at most (1)")
    parser.add_argument("--durability", choices=("full", "normal"), default="full")


def facts_of(arguments: argparse.Namespace) -> dict[str, object]:
    """Return the size of the race."""
    processes, tasks = _size(arguments)
    return {"durability": arguments.durability, "processes": processes, "tasks": tasks, "batch": arguments.batch}


def measure(arguments: argparse.Namespace, folder: Path) -> Iterator[Figure]:
    """Run one race and judge it."""
    processes, tasks = _size(arguments)
    path = folder / "race.db"
    with stores.open_engine(path, "normal") as engine:
        for start in range(0, tasks, _PAGE):
            some = range(start, min(tasks, start + _PAGE))
            engine.create_many({"kind": stores.KIND, "payload": stores.PAYLOAD, "queue": stores.QUEUE} for _ in some)
    reports, took = _run(path, processes, arguments.batch, arguments.durability)
    with stores.open_engine(path, arguments.durability) as engine:
        log = list(_read(engine))
    yield single("lifecycles, all processes together", tasks / took, "/s")
    yield from judge_log(log, tasks)
    yield from judge_workers(reports)


def _size(arguments: argparse.Namespace) -> tuple[int, int]:
    return (3, 60) if arguments.tiny else (arguments.processes, arguments.tasks)


def judge_log(log: list[Recorded], tasks: int) -> Iterator[Figure]:
    """Yield the figures of the log: no task leased twice at once, no fence out of order, every task completed once."""
    types = Counter(event.type for event in log)
    broken = Counter(violation.property for violation in check(log))
    others = sum(broken[name] for name in PROPERTIES if name not in ("one_lease", "fenced"))
    yield single(f"of {tasks:,} tasks not completed", tasks - types["completed"], "", _NONE)
    yield single("leased during another lease", broken["one_lease"], "", _NONE)
    yield single("fences that do not rise, or are not the lease's", broken["fenced"], "", _NONE)
    yield single(f"other broken properties in {len(log):,} events", others, "", _NONE)
    yield single("leases beyond one a task", types["leased"] - tasks, "", _NONE)


def judge_workers(reports: list[WorkerReport]) -> Iterator[Figure]:
    """Yield the figures of the workers: errors, shares, waits."""
    errors: Counter[str] = sum((Counter(one.errors) for one in reports), Counter())
    named = f" ({', '.join(f'{name}: {count}' for name, count in sorted(errors.items()))})" if errors else ""
    yield single(f"errors that reached a caller{named}", errors.total(), "", _NONE)
    shares = spread(one.completed for one in reports)
    mean = sum(one.completed for one in reports) / len(reports)
    yield Figure("tasks of each process", shares, "")
    farthest = max(mean - shares.lowest, shares.highest - mean) / mean
    yield single("farthest share from the mean, as a part of it", farthest, "x", _SHARE)
    waits = sorted(wait for one in reports for wait in one.waits_ms)
    yield Figure("one call of a worker", Spread(waits[len(waits) // 2], waits[0], waits[-1]), "ms")
    yield single("99 of 100 calls are shorter than", waits[len(waits) * 99 // 100], "ms")
    yield single("longest call", waits[-1], "ms", _WAIT_MS)


def _run(path: Path, processes: int, batch: int, durability: str) -> tuple[list[WorkerReport], float]:
    """Start the workers together; return their reports, and the seconds from the start to the last one's end."""
    workers = [_start(path, f"worker-{number}", batch, durability) for number in range(processes)]
    try:
        for worker in workers:
            _expect(worker, "ready")
        started = time.monotonic()
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write("go\n")
            worker.stdin.flush()
        reports = [json.loads(_expect(worker)) for worker in workers]
        took = max(one.pop("ended_s") for one in reports) - started
        for worker in workers:
            worker.wait()
        return [WorkerReport(**one) for one in reports], took
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()


def _start(path: Path, owner: str, batch: int, durability: str) -> subprocess.Popen[str]:
    # The child imports the same modules, whether the tree is installed or only on this process's path.
    environment: dict[str, Any] = {**os.environ, "PYTHONPATH": os.pathsep.join(word for word in sys.path if word)}
    return subprocess.Popen(
        [sys.executable, "-m", "bench.race_worker", str(path), owner, str(batch), durability],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=_ROOT,
        env=environment,
    )


def _expect(worker: subprocess.Popen[str], word: str | None = None) -> str:
    """Return the worker's next line; raise RuntimeError if the worker has died."""
    assert worker.stdout is not None
    line = worker.stdout.readline().strip()
    if not line or line != (word or line):
        raise RuntimeError(f"worker {worker.pid} wrote {line!r} instead of {word or 'its report'!r}")
    return line


def _read(engine: Engine) -> Iterator[Recorded]:
    """Yield the whole log."""
    after = 0
    while events := engine.events(after, _PAGE):
        yield from events
        after = events[-1].position

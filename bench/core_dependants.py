"""The time of the commits after which all tasks that wait for one go on: its end, and the maintenance that follows.

Rule: every commit counts. The same changes are then written to a copy of the file by SQLite alone,
commit by commit, as the yardstick.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Final

from bench import raw, stores, tape
from bench.plan import Plan
from bench.report import Figure, Goal, single
from bench.rounds import part_of
from sagalog import Engine
from sagalog_sqlite.connection import BUSY_TIMEOUT_MS, connect

_GOAL: Final = Goal("<=", 20)
_BATCH: Final = 1_000
_DURABILITY: Final = "full"
# A queue without tasks: a claim there only does maintenance, a share a commit.
_ELSEWHERE: Final = "elsewhere"


def measure(plan: Plan) -> Iterator[Figure]:
    """Yield the milliseconds of a commit as p50, p99 and the longest, of sagalog and of SQLite alone."""
    dependants = 150 if plan.tiny else 10_000
    path, copy = plan.folder / "dependants.db", plan.folder / "copy.db"
    with stores.open_engine(path, _DURABILITY) as engine:
        engine.create(stores.KIND, id="parent", queue=stores.QUEUE)
        for first in range(0, dependants, _BATCH):
            numbers = range(first, min(first + _BATCH, dependants))
            engine.create_many([{"kind": stores.KIND, "id": f"d{number}", "after": ["parent"]} for number in numbers])
    shutil.copy(path, copy)
    both: list[tuple[float, float]] = []
    commits = tape.commits_of(path, lambda: both.extend(_end(path, dependants)))
    taken = [took for took, _ in both]
    alone = _replay(copy, commits)
    text = f"end of a task with {dependants:,} dependants, durability {_DURABILITY}"
    yield single(f"{text}: commits", len(taken), "")
    for side, times in (("sagalog", taken), ("raw", alone)):
        yield single(f"{side}, p50 of a commit", part_of(times, 0.5), "ms")
        yield single(f"{side}, p99 of a commit", part_of(times, 0.99), "ms", _GOAL if side == "sagalog" else None)
        yield single(f"{side}, the longest commit", max(times), "ms")
    # What other programs take of the machine does not count here.
    worked = [processor for _, processor in both]
    yield single("sagalog, p50 of a commit, processor time", part_of(worked, 0.5), "ms")
    yield single("sagalog, p99 of a commit, processor time", part_of(worked, 0.99), "ms")


def _end(path: Path, dependants: int) -> list[tuple[float, float]]:
    """End the parent and do what is due until nothing is; return what each commit took, and of that the processor."""
    with stores.open_engine(path, _DURABILITY) as engine:
        (lease,) = engine.claim(stores.QUEUE, owner=stores.OWNER, ttl_ms=stores.TTL_MS)
        taken = [_took(lambda: lease.complete(stores.RESULT))]
        while _waits(engine):
            look = partial(engine.claim, (_ELSEWHERE, "default"), owner=stores.OWNER, ttl_ms=None, kinds=["none"])
            taken.append(_took(look))
        report = engine.verify()
        assert report.ok, report.faults
        assert engine.counts("default")["default"] == {"pending": dependants}
        return taken


def _took(call: Callable[[], object]) -> tuple[float, float]:
    """Return the milliseconds of a call, by the clock and of the processor."""
    started, worked = time.perf_counter(), time.process_time()
    call()
    return (time.perf_counter() - started) * 1e3, (time.process_time() - worked) * 1e3


def _waits(engine: Engine) -> bool:
    return bool(engine.find(waiting=True, limit=1))


def _replay(path: Path, commits: Sequence[tape.Commit]) -> list[float]:
    """Write the same commits with SQLite alone; return the milliseconds of each but the first, which is the lease's."""
    taken: list[float] = []
    with closing(connect(str(path), _DURABILITY, BUSY_TIMEOUT_MS, writing=True)) as connection:
        for commit in commits:
            started = time.perf_counter()
            raw.replay(connection, (commit,))
            taken.append((time.perf_counter() - started) * 1e3)
    return taken[1:]

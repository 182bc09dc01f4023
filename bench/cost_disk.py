"""The bytes on disk of a task that has ended, as the mean of many tasks.

Rule: the suite counts after it has moved everything from the WAL into the file, so it counts nothing twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from bench import stores, wal
from bench.plan import Plan
from bench.report import Figure, Goal, single

_TASKS: Final = 2_000
_BYTES: Final = 1_450


def measure(plan: Plan) -> Iterator[Figure]:
    """Yield the bytes of a task that was created, claimed and completed."""
    count = 100 if plan.tiny else _TASKS
    path = plan.folder / "disk.db"
    sizes = []
    with stores.open_engine(path, "normal") as engine:
        for _ in range(2):
            stores.live(engine, count)
            wal.empty(path)
            sizes.append(path.stat().st_size)
    yield single("bytes on disk of a task that is over", (sizes[1] - sizes[0]) / count, "bytes", Goal("<=", _BYTES))

"""The builds of workers, as operators ask for them: which ones live tasks are pinned to, and which workers have them.

Rule: it compares what tasks need with what workers say of themselves, and decides nothing. [BUILD-4] Knows no store by
name.
"""

from __future__ import annotations

from collections.abc import Iterable

from sagalog.engine.workers import WorkerInfo, workers_in
from sagalog.store import PinnedTasks, Snapshot


def absent_builds(snapshot: Snapshot, now_ms: int) -> list[PinnedTasks]:
    """Return what waits for a build that no live worker of its queue names, by build and queue."""
    pinned = snapshot.pinned()
    if not pinned:
        return []
    workers = workers_in(snapshot.kept_in, now_ms)
    return [one for one in pinned if not has_build(workers, one.build, one.queue)]


def has_build(workers: Iterable[WorkerInfo], build: str, queue: str) -> bool:
    """Check whether a live worker of a queue names a build.

    The row of a worker may have no room for all of its queues; such a worker counts as one of every queue.
    """
    return any(one.is_live and one.build == build and (queue in one.queues or one.left_out > 0) for one in workers)

"""The observer: since when this process has seen a lease unchanged, by a clock that never steps back.

Rule: it is asked only about leases whose last renewal lies in the future of the wall clock, which then cannot say when
they are over [TIME-3]. What it saw is a claim of this process: the kernel compares it with the lease, and the log keeps
it. Forgetting everything costs no more than another wait.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Final

from sagalog.forks import begins_anew_in_children
from sagalog.kernel.commands import Tend
from sagalog.kernel.state import TaskFold
from sagalog.kernel.values import Seen

# Far more than ever run at once; past it a worker that only claims starts over instead of growing.
_REMEMBERED_MAX: Final = 100_000


class Observer:
    """What one process has seen of such leases: task -> (fence, renewed_ms, monotonic time of the first look)."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._first: dict[str, tuple[int, int, int]] = {}
        begins_anew_in_children(self)

    def begin_anew(self) -> None:
        """In a forked child: a thread of the parent may have been looking."""
        self._guard = threading.Lock()

    def look(self, behind: Sequence[TaskFold], monotonic_ms: int, everywhere: bool) -> list[Tend]:
        """Look at the leased tasks `behind`; a command for each lease that stood unchanged for its whole ttl.

        With `everywhere` these are all there are, and the others are forgotten.
        """
        with self._guard:
            return self._look(behind, monotonic_ms, everywhere)

    def _look(self, behind: Sequence[TaskFold], monotonic_ms: int, everywhere: bool) -> list[Tend]:
        if len(self._first) > _REMEMBERED_MAX:
            self._first.clear()
        commands = []
        for task in behind:
            lease = task.lease
            if lease is None or lease.ttl_ms is None:
                continue
            fence, renewed_ms, first_ms = self._first.get(task.id, (0, 0, 0))
            if (fence, renewed_ms) != (lease.fence, lease.renewed_ms):
                self._first[task.id] = (lease.fence, lease.renewed_ms, monotonic_ms)
            elif monotonic_ms - first_ms >= lease.ttl_ms:
                seen = Seen(lease.fence, lease.renewed_ms, monotonic_ms - first_ms)
                commands.append(Tend(task=task.id, seen=seen))
        if everywhere:
            standing = {task.id for task in behind}
            self._first = {id: seen for id, seen in self._first.items() if id in standing}
        return commands

"""The observer: since when this process has seen a lease or a task unchanged, by a clock that never steps back.

Rule: it is asked only about leases whose last renewal, and tasks whose last event, lies in the future of the wall
clock, which then cannot say when they are over or due [TIME-3]. What it saw is a claim of this process: the kernel
compares it with the task, and the log keeps it. Forgetting everything costs no more than another wait.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Final

from sagalog.forks import begins_anew_in_children
from sagalog.kernel.bounds import UPKEEP_LIMIT
from sagalog.kernel.commands import Maintain
from sagalog.kernel.state import TaskFold
from sagalog.kernel.values import Seen, Unchanged

# Far more than ever run at once; past it a worker that only claims starts over instead of growing.
_REMEMBERED_MAX: Final = 100_000
# How many delayed tasks are looked at, of each sort.
DELAYED_MAX: Final = 1_000
# How often leases are looked at where nothing tells that the clock was set back, and for how many sets of queues.
_LOOK_EVERY_MS: Final = 60_000
_QUEUES_MAX: Final = 1_000
# How many events are looked at by a process that has not seen the clock before.
_LOOKED_BACK_AT: Final = 1_000


class Observer:
    """What one process has seen of such leases: task -> (fence, renewed_ms, monotonic time of the first look)."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._first: dict[str, tuple[int, int, int]] = {}
        # The latest time that it knows the clock to have shown.
        self._latest_ms = 0
        # Queues -> when their leases were looked at last.
        self._looked_ms: dict[tuple[str, ...] | None, int] = {}
        # Delayed tasks -> (version, monotonic time of the first look).
        self._delayed: dict[str, tuple[int, int]] = {}
        begins_anew_in_children(self)

    def begin_anew(self) -> None:
        """In a forked child: a thread of the parent may have been looking."""
        self._guard = threading.Lock()

    def look(self, behind: Sequence[TaskFold], monotonic_ms: int, everywhere: bool) -> list[Maintain]:
        """Look at the leased tasks `behind`; a command for each lease that stood unchanged for its whole ttl.

        With `everywhere` these are all there are, and the others are forgotten.
        """
        with self._guard:
            return self._look(behind, monotonic_ms, everywhere)

    def _look(self, behind: Sequence[TaskFold], monotonic_ms: int, everywhere: bool) -> list[Maintain]:
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
                commands.append(Maintain(task=task.id, seen=seen))
        if everywhere:
            standing = {task.id for task in behind}
            self._first = {id: seen for id, seen in self._first.items() if id in standing}
        return commands

    def was_set_back(self, now_ms: int, latest_ms: Callable[[int], int]) -> bool:
        """Whether the clock stands before a time that it has shown already: to this process, or in the newest events.

        `latest_ms` gives the latest time of so many of those; more than one is asked for once.
        """
        with self._guard:
            count = 1 if self._latest_ms else _LOOKED_BACK_AT
            self._latest_ms = max(self._latest_ms, now_ms, latest_ms(count))
            return now_ms < self._latest_ms

    def is_to_look(self, queues: tuple[str, ...] | None, monotonic_ms: int) -> bool:
        """Whether the leases of some queues are to be looked at though nothing tells that the clock was set back.

        The newest events may not tell it to a process that came later; a look costs by the leases there are.
        """
        with self._guard:
            looked_ms = self._looked_ms.get(queues)
            if looked_ms is not None and monotonic_ms - looked_ms < _LOOK_EVERY_MS:
                return False
            if len(self._looked_ms) > _QUEUES_MAX:
                self._looked_ms.clear()
            self._looked_ms[queues] = monotonic_ms
            return True

    def knows_set_back(self, now_ms: int) -> bool:
        """Whether the clock stands before a time that it has shown to this process, told without a look."""
        with self._guard:
            return now_ms < self._latest_ms

    def look_at_delayed(
        self, delayed: Sequence[TaskFold], monotonic_ms: int, queues: tuple[str, ...] | None
    ) -> list[Maintain]:
        """Look at the `delayed` tasks; a command for those of `queues` that stood for as long as they were to.

        These are all that are looked at, and others are forgotten. At most `UPKEEP_LIMIT` commands a look.
        """
        commands: list[Maintain] = []
        with self._guard:
            before, self._delayed = self._delayed, {}
            for task in delayed:
                version, first_ms = before.get(task.id, (0, 0))
                if version != task.version:
                    first_ms = monotonic_ms
                self._delayed[task.id] = (task.version, first_ms)
                unchanged = Unchanged(task.version, monotonic_ms - first_ms)
                due_ms = task.run_at_ms if task.waiting is None else task.waiting.until_ms
                is_wanted = (queues is None or task.queue in queues) and len(commands) < UPKEEP_LIMIT
                if is_wanted and due_ms is not None and unchanged.unchanged_ms >= due_ms - task.updated_ms:
                    commands.append(Maintain(task=task.id, unchanged=unchanged))
        return commands

"""The watch on leases: since when this process has seen a lease or a task unchanged, by a clock that never steps back.

Rule: it watches the leases whose last renewal, and the tasks whose last event, lies in the future of the wall clock,
which then cannot say when they are over or due [TIME-3]. What it saw is a claim of this process: the kernel compares it
with the task, and the log keeps it. Forgetting one costs its whole wait again, and would do so for ever if it happened
at every look: so one is forgotten only where a look at all of them did not find it.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Final

from sagalog.forks import begins_anew_in_children
from sagalog.kernel.bounds import UPKEEP_LIMIT
from sagalog.kernel.commands import Maintain
from sagalog.kernel.state import TaskFold
from sagalog.kernel.values import Seen, Unchanged
from sagalog.ports import Clock

# How many delayed tasks are looked at, of each sort.
DELAYED_MAX: Final = 1_000
# How often to look where nothing tells that the clock was set back, as to a process that began after that.
_LOOK_EVERY_MS: Final = 60_000

# What stands unchanged: a lease by task, fence and renewed_ms; a delayed task by its id and version.
_Standing = tuple[str, int, int] | tuple[str, int]


class LeaseWatch:
    """What one process has seen of such leases and tasks, of all queues together."""

    def __init__(self, clock: Clock) -> None:
        self._guard = threading.Lock()
        self._clock = clock
        # What the clock showed last, and from when on, by the monotonic clock, a look is due.
        self._shown_ms = 0
        self._look_from_ms = 0
        # The monotonic time of the look that first found it so.
        self._first_ms: dict[_Standing, int] = {}
        begins_anew_in_children(self)

    def begin_anew(self) -> None:
        """In a forked child: a thread of the parent may have been looking."""
        self._guard = threading.Lock()

    def is_look_due(self) -> bool:
        """Whether to look now: the first time, when the clock was set back, when a wait is over, and once a minute.

        Told by comparing numbers, so it may be asked at every call.
        """
        with self._guard:
            # Read within the guard: else another thread's later time would look like a step back.
            now_ms, monotonic_ms = self._clock.now_ms(), self._clock.monotonic_ms()
            if now_ms < self._shown_ms:
                self._look_from_ms = monotonic_ms
            self._shown_ms = now_ms
            return monotonic_ms >= self._look_from_ms

    def look(
        self,
        behind: Sequence[TaskFold],
        delayed: Sequence[TaskFold],
        monotonic_ms: int,
        queues: tuple[str, ...] | None,
    ) -> list[Maintain]:
        """Look at all leased tasks that are `behind`, and all `delayed` ones, of every queue; others are forgotten.

        A command for each lease of `queues` (None: all) that stood unchanged for its whole ttl, and for the delayed
        tasks there that stood for as long as they were to wait, at most `UPKEEP_LIMIT` a look.
        """
        with self._guard:
            known, self._first_ms = self._first_ms, {}
            self._look_from_ms = monotonic_ms + _LOOK_EVERY_MS
            leases = [(task.queue, self._look_at_lease(task, known, monotonic_ms)) for task in behind]
            tasks = [(task.queue, self._look_at_delayed(task, known, monotonic_ms)) for task in delayed]
        return [*_of_queues(queues, leases), *_of_queues(queues, tasks)[:UPKEEP_LIMIT]]

    def _look_at_lease(self, task: TaskFold, known: dict[_Standing, int], monotonic_ms: int) -> Maintain | None:
        lease = task.lease
        if lease is None or lease.ttl_ms is None:
            return None
        first_ms = self._first_seen_ms((task.id, lease.fence, lease.renewed_ms), lease.ttl_ms, known, monotonic_ms)
        stood_ms = monotonic_ms - first_ms
        seen = Seen(lease.fence, lease.renewed_ms, stood_ms)
        return Maintain(task=task.id, seen=seen) if stood_ms >= lease.ttl_ms else None

    def _look_at_delayed(self, task: TaskFold, known: dict[_Standing, int], monotonic_ms: int) -> Maintain | None:
        due_ms = task.run_at_ms if task.waiting is None else task.waiting.until_ms
        if due_ms is None:
            return None
        wait_ms = due_ms - task.updated_ms
        stood_ms = monotonic_ms - self._first_seen_ms((task.id, task.version), wait_ms, known, monotonic_ms)
        return Maintain(task=task.id, unchanged=Unchanged(task.version, stood_ms)) if stood_ms >= wait_ms else None

    def _first_seen_ms(self, standing: _Standing, wait_ms: int, known: dict[_Standing, int], monotonic_ms: int) -> int:
        """When it was first seen so; it is noted, and looked at again once it has stood for `wait_ms`."""
        first_ms = self._first_ms[standing] = known.get(standing, monotonic_ms)
        self._look_from_ms = min(self._look_from_ms, first_ms + wait_ms)
        return first_ms


def _of_queues(queues: tuple[str, ...] | None, found: Sequence[tuple[str, Maintain | None]]) -> list[Maintain]:
    return [one for queue, one in found if one is not None and (queues is None or queue in queues)]

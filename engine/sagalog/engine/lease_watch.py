"""The watch on leases: since when this process has seen a lease or a task unchanged, by a clock that never steps back.

Rule: it watches the leases whose last renewal, and the tasks whose last event, is in the future of the wall clock,
which then cannot show when they are over or due [TIME-3]. Its observation is a claim of this process: the kernel
compares it with the task, and the log keeps it. So it needs no second look when a wait is over: the lease or task is
unchanged, or the kernel finds the change. If the watch forgets one, its whole wait begins again; so it forgets one only
if a look at all of them does not find it. Knows no store.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from sagalog.forks import reset_in_children
from sagalog.kernel.bounds import UPKEEP_LIMIT
from sagalog.kernel.commands import Maintain
from sagalog.kernel.state import TaskFold
from sagalog.kernel.values import Seen, Unchanged
from sagalog.ports import Clock
from sagalog.store import Delayed

# How often to look without a sign that the clock was set back: a process that began afterwards gets none.
_LOOK_EVERY_MS: Final = 60_000

# What the watch observes: a lease by task, fence and renewed_ms; a delayed task by its id and version.
_Watched = tuple[str, int, int] | tuple[str, int]


class _Wait(NamedTuple):
    """A wait that is over at `over_ms`, if `watched` has not changed since the look at `first_ms`; both monotonic."""

    over_ms: int
    watched: _Watched
    first_ms: int


class LeaseWatch:
    """The observations of one process of such leases and tasks, of all queues together."""

    def __init__(self, clock: Clock) -> None:
        self._guard = threading.Lock()
        self._clock = clock
        # The last time of the wall clock, and from when on, by the monotonic clock, a look is due.
        self._last_ms = 0
        self._look_from_ms = 0
        # The monotonic time of the first look that found it.
        self._first_ms: dict[_Watched, int] = {}
        # By queue, in the order in which they are over, without those that were tried since the last look.
        self._waits: dict[str, list[_Wait]] = {}
        reset_in_children(self)

    def begin_anew(self) -> None:
        """Make a new lock in a forked child: a thread of the parent may hold the old one."""
        self._guard = threading.Lock()

    def is_look_due(self) -> bool:
        """Check whether to look now: the first time, when the clock was set back, and once a minute.

        It only compares numbers, so every call may ask.
        """
        with self._guard:
            # Read within the guard: else another thread's later time would look like a step back.
            now_ms, monotonic_ms = self._clock.now_ms(), self._clock.monotonic_ms()
            if now_ms < self._last_ms:
                self._look_from_ms = monotonic_ms
            self._last_ms = now_ms
            return monotonic_ms >= self._look_from_ms

    def look(self, behind: Sequence[TaskFold], delayed: Sequence[Delayed], monotonic_ms: int) -> None:
        """Look at all leased tasks that are `behind`, and all `delayed` ones, of every queue; forget all others."""
        with self._guard:
            known, self._first_ms, self._waits = self._first_ms, {}, {}
            self._look_from_ms = monotonic_ms + _LOOK_EVERY_MS
            for queue, watched, wait_ms in (*_leases(behind), *_delays(delayed)):
                first_ms = self._first_ms[watched] = known.get(watched, monotonic_ms)
                self._waits.setdefault(queue, []).append(_Wait(first_ms + wait_ms, watched, first_ms))
            for waits in self._waits.values():
                waits.sort()

    def over(self, queues: tuple[str, ...] | None) -> list[Maintain]:
        """Return a command for each lease of `queues` (None: all) that was unchanged for its whole ttl since a look.

        And for the delayed tasks there that were unchanged for as long as they were to wait, at most `UPKEEP_LIMIT`. It
        returns them again until they were `tried`.
        """
        with self._guard:
            if not self._waits:
                return []
            monotonic_ms = self._clock.monotonic_ms()
            waits = list(self._over_by(monotonic_ms, self._waits if queues is None else dict.fromkeys(queues)))
        leases = [wait for wait in waits if len(wait.watched) == 3]
        tasks = [wait for wait in waits if len(wait.watched) == 2]
        return [_command(wait, monotonic_ms) for wait in (*leases, *tasks[:UPKEEP_LIMIT])]

    def tried(self, commands: Sequence[Maintain]) -> None:
        """Leave out these commands of `over`, which are committed, until the next look."""
        tried = {watched for command in commands if (watched := _watched_by(command)) is not None}
        if not tried:
            return
        with self._guard:
            left = {queue: [one for one in waits if one.watched not in tried] for queue, waits in self._waits.items()}
            self._waits = {queue: waits for queue, waits in left.items() if waits}

    def _over_by(self, monotonic_ms: int, queues: Iterable[str]) -> Iterator[_Wait]:
        for queue in queues:
            for wait in self._waits.get(queue, ()):
                if wait.over_ms > monotonic_ms:
                    break
                yield wait


def _leases(behind: Sequence[TaskFold]) -> Iterator[tuple[str, _Watched, int]]:
    """Yield each lease that has an end: its queue, what the watch observes, and how long it lasts."""
    for task in behind:
        lease = task.lease
        if lease is not None and lease.ttl_ms is not None:
            yield task.queue, (task.id, lease.fence, lease.renewed_ms), lease.ttl_ms


def _delays(delayed: Sequence[Delayed]) -> Iterator[tuple[str, _Watched, int]]:
    """Yield the same of delayed tasks: each waits so long from its last event on."""
    for one in delayed:
        yield one.queue, (one.task, one.version), one.wait_ms


def _command(wait: _Wait, monotonic_ms: int) -> Maintain:
    unchanged_ms = monotonic_ms - wait.first_ms
    if len(wait.watched) == 3:
        task, fence, renewed_ms = wait.watched
        return Maintain(task=task, seen=Seen(fence, renewed_ms, unchanged_ms))
    task, version = wait.watched
    return Maintain(task=task, unchanged=Unchanged(version, unchanged_ms))


def _watched_by(command: Maintain) -> _Watched | None:
    if command.seen is not None:
        return command.task, command.seen.fence, command.seen.renewed_ms
    return None if command.unchanged is None else (command.task, command.unchanged.version)

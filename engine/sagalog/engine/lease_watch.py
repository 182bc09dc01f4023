"""The watch on leases: since when this process has seen a lease or a task unchanged, by a clock that never steps back.

Rule: it watches the leases whose last renewal, and the tasks whose last event, lies in the future of the wall clock,
which then cannot say when they are over or due [TIME-3]. What it saw is a claim of this process: the kernel compares it
with the task, and the log keeps it. So no second look is needed where a wait is over: what was seen has stood for so
long, or the kernel finds it changed. Forgetting one costs its whole wait again, and would do so for ever if it happened
at every look: so one is forgotten only where a look at all of them did not find it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from sagalog.forks import begins_anew_in_children
from sagalog.kernel.bounds import UPKEEP_LIMIT
from sagalog.kernel.commands import Maintain
from sagalog.kernel.state import TaskFold
from sagalog.kernel.values import Seen, Unchanged
from sagalog.ports import Clock
from sagalog.store import Delayed

# How often to look where nothing tells that the clock was set back, as to a process that began after that.
_LOOK_EVERY_MS: Final = 60_000

# What stands unchanged: a lease by task, fence and renewed_ms; a delayed task by its id and version.
_Standing = tuple[str, int, int] | tuple[str, int]


class _Wait(NamedTuple):
    """What is over at `over_ms`, if it stands unchanged until then since the look at `first_ms`, both monotonic."""

    over_ms: int
    standing: _Standing
    first_ms: int


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
        # By queue, what is over first in front. What was tried is left out until the next look.
        self._waits: dict[str, list[_Wait]] = {}
        begins_anew_in_children(self)

    def begin_anew(self) -> None:
        """In a forked child: a thread of the parent may have been looking."""
        self._guard = threading.Lock()

    def is_look_due(self) -> bool:
        """Whether to look now: the first time, when the clock was set back, and once a minute.

        Told by comparing numbers, so it may be asked at every call.
        """
        with self._guard:
            # Read within the guard: else another thread's later time would look like a step back.
            now_ms, monotonic_ms = self._clock.now_ms(), self._clock.monotonic_ms()
            if now_ms < self._shown_ms:
                self._look_from_ms = monotonic_ms
            self._shown_ms = now_ms
            return monotonic_ms >= self._look_from_ms

    def look(self, behind: Sequence[TaskFold], delayed: Sequence[Delayed], monotonic_ms: int) -> None:
        """Look at all leased tasks that are `behind`, and all `delayed` ones, of every queue; others are forgotten."""
        with self._guard:
            known, self._first_ms, self._waits = self._first_ms, {}, {}
            self._look_from_ms = monotonic_ms + _LOOK_EVERY_MS
            for queue, standing, wait_ms in (*_leases(behind), *_delays(delayed)):
                first_ms = self._first_ms[standing] = known.get(standing, monotonic_ms)
                self._waits.setdefault(queue, []).append(_Wait(first_ms + wait_ms, standing, first_ms))
            for waits in self._waits.values():
                waits.sort()

    def over(self, queues: tuple[str, ...] | None) -> list[Maintain]:
        """A command for each lease of `queues` (None: all) that stood unchanged for its whole ttl since it was seen.

        And for the delayed tasks there that stood for as long as they were to wait, at most `UPKEEP_LIMIT`. They are
        given again until they were `tried`.
        """
        with self._guard:
            if not self._waits:
                return []
            monotonic_ms = self._clock.monotonic_ms()
            waits = list(self._over_by(monotonic_ms, self._waits if queues is None else dict.fromkeys(queues)))
        leases = [wait for wait in waits if len(wait.standing) == 3]
        tasks = [wait for wait in waits if len(wait.standing) == 2]
        return [_command(wait, monotonic_ms) for wait in (*leases, *tasks[:UPKEEP_LIMIT])]

    def tried(self, commands: Sequence[Maintain]) -> None:
        """These commands of `over` are committed: what they left as it was is tried again after the next look."""
        tried = {standing for command in commands if (standing := _standing_of(command)) is not None}
        if not tried:
            return
        with self._guard:
            left = {queue: [one for one in waits if one.standing not in tried] for queue, waits in self._waits.items()}
            self._waits = {queue: waits for queue, waits in left.items() if waits}

    def _over_by(self, monotonic_ms: int, queues: Iterable[str]) -> Iterator[_Wait]:
        for queue in queues:
            for wait in self._waits.get(queue, ()):
                if wait.over_ms > monotonic_ms:
                    break
                yield wait


def _leases(behind: Sequence[TaskFold]) -> Iterator[tuple[str, _Standing, int]]:
    """The queue of each lease that has an end, what stands there, and for how long it may."""
    for task in behind:
        lease = task.lease
        if lease is not None and lease.ttl_ms is not None:
            yield task.queue, (task.id, lease.fence, lease.renewed_ms), lease.ttl_ms


def _delays(delayed: Sequence[Delayed]) -> Iterator[tuple[str, _Standing, int]]:
    """The same of delayed tasks: for how long each was to wait from its last event on."""
    for one in delayed:
        yield one.queue, (one.task, one.version), one.wait_ms


def _command(wait: _Wait, monotonic_ms: int) -> Maintain:
    stood_ms = monotonic_ms - wait.first_ms
    if len(wait.standing) == 3:
        task, fence, renewed_ms = wait.standing
        return Maintain(task=task, seen=Seen(fence, renewed_ms, stood_ms))
    task, version = wait.standing
    return Maintain(task=task, unchanged=Unchanged(version, stood_ms))


def _standing_of(command: Maintain) -> _Standing | None:
    if command.seen is not None:
        return command.task, command.seen.fence, command.seen.renewed_ms
    return None if command.unchanged is None else (command.task, command.unchanged.version)

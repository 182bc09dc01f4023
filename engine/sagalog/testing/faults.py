"""Faults of commits in the order in which a test wants them, and commits that take time on a manual clock.

    with faults("commit.after_commit", answer_lost, None, away): ...    the first time, not the second, and the third
    with slow_commits(clock, before_ms=60): ...                         a commit is under way for that long

Rule: only what a test has armed happens, at the named points of `sagalog.failpoints`, once for each place in the list;
afterwards it restores what was armed before. It counts under a lock: commits of several threads may meet it. Knows no
store.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from sagalog import failpoints
from sagalog.errors import Unavailable, Unknown
from sagalog.testing.clock import ManualClock

Action = Callable[[], None]


def away() -> NoReturn:
    """Fail as a store that cannot be reached: it writes nothing. For points before a commit."""
    raise Unavailable("the store is away, says a test")


def answer_lost() -> NoReturn:
    """Fail as a store that has committed and whose answer is lost. For the point after a commit."""
    raise Unknown("the answer of the commit was lost, says a test")


class Faults:
    """The state of planned faults: `met` counts how often the point was reached, `left` the actions still to come."""

    def __init__(self, actions: tuple[Action | None, ...]) -> None:
        self._guard = threading.Lock()
        self._actions = list(actions)
        self.met = 0

    @property
    def left(self) -> int:
        """How many actions of the list have not had their turn."""
        return len(self._actions)

    def reach(self) -> None:
        """Run the next action of the list, if there is one."""
        with self._guard:
            self.met += 1
            action = self._actions.pop(0) if self._actions else None
        if action is not None:
            action()


@contextmanager
def faults(point: str, *actions: Action | None) -> Iterator[Faults]:
    """Run, within the block, the n-th action when the point is reached for the n-th time; None: no action.

    Raises:
        ValueError: there is no point of that name.
    """
    if point not in failpoints.NAMES:
        raise ValueError(f"there is no failpoint {point!r}; there are {', '.join(failpoints.NAMES)}")
    planned = Faults(actions)
    before = failpoints.armed.get(point)
    failpoints.armed[point] = planned.reach
    try:
        yield planned
    finally:
        if before is None:
            del failpoints.armed[point]
        else:
            failpoints.armed[point] = before


@contextmanager
def slow_commits(clock: ManualClock, before_ms: int = 0, after_ms: int = 0) -> Iterator[None]:
    """Make each commit within the block take time: until the store has its turn, and until its answer comes back."""
    points = (("commit.before_begin", before_ms), ("commit.after_commit", after_ms))
    before = {point: failpoints.armed.get(point) for point, _ in points}

    def passing(ms: int, then: Action | None) -> Action:
        def reach() -> None:
            clock.advance(ms)
            if then is not None:
                then()

        return reach

    for point, ms in points:
        failpoints.armed[point] = passing(ms, before[point])
    try:
        yield
    finally:
        for point, action in before.items():
            if action is None:
                del failpoints.armed[point]
            else:
                failpoints.armed[point] = action

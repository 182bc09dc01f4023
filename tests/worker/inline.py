"""A worker without threads: its turns and its handlers run when a test says so, on a clock that a test moves.

Rule: the shift and the handlers are the real ones; only who runs them, and when, is the test's. A kill is an exception
that nothing settles: what the killed worker knew is thrown away, what it wrote stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import sagalog
from sagalog import failpoints
from sagalog.testing import ManualClock
from sagalog.worker.crew import Job
from sagalog.worker.plan import Plan
from sagalog.worker.shift import Shift

# Where a worker may die: before a commit is begun, and after it is durable and before anybody knows.
BOUNDARIES = ("commit.before_begin", "commit.after_commit")


class Killed(BaseException):
    """The process is gone."""


class InlineCrew:
    """Keeps jobs until a test runs them."""

    def __init__(self) -> None:
        self.waiting: list[Job] = []

    def begin(self, job: Job) -> None:
        self.waiting.append(job)

    def take_back(self) -> list[Job]:
        taken, self.waiting = self.waiting, []
        return taken

    def replace(self, job: Job) -> None:
        pass

    def close(self) -> None:
        pass


class InlineWorker:
    """One shift with its crew."""

    def __init__(self, engine: sagalog.Engine, plan: Plan, owner: str, clock: ManualClock) -> None:
        self.crew = InlineCrew()
        self.shift = Shift(engine, plan, owner, self.crew, clock)

    def turn(self) -> bool:
        """Look, and write what is due; whether there was anything."""
        self.shift.look()
        return self.shift.turn()

    def run_job(self, number: int = 0) -> None:
        """Run the handler of one job to its end, and take it back."""
        if self.crew.waiting:
            job = self.crew.waiting.pop(number % len(self.crew.waiting))
            job.begun = True
            job.run()
            self.shift.take([job])

    def until_idle(self, turns_max: int = 100) -> None:
        """Turn and run until nothing is left to do now."""
        for _ in range(turns_max):
            wrote = self.turn()
            if not self.crew.waiting and not wrote:
                return
            while self.crew.waiting:
                self.run_job()
        raise AssertionError(f"still at work after {turns_max} turns: {self.shift.tally}")


@contextmanager
def killed_at(boundary: int) -> Iterator[Callable[[], bool]]:
    """Within the block the worker dies at the n-th boundary that it reaches; gives whether it has died."""
    left = boundary
    died = False

    def reach() -> None:
        nonlocal left, died
        left -= 1
        if left == 0:
            died = True
            raise Killed

    for name in BOUNDARIES:
        failpoints.armed[name] = reach
    try:
        yield lambda: died
    except Killed:
        died = True
    finally:
        for name in BOUNDARIES:
            del failpoints.armed[name]

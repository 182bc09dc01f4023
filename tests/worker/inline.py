"""A worker without threads: its turns and its handlers run when a test says so, on a clock that a test moves.

Rule: the loop and the handlers are the real ones; only who runs them, and when, is the test's. A kill is an exception
that nothing settles: what the killed worker knew is thrown away, what it wrote stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import sagalog
from sagalog import failpoints
from sagalog.testing import ManualClock
from sagalog.worker.config import WorkerConfig
from sagalog.worker.handler_pool import Job
from sagalog.worker.worker_loop import WorkerLoop

# Where a worker may die: before a commit is begun, and after it is durable and before any caller knows.
BOUNDARIES = ("commit.before_begin", "commit.after_commit")


class Killed(BaseException):
    """The process is gone."""


class InlineHandlerPool:
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
    """One worker loop with its pool."""

    def __init__(self, engine: sagalog.Engine, config: WorkerConfig, owner: str, clock: ManualClock) -> None:
        self.pool = InlineHandlerPool()
        self.worker_loop = WorkerLoop(engine, config, owner, self.pool, clock)

    def turn(self) -> bool:
        """Look, and write what is due; whether there was anything."""
        self.worker_loop.look()
        return self.worker_loop.run_round()

    def run_job(self, number: int = 0) -> None:
        """Run the handler of one job to its end, and take it back."""
        if self.pool.waiting:
            job = self.pool.waiting.pop(number % len(self.pool.waiting))
            job.begun = True
            job.run()
            self.worker_loop.collect([job])

    def until_idle(self, turns_max: int = 100) -> None:
        """Turn and run until nothing is left to do now."""
        for _ in range(turns_max):
            wrote = self.turn()
            if not self.pool.waiting and not wrote:
                return
            while self.pool.waiting:
                self.run_job()
        raise AssertionError(f"still at work after {turns_max} turns: {self.worker_loop.stats}")


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

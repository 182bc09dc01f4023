"""Two processes park at the same time, each for a task of the other: never both. [WAIT-4]"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sagalog


class Parker:
    """A process of `parker.py`."""

    def __init__(self, url: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.parker", url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )

    def hears(self) -> str:
        """The next thing it says."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def park(self, task: str, fence: int, after: str) -> None:
        """Have it park a task; its answer comes later."""
        assert self.process.stdin is not None
        print(task, fence, after, file=self.process.stdin, flush=True)


@contextmanager
def parkers(url: str) -> Iterator[tuple[Parker, Parker]]:
    both = Parker(url), Parker(url)
    try:
        assert [one.hears() for one in both] == ["ready", "ready"]
        yield both
    finally:
        for one in both:
            one.process.communicate()


def test_of_two_parks_that_would_close_a_circle_one_is_refused(tmp_path: Path) -> None:
    """[WAIT-4] It does not matter which of them is first.

    Four tasks in a circle, of which two wait already; no park names the task of the other one.
    """
    url = f"sqlite:///{tmp_path}/store.db"
    with sagalog.open(url, durability="normal") as engine, parkers(url) as (left, right):
        for turn in range(40):
            a, b, c, d = (f"{name}{turn}" for name in "abcd")
            engine.create_many([{"kind": "build", "id": id} for id in (a, b, c, d)])
            leases = {id: engine.acquire(id, owner="ann", ttl_ms=None) for id in (a, b, c, d)}
            leases[b].park("w", after=c)
            leases[d].park("w", after=a)
            left.park(a, leases[a].fence, b)
            right.park(c, leases[c].fence, d)
            assert sorted([left.hears(), right.hears()]) == ["parked", "rejected"]
        assert engine.verify().ok

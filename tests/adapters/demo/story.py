"""A run of the demo in which all goes well, told on a memory store and a clock of ours: no process, no git.

Rule: nothing here checks.
"""

from __future__ import annotations

import signal
from typing import Any

import sagalog
from sagalog import Compensation, Engine, Lease, Retry
from sagalog.testing import ManualClock
from sagalog_cli.demo.evidence import Evidence, KilledWorker, RepositoryState, StepRun
from sagalog_cli.demo.late_holder import take_lease, write_late
from sagalog_cli.demo.repository import MAIN, branch_of
from sagalog_cli.demo.tasks import (
    DONE_STEPS,
    FAILED,
    LATE,
    PARENT,
    PARTS,
    QUARANTINED,
    RESUMED,
    REVIEWED,
    TTL_MS,
)

FIRST, SECOND = "worker-1-AAAA", "worker-2-BBBB"
FIRST_PID, SECOND_PID = 1_001, 1_002
CHILDREN = [f"{PARENT}/{part}" for part in PARTS]


class Story:
    """A demo in one process, step by step, on a memory store; `evidence` is what it leaves."""

    def __init__(self) -> None:
        self._clock = ManualClock(1_000_000)
        self.engine: Engine = sagalog.open("memory:", clock=self._clock)
        self.journal: list[StepRun] = []
        self.late_writes: dict[str, str] = {}
        self.late_fence = 0

    def create(self, id: str, name: str = "") -> None:
        self.engine.create("change", {"name": name or id}, id=id, retry=Retry(expiries_max=None))

    def lease(self, id: str, owner: str, purpose: Any = "work") -> Lease:
        return self.engine.acquire(id, owner=owner, ttl_ms=TTL_MS, purpose=purpose)

    def make(self, lease: Lease, *undos: str) -> None:
        for undo in undos:
            lease.register(Compensation(undo, {"name": lease.task.id}, id=undo))

    def step(self, lease: Lease, *names: str, pid: int, ends: bool = True) -> None:
        for name in names:
            self.journal.append(StepRun(lease.task.id, name, pid))
            if ends:
                lease.step(name)

    def fail(self, id: str, *undos: str) -> None:
        lease = self.lease(id, SECOND)
        self.make(lease, *undos)
        lease.fail("the build failed")

    def undo(self, id: str) -> None:
        lease = self.lease(id, SECOND, "undo")
        for owed in lease.task.owed:
            lease.compensation_done(owed.id)

    def complete(self, id: str, owner: str = SECOND) -> None:
        self.lease(id, owner).complete({"commit": f"commit-of-{id}"})

    def pass_time(self, ms: int) -> None:
        self._clock.advance(ms)

    def evidence(self) -> Evidence:
        tasks = {task.id: task for task in self.engine.find()}
        rebuilding = self.engine.rebuild()
        names = frozenset({RESUMED, LATE, QUARANTINED, REVIEWED, PARENT, *PARTS})
        branches = frozenset({MAIN, *map(branch_of, names)})
        commits = {branch: frozenset[str]() for branch in branches}
        commits[MAIN] = frozenset({f"commit-of-{REVIEWED}"})
        commits[branch_of(PARENT)] = frozenset(f"commit-of-{child}" for child in CHILDREN)
        return Evidence(
            log=self.engine.events(limit=10_000),
            tasks=tasks,
            rebuilt={task.id: task for task in self.engine.find()},
            rebuilding=rebuilding,
            verifying=self.engine.verify(),
            killed=KilledWorker("worker-1", FIRST_PID, -signal.SIGKILL),
            exits={"worker-1": -signal.SIGKILL, "worker-2": 143},
            late_fence=self.late_fence,
            late_writes=self.late_writes,
            journal=self.journal,
            repository=RepositoryState(names, names, branches, commits),
        )


def tell_story() -> Story:
    """Tell a story in which everything that the demo shows happens once."""
    story = Story()
    for id in (RESUMED, LATE, FAILED, QUARANTINED, REVIEWED, PARENT):
        story.create(id)
    late = take_lease(story.engine)
    story.late_fence = late.fence
    first = story.lease(RESUMED, FIRST)
    story.step(first, *DONE_STEPS, pid=FIRST_PID)
    story.step(first, "build", pid=FIRST_PID, ends=False)
    story.fail(FAILED, "delete-branch", "remove-worktree")
    story.undo(FAILED)
    story.fail(QUARANTINED, "delete-branch", "return-machine")
    story.lease(REVIEWED, SECOND).park("approved", signal="approved")
    story.engine.signal(REVIEWED, "approved", {"by": "you"})
    story.complete(REVIEWED)
    for child, part in zip(CHILDREN, PARTS, strict=True):
        story.create(child, part)
    story.lease(PARENT, SECOND).park("tasks", after=CHILDREN)
    for child in CHILDREN:
        story.complete(child)
    story.engine.recover()
    story.complete(PARENT)
    story.pass_time(TTL_MS)
    second = story.lease(RESUMED, SECOND)
    story.step(second, "build", pid=SECOND_PID)
    second.complete()
    story.complete(LATE)
    story.late_writes = write_late(late)
    story.engine.recover(unknown_kinds=["return-machine"])
    return story

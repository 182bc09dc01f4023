"""The acts of the demo in their order: which worker is started or killed, which signal is sent, and what is gathered.

Rule: each act waits for a fact in the store or on the disk, never for a time. So a slow machine changes how long the
demo takes, and nothing else. It judges nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Final

from sagalog import Engine, Lease, Recorded, Task
from sagalog_cli.demo.errors import DemoFailed
from sagalog_cli.demo.evidence import Evidence, KilledWorker, RepositoryState, StepRun
from sagalog_cli.demo.late_holder import VERBS, take_lease, write_late
from sagalog_cli.demo.repository import Repository
from sagalog_cli.demo.tasks import (
    APPROVED,
    DONE_STEPS,
    INTERRUPTED_STEP,
    LATE,
    RESUMED,
    REVIEWED,
    TTL_MS,
    hold,
    late_task,
    other_tasks,
    resumed_task,
)
from sagalog_cli.demo.worker_processes import WorkerProcess, WorkerProcesses

_PAGE: Final = 5_000


class Scenario:
    """One run of the demo.

    Args:
        engine: on a fresh store.
        folder: an empty one, for the repository and all that the tasks make.
        workers: none is started yet; they work on the same store.
        tell: called with a line of text at each act.
    """

    def __init__(self, engine: Engine, folder: Path, workers: WorkerProcesses, tell: Callable[[str], None]) -> None:
        self._engine = engine
        self._folder = folder
        self._workers = workers
        self._repository = Repository(folder)
        self._tell = tell

    def run(self) -> Evidence:
        """Run all acts.

        Raises:
            DemoFailed: an act did not come to its end.
            SagalogError: as the engine's calls. RuntimeError: git refuses.
        """
        self._repository.make()
        killed = self._kill_in_a_step()
        late = self._lease_and_forget()
        self._go_on()
        self._approve()
        self._workers.wait_until(lambda: not _has_live_tasks(self._engine))
        self._tell(f"All tasks have ended. The late holder tries all {len(VERBS)} writes of a holder.")
        late_writes = write_late(late)
        self._tell("SIGTERM stops the workers. The demo checks git, the disk and the log.")
        exits = self._workers.stop()
        return self._gather(KilledWorker(killed.name, killed.pid, exits[killed.name]), exits, late.fence, late_writes)

    def _lease_and_forget(self) -> Lease:
        """Create a task and lease it for a holder that does not renew.

        After the kill: a worker killed in the middle of this task too might leave a lock of git behind.
        """
        self._engine.create_many([late_task(self._folder)])
        late = take_lease(self._engine)
        self._tell(f"A holder leases task {LATE} for {TTL_MS / 1_000:g} s and lets the lease expire.")
        return late

    def _kill_in_a_step(self) -> WorkerProcess:
        """Create a task, let a worker begin it, and kill the worker while the build of the task runs."""
        hold(self._folder).touch()
        self._engine.create_many([resumed_task(self._folder)])
        worker = self._workers.start("worker-1")
        self._tell(f"worker-1 starts. Task {RESUMED}: {', '.join((*DONE_STEPS, INTERRUPTED_STEP))}.")
        begun = self._repository.worktree(RESUMED) / "built" / RESUMED
        self._workers.wait_until(lambda: begun.exists() and self._has_done(DONE_STEPS))
        worker.kill()
        hold(self._folder).unlink()
        self._tell(
            f"SIGKILL ends worker-1 in step {INTERRUPTED_STEP}. The other {len(DONE_STEPS)} steps are on record."
        )
        return worker

    def _has_done(self, steps: tuple[str, ...]) -> bool:
        return self._live_task(RESUMED).steps == steps

    def _go_on(self) -> None:
        """Start two other workers, with more tasks to do."""
        others = other_tasks(self._folder)
        self._engine.create_many(others)
        for name in ("worker-2", "worker-3"):
            self._workers.start(name)
        self._tell(f"worker-2 and worker-3 start, and have {len(others)} more tasks to do.")

    def _approve(self) -> None:
        """Send a waiting task its signal, once no worker holds the task."""
        self._workers.wait_until(lambda: self._live_task(REVIEWED).waiting is not None)
        self._engine.signal(REVIEWED, APPROVED, {"by": "you"}, actor="demo")
        self._tell(f"Task {REVIEWED} waits for a signal, without a worker. The demo sends it.")

    def _live_task(self, id: str) -> Task:
        task = self._engine.get(id)
        if task is None or task.error is not None or task.is_terminal:
            raise DemoFailed(f"task {id!r} should be pending or running, and this is its state: {task}")
        return task

    def _gather(
        self, killed: KilledWorker, exits: dict[str, int], late_fence: int, late_writes: dict[str, str]
    ) -> Evidence:
        engine, repository = self._engine, self._repository
        tasks = _by_id(engine.find())
        rebuilding = engine.rebuild()
        branches = repository.branches()
        return Evidence(
            log=_whole_log(engine),
            tasks=tasks,
            rebuilt=_by_id(engine.find()),
            rebuilding=rebuilding,
            verifying=engine.verify(),
            killed=killed,
            exits=exits,
            late_fence=late_fence,
            late_writes=late_writes,
            journal=_journal(self._folder),
            repository=RepositoryState(
                worktrees=repository.worktrees(),
                folders=repository.folders(),
                branches=branches,
                commits={branch: repository.commits(branch) for branch in branches},
            ),
        )


def _has_live_tasks(engine: Engine) -> bool:
    return any(not task.is_terminal for task in engine.find())


def _by_id(tasks: list[Task]) -> dict[str, Task]:
    return {task.id: task for task in tasks}


def _journal(folder: Path) -> list[StepRun]:
    lines = (folder / "journal").read_text(encoding="utf-8").splitlines()
    return [StepRun(**json.loads(line)) for line in lines]


def _whole_log(engine: Engine) -> list[Recorded]:
    """Read every event, a page at a time."""
    log: list[Recorded] = []
    while page := engine.events(after=log[-1].position if log else 0, limit=_PAGE):
        log += page
    return log

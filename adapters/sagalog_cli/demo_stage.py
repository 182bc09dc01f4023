"""The acts of the demo in their order: who is started, killed, told and dismissed, and what is gathered in the end.

Rule: each act waits for a fact in the store or on the disk, never for a time, so that a slow machine changes how long
the demo takes and not what happens in it. Judges nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Final

from sagalog import Engine, Lease, Recorded, Task
from sagalog_cli.demo_crew import HANDLERS, Crew, DidNotHappen, WorkerProcess
from sagalog_cli.demo_evidence import Effect, Evidence, Kept, Killed
from sagalog_cli.demo_plan import (
    APPROVED,
    DONE_STEPS,
    RESUMED,
    REVIEWED,
    SLEEPER,
    SLEPT,
    STEP_IN_HAND,
    first_tasks,
    hold,
    other_tasks,
)
from sagalog_cli.demo_repository import Repository
from sagalog_cli.demo_sleeper import fall_asleep, wake_up

_LIMIT_S: Final = 30
_PAGE: Final = 5_000


class Stage:
    """One run of the demo.

    Args:
        engine: on a fresh store, which others reach by `url`.
        folder: an empty one, for the repository and all that is made in it.
        tell: called with a line of text at each turn.
    """

    def __init__(self, engine: Engine, url: str, folder: Path, tell: Callable[[str], None]) -> None:
        self._engine = engine
        self._url = url
        self._folder = folder
        self._repository = Repository(folder)
        self._tell = tell

    def play(self) -> Evidence:
        """Play all acts, in the main thread.

        Raises:
            DidNotHappen: an act could not be played to its end, or not in time.
            SagalogError: as the engine's calls. RuntimeError: git refuses.
        """
        self._repository.make()
        self._tell("a git repository is made, with one commit on main")
        with Crew(self._url, self._folder, _LIMIT_S) as crew:
            asleep = self._begin()
            killed = self._kill_in_a_step(crew)
            self._go_on(crew)
            self._approve(crew)
            crew.wait_until(lambda: not _living(self._engine))
            self._tell("every task has come to its end")
            late = wake_up(asleep)
            self._tell(f"{SLEEPER} wakes up, and tries to write what the holder of {SLEPT!r} may")
            exits = crew.dismiss()
            self._tell("the workers have ended on SIGTERM; every projection is rebuilt and the log is verified")
            ended = Killed(killed.name, killed.pid, exits[killed.name])
            return self._gather(ended, exits, asleep.fence, late)

    def _begin(self) -> Lease:
        """The first two tasks, one of which the sleeper leases and forgets."""
        hold(self._folder).touch()
        self._engine.create_many(first_tasks(self._folder))
        asleep = fall_asleep(self._engine)
        self._tell(f"{SLEEPER} leases {SLEPT!r} and falls asleep: the lease will run out")
        return asleep

    def _kill_in_a_step(self, crew: Crew) -> WorkerProcess:
        """Let a worker begin the first task, and kill it while its build runs."""
        worker = crew.start("worker-1")
        self._tell(f"worker-1 is started: sagalog worker --handlers {HANDLERS}")
        begun = self._repository.worktree(RESUMED) / "built" / RESUMED
        crew.wait_until(lambda: begun.exists() and self._has_done(DONE_STEPS))
        worker.kill()
        hold(self._folder).unlink()
        steps = ", ".join(DONE_STEPS)
        self._tell(f"worker-1 is killed (SIGKILL) in the step {STEP_IN_HAND!r} of {RESUMED!r}; on record are {steps}")
        return worker

    def _has_done(self, steps: tuple[str, ...]) -> bool:
        return self._living_one(RESUMED).steps == steps

    def _go_on(self, crew: Crew) -> None:
        """Let others take over, with more to do beside it."""
        self._engine.create_many(other_tasks(self._folder))
        for name in ("worker-2", "worker-3"):
            crew.start(name)
        self._tell("worker-2 and worker-3 are started, and have four more tasks to do")

    def _approve(self, crew: Crew) -> None:
        """Send the signal that one of them waits for, once no worker works on it any more."""
        crew.wait_until(lambda: self._is_waiting(REVIEWED))
        self._engine.signal(REVIEWED, APPROVED, {"by": "you"}, actor="demo")
        self._tell(f"{REVIEWED!r} waits, and no worker holds it; the signal {APPROVED!r} is sent")

    def _is_waiting(self, id: str) -> bool:
        return self._living_one(id).waiting is not None

    def _living_one(self, id: str) -> Task:
        task = self._engine.get(id)
        if task is None or task.error is not None or task.is_terminal:
            raise DidNotHappen(f"task {id!r} was to be at work, and this is what became of it: {task}")
        return task

    def _gather(self, killed: Killed, exits: dict[str, int], slept: int, late: dict[str, str]) -> Evidence:
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
            slept=slept,
            late=late,
            journal=_journal(self._folder),
            kept=Kept(
                worktrees=repository.worktrees(),
                folders=repository.folders(),
                branches=branches,
                commits={branch: repository.commits(branch) for branch in branches},
            ),
        )


def _living(engine: Engine) -> bool:
    return any(not task.is_terminal for task in engine.find())


def _by_id(tasks: list[Task]) -> dict[str, Task]:
    return {task.id: task for task in tasks}


def _journal(folder: Path) -> list[Effect]:
    lines = (folder / "journal").read_text(encoding="utf-8").splitlines()
    return [Effect(**json.loads(line)) for line in lines]


def _whole_log(engine: Engine) -> list[Recorded]:
    """Every event, a page at a time."""
    log: list[Recorded] = []
    while page := engine.events(after=log[-1].position if log else 0, limit=_PAGE):
        log += page
    return log

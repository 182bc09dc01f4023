"""The acts of the demo in their order: who is started, lost, woken and dismissed when, and what is gathered at the end.

Rule: each act waits for a fact in the store or for the word of a process, never for a time, so that a slow machine
changes how long the demo takes and not what happens in it. Judges nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sagalog import Engine, Recorded, Task
from sagalog_cli.demo_crew import Crew, WorkerProcess
from sagalog_cli.demo_evidence import Evidence, Lost
from sagalog_cli.demo_plan import DOOMED, KNOWN_UNDOS, QUEUE, SLEEPER, specs

_LIMIT_S: Final = 60
_PAGE: Final = 5_000


@dataclass(frozen=True)
class _Cast:
    """The processes: two that come to grief, and those that race."""

    doomed: WorkerProcess
    sleeper: WorkerProcess
    racing: list[WorkerProcess]


class Stage:
    """One run of the demo.

    Args:
        engine: on a fresh store, which others reach by `url`.
        effects: an empty folder for the resources that tasks make.
        tell: called with a line of text at each turn.
    """

    def __init__(self, engine: Engine, url: str, effects: Path, tell: Callable[[str], None]) -> None:
        self._engine = engine
        self._url = url
        self._effects = effects
        self._tell = tell

    def play(self, workers: int, tasks: int, seed: int) -> Evidence:
        """Play all acts, in the main thread.

        Raises:
            DidNotHappen: an act could not be played to its end, or not in time.
            SagalogError: as the engine's calls.
        """
        with Crew(_LIMIT_S) as crew:
            cast = self._start(crew, workers)
            self._engine.create_many(specs(tasks, seed))
            self._tell(f"{tasks} tasks are created, in one commit")
            held = self._lose_two(crew, cast)
            self._race(crew, cast, tasks)
            late = self._wake_the_sleeper(cast.sleeper)
            self._quarantine()
            exits = crew.dismiss()
            self._tell("the workers have ended; every projection is rebuilt from the log, and the log is verified")
            lost = {name: Lost(name, holding, exits[name]) for name, holding in held.items()}
            return self._gather(cast, lost, late, exits)

    def _start(self, crew: Crew, workers: int) -> _Cast:
        """Start every process; none does anything before it is told to."""
        cast = _Cast(
            crew.start(self._url, DOOMED, self._effects, "hold_until_killed"),
            crew.start(self._url, SLEEPER, self._effects, "sleep_and_wake"),
            [crew.start(self._url, f"worker-{number}", self._effects, "run") for number in range(1, workers + 1)],
        )
        self._tell(f"{workers + 2} worker processes are started on one file")
        return cast

    def _lose_two(self, crew: Crew, cast: _Cast) -> dict[str, Mapping[str, int]]:
        """Let the two lease what is meant for them, and stop one: name -> task id -> fence."""
        for worker in crew:
            worker.hear("ready")
        cast.doomed.tell()
        cast.sleeper.tell()
        held = {worker.name: worker.hear("holding") for worker in (cast.doomed, cast.sleeper)}
        cast.sleeper.stop()
        self._tell(f"{SLEEPER} has done half of a task and is stopped (SIGSTOP): its lease will run out")
        return held

    def _race(self, crew: Crew, cast: _Cast, tasks: int) -> None:
        """Let the others race, kill one in the midst of it, and wait until all is done that anybody can do."""
        for worker in cast.racing:
            worker.tell()
        self._tell(f"{len(cast.racing)} workers race for the tasks")
        crew.wait_until(lambda: _ended(self._engine) >= tasks // 10, cast.racing)
        cast.doomed.kill()
        self._tell(f"{DOOMED} is killed (SIGKILL) while it holds leases and renews them")
        crew.wait_until(lambda: _ended(self._engine) >= tasks // 2, cast.racing)
        self._tell("half of the tasks have ended")
        crew.wait_until(lambda: _is_all_done(self._engine), cast.racing)
        self._tell("others have taken over what the two held; failed tasks are undone")

    def _wake_the_sleeper(self, sleeper: WorkerProcess) -> Mapping[str, Mapping[str, str]]:
        """Let it go on where it was stopped, and try to write: task id -> verb -> what came of it."""
        sleeper.wake()
        sleeper.tell()
        late: Mapping[str, Mapping[str, str]] = sleeper.hear("late")
        self._tell(f"{SLEEPER} is woken (SIGCONT) and tries to finish its task")
        return late

    def _quarantine(self) -> None:
        """Declare unknown what no worker names, as whoever knows the whole fleet may."""
        unknown = _owed_kinds(self._engine) - KNOWN_UNDOS
        self._engine.recover(unknown_kinds=unknown)
        self._tell(f"nobody knows how to {', '.join(sorted(unknown))}: what owes it is quarantined")

    def _gather(
        self,
        cast: _Cast,
        lost: Mapping[str, Lost],
        late: Mapping[str, Mapping[str, str]],
        exits: Mapping[str, int],
    ) -> Evidence:
        engine = self._engine
        tasks = _by_id(engine.find())
        rebuilding = engine.rebuild()
        return Evidence(
            log=_whole_log(engine),
            tasks=tasks,
            rebuilt=_by_id(engine.find()),
            rebuilding=rebuilding,
            verifying=engine.verify(),
            racing=[worker.name for worker in cast.racing],
            exits=exits,
            doomed=lost[DOOMED],
            sleeper=lost[SLEEPER],
            late=late,
            things=frozenset(path.name for path in self._effects.iterdir()),
        )


def _ended(engine: Engine) -> int:
    """How many tasks have come to an end."""
    states = engine.counts(QUEUE).get(QUEUE, {})
    return sum(count for state, count in states.items() if state not in ("pending", "running", "compensating"))


def _is_all_done(engine: Engine) -> bool:
    """Whether the only tasks that still live owe an undo that no worker knows."""
    states = engine.counts(QUEUE).get(QUEUE, {})
    if states.get("pending", 0) or states.get("running", 0):
        return False
    left = engine.find(queue=QUEUE, state="compensating")
    return all({one.kind for one in task.owed} - KNOWN_UNDOS for task in left)


def _owed_kinds(engine: Engine) -> set[str]:
    return {one.kind for task in engine.find(queue=QUEUE, state="compensating") for one in task.owed}


def _by_id(tasks: list[Task]) -> dict[str, Task]:
    return {task.id: task for task in tasks}


def _whole_log(engine: Engine) -> list[Recorded]:
    """Every event, a page at a time."""
    log: list[Recorded] = []
    while page := engine.events(after=log[-1].position if log else 0, limit=_PAGE):
        log += page
    return log

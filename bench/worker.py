"""The suite `worker`: one worker process beside huey, litequeue, persist-queue and DBOS; how soon an idle one wakes.

Rule: sides take turns within one run, each on a new file, all with a sync for what they promise; ratios are taken round
by round. `worker_sides` holds each side, `worker_wake` the waking.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Final

from bench import queue_peers, worker_sides, worker_wake
from bench.report import Figure, Goal
from bench.rounds import interleave, ratios, spread

SUMMARY: Final = "tasks and sagas by one worker, beside huey, litequeue, persist-queue and DBOS; wake an idle worker"

# A file and a number of tasks -> seconds.
Run = Callable[[Path, int], float]

_OURS: Final = "sagalog"
# Peers that are durable with a sync and acknowledge; huey deletes a task before it runs it, and is shown beside them.
DURABLE: Final[Mapping[str, Run]] = {
    "litequeue": worker_sides.litequeue_tasks,
    "persist-queue": worker_sides.persist_queue_tasks,
    "huey, acknowledges nothing": worker_sides.huey_tasks,
}
DBOS_TASKS: Final[Mapping[str, Run]] = {
    "DBOS, called one by one": worker_sides.dbos_tasks_called,
    "DBOS, by its queue": worker_sides.dbos_tasks_queued,
}
DBOS_STEPS: Final[Mapping[str, Run]] = {
    "DBOS, called one by one": worker_sides.dbos_steps_called,
    "DBOS, by its queue": worker_sides.dbos_steps_queued,
}
_UNDOABLE: Final = "sagalog, each step with its undo"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add how much to measure."""
    parser.add_argument("--tasks", type=int, default=2_000, help="tasks of one side in one round (2000)")
    parser.add_argument("--sagas", type=int, default=500, help="sagas of ours in one round (500)")
    parser.add_argument("--workflows", type=int, default=300, help="workflows of DBOS in one round (300)")
    parser.add_argument("--wakes", type=int, default=200, help="tasks given to an idle worker (200)")
    parser.add_argument("--idle", type=float, default=10, help="seconds for which an idle worker is watched (10)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds whose median is shown (5)")


def facts_of(arguments: argparse.Namespace) -> dict[str, object]:
    """Return the size, and the versions of the peers."""
    size = _size(arguments)
    return {
        "durability": "full on every side",
        "tasks": size.tasks,
        "rounds": size.rounds,
        "peers": f"{queue_peers.versions()}, DBOS {version('dbos')}",
    }


def measure(arguments: argparse.Namespace, folder: Path) -> Iterator[Figure]:
    """Yield the waking first, since it needs a quiet machine; then tasks that do nothing; then sagas of three steps."""
    size = _size(arguments)
    yield from worker_wake.measure(folder / "wake.db", size.wakes, size.idle)
    yield from _tasks(folder, size)
    yield from _sagas(folder, size)


def _tasks(folder: Path, size: argparse.Namespace) -> Iterator[Figure]:
    sides = {_OURS: partial(_rate, worker_sides.sagalog_tasks, folder / "ours.db", size.tasks)}
    for number, (name, run) in enumerate(DURABLE.items()):
        sides[name] = partial(_rate, run, folder / f"peer{number}.db", size.tasks)
    for number, (name, run) in enumerate(DBOS_TASKS.items()):
        sides[name] = partial(_rate, run, folder / f"dbos{number}.db", size.workflows)
    rates = interleave(sides, size.rounds)
    for name in sides:
        yield Figure(f"tasks: {name}", spread(rates[name]), "/s")
    fastest = [max(some) for some in zip(*(rates[name] for name in DURABLE), strict=True)]
    yield Figure("tasks: sagalog of the fastest queue", spread(ratios(rates[_OURS], fastest)), "x", Goal(">=", 2.5))
    # A call of DBOS is no queue: no worker has to find the work. Its queue does the same as the others.
    queued = rates["DBOS, by its queue"]
    yield Figure("tasks: sagalog of DBOS by its queue", spread(ratios(rates[_OURS], queued)), "x", Goal(">=", 25))
    called = rates["DBOS, called one by one"]
    yield Figure("tasks: sagalog of DBOS called one by one", spread(ratios(rates[_OURS], called)), "x")


def _sagas(folder: Path, size: argparse.Namespace) -> Iterator[Figure]:
    sides = {
        _OURS: partial(_rate, worker_sides.sagalog_steps, folder / "steps.db", size.sagas),
        _UNDOABLE: partial(_rate, worker_sides.sagalog_sagas, folder / "sagas.db", size.sagas),
    }
    for number, (name, run) in enumerate(DBOS_STEPS.items()):
        sides[name] = partial(_rate, run, folder / f"steps{number}.db", size.workflows)
    rates = interleave(sides, size.rounds)
    for name in sides:
        yield Figure(f"sagas of 3 steps: {name}", spread(rates[name]), "/s")
    fastest = [max(some) for some in zip(*(rates[name] for name in DBOS_STEPS), strict=True)]
    yield Figure("sagas of 3 steps: sagalog of DBOS", spread(ratios(rates[_OURS], fastest)), "x", Goal(">=", 15))
    yield Figure("sagas of 3 steps: with undos, of DBOS", spread(ratios(rates[_UNDOABLE], fastest)), "x")


def _rate(run: Run, path: Path, count: int) -> float:
    return count / run(path, count)


def _size(arguments: argparse.Namespace) -> argparse.Namespace:
    if not arguments.tiny:
        return arguments
    return argparse.Namespace(tasks=30, sagas=10, workflows=3, wakes=3, idle=0.2, rounds=2)

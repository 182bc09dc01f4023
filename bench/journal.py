"""How soon readers have the entries of a journal that a handler writes, in its process and in another one.

Rule: each reader must see every entry once and in order, or the suite breaks. A delay goes from before the `append` to
the reader's next line, on the one monotonic clock of the machine. `python -m bench.journal URL TASK READERS` is the
other process.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import threading
import time
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import sagalog
import sagalog.aio
from bench.report import Figure, Goal, single
from bench.rounds import Spread
from sagalog.worker import WorkContext

SUMMARY: Final = "the delay of readers who follow a journal"

_ROOT: Final = Path(__file__).parents[1]
_GOAL_MS: Final = Goal("<=", 30)
_PATIENCE_MS: Final = 120_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add how many read, how fast the handler writes, and for how long."""
    parser.add_argument("--readers", type=int, default=100, help="how many readers follow the journal")
    parser.add_argument("--rate", type=int, default=200, help="how many entries the handler writes in a second")
    parser.add_argument("--seconds", type=float, default=10.0, help="for how long it writes")


def facts_of(arguments: argparse.Namespace) -> dict[str, object]:
    """Return how many read, and how fast the handler writes."""
    return {"readers": arguments.readers, "entries a second": arguments.rate, "durability": "full"}


def measure(arguments: argparse.Namespace, folder: Path) -> Iterator[Figure]:
    """Measure readers in the writer's process, then as many in another one."""
    readers = 3 if arguments.tiny else arguments.readers
    entries = 20 if arguments.tiny else round(arguments.rate * arguments.seconds)
    plan = {"entries": entries, "rate": arguments.rate}
    yield from _figures("in the writer's process", asyncio.run(_inside(f"sqlite:///{folder}/inside.db", plan, readers)))
    yield from _figures("in another process", _outside(f"sqlite:///{folder}/outside.db", plan, readers))


def _figures(where: str, delays_ms: list[float]) -> Iterator[Figure]:
    delays_ms.sort()
    middle = Spread(delays_ms[len(delays_ms) // 2], delays_ms[0], delays_ms[-1])
    yield Figure(f"readers {where} have an entry after", middle, "ms", _GOAL_MS)
    yield single("99 of 100 entries are there after", delays_ms[len(delays_ms) * 99 // 100], "ms")


async def _inside(url: str, plan: dict[str, int], readers: int) -> list[float]:
    async with sagalog.aio.open(url) as engine:
        task = await engine.create("write", plan)
        following = asyncio.gather(*(_follow(engine, task.id) for _ in range(readers)))
        await asyncio.sleep(0)
        writing = asyncio.create_task(asyncio.to_thread(_work, engine.plain))
        delays = await following
        await writing
    return [one for each in delays for one in each]


def _outside(url: str, plan: dict[str, int], readers: int) -> list[float]:
    with sagalog.open(url) as engine:
        task = engine.create("write", plan)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(word for word in sys.path if word)}
        command = [sys.executable, "-m", "bench.journal", url, task.id, str(readers)]
        other = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=_ROOT, env=environment)
        assert other.stdout is not None
        try:
            assert other.stdout.readline() == b"ready\n"
            _work(engine)
            delays = array("d")
            delays.frombytes(other.stdout.read())
            assert other.wait() == 0, "a reader has missed an entry"
        finally:
            other.kill()
            other.communicate()
    return list(delays)


def _work(engine: sagalog.Engine) -> None:
    worker = sagalog.Worker()

    @worker.task("write", waive_compensation="it only writes a journal")
    def write(context: WorkContext, plan: dict[str, int]) -> None:
        journal = context.journal("tokens")
        began_s = time.monotonic()
        for number in range(plan["entries"]):
            due_s = began_s + number / plan["rate"]
            threading.Event().wait(max(0.0, due_s - time.monotonic()))
            journal.append(str(time.monotonic_ns()).encode())

    worker.run(engine, until="idle")


async def _follow(engine: sagalog.aio.AsyncEngine, task: str) -> array[float]:
    """Follow the journal to its end; return the delay of each entry, in milliseconds."""
    delays = array("d")
    async for entry in engine.journal("tokens", task=task).follow():
        delays.append((time.monotonic_ns() - int(entry.data)) / 1e6)
        if entry.number != len(delays):
            raise RuntimeError(f"entry {len(delays)} was expected and {entry.number} came")
    status = await engine.journal("tokens", task=task).status()
    if status.entries != len(delays):
        raise RuntimeError(f"{len(delays)} of {status.entries} entries came")
    return delays


async def _follow_all(url: str, task: str, readers: int) -> list[array[float]]:
    async with sagalog.aio.open(url) as engine:
        following = asyncio.gather(*(_follow(engine, task) for _ in range(readers)))
        # The readers begin to wait, all of them, before the handler begins.
        await asyncio.sleep(0.5)
        print("ready", flush=True)
        return await following


def main(url: str, task: str, readers: str) -> None:
    """Follow the journal with so many readers, and write their delays as doubles."""
    for delays in asyncio.run(_follow_all(url, task, int(readers))):
        sys.stdout.buffer.write(delays.tobytes())


if __name__ == "__main__":
    main(*sys.argv[1:])

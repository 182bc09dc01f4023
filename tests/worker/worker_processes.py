"""Real workers for tests: in threads of this process, or as processes of their own.

Rule: waits for what is in the log, never for a time; a test that waits in vain fails and shows the log.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import sagalog
from tests import warm_processes

PATIENCE_S = 20.0


@contextmanager
def at_work(worker: sagalog.Worker, engine: sagalog.Engine) -> Iterator[None]:
    """Within the block the worker works in a thread; afterwards it is stopped, at once."""
    thread = threading.Thread(target=worker.run, args=(engine,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        worker.stop()
        thread.join(0.2)
        worker.stop()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def until(engine: sagalog.Engine, id: str, holds: Callable[[sagalog.Task], bool]) -> sagalog.Task:
    """The task once something holds of it."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        changes = engine.changes()
        task = engine.get(id)
        assert task is not None
        if holds(task):
            return task
        assert time.monotonic() < deadline, story(engine, id)
        engine.wait_change(changes, 100)


def ended(engine: sagalog.Engine, id: str) -> sagalog.Task:
    """The task once it has ended."""
    return until(engine, id, lambda task: task.is_terminal)


def story(engine: sagalog.Engine, id: str) -> list[str]:
    """The types of a task's events."""
    return [recorded.type for recorded in engine.history(id)]


class Process:
    """A worker in a process of its own: `python -m tests.worker.process STORE PLACE`."""

    def __init__(self, store: Path, place: Path, name: str = "w") -> None:
        self.place = place
        self._process = warm_processes.start("tests.worker.process", str(store), str(place), name)

    def send(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def wait(self) -> int:
        """Its exit status."""
        return self._process.wait(PATIENCE_S)

    def end(self) -> None:
        """Kill it, if it lives."""
        self._process.kill()
        self._process.communicate(timeout=PATIENCE_S)

    def reached(self, name: str) -> None:
        """Wait until it has left a mark of this name."""
        deadline = time.monotonic() + PATIENCE_S
        while not (self.place / name).exists():
            assert time.monotonic() < deadline, f"the worker never came to {name!r}"
            assert self._process.poll() is None, f"the worker ended before it came to {name!r}"
            time.sleep(0.005)

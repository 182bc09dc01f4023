"""Attempt of a worker at a task, for tests: it keeps what a command leaves, and a test may stop it.

Rule: it keeps the promise of `on_stop` as a worker must: once, from another thread, and at once if it is so already.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import sagalog
from sagalog import Task
from sagalog_command import Command

VARIABLES = {"PATH": os.environ["PATH"], "TZ": "UTC"}


class Attempt:
    """One attempt at a task; the sets of artifacts and progress that it left."""

    def __init__(self) -> None:
        with sagalog.open("memory:") as engine:
            self.task: Task = engine.create("command", {}, id="task-1")
            self.store_id = engine.store_id
        self.attempt = 2
        self.fence = 4_294_967_299
        self.lost = False
        self.cancelled = False
        self.stopping = False
        self.artifacts: dict[str, bytes] = {}
        self.media_types: dict[str, str] = {}
        self.reports: list[Any] = []
        self._callbacks: list[Callable[[], None]] = []
        self._is_stopped = False
        self.stopped_s = 0.0

    def progress(self, value: Any) -> None:
        self.reports.append(value)

    def artifact(self, name: str, data: bytes, *, media_type: str = "application/octet-stream") -> None:
        self.artifacts[name] = data
        self.media_types[name] = media_type

    @contextlib.contextmanager
    def on_stop(self, callback: Callable[[], None]) -> Iterator[None]:
        if self._is_stopped:
            callback()
        self._callbacks.append(callback)
        yield
        self._callbacks.remove(callback)

    def stop(self, *, lost: bool = False) -> None:
        """Let the handler end, as from now."""
        self.lost = lost
        self.cancelled = not lost
        self._is_stopped = True
        self.stopped_s = time.monotonic()
        for callback in self._callbacks:
            callback()

    def stop_once(self, is_time: Callable[[], bool], *, lost: bool = False) -> threading.Thread:
        """Stop as soon as something is so, from another thread."""

        def wait() -> None:
            until(is_time)
            self.stop(lost=lost)

        thread = threading.Thread(target=wait)
        thread.start()
        return thread

    def text(self, name: str) -> str:
        """Give an artifact as text."""
        return self.artifacts[name].decode()


def python(program: str, *words: str, **settings: Any) -> Command:
    """Give a command that runs a program in Python; one without Python's own start-up work."""
    return Command((sys.executable, "-I", "-S", "-c", program, *words), **settings)


def until(is_so: Callable[[], bool], seconds: float = 20) -> None:
    """Wait for what a real process is about to do."""
    end_s = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end_s, "it never came to be"
        time.sleep(0.005)


def is_running(process_id: int) -> bool:
    """Whether a process runs; one that is dead and was not collected does not."""
    try:
        words = Path(f"/proc/{process_id}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return False
    return words[0] not in (b"Z", b"X")

"""The world outside: what sagas have made there, kept in files, by a system that compares fences.

Rule: as a real one should, it refuses a worker with an older fence than it has seen for a task; so a process that
slept beyond its lease makes nothing that another process has taken back. Many processes may use it at a time.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

_SIZE: Final = 200


class Refused(Exception):
    """A worker with a newer fence was here before."""


class World:
    """Effects by task, in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "world"
        self._folder.mkdir(exist_ok=True)

    def make(self, task: str, fence: int, what: str) -> None:
        """Have an effect; raises Refused."""
        with self._fenced(task, fence) as made:
            made.add(what)

    def take_back(self, task: str, fence: int, what: str) -> None:
        """Undo an effect, or what has never been made; raises Refused."""
        with self._fenced(task, fence) as made:
            made.discard(what)

    def of(self, task: str) -> set[str]:
        """What is there of a task."""
        path = self._folder / task
        if not path.exists() or not (text := path.read_text()):
            return set()
        made: list[str] = json.loads(text)["made"]
        return set(made)

    @contextmanager
    def _fenced(self, task: str, fence: int) -> Iterator[set[str]]:
        descriptor = os.open(self._folder / task, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            text = os.pread(descriptor, _SIZE, 0)
            known: dict[str, Any] = json.loads(text) if text else {"fence": 0, "made": []}
            if fence < known["fence"]:
                raise Refused(f"{task}: fence {fence} is older than {known['fence']}")
            made = set(known["made"])
            yield made
            # Always as long, and in one write: a process that is killed here leaves what was there, or all of the new.
            os.pwrite(descriptor, json.dumps({"fence": fence, "made": sorted(made)}).ljust(_SIZE).encode(), 0)
        finally:
            os.close(descriptor)

"""Orphans: processes that a killed holder of a task has left running, found by their environment, and ended.

Rule: an orphan is a process of this user whose environment names this store, this task and a lower fence; never this
process, and none from which it descends. A signal goes by a descriptor that was opened before the environment was read,
so it reaches no later process of the same number. Where the system has no such descriptors, or does not show
environments, there are no orphans. Nothing here waits.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final

_PROCESSES: Final = Path("/proc")
# How long what was killed may take to be gone: it may hang in the kernel.
_KILLED_S: Final = 10.0


@dataclass
class _Found:
    """An orphan; `descriptor` means this process and no later one of its number."""

    descriptor: int
    kill_at_s: float
    is_killed: bool = False


class Orphans:
    """The orphans of one task, until none is left. A context manager."""

    def __init__(self, marks: Mapping[str, str], fence_name: str, fence: int, grace_s: float) -> None:
        """Begin without looking.

        Args:
            marks: the variables, with their values, by which an orphan names its store and its task.
            fence_name: the variable that holds the fence of an orphan.
            fence: the fence of the present holder; only a process with a lower one is an orphan.
            grace_s: the time between SIGTERM and SIGKILL, in seconds.
        """
        self._marks = {name.encode(): value.encode() for name, value in marks.items()}
        self._fence_name = fence_name.encode()
        self._fence = fence
        self._grace_s = grace_s
        self._found: dict[int, _Found] = {}
        self.ended: list[int] = []

    def __enter__(self) -> Orphans:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for found in self._found.values():
            os.close(found.descriptor)
        self._found.clear()

    @property
    def left(self) -> list[int]:
        """The ids of the orphans that were signalled and still run."""
        return sorted(self._found)

    @property
    def is_stuck(self) -> bool:
        """Whether an orphan still runs seconds after it was killed."""
        now_s = time.monotonic()
        return any(each.is_killed and now_s >= each.kill_at_s + _KILLED_S for each in self._found.values())

    def look(self) -> bool:
        """Ask new orphans to end, and kill the others after their grace; tell whether no orphan is left."""
        self._drop_ended()
        for process_id, descriptor in self._search():
            self._found[process_id] = _Found(descriptor, time.monotonic() + self._grace_s)
            _send(descriptor, signal.SIGTERM)
        now_s = time.monotonic()
        for found in self._found.values():
            if not found.is_killed and now_s >= found.kill_at_s:
                found.is_killed = True
                _send(found.descriptor, signal.SIGKILL)
        return not self._found

    def _drop_ended(self) -> None:
        for process_id, found in list(self._found.items()):
            if _has_ended(found.descriptor):
                os.close(found.descriptor)
                del self._found[process_id]
                self.ended.append(process_id)

    def _search(self) -> Iterator[tuple[int, int]]:
        """Give id and descriptor of each orphan that is not known yet."""
        if not (hasattr(os, "pidfd_open") and (_PROCESSES / "self" / "environ").exists()):
            return
        spared = _ancestry()
        for name in os.listdir(_PROCESSES):
            process_id = int(name) if name.isdecimal() else 0
            if not process_id or process_id in spared or process_id in self._found:
                continue
            # What goes away meanwhile, or may not be looked at, is none of ours.
            with contextlib.suppress(OSError):
                descriptor = self._open(process_id)
                if descriptor is not None:
                    yield process_id, descriptor

    def _open(self, process_id: int) -> int | None:
        """Give a descriptor of a process if it is an orphan.

        The descriptor comes first: if its process still lives once the environment is read, both are of one process.
        """
        place = _PROCESSES / str(process_id)
        if os.stat(place).st_uid != os.geteuid() or not self._is_orphan((place / "environ").read_bytes()):
            return None
        descriptor = os.pidfd_open(process_id)
        try:
            if self._is_orphan((place / "environ").read_bytes()) and not _has_ended(descriptor):
                return descriptor
        except OSError:
            os.close(descriptor)
            raise
        os.close(descriptor)
        return None

    def _is_orphan(self, environment: bytes) -> bool:
        variables: dict[bytes, bytes] = {}
        for each in environment.split(b"\0"):
            name, _, value = each.partition(b"=")
            variables.setdefault(name, value)
        if any(variables.get(name) != value for name, value in self._marks.items()):
            return False
        fence = variables.get(self._fence_name, b"")
        return fence.isdigit() and int(fence) < self._fence


def _send(descriptor: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        signal.pidfd_send_signal(descriptor, number)


def _has_ended(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


def _ancestry() -> frozenset[int]:
    """Give the ids of this process and of all processes from which it descends."""
    found: set[int] = set()
    process_id = os.getpid()
    while process_id > 0 and process_id not in found:
        found.add(process_id)
        try:
            # The name of the program is in parentheses and may hold anything: the parent comes after it.
            words = (_PROCESSES / str(process_id) / "stat").read_bytes().rpartition(b")")[2].split()
        except OSError:
            break
        process_id = int(words[1])
    return frozenset(found)

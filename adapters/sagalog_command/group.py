"""Process group: a command, and all that it has started and that has not left for a session of its own.

Rule: nothing here waits for long, and a group is signalled only as long as it is known to be ours. This module knows
neither time limits nor output.
"""

from __future__ import annotations

import atexit
import os
import select
import signal
import subprocess
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

_PROCESSES: Final = Path("/proc")
_DEAD: Final = frozenset((b"Z", b"X"))


class Group:
    """The processes of a run in a session of its own; the runner reads their output through two pipes."""

    def __init__(
        self, words: Sequence[str], cwd: str | None, variables: Mapping[str, str], given: bytes | None
    ) -> None:
        """Start the command.

        Its input is a file and no pipe, so it does not matter whether, by which process and for how long it is read.

        Raises:
            OSError: the command cannot be started.
        """
        with _input(given) as source:
            self._process = subprocess.Popen(  # noqa: S603  running what the task names is what this is for
                list(words),
                stdin=source,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                cwd=cwd,
                env=dict(variables),
                start_new_session=True,
            )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._owner = os.getpid()
        _OPEN.add(self)
        self.stdout: IO[bytes] = self._process.stdout
        self.stderr: IO[bytes] = self._process.stderr
        for stream in (self.stdout, self.stderr):
            os.set_blocking(stream.fileno(), False)
        self.end_descriptor = _watch(self._process.pid)

    def status(self) -> int | None:
        """Give how the command itself has ended, negative for a signal; None while it runs."""
        return self._process.poll()

    def is_alive(self) -> bool:
        """Tell whether any process of the group still runs, the command included."""
        if self._process.poll() is None:
            return True
        try:
            os.killpg(self._process.pid, 0)
        except (ProcessLookupError, PermissionError):
            return False
        # What has ended and was not yet collected by its parent counts as well; where no parent collects it, for ever.
        return _has_living(self._process.pid)

    def send(self, number: signal.Signals) -> None:
        """Signal the whole group; do nothing where no process of it is left."""
        # Some systems refuse to signal what is dead.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def close(self) -> None:
        """Close the pipes and the descriptor."""
        _OPEN.discard(self)
        for stream in (self.stdout, self.stderr):
            stream.close()
        if self.end_descriptor is not None:
            os.close(self.end_descriptor)
            self.end_descriptor = None


# A process that ends while a command runs, as a worker does that was told twice, takes the command along.
_OPEN: Final[weakref.WeakSet[Group]] = weakref.WeakSet()


@atexit.register
def _end_all() -> None:
    for group in list(_OPEN):
        if group._owner == os.getpid() and group.is_alive():
            group.send(signal.SIGKILL)


def read_ready(descriptors: Sequence[int], seconds: float) -> set[int]:
    """Wait until one of the descriptors can be read, or the seconds are over; give those that can be read."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return {descriptor for descriptor, _ in poll.poll(max(0.0, seconds) * 1_000)}


def _input(given: bytes | None) -> IO[bytes]:
    if given is None:
        return open(os.devnull, "rb")
    source = tempfile.TemporaryFile()  # noqa: SIM115  the caller closes it
    source.write(given)
    source.seek(0)
    return source


def _watch(process_id: int) -> int | None:
    """Give a descriptor that can be read once the process has ended; None where the system has none."""
    if hasattr(os, "pidfd_open"):
        with suppress(OSError):
            return os.pidfd_open(process_id)
    return None


def _has_living(group_id: int) -> bool:
    if not (_PROCESSES / "self" / "stat").exists():
        return True
    for name in os.listdir(_PROCESSES):
        if name.isdecimal():
            with suppress(OSError):
                # The name of the program is in parentheses and may hold anything: state and group come after it.
                words = (_PROCESSES / name / "stat").read_bytes().rpartition(b")")[2].split()
                if int(words[2]) == group_id and words[0] not in _DEAD:
                    return True
    return False

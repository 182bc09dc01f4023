"""A command as a process group of its own, and the signals to the process that runs it.

Rule: a wait ends at once when the command ends or a signal comes. It never hangs on what a command leaves behind,
because no pipe leads to the command or from it. It must not know queues.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, Final

_HANG_UP: Final = getattr(signal, "SIGHUP", None)
_STOPPING: Final = tuple(each for each in (signal.SIGTERM, signal.SIGINT, _HANG_UP) if each is not None)
# How long one wait lasts at most; how often to look at a group whose leader has ended: the system reports no other end.
_WAIT_S_MAX: Final = 60.0
_LOOK_S: Final = 0.02


class Signals:
    """The signals of this process during a `with` block: it counts SIGTERM, SIGINT and SIGHUP; SIGCHLD ends a wait.

    Ignored signals stay ignored. SIGHUP counts once: a shell repeats it to its jobs after the terminal.
    """

    def __init__(self) -> None:
        self.stops: list[int] = []
        self._before: dict[int, Any] = {}
        self._pipe = (-1, -1)
        self._wakeup = -1

    def __enter__(self) -> Signals:
        self._pipe = os.pipe()
        for end in self._pipe:
            os.set_blocking(end, False)
        self._wakeup = signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
        for number in (*_STOPPING, signal.SIGCHLD):
            # A shell lets its background jobs ignore Ctrl-C; this must not change that.
            if number == signal.SIGCHLD or signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup)
        for end in self._pipe:
            os.close(end)

    def _note(self, number: int, _: FrameType | None) -> None:
        if number in _STOPPING and not (number == _HANG_UP and number in self.stops):
            self.stops.append(number)

    def wake(self) -> None:
        """End the wait, from another thread."""
        with suppress(BlockingIOError):
            os.write(self._pipe[1], b"\0")

    def wait(self, seconds: float) -> None:
        """Return when a signal has come since the last wait, or when the time is over."""
        select.select([self._pipe[0]], [], [], max(0.0, min(seconds, _WAIT_S_MAX)))
        with suppress(BlockingIOError):
            while os.read(self._pipe[0], 512):
                pass


class Command:
    """One run of a command, in a session of its own; it inherits standard output and standard error."""

    def __init__(self, words: Sequence[str], given: bytes, variables: Mapping[str, str]) -> None:
        """Start it with `given` on standard input.

        Standard input is a file and no pipe, so it does not matter which process reads it, or for how long.

        Raises:
            OSError: the system cannot start it.
        """
        with tempfile.TemporaryFile() as source:
            source.write(given)
            source.seek(0)
            self._process = subprocess.Popen(  # noqa: S603  the user names the command
                list(words), stdin=source, env={**os.environ, **variables}, start_new_session=True
            )
        self._kill_at: float | None = None
        self._is_killed = False

    @property
    def ends(self) -> bool:
        """Tell whether `end` was called."""
        return self._kill_at is not None

    def end(self, grace_s: float) -> bool:
        """Send the whole group SIGTERM; `look` kills the rest after the grace. False: the command had already ended."""
        if self._process.poll() is not None:
            return False
        self._kill_at = time.monotonic() + grace_s
        self._send(signal.SIGTERM)
        return True

    def kill(self) -> None:
        """Kill the whole group."""
        self._is_killed = True
        self._send(signal.SIGKILL)

    def look(self) -> int | None:
        """Return the exit status after the end, negative for a signal; after `end`, once the whole group has ended."""
        status = self._process.poll()
        if self._kill_at is None:
            return status
        if not self._is_killed and time.monotonic() >= self._kill_at:
            self.kill()
        return status if self._is_killed or not self._has_group() else None

    def pause_s(self) -> float:
        """Return how long to wait before the next look, if no signal comes."""
        if self._kill_at is None:
            return _WAIT_S_MAX
        if self._process.returncode is not None:
            return _LOOK_S
        return _WAIT_S_MAX if self._is_killed else self._kill_at - time.monotonic()

    def _send(self, number: int) -> None:
        # If no process is left, or only dead ones (which some systems refuse to signal), there is nothing to do.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def _has_group(self) -> bool:
        try:
            os.killpg(self._process.pid, 0)
        except (ProcessLookupError, PermissionError):
            return False
        return True


def ended_by(status: int) -> str:
    """Return how a command ended without success, as in `exit 3` or `killed by SIGKILL`."""
    if status >= 0:
        return f"exit {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"

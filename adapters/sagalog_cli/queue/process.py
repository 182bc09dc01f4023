"""A command as a process group of its own, and the signals to the process that looks after it.

Rule: waiting ends at once when the command ends or a signal comes, and never hangs on what a command leaves behind: no
pipe leads to it or from it. Knows nothing of queues.
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
# How long one wait lasts at most, and how often a group is looked at whose leader has ended: nothing tells of the rest.
_WAIT_S_MAX: Final = 60.0
_LOOK_S: Final = 0.02


class Signals:
    """SIGTERM, SIGINT and SIGHUP are counted instead of obeyed, while the `with` block lasts; SIGCHLD ends a wait.

    What is ignored stays so. SIGHUP counts once: a shell repeats to its jobs what the terminal has told them.
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
            # A shell lets its background jobs ignore Ctrl-C; that is not ours to change.
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
    """One run of a command, in a session of its own; the other two streams are ours."""

    def __init__(self, words: Sequence[str], given: bytes, variables: Mapping[str, str]) -> None:
        """Start it with `given` on standard input.

        A file and no pipe: whether it is read, by whom, and for how long, is no matter then.

        Raises:
            OSError: it cannot be started.
        """
        with tempfile.TemporaryFile() as source:
            source.write(given)
            source.seek(0)
            self._process = subprocess.Popen(  # noqa: S603  running what the user names is what this is for
                list(words), stdin=source, env={**os.environ, **variables}, start_new_session=True
            )
        self._kill_at: float | None = None
        self._is_killed = False

    @property
    def ends(self) -> bool:
        """Whether `end` was called."""
        return self._kill_at is not None

    def end(self, grace_s: float) -> bool:
        """Ask the whole group to end; `look` kills what has not after the grace. False: it had ended by itself."""
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
        """The exit status once it has ended, negative for a signal; of one that was to end, with its whole group."""
        status = self._process.poll()
        if self._kill_at is None:
            return status
        if not self._is_killed and time.monotonic() >= self._kill_at:
            self.kill()
        return status if self._is_killed or not self._has_group() else None

    def pause_s(self) -> float:
        """How long it makes sense to wait before the next look, if no signal comes."""
        if self._kill_at is None:
            return _WAIT_S_MAX
        if self._process.returncode is not None:
            return _LOOK_S
        return _WAIT_S_MAX if self._is_killed else self._kill_at - time.monotonic()

    def _send(self, number: int) -> None:
        # Where no process is left, or only dead ones (which some systems refuse to signal), there is nothing to do.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def _has_group(self) -> bool:
        try:
            os.killpg(self._process.pid, 0)
        except (ProcessLookupError, PermissionError):
            return False
        return True


def ended_by(status: int) -> str:
    """How a command ended without success, as in `exit 3` or `killed by SIGKILL`."""
    if status >= 0:
        return f"exit {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"

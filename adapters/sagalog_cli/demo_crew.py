"""The worker processes of the demo: each is `sagalog worker`, started, killed, asked to end, and never left behind.

Rule: no worker outlives the demo. In order, each ends on SIGTERM; in disorder, `Crew` kills it with all that it has
started, which is its process group; and if the demo itself is killed, the closed input ends it (`demo_handlers`). Each
is a process group of its own, so Ctrl-C reaches the demo alone. Knows nothing of tasks.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import Final, NoReturn

from sagalog_cli.demo_plan import ENDS_WITH_INPUT

_POLL_MS: Final = 20
_DISMISS_MS: Final = 10_000
_SAID_CHARACTERS_MAX: Final = 500
HANDLERS: Final = "sagalog_cli.demo_handlers:worker"


class DidNotHappen(Exception):
    """Something that the demo is there to show did not come about; the text says what."""


class WorkerProcess:
    """Our end of one `sagalog worker`; what it says goes into a file."""

    def __init__(self, url: str, name: str, folder: Path) -> None:
        self.name = name
        self._said = folder / f"{name}.log"
        # -P: nothing that lies in the user's current folder is taken for a module of ours.
        command = [sys.executable, "-P", "-m", "sagalog_cli", "worker"]
        options = ["--db", url, "--handlers", HANDLERS, "--name", name]
        with open(self._said, "wb") as said:
            self._process = subprocess.Popen(  # noqa: S603  our own interpreter, our own module
                [*command, *options],
                cwd=folder,
                env={**os.environ, ENDS_WITH_INPUT: "1"},
                stdin=subprocess.PIPE,
                stdout=said,
                stderr=said,
                process_group=0,
            )

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    @property
    def exit_status(self) -> int | None:
        """None while it lives; negative for the signal that killed it."""
        return self._process.poll()

    def kill(self) -> None:
        """SIGKILL to it and to whatever it has started; returns when it is dead."""
        # Where no process of the group is left there is nothing to do.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    def ask_to_end(self) -> None:
        """SIGTERM."""
        self._process.terminate()

    def wait(self, timeout_ms: int) -> None:
        """Return when it has ended; raises DidNotHappen after the time."""
        try:
            self._process.wait(timeout_ms / 1_000)
        except subprocess.TimeoutExpired:
            raise DidNotHappen(f"{self.name} did not end when it was asked to") from None

    def close(self) -> None:
        """Leave nothing of it, whatever state it is in."""
        self.kill()
        assert self._process.stdin is not None
        self._process.stdin.close()

    def gone(self) -> DidNotHappen:
        """What to raise where it has ended and should not have: with the end of what it said."""
        said = self._said.read_text(errors="replace")[-_SAID_CHARACTERS_MAX:].strip()
        return DidNotHappen(f"{self.name} ended by itself with exit status {self._process.wait()}: {said}")


class Crew:
    """All workers of one demo: a context manager that lets none of them live on.

    To be entered in the main thread: after `limit_s` seconds the block gets DidNotHappen, wherever it stands.

    Args:
        url: of the store.
        folder: where workers are started, and where their files go.
    """

    def __init__(self, url: str, folder: Path, limit_s: float) -> None:
        self._url = url
        self._folder = folder
        self._limit_s = limit_s
        self._workers: list[WorkerProcess] = []

    def __enter__(self) -> Crew:
        self._handler = signal.signal(signal.SIGALRM, self._too_long)
        signal.setitimer(signal.ITIMER_REAL, self._limit_s)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._handler)
        for worker in self._workers:
            worker.close()

    def _too_long(self, _number: int, _frame: FrameType | None) -> NoReturn:
        raise DidNotHappen(f"the demo did not come to its end within {self._limit_s:g} s")

    def __iter__(self) -> Iterator[WorkerProcess]:
        return iter(self._workers)

    def start(self, name: str) -> WorkerProcess:
        """Start one more; it works as soon as it can."""
        worker = WorkerProcess(self._url, name, self._folder)
        self._workers.append(worker)
        return worker

    def wait_until(self, is_so: Callable[[], bool]) -> None:
        """Return once `is_so()`; raises DidNotHappen when a worker that was not killed has ended."""
        while not is_so():
            for worker in self._workers:
                if worker.exit_status not in (None, -signal.SIGKILL):
                    raise worker.gone()
            time.sleep(_POLL_MS / 1_000)

    def dismiss(self) -> dict[str, int]:
        """Ask all that live to end and wait for it: name -> exit status of every worker."""
        living = [worker for worker in self._workers if worker.exit_status is None]
        for worker in living:
            worker.ask_to_end()
        for worker in living:
            worker.wait(_DISMISS_MS)
        return {worker.name: worker.exit_status or 0 for worker in self._workers}

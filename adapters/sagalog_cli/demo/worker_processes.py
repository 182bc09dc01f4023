"""The worker processes of the demo: each is a `sagalog worker run`, started, killed or stopped, and never left behind.

Rule: no worker outlives the demo. At the end each worker stops on SIGTERM. If the demo breaks off, `WorkerProcesses`
kills each worker with its process group, which holds all that the worker has started. If the demo itself is killed,
each worker ends because its standard input is closed (`handlers`). Ctrl-C reaches the demo alone, since each worker has
a process group of its own. Knows nothing of tasks.
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
from types import TracebackType
from typing import Final

from sagalog_cli.demo.errors import DemoFailed
from sagalog_cli.demo.interruptions import Interruptions
from sagalog_cli.demo.tasks import ENDS_WITH_INPUT

_POLL_MS: Final = 20
_STOP_MS: Final = 10_000
_OUTPUT_CHARACTERS_MAX: Final = 500
HANDLERS: Final = "sagalog_cli.demo.handlers:worker"


class WorkerProcess:
    """The demo's end of one `sagalog worker run`, whose output goes into a file."""

    def __init__(self, url: str, name: str, folder: Path) -> None:
        self.name = name
        self._output = folder / log_of(name)
        # -P: no file in the user's current folder is imported in place of a module.
        command = [sys.executable, "-P", "-m", "sagalog_cli", "worker", "run"]
        options = ["--db", url, "--handlers", HANDLERS, "--name", name]
        with open(self._output, "wb") as output:
            self._process = subprocess.Popen(  # noqa: S603  our own interpreter, our own module
                [*command, *options],
                cwd=folder,
                env={**os.environ, ENDS_WITH_INPUT: "1"},
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                process_group=0,
            )

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    @property
    def exit_status(self) -> int | None:
        """None while it runs; negative for the signal that killed it."""
        return self._process.poll()

    def kill(self) -> None:
        """Send SIGKILL to the worker and to all that it has started; return when the worker is dead."""
        # Where no process of the group is left there is nothing to kill.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._process.terminate()

    def wait(self, timeout_ms: int) -> None:
        """Return when the worker has ended; raises DemoFailed after `timeout_ms`."""
        try:
            self._process.wait(timeout_ms / 1_000)
        except subprocess.TimeoutExpired:
            raise DemoFailed(f"{self.name} did not end within {timeout_ms} ms after SIGTERM") from None

    def close(self) -> None:
        """Leave no process of the worker, whatever state it is in."""
        self.kill()
        assert self._process.stdin is not None
        self._process.stdin.close()

    def unexpected_end(self) -> DemoFailed:
        """Make the error that says how the worker ended by itself, with the end of its output."""
        output = self._output.read_text(errors="replace")[-_OUTPUT_CHARACTERS_MAX:].strip()
        return DemoFailed(f"{self.name} ended by itself with exit status {self._process.wait()}: {output}")


class WorkerProcesses:
    """All workers of one demo: a context manager that leaves no process of them.

    Args:
        url: of the store.
        folder: where workers are started, and where their files go.
        interruptions: none is admitted where the context ends, and none while a worker is started.
    """

    def __init__(self, url: str, folder: Path, interruptions: Interruptions) -> None:
        self._url = url
        self._folder = folder
        self._interruptions = interruptions
        self._workers: list[WorkerProcess] = []

    def __enter__(self) -> WorkerProcesses:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.close()

    def __iter__(self) -> Iterator[WorkerProcess]:
        return iter(self._workers)

    def start(self, name: str) -> WorkerProcess:
        """Start one more worker, which claims as soon as it can."""
        with self._interruptions.held():
            worker = WorkerProcess(self._url, name, self._folder)
            self._workers.append(worker)
        return worker

    def wait_until(self, is_so: Callable[[], bool]) -> None:
        """Return once `is_so()`; raises DemoFailed when a worker has ended that the demo has not killed."""
        while not is_so():
            for worker in self._workers:
                if worker.exit_status not in (None, -signal.SIGKILL):
                    raise worker.unexpected_end()
            time.sleep(_POLL_MS / 1_000)

    def stop(self) -> dict[str, int]:
        """Send SIGTERM to all that run and wait for their ends: name -> exit status of every worker."""
        running = [worker for worker in self._workers if worker.exit_status is None]
        for worker in running:
            worker.terminate()
        for worker in running:
            worker.wait(_STOP_MS)
        return {worker.name: worker.exit_status or 0 for worker in self._workers}


def log_of(name: str) -> str:
    """Name the file in the demo's folder with the output of a worker."""
    return f"{name}.log"

"""The worker processes of the demo: started, told, killed, stopped, woken, and never left behind.

Rule: no worker outlives the demo. In order, each ends when its input is closed; in disorder, `Crew` kills it; and if
the demo itself is killed, closed inputs end the running ones and the kernel ends the stopped one: each is a process
group of its own, and a stopped group whose parent is gone is sent SIGHUP and SIGCONT. So Ctrl-C reaches the demo alone.
Knows nothing of tasks.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Final, Literal, NoReturn

_POLL_MS: Final = 20
_DISMISS_MS: Final = 10_000

Role = Literal["run", "hold_until_killed", "sleep_and_wake"]


class DidNotHappen(Exception):
    """Something that the demo is there to show did not come about; the text says what."""


class WorkerProcess:
    """Our end of one worker process."""

    def __init__(self, url: str, name: str, effects: Path, role: Role) -> None:
        self.name = name
        # -P: nothing that lies in the user's current folder is taken for a module of ours.
        command = [sys.executable, "-P", "-m", "sagalog_cli.demo_worker", url, name, str(effects), role]
        self._process = subprocess.Popen(  # noqa: S603  our own interpreter, our own module
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, process_group=0
        )

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    @property
    def exit_status(self) -> int | None:
        """None while it lives; negative for the signal that killed it."""
        return self._process.poll()

    def tell(self) -> None:
        """Let it go on; raises DidNotHappen if it is gone."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write("go\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._gone() from None

    def hear(self, what: str) -> Any:
        """What it says next, under the name `what`; raises DidNotHappen if it ended or said something else."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._gone()
        message = json.loads(line)
        if what not in message:
            raise DidNotHappen(f"{self.name} was to say {what!r} and said {line.strip()}")
        return message[what]

    def kill(self) -> None:
        """SIGKILL, which a stopped process obeys too; returns when it is dead."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """SIGSTOP; returns when it stands still."""
        os.kill(self.pid, signal.SIGSTOP)
        _, status = os.waitpid(self.pid, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            raise self._gone()

    def wake(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    def close_input(self) -> None:
        """Ask it to end."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()

    def wait(self, timeout_ms: int) -> None:
        """Return when it has ended; raises DidNotHappen after the time."""
        try:
            self._process.wait(timeout_ms / 1_000)
        except subprocess.TimeoutExpired:
            raise DidNotHappen(f"{self.name} did not end when it was asked to") from None

    def close(self) -> None:
        """Leave nothing of it, whatever state it is in."""
        self.kill()
        self.close_input()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _gone(self) -> DidNotHappen:
        return DidNotHappen(f"{self.name} ended by itself with exit status {self._process.wait()}")


class Crew:
    """All workers of one demo: a context manager that lets none of them live on.

    To be entered in the main thread: after `limit_s` seconds the block gets DidNotHappen, wherever it stands.
    """

    def __init__(self, limit_s: float) -> None:
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

    def start(self, url: str, name: str, effects: Path, role: Role) -> WorkerProcess:
        """Start one more; it is not ready yet."""
        worker = WorkerProcess(url, name, effects, role)
        self._workers.append(worker)
        return worker

    def wait_until(self, is_so: Callable[[], bool], alive: Collection[WorkerProcess]) -> None:
        """Return once `is_so()`; raises DidNotHappen when one of those that must be `alive` is not."""
        while not is_so():
            for worker in alive:
                if worker.exit_status is not None:
                    raise DidNotHappen(f"{worker.name} ended by itself with exit status {worker.exit_status}")
            time.sleep(_POLL_MS / 1_000)

    def dismiss(self) -> dict[str, int]:
        """Ask all to end and wait for it: name -> exit status."""
        for worker in self._workers:
            worker.close_input()
        for worker in self._workers:
            worker.wait(_DISMISS_MS)
        return {worker.name: worker.exit_status or 0 for worker in self._workers}

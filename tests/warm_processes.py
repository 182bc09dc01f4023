"""Processes of our own that begin as forks of one that has imported everything: each costs a fraction of a new one.

Rule: what is run is a module with its words, as `python -m` runs it, in a process that has no store, no thread and no
file in common with the test. A test of how an interpreter begins, ends or forks starts a new one.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import sys
from collections.abc import Mapping
from functools import cache
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path

from sagalog import failpoints

ROOT = Path(__file__).parents[1]
# The main module of pytest is imported into each process; the rest is what the modules that we run import.
_IMPORTED = [
    "pytest",
    "sagalog",
    "sagalog.testing",
    "sagalog.worker",
    "sagalog_sqlite.fork_hooks",
    "sagalog_queue",
    __name__,
]


class WarmProcess:
    """A process that runs `python -m MODULE WORDS` with these changes of its environment; its streams are pipes."""

    def __init__(self, module: str, *words: str, environment: Mapping[str, str] | None = None) -> None:
        context = _context()
        its_input, our_input = context.Pipe(duplex=False)
        our_output, its_output = context.Pipe(duplex=False)
        self._process = context.Process(
            target=_run, args=(module, words, dict(environment or {}), its_input, its_output), daemon=True
        )
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid
        for one in (its_input, its_output):
            one.close()
        self.stdin = os.fdopen(os.dup(our_input.fileno()), "w", encoding="utf-8")
        self.stdout = os.fdopen(os.dup(our_output.fileno()), encoding="utf-8")
        for one in (our_input, our_output):
            one.close()

    @property
    def returncode(self) -> int | None:
        """Its exit status, or the signal that killed it as a negative number; None while it lives."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """The same."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status, once it has ended."""
        self._process.join(timeout)
        assert self.returncode is not None, "the process goes on"
        return self.returncode

    def communicate(self, given: str = "", timeout: float | None = None) -> tuple[str, str]:
        """Give it the rest of its input; the rest of its output, once it has ended. Its errors go where ours go."""
        if not self.stdin.closed:
            try:
                self.stdin.write(given)
                self.stdin.close()
            except BrokenPipeError:
                pass
        output = "" if self.stdout.closed else self.stdout.read()
        self.stdout.close()
        self.wait(timeout)
        return output, ""

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it lives."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it, if it lives."""
        self.send_signal(signal.SIGKILL)


@cache
def _context() -> ForkServerContext:
    """Start the process that all others are forks of; it ends with this one."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_IMPORTED)
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *sys.path])
    try:
        forkserver.ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
    return context


def _run(module: str, words: list[str], environment: dict[str, str], given: Connection, told: Connection) -> None:
    for stream, number in ((given, 0), (told, 1)):
        os.dup2(stream.fileno(), number)
        stream.close()
    sys.stdin, sys.stdout = os.fdopen(0, closefd=False), os.fdopen(1, "w", closefd=False)
    os.chdir(ROOT)
    os.environ.update(environment)
    failpoints.arm_from_environment(environment.get("SAGALOG_FAILPOINT"))
    sys.argv = [module, *words]
    runpy.run_module(module, run_name="__main__", alter_sys=True)

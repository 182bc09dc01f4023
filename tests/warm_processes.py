"""Processes of our own that begin as forks of one that has imported everything: a tenth of the price of a new one.

Rule: a process runs a module with its words as `python -m` runs it. It has a pid, streams, an environment, a folder and
handlers of signals of its own, and no store, no thread and no file in common with the test; only the import of what it
runs lies before its begin. A test of how Python begins, forks or ends starts a new interpreter.
"""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import IO, Any, AnyStr, Final, Generic, NamedTuple

from sagalog import failpoints

ROOT: Final = Path(__file__).parents[1]
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Above all descriptors that a test gives to a process.
_HIGH: Final = 512

Stream = IO[bytes] | IO[str] | int | None


class Start(NamedTuple):
    """How a process begins; `descriptors` are the numbers under which it has what it is given, in that order."""

    module: str
    words: Sequence[str]
    environment: Mapping[str, str]
    folder: str
    ignored: Sequence[int]
    descriptors: Sequence[int]


class WarmProcess(Generic[AnyStr]):
    """Our end of such a process, with the names of `subprocess.Popen`. An argument of a stream is one of Popen's.

    Of stdin, stdout and stderr those are there that are pipes.
    """

    def __init__(
        self,
        module: str,
        words: Sequence[str],
        mode: type[AnyStr],
        environment: Mapping[str, str],
        stdin: Stream = subprocess.PIPE,
        stdout: Stream = subprocess.PIPE,
        stderr: Stream = None,
        pass_fds: Sequence[int] = (),
        folder: str | None = None,
    ) -> None:
        self.stdin: IO[AnyStr]
        self.stdout: IO[AnyStr]
        self.stderr: IO[AnyStr]
        self._words: list[str] = [module, *words]
        self._outputs: list[IO[AnyStr]] = []
        self._nothing: AnyStr = mode()
        given: dict[int, Connection] = {number: Connection(os.dup(number)) for number in pass_fds}
        for number, (name, stream) in enumerate((("stdin", stdin), ("stdout", stdout), ("stderr", stderr))):
            if stream is None:
                continue
            if stream == subprocess.PIPE:
                given[number], ours = _pipe(mode, is_input=number == 0)
                setattr(self, name, ours)
                self._outputs += [ours] if number else []
            else:
                given[number] = Connection(_descriptor(stream))
        ignored = [number for number in _SIGNALS if signal.getsignal(number) is signal.SIG_IGN]
        how = Start(module, words, dict(environment), folder or os.getcwd(), ignored, [*given])
        self._process = _context().Process(target=_run, args=(how, [*given.values()]), daemon=True)
        self._process.start()
        for each in given.values():
            each.close()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

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
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self._words, timeout or 0)
        return self.returncode

    def communicate(self, given: AnyStr | None = None, timeout: float | None = None) -> tuple[AnyStr, AnyStr]:
        """Give it the rest of its input; the rest of what it wrote to pipes, once it has ended."""
        got: dict[int, AnyStr] = {}

        def read(stream: IO[AnyStr]) -> None:
            got[id(stream)] = stream.read()

        streams = [each for each in self._outputs if not each.closed]
        readers = [threading.Thread(target=read, args=(each,), daemon=True) for each in streams]
        for reader in readers:
            reader.start()
        if hasattr(self, "stdin") and not self.stdin.closed:
            with suppress(BrokenPipeError), self.stdin:
                if given is not None:
                    self.stdin.write(given)
        for reader in readers:
            reader.join(timeout)
            if reader.is_alive():
                raise subprocess.TimeoutExpired(self._words, timeout or 0)
        for each in self._outputs:
            each.close()
        self.wait(timeout)
        out, err = (got.get(id(getattr(self, name, None)), self._nothing) for name in ("stdout", "stderr"))
        return out, err

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it lives."""
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send it SIGTERM, if it lives."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill it, if it lives."""
        self.send_signal(signal.SIGKILL)


def start(module: str, *words: str, **changes: str) -> WarmProcess[str]:
    """Start one that reads and writes lines of text, with changes of our environment; its errors go where ours go."""
    path = os.pathsep.join([str(ROOT), *sys.path])
    return WarmProcess(module, words, str, {**os.environ, "PYTHONPATH": path, **changes}, folder=str(ROOT))


def _pipe(mode: type[AnyStr], *, is_input: bool) -> tuple[Connection, IO[AnyStr]]:
    """Give the process's end of a new pipe and ours."""
    reads, writes = os.pipe()
    theirs, ours = (reads, writes) if is_input else (writes, reads)
    encoding = "utf-8" if mode is str else None
    how = ("w" if is_input else "r") + ("" if mode is str else "b")
    return Connection(theirs), open(ours, how, encoding=encoding)


def _descriptor(stream: IO[bytes] | IO[str] | int) -> int:
    if stream == subprocess.DEVNULL:
        return os.open(os.devnull, os.O_RDWR)
    return os.dup(stream if isinstance(stream, int) else stream.fileno())


@cache
def _context() -> ForkServerContext:
    """Start the process that all others are forks of; it ends with this one."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.warm_imports", __name__])
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


# --- in the process ---------------------------------------------------------------------------------------------------


def _run(how: Start, given: Sequence[Connection]) -> None:
    _take(how.descriptors, given)
    defaults: dict[int, Callable[..., Any] | signal.Handlers] = {signal.SIGINT: signal.default_int_handler}
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN if number in how.ignored else defaults.get(number, signal.SIG_DFL))
    os.environ.clear()
    os.environ.update(how.environment)
    os.chdir(how.folder)
    # As `python -m` has them there.
    sys.path.insert(0, how.folder)
    sys.argv = [how.module, *how.words]
    failpoints.arm_from_environment(os.environ.get("SAGALOG_FAILPOINT"))
    runpy.run_module(how.module, run_name="__main__", alter_sys=True)


def _take(numbers: Sequence[int], given: Sequence[Connection]) -> None:
    """Have what was given under its numbers, wherever it came in."""
    high = [fcntl.fcntl(each.fileno(), fcntl.F_DUPFD, _HIGH) for each in given]
    for each in given:
        each.close()
    for number, descriptor in zip(numbers, high, strict=True):
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115

"""`sagalog` as a process of its own that is forked off one which has imported everything: a tenth of a process's price.

Rule: nothing here checks. A process has a pid, streams, an environment, a folder and handlers of signals of its own,
and ends as Python ends; only the import of the command lies before its begin. So `calls.run` and `calls.start` are for
what happens at the begin of Python: how words are decoded, which streams are closed, what is imported.
"""

from __future__ import annotations

import atexit
import fcntl
import gc
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from typing import IO, Any

from tests.adapters.cli.calls import ROOT, Answer, environment

_MESSAGE_BYTES_MAX = 200_000
_NUMBER = struct.Struct("i")
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Above all descriptors that a test gives to its process.
_HIGH = 512

Stream = IO[bytes] | int


class Process:
    """Our end of such a process; what `subprocess.Popen` has under these names."""

    def __init__(self, words: Sequence[str], told: int, ours: Sequence[int | None]) -> None:
        stdin, stdout, stderr = ours
        self.stdin: IO[bytes] | None = None if stdin is None else open(stdin, "wb")  # noqa: SIM115
        self.stdout: IO[bytes] | None = None if stdout is None else open(stdout, "rb")  # noqa: SIM115
        self.stderr: IO[bytes] | None = None if stderr is None else open(stderr, "rb")  # noqa: SIM115
        self.returncode: int | None = None
        self._words = words
        self._told = told
        self.pid = self._number()

    def poll(self) -> int | None:
        """Its status, if it has ended."""
        with suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def wait(self, timeout: float | None = None) -> int:
        """Its status, once it has ended."""
        if self.returncode is None:
            if timeout is not None and not select.select([self._told], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(list(self._words), timeout)
            self.returncode = self._number()
            os.close(self._told)
        return self.returncode

    def communicate(self, given: bytes | None = None, timeout: float | None = None) -> tuple[bytes, bytes]:
        """Give it its standard input, and return what it wrote, once it has ended."""
        got = {1: b"", 2: b""}

        def read(number: int, stream: IO[bytes]) -> None:
            with stream:
                got[number] = stream.read()

        streams = [(number, stream) for number, stream in ((1, self.stdout), (2, self.stderr)) if stream is not None]
        readers = [threading.Thread(target=read, args=each, daemon=True) for each in streams if not each[1].closed]
        for reader in readers:
            reader.start()
        if self.stdin is not None and not self.stdin.closed:
            with suppress(BrokenPipeError), self.stdin:
                self.stdin.write(given or b"")
        for reader in readers:
            reader.join(timeout)
            if reader.is_alive():
                raise subprocess.TimeoutExpired(list(self._words), timeout or 0)
        self.wait(timeout)
        return got[1], got[2]

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it has not ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _number(self) -> int:
        number: int
        [number] = _NUMBER.unpack(os.read(self._told, _NUMBER.size))
        return number


def start(
    *words: str,
    stdin: Stream = subprocess.PIPE,
    stdout: Stream = subprocess.PIPE,
    stderr: Stream = subprocess.PIPE,
    env: dict[str, str] | None = None,
    pass_fds: Sequence[int] = (),
    places: str = "",
) -> Process:
    """Start the command as `calls.start` does; `places` are those of `held`, where it stops."""
    pairs = [_pair(stdin, is_input=True), _pair(stdout), _pair(stderr)]
    told, tells = os.pipe()
    request = {
        "words": words,
        "places": places,
        "env": environment() if env is None else env,
        "folder": os.getcwd(),
        "ignored": [number for number in _SIGNALS if signal.getsignal(number) is signal.SIG_IGN],
        "descriptors": [0, 1, 2, *pass_fds],
    }
    message = json.dumps(request).encode()
    socket.send_fds(_server(), [message], [tells, *(theirs for theirs, _, _ in pairs), *pass_fds])
    os.close(tells)
    for theirs, _, is_made in pairs:
        if is_made:
            os.close(theirs)
    return Process(words, told, [ours for _, ours, _ in pairs])


def run(*words: str, given: bytes = b"", **settings: Any) -> Answer:
    """Run the command so, to its end."""
    process = start(*words, **settings)
    out, err = process.communicate(given, timeout=60)
    return Answer(process.wait(), out.decode(errors="replace"), err.decode(errors="replace"))


def _pair(stream: Stream, *, is_input: bool = False) -> tuple[int, int | None, bool]:
    """The process's end of a stream, ours if there is one, and whether its own was made for it."""
    if stream == subprocess.PIPE:
        reads, writes = os.pipe()
        return (reads, writes, True) if is_input else (writes, reads, True)
    if stream == subprocess.DEVNULL:
        return os.open(os.devnull, os.O_RDWR), None, True
    return (stream if isinstance(stream, int) else stream.fileno()), None, False


@cache
def _server() -> socket.socket:
    """The socket of the process off which all others are forked; it ends with this one."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    path = os.pathsep.join([environment()["PYTHONPATH"], str(ROOT)])
    with theirs:
        server = subprocess.Popen(
            [sys.executable, "-m", "tests.adapters.cli.forked", str(theirs.fileno())],
            env=environment(PYTHONPATH=path),
            cwd=ROOT,
            pass_fds=[theirs.fileno()],
            start_new_session=True,  # a Ctrl-C in the terminal of the tests is not for it
        )

    def end() -> None:
        ours.close()
        server.wait()

    atexit.register(end)
    return ours


# --- in the process off which all others are forked -------------------------------------------------------------------


def _import_all() -> None:
    """Import what any command needs, and make sure that no collection of garbage looks at it again."""
    from sagalog_cli.lazy_group import LazyGroup
    from sagalog_cli.main import COMMANDS

    places = [*COMMANDS.values()]
    while places:
        place = places.pop()
        command = getattr(import_module(place.module), place.name)
        if isinstance(command, LazyGroup):
            places += command.places.values()
    import_module("sagalog_sqlite")
    gc.collect()
    gc.freeze()


def _serve(control: socket.socket) -> dict[str, Any] | None:
    """Fork for each request: the request, in the process that is for it, or None once no more can come."""
    running: dict[int, tuple[int, int]] = {}
    while True:
        ready, _, _ = select.select([control.fileno(), *running], [], [])
        for each in ready:
            if each != control.fileno():
                pid, tells = running.pop(each)
                with suppress(BrokenPipeError):
                    os.write(tells, _NUMBER.pack(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])))
                os.close(tells)
                os.close(each)
        if control.fileno() not in ready:
            continue
        message, descriptors, _, _ = socket.recv_fds(control, _MESSAGE_BYTES_MAX, 16)
        if not message:
            return None
        tells, *streams = descriptors
        pid = os.fork()
        if pid == 0:
            request: dict[str, Any] = json.loads(message)
            control.detach()
            _become(request, streams)
            return request
        running[os.pidfd_open(pid)] = pid, tells
        os.write(tells, _NUMBER.pack(pid))
        for each in streams:
            os.close(each)


def _become(request: dict[str, Any], streams: Sequence[int]) -> None:
    """Make this process what the request asks for, with no descriptor but those given."""
    high = [fcntl.fcntl(each, fcntl.F_DUPFD, _HIGH) for each in streams]
    os.closerange(3, _HIGH)
    for number, each in zip(request["descriptors"], high, strict=True):
        os.dup2(each, number)
        os.close(each)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
    defaults: dict[int, Callable[..., Any] | signal.Handlers] = {signal.SIGINT: signal.default_int_handler}
    for number in _SIGNALS:
        is_ignored = number in request["ignored"]
        signal.signal(number, signal.SIG_IGN if is_ignored else defaults.get(number, signal.SIG_DFL))
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["folder"])
    # As `python -m` has it there.
    sys.path.insert(0, request["folder"])


if __name__ == "__main__":
    _import_all()
    request = _serve(socket.socket(fileno=int(sys.argv[1])))
    if request is not None:
        from sagalog_cli import main
        from tests.adapters.cli.held import prepare

        if request["places"]:
            prepare(request["places"])
        main(request["words"], prog_name="sagalog")

"""Real runs of `sagalog demo`, in a pipe and on a terminal, and the processes that belong to them.

Rule: nothing here checks. A run is a session of its own, so that whatever it leaves can be found and ended.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_SECONDS_MAX = 90
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Run:
    """One run that has ended: its exit status, what it printed, and where its temporary files go."""

    status: int
    printed: str
    temporary: Path

    @property
    def plain(self) -> list[str]:
        """What it printed without colours, a line each."""
        return _COLOUR.sub("", self.printed).replace("\r\n", "\n").rstrip("\n").split("\n")

    @property
    def commands(self) -> list[str]:
        """The command lines that it tells its user to try."""
        last = next(place for place, line in enumerate(self.plain) if "checks passed" in line)
        return [line.strip() for line in self.plain[last + 1 :]]


def environment(folder: Path) -> dict[str, str]:
    """Make an environment in which `sagalog` is on the PATH, and the user's git is set up as badly as can be.

    Files of the run go into `folder`: the command, and temporary ones.
    """
    temporary, programs, spoilt = folder / "t", folder / "bin", folder / "gitconfig"
    temporary.mkdir(exist_ok=True)
    programs.mkdir(exist_ok=True)
    program = programs / "sagalog"
    program.write_text(f"#!{sys.executable}\nfrom sagalog_cli import main\n\nmain()\n", encoding="utf-8")
    program.chmod(0o755)
    spoilt.write_text("[user]\n\tuseConfigOnly = true\n[commit]\n\tgpgSign = true\n[core]\n\thooksPath = /nowhere\n")
    return {
        **os.environ,
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(sys.path),
        "TMPDIR": str(temporary),
        "TERM": "xterm",
        "GIT_CONFIG_GLOBAL": str(spoilt),
        "GIT_DIR": "/nowhere/.git",
        "GIT_AUTHOR_DATE": "no date",
    }


def in_a_pipe(folder: Path, *options: str) -> Run:
    """Run the demo to its end with pipes, in `folder`; standard error has to stay empty."""
    done = subprocess.run(
        ["sagalog", "demo", *options],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=_SECONDS_MAX,
        check=False,
    )
    return Run(done.returncode, done.stdout + done.stderr, folder / "t")


class Terminal:
    """A demo on a terminal of its own."""

    def __init__(self, folder: Path, columns: int, *options: str) -> None:
        surroundings = environment(folder)
        words = ["sagalog", "demo", *options]
        self.temporary = folder / "t"
        self._printed = b""
        self._status: int | None = None
        # Before the fork, so that the child has its size from the beginning.
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self._process = subprocess.Popen(
            # A new session, in which the terminal becomes the one that Ctrl-C comes from.
            [sys.executable, "-c", _ON_TERMINAL, *words],
            cwd=folder,
            env=surroundings,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        self._master = master

    @property
    def session(self) -> int:
        """The id of the demo's session, which its workers belong to."""
        return self._process.pid

    def read_until(self, words: str) -> None:
        """Read until these words have been printed."""
        while words not in self._printed.decode(errors="replace"):
            assert self._read(), f"it ended without {words!r}: {self._printed!r}"

    def type(self, *keys: int) -> None:
        """Type keys: 3 is Ctrl-C."""
        os.write(self._master, bytes(keys))

    def kill(self, number: signal.Signals) -> None:
        """Send a signal to the demo alone."""
        os.kill(self.session, number)

    def end(self) -> Run:
        """Read to the end."""
        while self._read():
            pass
        status = self._process.wait(_SECONDS_MAX)
        return Run(status, self._printed.decode(errors="replace"), self.temporary)

    def close(self) -> None:
        """Leave nothing of the session."""
        for pid in living(self.session):
            os.kill(pid, signal.SIGKILL)
        self._process.wait(_SECONDS_MAX)
        os.close(self._master)

    def _read(self) -> bool:
        ready, _, _ = select.select([self._master], [], [], _SECONDS_MAX)
        assert ready, f"nothing came for {_SECONDS_MAX} s after {self._printed!r}"
        try:
            read = os.read(self._master, 4_096)
        except OSError:
            # The other end of the terminal is closed.
            return False
        self._printed += read
        return bool(read)


_ON_TERMINAL = """\
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""


@contextmanager
def on_a_terminal(folder: Path, columns: int = 80, *options: str) -> Iterator[Terminal]:
    """Start the demo on a terminal of so many columns; nothing of it is left afterwards."""
    terminal = Terminal(folder, columns, *options)
    try:
        yield terminal
    finally:
        terminal.close()


def living(session: int) -> list[int]:
    """List the processes of a session that are not dead, from the list of the operating system."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == session and fields[0] != "Z":
                found.append(int(entry.name))
    return found


def gone(session: int, within_s: float = 20) -> bool:
    """Tell whether no process of a session is left, now or soon: the operating system takes a moment to end them."""
    deadline = time.monotonic() + within_s
    while living(session):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True

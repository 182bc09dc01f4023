"""The command `sagalog` on a terminal: a pty of some width behind standard error, and behind standard output if asked.

Rule: nothing here checks, and nothing waits: what was written is read to its end.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Sequence
from typing import IO, Any, NamedTuple

from tests.adapters.cli.calls import environment
from tests.adapters.cli.forked import start

_CONTROLS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Shown(NamedTuple):
    """How a command ended; what the terminal got, raw; and what standard output got where that is a pipe."""

    status: int
    raw: str
    out: str

    @property
    def frames(self) -> list[str]:
        """What was in a line of the terminal, one after another, without what only steers it."""
        return [text for text in (_CONTROLS.sub("", one).rstrip() for one in re.split(r"[\r\n]", self.raw)) if text]


def on_terminal(
    *words: str,
    columns: int = 80,
    stdin: IO[bytes] | int = subprocess.DEVNULL,
    given: bytes | None = None,
    answers_too: bool = False,
    places: str = "",
    program: Sequence[str] = (),
    **changes: str,
) -> Shown:
    """Run it to its end.

    `answers_too`: standard output is the terminal as well; `places` are those of `held`; `program`: what Python runs in
    place of the command; `changes` are of the environment.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    env = {**environment(), "TERM": "xterm", **changes}
    streams: dict[str, Any] = {"stdin": stdin if given is None else subprocess.PIPE, "stderr": theirs}
    streams["stdout"] = theirs if answers_too else subprocess.PIPE
    process = (
        subprocess.Popen([sys.executable, *program, *words], env=env, **streams)
        if program
        else start(*words, env=env, places=places, **streams)
    )
    os.close(theirs)
    read = bytearray()
    reader = threading.Thread(target=_read, args=(ours, read))
    reader.start()
    out, _ = process.communicate(given, timeout=60)
    reader.join()
    os.close(ours)
    return Shown(process.wait(), read.decode(), (out or b"").decode())


def _read(terminal: int, read: bytearray) -> None:
    try:
        while some := os.read(terminal, 65_536):
            read += some
    except OSError:
        pass  # As Linux tells that no process has the other end open.

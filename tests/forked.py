"""Programs in processes of their own that need not import sagalog first: one process has, and forks for each.

Rule: a program has its folder, its streams and its exit status as if it had been started by itself. Of sagalog only
what `import sagalog` itself imports is there, so that a program which leaves out an import fails.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[1]
# Beside sagalog what others have made: no module of ours, which would hide that a program does not import it.
_IMPORTED: Final = ("asyncio", "concurrent.futures.thread", "pytest", "sagalog", "starlette.applications")
_SECONDS_MAX: Final = 60


class Ended(NamedTuple):
    """How a program ended, and what it wrote."""

    status: int
    out: str
    err: str


class Forks:
    """The process that forks; a test gives it one program after the other."""

    def __init__(self, server: subprocess.Popen[str]) -> None:
        self._server = server

    def run(self, program: Path, streams: Path) -> Ended:
        """Run a program in its folder, to its end; its output goes by files in the folder `streams`."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        paths = [str(program), str(streams / "out"), str(streams / "err")]
        self._server.stdin.write(f"{json.dumps(paths)}\n")
        self._server.stdin.flush()
        status = int(self._server.stdout.readline())
        return Ended(status, *(Path(path).read_text(encoding="utf-8") for path in paths[1:]))


@contextmanager
def forking() -> Iterator[Forks]:
    """Start the process that forks; it ends with its standard input."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.forked"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        yield Forks(server)


def _next_program() -> str:
    """Fork for each line of standard input; in the child, give its program, and at the end of the lines none: ""."""
    while line := sys.stdin.readline():
        program, *outputs = json.loads(line)
        child = os.fork()
        if child == 0:
            os.chdir(Path(program).parent)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            for number, path in enumerate(outputs, 1):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
            signal.alarm(_SECONDS_MAX)
            return str(program)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)  # noqa: T201  the answer
    return ""


if __name__ == "__main__":
    for name in _IMPORTED:
        importlib.import_module(name)
    # A child need not touch the memory of what is there already.
    gc.freeze()
    if program := _next_program():
        sys.argv[:] = [program]
        sys.path[0] = str(Path(program).parent)
        runpy.run_path(program, run_name="__main__")

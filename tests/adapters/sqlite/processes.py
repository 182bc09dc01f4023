"""Our end of a member: start it, talk to it, see how it ended. The other end is `store_member.py`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[3]


def start(path: Path, *words: object, failpoint: str | None = None, under: Sequence[str] = ()) -> subprocess.Popen[str]:
    """Another process with a store on `path`: killed at `failpoint`, run by the command `under`, if they are given."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    if failpoint is not None:
        environment["SAGALOG_FAILPOINT"] = failpoint
    return subprocess.Popen(
        [*under, sys.executable, "-m", "tests.adapters.sqlite.store_member", str(path), *map(str, words)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment,
    )


def hear(process: subprocess.Popen[str]) -> str:
    """The member's next line."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def run(path: Path, *words: object, failpoint: str | None = None, under: Sequence[str] = ()) -> tuple[int, list[str]]:
    """Run a member to its end: its exit status and its lines."""
    process = start(path, *words, failpoint=failpoint, under=under)
    output, _ = process.communicate("\n", timeout=60)
    return process.returncode, output.splitlines()

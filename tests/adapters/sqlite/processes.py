"""Our end of a member: start it, talk to it, see how it ended. The other end is `store_member.py`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests import warm_processes
from tests.warm_processes import ROOT, WarmProcess

_MEMBER: Final = "tests.adapters.sqlite.store_member"


def start(path: Path, *words: object, failpoint: str | None = None) -> WarmProcess[str]:
    """Another process with a store on `path`, killed at `failpoint` if that is given."""
    changes = {} if failpoint is None else {"SAGALOG_FAILPOINT": failpoint}
    return warm_processes.start(_MEMBER, str(path), *map(str, words), **changes)


def hear(process: WarmProcess[str]) -> str:
    """The member's next line."""
    return process.stdout.readline().strip()


def run(path: Path, *words: object, failpoint: str | None = None) -> tuple[int, list[str]]:
    """Run a member to its end: its exit status and its lines."""
    process = start(path, *words, failpoint=failpoint)
    output, _ = process.communicate("\n", timeout=60)
    return process.wait(), output.splitlines()


def run_anew(path: Path, *words: object, under: Sequence[str] = ()) -> tuple[int, list[str]]:
    """Run a member so by a new interpreter, below the command `under` if that is given."""
    done = subprocess.run(
        [*under, sys.executable, "-m", _MEMBER, str(path), *map(str, words)],
        input="\n",
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    return done.returncode, done.stdout.splitlines()

"""The user instructions of a lifecycle beside raw, of each call, of a task in a batch and of one by a busy worker.

Rule: valgrind counts them; they depend neither on other programs nor on the speed of the machine.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from bench.cost_lives import BATCH, SIDES
from bench.plan import Plan
from bench.report import Figure, Goal, single

_LIFECYCLE: Final = 900_000


def measure(plan: Plan) -> Iterator[Figure]:
    """Yield one figure a side; none if valgrind is not installed."""
    if shutil.which("valgrind") is None or plan.tiny:
        return
    for number, side in enumerate(("raw", *SIDES)):
        many = side not in ("raw", "lifecycle")
        few, more = (BATCH, 5 * BATCH) if many else (50, 250)
        goal = Goal("<=", _LIFECYCLE) if side == "lifecycle" else None
        named = "a lifecycle of raw SQLite" if side == "raw" else side
        found = instructions(plan.folder / str(number), side, few, more)
        yield single(f"user instructions a task: {named}", found, "", goal)


def instructions(folder: Path, side: str, few: int, many: int) -> float:
    """Return the user instructions of one lifecycle, or of one task's part of a call."""
    folder.mkdir()
    # The first run compiles modules that were never imported before, and does not count.
    _, fewer, more = (_counted(folder / str(turn), side, count) for turn, count in enumerate((few, few, many)))
    return (more - fewer) / (many - few)


def _counted(folder: Path, side: str, count: int) -> int:
    folder.mkdir()
    command = [
        *("valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"),
        *(sys.executable, "-m", "bench.cost_lives", side, str(count), str(folder)),
    ]
    done = subprocess.run(
        command,
        check=True,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": "0"},
    )
    found = re.search(r"I\s+refs:\s+([\d,]+)", done.stderr)
    if found is None:
        raise AssertionError(f"valgrind reports no number of instructions: {done.stderr[-500:]}")
    return int(found.group(1).replace(",", ""))

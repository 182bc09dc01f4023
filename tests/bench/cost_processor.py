"""What a lifecycle takes of the processor: user instructions where valgrind is present, and processor time beside raw.

Rule: instructions do not depend on what else runs; processor time is measured in turns with raw SQLite that writes the
same rows, and only the ratio is a figure of ours.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from tests.bench.core_lifecycle import Contest
from tests.bench.plan import Plan
from tests.bench.report import Figure, Goal, single
from tests.bench.rounds import ratios, spread
from tests.bench.tape import record

_INSTRUCTIONS: Final = 900_000
_OF_RAW: Final = 2.4
# Lifecycles of one turn, and about how many turns fit into a second.
_TURN: Final = 25
_TURNS_A_SECOND: Final = 60


def measure(plan: Plan) -> Iterator[Figure]:
    """Instructions of both sides, and processor time of sagalog as a multiple of raw."""
    if shutil.which("valgrind") is not None and not plan.tiny:
        ours, theirs = (instructions(plan.folder, side, 50, 250) for side in ("sagalog", "raw"))
        yield single("user instructions of a lifecycle: sagalog", ours, "", Goal("<=", _INSTRUCTIONS))
        yield single("user instructions of a lifecycle: raw SQLite", theirs, "")
    yield from _times(plan)


def instructions(folder: Path, side: str, few: int, many: int) -> float:
    """User instructions of one lifecycle."""
    # The first run compiles what was never imported before, and is not counted.
    _, fewer, more = (_counted(folder / f"{side}-{turn}", side, count) for turn, count in enumerate((few, few, many)))
    return (more - fewer) / (many - few)


def _times(plan: Plan) -> Iterator[Figure]:
    turns = max(1, round(plan.seconds * _TURNS_A_SECOND))
    tape = record(plan.folder / "tape.db", _TURN * turns)
    contest = Contest(plan.folder, tape, "normal")
    seconds: dict[str, list[float]] = {"sagalog": [], "raw": []}
    for _ in range(plan.rounds):
        with ExitStack() as stack:
            pieces = {"sagalog": stack.enter_context(contest.sagalog()), "raw": stack.enter_context(contest.raw())}
            taken = dict.fromkeys(pieces, 0.0)
            for turn in range(turns):
                for name in reversed(pieces) if turn % 2 else pieces:
                    began = time.process_time()
                    pieces[name]()
                    taken[name] += time.process_time() - began
        for name, total in taken.items():
            seconds[name].append(1e6 * total / (_TURN * turns))
    yield Figure("processor time of a lifecycle: sagalog", spread(seconds["sagalog"]), "us")
    yield Figure("processor time of a lifecycle: raw SQLite", spread(seconds["raw"]), "us")
    share = spread(ratios(seconds["sagalog"], seconds["raw"]))
    yield Figure("processor time of a lifecycle: sagalog of raw", share, "x", Goal("<=", _OF_RAW))


def _counted(folder: Path, side: str, count: int) -> int:
    folder.mkdir()
    command = [
        *("valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"),
        *(sys.executable, "-m", "tests.bench.cost_lives", side, str(count), str(folder)),
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
        raise AssertionError(f"valgrind says no number of instructions: {done.stderr[-500:]}")
    return int(found.group(1).replace(",", ""))

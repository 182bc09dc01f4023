"""The processor time of a lifecycle, beside that of raw SQLite.

Rule: it takes turns with raw SQLite that writes the same rows, and only the ratio counts as a figure of sagalog.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Final

from bench.core_lifecycle import Contest
from bench.plan import Plan
from bench.report import Figure, Goal
from bench.rounds import ratios, spread
from bench.tape import record

_OF_RAW: Final = 2.4
# Lifecycles of one turn, and roughly how many turns a second has.
_TURN: Final = 25
_TURNS_A_SECOND: Final = 60


def measure(plan: Plan) -> Iterator[Figure]:
    """Yield the processor time of both sides, and their ratio."""
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

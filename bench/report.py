"""The report of a measurement: figures beside their goals, one a line, printed as soon as they are known.

Rule: it shows each figure with its noise and its goal, if it has one, and rounds nothing before it compares.
"""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import apsw

from bench.rounds import Spread, spread
from sagalog_sqlite.creation import PAGE_SIZE

_LINE = "{name:<58} {value:>12} {unit:<8} {noise:>23}  {goal:<12} {verdict}"


@dataclass(frozen=True)
class Goal:
    """A bound, and the side of it on which a figure should be."""

    sense: Literal[">=", "<="]
    bound: float

    def is_met(self, value: float) -> bool:
        """Tell whether the value is on the right side; the bound itself is."""
        return value >= self.bound if self.sense == ">=" else value <= self.bound


@dataclass(frozen=True)
class Figure:
    """One line: what was measured, its unit, and its goal, if any. The `unit` "x" is a ratio."""

    name: str
    spread: Spread
    unit: str
    goal: Goal | None = None

    @property
    def is_missed(self) -> bool:
        """Tell whether it has a goal and its median misses it."""
        return self.goal is not None and not self.goal.is_met(self.spread.median)


def single(name: str, value: float, unit: str, goal: Goal | None = None) -> Figure:
    """Make a figure that is counted once, and so has no noise."""
    return Figure(name, spread([value]), unit, goal)


def facts(folder: Path, **more: object) -> str:
    """Return the facts of the machine that matter for the figures; `more` is what the suite adds.

    The load and the time of a sync show whether other programs were using the machine and its disk.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    words = [
        f"{cores} cores",
        f"Python {platform.python_version()}",
        f"SQLite {apsw.sqlite_lib_version()}",
        f"apsw {apsw.apsw_version()}",
        f"page size {PAGE_SIZE}",
        f"load {os.getloadavg()[0]:.1f}",
        f"sync {_sync_us(folder):.0f} us",
        *(f"{name.replace('_', ' ')} {value}" for name, value in more.items()),
    ]
    return ", ".join(words)


def _sync_us(folder: Path) -> float:
    """Return the median time of a sync of 12 KB at the end of a file, which is about a small commit."""
    taken = []
    with (folder / "sync").open("wb", buffering=0) as file:
        for _ in range(30):
            file.write(bytes(12 * 1024))
            started = time.perf_counter()
            os.fdatasync(file.fileno())
            taken.append((time.perf_counter() - started) * 1e6)
    return statistics.median(taken)


def show(figures: Iterable[Figure]) -> list[Figure]:
    """Print each figure as soon as it is there; return those that missed their goal."""
    head = _LINE.format(name="", value="median", unit="", noise="min..max", goal="goal", verdict="")
    print(head.rstrip(), flush=True)
    missed = []
    for figure in figures:
        print(line(figure), flush=True)
        if figure.is_missed:
            missed.append(figure)
    return missed


def line(figure: Figure) -> str:
    """Return the figure as a printed line."""
    goal, measured = figure.goal, figure.spread
    alone = measured.lowest == measured.highest
    return _LINE.format(
        name=figure.name,
        value=_number(measured.median),
        unit=figure.unit,
        noise="" if alone else f"{_number(measured.lowest)}..{_number(measured.highest)}",
        goal="" if goal is None else f"{goal.sense} {_number(goal.bound)}",
        verdict="" if goal is None else "missed" if figure.is_missed else "ok",
    ).rstrip()


def _number(value: float) -> str:
    """Format three significant figures, and no more digits than a reader can use."""
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 1 else f"{value:.3f}"

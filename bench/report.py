"""What a measurement says: figures beside their goals, one a line, printed as they come.

Rule: a figure is shown with its noise and, where it has one, its goal; nothing is rounded before it is compared.
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
    """A bound, and on which side of it a figure should lie."""

    sense: Literal[">=", "<="]
    bound: float

    def is_met(self, value: float) -> bool:
        """Whether the value lies on the right side; the bound itself does."""
        return value >= self.bound if self.sense == ">=" else value <= self.bound


@dataclass(frozen=True)
class Figure:
    """One line: what was measured, in which unit, and which goal it has, if any. `unit` "x" is a ratio."""

    name: str
    spread: Spread
    unit: str
    goal: Goal | None = None

    @property
    def is_missed(self) -> bool:
        """Whether it has a goal and its median does not meet it."""
        return self.goal is not None and not self.goal.is_met(self.spread.median)


def single(name: str, value: float, unit: str, goal: Goal | None = None) -> Figure:
    """A figure that is counted once, and so has no noise."""
    return Figure(name, spread([value]), unit, goal)


def facts(folder: Path, **more: object) -> str:
    """The machine, as far as it matters for reading the figures; `more` is what the suite adds.

    The load and the time of a sync tell whether others were using the machine and its disk.
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
    """The median time of making 12 KB durable at the end of a file, as a small commit does."""
    taken = []
    with (folder / "sync").open("wb", buffering=0) as file:
        for _ in range(30):
            file.write(bytes(12 * 1024))
            started = time.perf_counter()
            os.fdatasync(file.fileno())
            taken.append((time.perf_counter() - started) * 1e6)
    return statistics.median(taken)


def show(figures: Iterable[Figure]) -> list[Figure]:
    """Print each figure when it is there; returns those that missed their goal."""
    head = _LINE.format(name="", value="median", unit="", noise="min..max", goal="goal", verdict="")
    print(head.rstrip(), flush=True)
    missed = []
    for figure in figures:
        print(line(figure), flush=True)
        if figure.is_missed:
            missed.append(figure)
    return missed


def line(figure: Figure) -> str:
    """The figure as it is printed."""
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
    """Three figures that matter, and no more digits than a reader can use."""
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 1 else f"{value:.3f}"

"""Measuring in rounds: sides take turns within one run, and the median counts.

Rule: it compares only figures of the same run, in alternating order, so that a slow moment of the machine slows every
side. It must not know what is measured.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass

# A side returns a figure. A worker opens a function that does a little work at each call.
Side = Callable[[], float]
Worker = Callable[[], AbstractContextManager[Callable[[], object]]]


@dataclass(frozen=True)
class Spread:
    """The results of some rounds: their median, and the lowest and highest as the noise."""

    median: float
    lowest: float
    highest: float


def spread(values: Iterable[float]) -> Spread:
    """Return the spread of at least one value."""
    ordered = sorted(values)
    return Spread(statistics.median(ordered), ordered[0], ordered[-1])


def part_of(values: Iterable[float], part: float) -> float:
    """Return the value that this part of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


def interleave(sides: Mapping[str, Side], rounds: int) -> dict[str, list[float]]:
    """Measure every side once a round, every other round in reverse order; return side -> one figure a round."""
    measured: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        names = list(sides)
        for name in reversed(names) if number % 2 else names:
            # No side pays for the garbage of the one before it.
            gc.collect()
            measured[name].append(sides[name]())
    return measured


def take_turns(workers: Mapping[str, Worker], rounds: int, turns: int) -> dict[str, list[float]]:
    """Have every worker do `turns` pieces of work a round, in turns; return worker -> seconds of each round.

    A round opens all of them afresh and closes them at its end; neither counts. Pieces of some milliseconds expose
    every worker to the same disturbances of a shared machine or disk.
    """
    measured: dict[str, list[float]] = {name: [] for name in workers}
    for _ in range(rounds):
        with ExitStack() as stack:
            pieces = [(name, stack.enter_context(opened())) for name, opened in workers.items()]
            gc.collect()
            seconds = dict.fromkeys(workers, 0.0)
            for turn in range(turns):
                for name, piece in reversed(pieces) if turn % 2 else pieces:
                    started = time.perf_counter()
                    piece()
                    seconds[name] += time.perf_counter() - started
        for name, taken in seconds.items():
            measured[name].append(taken)
    return measured


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Return the ratio of two sides round by round: a slow moment of the machine is in both and cancels out."""
    return [one / other for one, other in zip(above, below, strict=True)]

"""The suite `cost`: what a call costs of the processor, of SQLite and of the disk, counted as far as possible.

Rule: a timed figure is compared with raw SQLite in the same interleaved run. A counted figure needs no comparison and
does not depend on other work of the machine. This file only chooses; each part counts one thing.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from bench import cost_calls, cost_disk, cost_instructions, cost_processor
from bench.plan import Plan
from bench.report import Figure

SUMMARY: Final = "instructions, processor time, functions, statements, syncs, WAL pages and bytes on disk of each call"

PARTS: Final[Mapping[str, Callable[[Plan], Iterator[Figure]]]] = {
    "instructions": cost_instructions.measure,
    "processor": cost_processor.measure,
    "calls": cost_calls.measure,
    "disk": cost_disk.measure,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add which parts to measure, and for how long."""
    parser.add_argument("--rounds", type=int, default=7, help="rounds whose median is shown (7)")
    parser.add_argument("--seconds", type=float, default=0.5, help="about how long one side takes in one round (0.5)")
    parser.add_argument("--only", type=_parts, default=tuple(PARTS), help=f"parts, with commas: {','.join(PARTS)}")


def facts_of(arguments: argparse.Namespace) -> dict[str, object]:
    """Return the durability: full for syncs, normal for all else."""
    return {"durability": "full for syncs, else normal", "rounds": _plan(arguments, Path()).rounds}


def measure(arguments: argparse.Namespace, folder: Path) -> Iterator[Figure]:
    """Measure the chosen parts, each in a folder of its own."""
    for name in arguments.only:
        own = folder / name
        own.mkdir()
        yield from PARTS[name](_plan(arguments, own))


def _plan(arguments: argparse.Namespace, folder: Path) -> Plan:
    if arguments.tiny:
        return Plan(folder, rounds=2, seconds=0.02, tiny=True)
    return Plan(folder, arguments.rounds, arguments.seconds)


def _parts(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    unknown = sorted(set(names) - set(PARTS))
    if unknown:
        raise argparse.ArgumentTypeError(f"no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    return names

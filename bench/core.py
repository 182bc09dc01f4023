"""The suite `core`: the figures of one process on one SQLite file, against the goals of the core.

Rule: this file only chooses; each part measures one thing in a module of its own.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from bench import (
    core_claim,
    core_crowds,
    core_dependants,
    core_fold,
    core_heartbeat,
    core_large,
    core_lifecycle,
    core_limits,
    core_threads,
)
from bench.plan import Plan
from bench.report import Figure

SUMMARY: Final = (
    "lifecycles and batches beside raw SQLite, threads, claims among a million tasks, folds, heartbeats, dependants, "
    "limits"
)

PARTS: Final[Mapping[str, Callable[[Plan], Iterator[Figure]]]] = {
    "lifecycle": core_lifecycle.measure,
    "batches": core_lifecycle.measure_together,
    "threads": core_threads.measure,
    "claim": core_claim.measure,
    "fold": core_fold.measure,
    "heartbeat": core_heartbeat.measure,
    "large": core_large.measure,
    "dependants": core_dependants.measure,
    "held": core_crowds.measure_held,
    "delayed": core_crowds.measure_delayed,
    "limits": core_limits.measure,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add which parts to measure, and for how long."""
    parser.add_argument("--rounds", type=int, default=7, help="rounds whose median is shown (7)")
    parser.add_argument("--seconds", type=float, default=1.0, help="about how long one side takes in one round (1)")
    parser.add_argument("--only", type=_parts, default=tuple(PARTS), help=f"parts, with commas: {','.join(PARTS)}")


def facts_of(arguments: argparse.Namespace) -> dict[str, object]:
    """Return the durability, which differs by part: a figure without one was measured at normal."""
    return {"durability": "full where said, else normal", "rounds": _plan(arguments, Path()).rounds}


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

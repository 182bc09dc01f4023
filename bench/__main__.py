"""The command `python -m bench SUITE`: it runs one suite of measurements and prints its figures beside their goals.

Rule: a suite is one module with SUMMARY, `add_arguments`, `facts_of` and `measure`, and one line in SUITES. A
measurement is no test: the status is 0 unless the suite breaks, or `--check` was given and a figure misses its goal.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol, cast

from bench.report import Figure, facts, show

# Name -> module.
SUITES = {
    "core": "bench.core",
    "cost": "bench.cost",
    "gateway": "bench.gateway",
    "journal": "bench.journal",
    "queue": "bench.queue",
    "race": "bench.race",
    "schema": "bench.schema",
    "worker": "bench.worker",
}


class Suite(Protocol):
    """The interface of a suite's module."""

    SUMMARY: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the suite's own arguments; `tiny`, `check` and `folder` exist already."""
        ...

    def facts_of(self, arguments: argparse.Namespace) -> dict[str, object]:
        """Return what the first line says beside the machine."""
        ...

    def measure(self, arguments: argparse.Namespace, folder: Path) -> Iterator[Figure]:
        """Measure, and yield the figures one by one; `folder` is empty, and removed afterwards."""
        ...


def main(words: Sequence[str] | None = None) -> int:
    """Run the suite that the words name; return the exit status."""
    arguments = _parser().parse_args(words)
    suite: Suite = arguments.suite
    with tempfile.TemporaryDirectory(prefix="sagalog-bench-", dir=arguments.folder) as folder:
        print(facts(Path(folder), **suite.facts_of(arguments)), flush=True)
        missed = show(suite.measure(arguments, Path(folder)))
    return 1 if missed and arguments.check else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure sagalog.")
    suites = parser.add_subparsers(required=True, metavar="SUITE")
    for name, module in SUITES.items():
        suite = cast(Suite, importlib.import_module(module))
        one = suites.add_parser(name, help=suite.SUMMARY, description=suite.SUMMARY)
        one.set_defaults(suite=suite)
        one.add_argument("--tiny", action="store_true", help="measure so little that it only shows that the suite runs")
        one.add_argument("--check", action="store_true", help="end with 1 if a figure misses its goal")
        one.add_argument("--folder", help="where to make the files (the disk to measure)")
        suite.add_arguments(one)
    return parser


if __name__ == "__main__":
    sys.exit(main())

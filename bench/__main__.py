"""`python -m bench SUITE`: run one suite of measurements and print its figures beside their goals.

Rule: a suite is one module that offers SUMMARY, `add_arguments`, `facts_of` and `measure`, and one line in SUITES.
A measurement is no test: it ends with 0 unless it breaks, or with `--check` and a missed goal.
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
    "queue": "bench.queue",
    "race": "bench.race",
    "schema": "bench.schema",
    "worker": "bench.worker",
}


class Suite(Protocol):
    """What a suite's module offers."""

    SUMMARY: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the suite's own arguments; `tiny`, `check` and `folder` are there already."""
        ...

    def facts_of(self, arguments: argparse.Namespace) -> dict[str, object]:
        """What the first line says beside the machine."""
        ...

    def measure(self, arguments: argparse.Namespace, folder: Path) -> Iterator[Figure]:
        """Measure and give the figures one by one; `folder` is empty and removed afterwards."""
        ...


def main(words: Sequence[str] | None = None) -> int:
    """Run the suite that the words name; the exit code."""
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
        one.add_argument("--tiny", action="store_true", help="so little that it measures nothing: does it run?")
        one.add_argument("--check", action="store_true", help="end with 1 where a goal is missed")
        one.add_argument("--folder", help="where the files are made (the disk that is measured)")
        suite.add_arguments(one)
    return parser


if __name__ == "__main__":
    sys.exit(main())

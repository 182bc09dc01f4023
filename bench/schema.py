"""The suite `schema`: raw lifecycles under other page sizes, checkpoint thresholds and indexes of the store's schema.

Rule: everything else is as in the store, all variants take turns in one run, and each has filled its WAL once before.
It measures SQLite, so that two choices of the store rest on figures that can be reproduced.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import product
from pathlib import Path
from typing import Final

from bench import raw, stores
from bench.plan import Plan
from bench.report import Figure
from bench.rounds import ratios, spread, take_turns
from bench.tape import Tape, record
from sagalog_sqlite.checkpoints import PAGES
from sagalog_sqlite.creation import PAGE_SIZE

SUMMARY: Final = "raw lifecycles under other page sizes, checkpoint thresholds and indexes"

_PAGE_SIZES: Final = (1024, 2048, 4096, 8192)
_THRESHOLDS: Final = (250, 1000, 4000)
# Indexes to leave out: those that a lifecycle never enters, and one that it always enters.
_WITHOUT: Final = (("ready_affinity", "undo", "later"), ("states",))
_A_SECOND: Final = {"full": 1_500, "normal": 5_000}
# Lifecycles of one turn: some milliseconds.
_TURN: Final = 25
# More lifecycles than fill a WAL up to the largest threshold.
_WARMING: Final = 600


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add for how long to measure."""
    parser.add_argument("--rounds", type=int, default=5, help="rounds whose median is shown (5)")
    parser.add_argument("--seconds", type=float, default=0.5, help="about how long a variant takes in a round (0.5)")


def facts_of(arguments: argparse.Namespace) -> dict[str, object]:
    """Return the variant with which the others are compared."""
    return {"durability": "full and normal", "compared with": f"page {PAGE_SIZE}, checkpoint at {PAGES} pages"}


def measure(arguments: argparse.Namespace, folder: Path) -> Iterator[Figure]:
    """Yield every pair of page size and threshold, at both durabilities, and the share of the store's own pair."""
    plan = Plan(folder, 1, 0.02, tiny=True) if arguments.tiny else Plan(folder, arguments.rounds, arguments.seconds)
    own = (PAGE_SIZE, PAGES)
    variants = [own, *(one for one in product(_PAGE_SIZES, _THRESHOLDS) if one != own)]
    none: tuple[str, ...] = ()
    shapes = [(_named(page, pages), page, pages, none) for page, pages in variants]
    shapes += [(f"without {' and '.join(without)}", *own, without) for without in _WITHOUT]
    turns = {durability: max(1, plan.count(a_second) // _TURN) for durability, a_second in _A_SECOND.items()}
    tape = record(folder / "tape.db", _TURN * max(turns.values()) + _WARMING)
    for durability in _A_SECOND:
        workers = {
            f"{durability}, {name}": partial(_opened, plan, tape, durability, page, pages, without)
            for name, page, pages, without in shapes
        }
        taken = take_turns(workers, plan.rounds, turns[durability])
        compared = taken[next(iter(workers))]
        for name, rounds in taken.items():
            share = spread(ratios(compared, rounds)).median
            rates = spread(_TURN * turns[durability] / seconds for seconds in rounds)
            yield Figure(f"{name}: {share:.2f}", rates, "/s")


def _named(page_size: int, pages: int) -> str:
    return f"page {page_size:>4}, checkpoint at {pages:>4} pages"


@contextmanager
def _opened(
    plan: Plan, tape: Tape, durability: str, page_size: int, pages: int, without: tuple[str, ...]
) -> Iterator[Callable[[], None]]:
    path = plan.folder / f"{durability}-{page_size}-{pages}-{'-'.join(without)}.db"
    log = path.with_name(f"{path.name}-wal")
    with raw.opened(path, tape, durability, pages, page_size, without) as writer:
        # A store that has run for a while overwrites its WAL; while the WAL still grows, each sync takes twice as long.
        while not plan.tiny and log.stat().st_size < pages * page_size:
            writer.live(_TURN)
        yield partial(writer.live, _TURN)
    stores.remove(path)

"""The suite `queue`: one caller pushes, pops and acknowledges, beside other queues on SQLite.

Rule: every side has the same payload, a fresh file a round and a sync with each commit, which the suite reads back. At
the end of a round the suite asks each side what it did, so that no side gains by leaving work out. Each side has a
module of its own.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from itertools import islice, repeat
from pathlib import Path
from typing import Final, Protocol

from bench import queue_ours, queue_peers, queue_wake, stores
from bench.report import Figure, Goal
from bench.rounds import ratios, spread, take_turns

SUMMARY: Final = "push, pop and acknowledge, beside litequeue, persist-queue and huey; wake an idle pop"

# Steps of one turn: some tens of milliseconds.
_STEPS: Final = 50
_GOAL: Final = Goal(">=", 1.0)


class Queue(Protocol):
    """One side, open on a file of its own; each step is a call, and its effect is synced when it returns."""

    def push(self) -> None:
        """Push the payload."""
        ...

    def take(self) -> None:
        """Take the next item, compare it with the payload, and acknowledge it: at once, or with the next step."""
        ...

    def settle(self) -> None:
        """Acknowledge the item in hand, if there is one."""
        ...

    def done(self) -> int:
        """Count in the file the items that were pushed, taken and acknowledged; raises AssertionError for any other."""
        ...


Opener = Callable[[Path], AbstractContextManager[Queue]]
Shape = Callable[[Queue, int], Iterator[Callable[[], None]]]

_CONSUMING: Final = "sagalog, push and consume"
_CALLING: Final = "sagalog, push, pop and ack"
_OURS: Final[Mapping[str, Opener]] = {_CONSUMING: queue_ours.consuming, _CALLING: queue_ours.calling}
_ACKNOWLEDGING: Final[Mapping[str, Opener]] = {
    "litequeue": queue_peers.litequeue,
    "persist-queue": queue_peers.persist_queue,
}
# Outside the goal: if its worker dies, the item in hand is lost.
_FORGETTING: Final[Mapping[str, Opener]] = {"huey, acknowledges nothing": queue_peers.huey}
SIDES: Final[Mapping[str, Opener]] = {**_OURS, **_ACKNOWLEDGING, **_FORGETTING}


def _steady(queue: Queue, items: int) -> Iterator[Callable[[], None]]:
    """Keep the queue empty: take each item before the next push."""
    for _ in range(items):
        yield queue.push
        yield queue.take
    yield queue.settle


def _backlog(queue: Queue, items: int) -> Iterator[Callable[[], None]]:
    """Fill the queue first: push all items, then take all."""
    yield from repeat(queue.push, items)
    yield from repeat(queue.take, items)
    yield queue.settle


SHAPES: Final[Mapping[str, Shape]] = {"steady": _steady, "backlog": _backlog}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add how much to measure."""
    parser.add_argument("--items", type=int, default=2_000, help="items of one side in one round (2000)")
    parser.add_argument("--wakes", type=int, default=200, help="items pushed to an idle consumer (200)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds whose median is shown (5)")


def facts_of(arguments: argparse.Namespace) -> dict[str, object]:
    """Return the size, and the versions of the peers."""
    items, rounds = _size(arguments)
    return {"durability": "full on every side", "items": items, "rounds": rounds, "peers": queue_peers.versions()}


def measure(arguments: argparse.Namespace, folder: Path) -> Iterator[Figure]:
    """Yield the wake-up; then for each shape the items a second of every side, and sagalog's ratio to the fastest."""
    items, rounds = _size(arguments)
    yield from queue_wake.measure(folder / "wake.db", 3 if arguments.tiny else arguments.wakes)
    for label, shape in SHAPES.items():
        workers = {
            name: partial(working, opener, folder / f"{label}-{number}.db", shape, items)
            for number, (name, opener) in enumerate(SIDES.items())
        }
        taken = take_turns(workers, rounds, _turns(items))
        rates = {name: [items / seconds for seconds in taken[name]] for name in SIDES}
        for name in SIDES:
            yield Figure(f"{label}: {name}", spread(rates[name]), "/s")
        # The faster of two peers in each round: no single peer is as fast, so this is the hardest comparison.
        fastest = [max(pair) for pair in zip(*(rates[name] for name in _ACKNOWLEDGING), strict=True)]
        for name, goal in ((_CONSUMING, _GOAL), (_CALLING, None)):
            yield Figure(f"{label}: {name}: of the fastest", spread(ratios(rates[name], fastest)), "x", goal)


@contextmanager
def working(opener: Opener, path: Path, shape: Shape, items: int) -> Iterator[Callable[[], None]]:
    """Yield a function that does some steps of one side's round; require at the end that all of them were done."""
    with opener(path) as queue:
        steps = shape(queue, items)
        yield partial(_work, steps)
        left = sum(1 for _ in steps)
        done = queue.done()
        if left or done != items:
            raise AssertionError(f"{path.name}: of {items} items {done} are done, and {left} steps were not")
    stores.remove(path)


def _work(steps: Iterator[Callable[[], None]]) -> None:
    for step in islice(steps, _STEPS):
        step()


def _turns(items: int) -> int:
    """Return how many turns hold a push and a take for each item, and the last step."""
    return -(-(2 * items + 1) // _STEPS)


def _size(arguments: argparse.Namespace) -> tuple[int, int]:
    return (30, 2) if arguments.tiny else (arguments.items, arguments.rounds)

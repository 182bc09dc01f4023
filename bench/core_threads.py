"""Lifecycles per second of sixteen threads on one engine, beside one caller who leads as many.

Rule: both sides make the same calls at durability full, each on a fresh file a round, and it is checked that all tasks
were led to their end. What the threads gain is what their commits share: a sync, a transaction, and pages of the WAL.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from bench import stores
from bench.plan import Plan
from bench.report import Figure, Goal
from bench.rounds import ratios, spread, take_turns
from sagalog import Engine

THREADS: Final = 16
# Lifecycles of one thread in a turn: enough for its first and last, which have less company, to count little.
_EACH: Final = 25
_EACH_TINY: Final = 2
# About what one caller gets, for choosing how many make a round.
_A_SECOND: Final = 900


def measure(plan: Plan) -> Iterator[Figure]:
    """The rate of each side, and the one over the other."""
    each = _EACH_TINY if plan.tiny else _EACH
    a_turn = THREADS * each
    turns = max(1, round(plan.count(_A_SECOND) / a_turn))
    sides = {
        "threads": partial(_opened, plan.folder / "threads.db", partial(_crew, each=each)),
        "caller": partial(_opened, plan.folder / "caller.db", partial(_caller, lifecycles=a_turn)),
    }
    taken = take_turns(sides, plan.rounds, turns)
    rates = {side: [a_turn * turns / seconds for seconds in rounds] for side, rounds in taken.items()}
    label = "lifecycles, durability full"
    yield Figure(f"{label}: {THREADS} threads", spread(rates["threads"]), "/s")
    yield Figure(f"{label}: one caller beside them", spread(rates["caller"]), "/s")
    gain = spread(ratios(rates["threads"], rates["caller"]))
    yield Figure(f"{label}: {THREADS} threads of one caller", gain, "x", Goal(">=", 2.0))


@contextmanager
def _opened(path: Path, side: Callable[[Engine], Iterator[Callable[[], None]]]) -> Iterator[Callable[[], None]]:
    """One side on a fresh file; checks afterwards that nothing was left undone."""
    with stores.open_engine(path, "full") as engine:
        yield from side(engine)
        states = engine.counts()[stores.QUEUE]
        assert set(states) == {"completed"}, f"not all tasks were led to their end: {states}"
    stores.remove(path)


def _caller(engine: Engine, lifecycles: int) -> Iterator[Callable[[], None]]:
    yield partial(stores.live, engine, lifecycles)


def _crew(engine: Engine, each: int) -> Iterator[Callable[[], None]]:
    """Threads that stand ready; each piece of work has all of them lead `each` lifecycles."""
    ready, done = threading.Barrier(THREADS + 1), threading.Barrier(THREADS + 1)
    over = False

    def work() -> None:
        try:
            while True:
                ready.wait()
                if over:
                    return
                stores.live(engine, each)
                done.wait()
        except BaseException:
            # The thread that waits for this one is to fail with it and not to hang.
            done.abort()
            raise

    def piece() -> None:
        ready.wait()
        done.wait()

    threads = [threading.Thread(target=work, daemon=True) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    yield piece
    over = True
    ready.wait()
    for thread in threads:
        thread.join()

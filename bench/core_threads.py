"""The lifecycles per second of sixteen threads on one engine, beside one caller that runs as many.

Rule: both sides make the same calls at durability full, each on a fresh file a round, and the suite checks that all
tasks have completed. The threads gain what their commits share: a sync, a transaction, and pages of the WAL.
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
# Lifecycles of one thread in a turn: so many that its first and last, which share commits with fewer, count little.
_EACH: Final = 25
_EACH_TINY: Final = 2
# The approximate rate of one caller, from which the size of a round follows.
_A_SECOND: Final = 900


def measure(plan: Plan) -> Iterator[Figure]:
    """Yield the rate of each side, and their ratio."""
    each = _EACH_TINY if plan.tiny else _EACH
    a_turn = THREADS * each
    turns = max(1, round(plan.count(_A_SECOND) / a_turn))
    sides = {
        "threads": partial(_opened, plan.folder / "threads.db", partial(_thread_group, each=each)),
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
    """Open one side on a fresh file, and check at the end that all tasks have completed."""
    with stores.open_engine(path, "full") as engine:
        yield from side(engine)
        states = engine.counts()[stores.QUEUE]
        assert set(states) == {"completed"}, f"not all tasks have completed: {states}"
    stores.remove(path)


def _caller(engine: Engine, lifecycles: int) -> Iterator[Callable[[], None]]:
    yield partial(stores.live, engine, lifecycles)


def _thread_group(engine: Engine, each: int) -> Iterator[Callable[[], None]]:
    """Start the threads; each piece of work has all of them run `each` lifecycles."""
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
            # The thread that waits for this one has to fail too, and not to hang.
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

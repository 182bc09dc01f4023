"""The lifecycles per second of one caller, one by one or a hundred at once, beside raw SQLite with the same rows.

Rule: both sides of a round write as many rows and as many bytes to every table, in as many commits, and the suite
checks that in each round. Each side has a fresh file a round.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from bench import raw, stores
from bench.plan import Plan
from bench.report import Figure, Goal
from bench.rounds import ratios, spread, take_turns
from bench.tape import Tape, record
from sagalog_sqlite.checkpoints import PAGES

# The approximate rate of one caller, from which the size of a round follows; and the goal as a share of raw SQLite.
_A_SECOND: Final = {"full": 900, "normal": 2_400}
_OF_RAW: Final = {"full": 0.58, "normal": 0.42}
# Lifecycles of one turn: some milliseconds.
_TURN: Final = 25
_BATCH: Final = 100
_TOGETHER_A_SECOND: Final = {"full": 2_500, "normal": 2_500}
_TOGETHER_OF_RAW: Final = {"full": 0.40}


def measure(plan: Plan) -> Iterator[Figure]:
    """Yield the rates of sagalog and of raw SQLite, and their ratio, at full and at normal durability."""
    turns = {durability: max(1, plan.count(a_second) // _TURN) for durability, a_second in _A_SECOND.items()}
    tape = record(plan.folder / "tape.db", _TURN * max(turns.values()))
    for durability in _A_SECOND:
        contest = Contest(plan.folder, tape, durability)
        yield from _shares(contest, plan.rounds, turns[durability], _OF_RAW.get(durability))


def measure_together(plan: Plan) -> Iterator[Figure]:
    """Yield the same for batches of a hundred, in three commits each."""
    turns = {durability: max(1, plan.count(a_second) // _BATCH) for durability, a_second in _TOGETHER_A_SECOND.items()}
    tape = record(plan.folder / "tape.db", _BATCH * max(turns.values()), _BATCH)
    for durability in _TOGETHER_A_SECOND:
        contest = Contest(plan.folder, tape, durability, _BATCH)
        yield from _shares(contest, plan.rounds, turns[durability], _TOGETHER_OF_RAW.get(durability))


def _shares(contest: Contest, rounds: int, turns: int, goal: float | None) -> Iterator[Figure]:
    taken = take_turns({"sagalog": contest.sagalog, "raw": contest.raw}, rounds, turns)
    rates = {side: [contest.turn * turns / seconds for seconds in found] for side, found in taken.items()}
    yield Figure(f"{contest.label}: sagalog", spread(rates["sagalog"]), "/s")
    yield Figure(f"{contest.label}: raw SQLite, the same rows", spread(rates["raw"]), "/s")
    share = spread(ratios(rates["sagalog"], rates["raw"]))
    yield Figure(f"{contest.label}: sagalog of raw", share, "x", None if goal is None else Goal(">=", goal))


class Contest:
    """The two sides at one durability; each round compares what they wrote.

    turn    lifecycles of one turn
    label   what is measured, in words
    """

    def __init__(self, folder: Path, tape: Tape, durability: str, batch: int = 1) -> None:
        self._folder = folder
        self._tape = tape
        self._durability = durability
        self._batch = batch
        self.turn = _TURN if batch == 1 else batch
        self.label = f"lifecycles{'' if batch == 1 else f', {batch} at once'}, durability {durability}"
        self._weight: dict[str, tuple[int, int]] | None = None

    @contextmanager
    def sagalog(self) -> Iterator[Callable[[], None]]:
        """Run lifecycles by the public calls."""
        path = self._folder / f"{self._durability}-sagalog.db"
        with stores.open_engine(path, self._durability) as engine:
            alone, together = partial(stores.live, engine), partial(stores.live_together, engine, batch=self._batch)
            yield partial(alone if self._batch == 1 else together, self.turn)
        self._compare(path)
        stores.remove(path)

    @contextmanager
    def raw(self) -> Iterator[Callable[[], None]]:
        """Run the same lifecycles by the raw writer."""
        path = self._folder / f"{self._durability}-raw.db"
        with raw.opened(path, self._tape, self._durability, PAGES) as writer:
            yield partial(writer.live, self.turn // self._batch)
        last = self._tape.lifecycles[3 * writer.lifecycles - 2].claimed
        assert last is not None
        assert stores.rows_of(path, last) == stores.rows_of(self._tape.path, last), f"stream {last} differs"
        self._compare(path)
        stores.remove(path)

    def _compare(self, path: Path) -> None:
        """Require that both sides have written equal rows and bytes, in every round."""
        weight = stores.weigh(path)
        if self._weight is None:
            self._weight = weight
        elif weight != self._weight:
            raise AssertionError(f"one side wrote {weight}, the other {self._weight}")

"""The test kit itself: its clock, its entropy, and that the random runs see what they are there to see."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from sagalog import Engine, NotFound, failpoints
from sagalog.ports import Clock, Entropy
from sagalog.store.memory import MemoryStore
from sagalog.store.memory_tables import Tables
from sagalog.store.memory_view import MemoryView
from sagalog.system import SystemClock
from sagalog.testing import ManualClock, SeededEntropy
from sagalog.testing.oracle_pair import Crash, Pair, Side, Statistics, plain
from tests.engine.checking import REMOVE
from tests.store_of import store_of


def test_a_manual_clock_moves_only_when_it_is_moved() -> None:
    clock = ManualClock(1_000)
    assert (clock.now_ms(), clock.monotonic_ms()) == (1_000, 0)
    clock.advance(5)
    assert (clock.now_ms(), clock.monotonic_ms()) == (1_005, 5)
    clock.step(-1_005)
    assert (clock.now_ms(), clock.monotonic_ms()) == (0, 5)
    assert repr(clock) == "ManualClock(now_ms=0, monotonic_ms=5)"


def test_time_does_not_pass_backwards() -> None:
    clock = ManualClock(1_000)
    with pytest.raises(ValueError, match="step"):
        clock.advance(-1)
    assert (clock.now_ms(), clock.monotonic_ms()) == (1_000, 0)


def test_the_machines_clock_and_the_manual_one_are_of_one_shape() -> None:
    system: Clock = SystemClock()
    manual: Clock = ManualClock()
    assert {type(clock.now_ms()) for clock in (system, manual)} == {int}
    assert {type(clock.monotonic_ms()) for clock in (system, manual)} == {int}


def test_the_same_seed_gives_the_same_chance() -> None:
    first, second, third = SeededEntropy(1), SeededEntropy(1), SeededEntropy(2)
    drawn = [
        (entropy.token_bytes(10), entropy.fraction(), entropy.token_bytes(3)) for entropy in (first, second, third)
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    assert all(0 <= fraction < 1 for _, fraction, _ in drawn)
    assert [len(drawn[0][0]), len(drawn[0][2])] == [10, 3]


def test_the_kit_needs_no_pytest_and_the_machine_names_its_extra() -> None:
    """The error says which extra the machine needs."""
    script = (
        "import sys\n"
        "sys.modules['hypothesis'] = None\n"
        "import sagalog.testing, sagalog.testing.contract, sagalog.testing.history, sagalog.testing.oracle_pair\n"
        "assert 'pytest' not in sys.modules and '_pytest' not in sys.modules\n"
        "try:\n"
        "    import sagalog.testing.machine\n"
        "except ImportError as error:\n"
        "    assert 'sagalog[dev]' in str(error), error\n"
        "else:\n"
        "    raise AssertionError('it was imported')\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, env={"PYTHONPATH": ":".join(sys.path)})


# --- pairs ----------------------------------------------------------------------------------------------------


class Kept(MemoryStore):
    """A memory store that outlives its handle, as one in a file does; tests plant their mistakes in it."""

    def close(self) -> None:
        """Reopening finds the same store."""


@contextmanager
def paired() -> Iterator[Pair]:
    stores: list[Kept] = []

    def open_(clock: Clock, entropy: Entropy) -> Engine:
        stores[:] = stores or [Kept(clock)]
        return Engine(stores[0], clock=clock, entropy=entropy)

    yield Pair(open_, Statistics())


def test_a_pair_that_agrees_counts_what_succeeded_and_what_was_refused() -> None:
    with paired() as pair:
        assert pair.run("create", lambda side: side.engine.create("build", id="t"))
        assert pair.run("acquire", lambda side: side.engine.acquire("t", owner="ann", ttl_ms=100))
        assert not pair.run("acquire", lambda side: side.engine.acquire("t", owner="bob", ttl_ms=100))
        assert pair.living() == [0]
        assert pair.run("complete", lambda side: side.leases[0].complete(1))
        assert pair.living() == []
        pair.compare()
        pair.audit()
        assert pair.statistics.succeeded == {"create": 1, "acquire": 1, "complete": 1}
        assert pair.statistics.refused == {"lease_held": 1}
        assert pair.statistics.never(["create", "fail"], ["lease_held", "lease_lost"]) == ["fail", "lease_lost"]


def test_an_answer_of_nothing_is_no_success() -> None:
    with paired() as pair:
        assert pair.run("claim", lambda side: side.engine.claim("q", owner="ann", ttl_ms=1))
        assert pair.statistics.succeeded == {}


@pytest.mark.parametrize("point", failpoints.NAMES[:1] + failpoints.NAMES[5:6])
def test_after_a_crash_a_command_is_there_wholly_or_not_at_all(point: str) -> None:
    with paired() as pair:
        pair.crash = (point, 1)
        assert not pair.run("create", lambda side: side.engine.create("build", id="t", compensations=[REMOVE]))
        there = point == "commit.after_commit"
        assert [len(side.engine.find()) for side in (pair.real, pair.oracle)] == [int(there)] * 2
        pair.compare()
        assert pair.statistics.succeeded == {f"crash at {point}": 1}
        assert not failpoints.armed


@pytest.mark.parametrize("point", failpoints.NAMES[:1] + failpoints.NAMES[5:6])
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_of_a_call_of_several_commits_those_before_a_crash_are_there(point: str, nth: int) -> None:
    def three(side: Side) -> Any:
        return [side.engine.create("build", id=id) for id in ("a", "b", "c")]

    with paired() as pair:
        pair.crash = (point, nth)
        assert not pair.run("create", three)
        pair.compare()
        there = nth if point == "commit.after_commit" else nth - 1
        assert len(pair.oracle.engine.find()) == there


def test_a_crash_that_loses_its_commit_without_a_trace_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    with paired() as pair:
        commit = Kept.commit

        def lose(self: Kept, operations: Any) -> Any:
            try:
                return commit(self, operations)
            except Crash:
                self.tables.take_back()
                raise

        monkeypatch.setattr(Kept, "commit", lose)
        pair.crash = ("commit.after_commit", 1)
        pair.run("create", lambda side: side.engine.create("build", id="t"))
        with pytest.raises(AssertionError, match="the logs differ"):
            pair.compare()


def test_half_a_command_after_a_crash_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    with paired() as pair:
        append = Tables._append
        pair.run("create", lambda side: side.engine.create("build", id="t"))
        broken = store_of(pair.real.engine).tables  # type: ignore[attr-defined]

        def half(self: Tables, name: str, envelopes: Any) -> None:
            append(self, name, envelopes)
            if self is broken:
                raise Crash(0)

        monkeypatch.setattr(Tables, "_append", half)
        monkeypatch.setattr(broken, "take_back", lambda: None)
        pair.crash = ("commit.before_commit", 1)

        def two(side: Any) -> Any:
            with side.engine.batch() as batch:
                batch.note("t", "one")
                batch.create("build", id="u")

        with pytest.raises(AssertionError, match="before its commit, and there are new events"):
            pair.run("batch", two)


def test_a_store_that_answers_otherwise_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    with paired() as pair:
        tables = store_of(pair.real.engine).tables  # type: ignore[attr-defined]
        select = MemoryView.select
        monkeypatch.setattr(
            MemoryView,
            "select",
            lambda view, claim: select(view, claim)[:: -1 if view._tables is tables else 1],
        )
        for id in ("a", "b"):
            pair.run("create", lambda side, id=id: side.engine.create("build", id=id))  # type: ignore[misc]
        with pytest.raises(AssertionError, match="claim: the store says"):
            pair.run("claim", lambda side: side.engine.claim("default", owner="ann", ttl_ms=1, limit=2))


def test_refusals_are_compared_with_all_they_carry() -> None:
    assert plain(NotFound("x", task="a")) == plain(NotFound("x", task="a"))
    assert plain(NotFound("x", task="a")) != plain(NotFound("x", task="b"))
    assert plain(NotFound("x", task="a")) != plain(NotFound("y", task="a"))
    assert plain(TimeoutError("x")) == ("TimeoutError", "x")

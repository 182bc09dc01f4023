"""The measurements themselves: that they run, compare like with like, and can see what they are there to see."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from bench import (
    core,
    core_crowds,
    core_lifecycle,
    cost_instructions,
    crowd,
    lives,
    queue,
    race,
    raw,
    rounds,
    schema,
    stores,
    wal,
)
from bench.__main__ import main
from bench.report import Figure, Goal, line, single
from bench.rounds import interleave, ratios, spread, take_turns
from bench.tape import Tape, record
from sagalog import Engine
from sagalog.store.memory import MemoryStore
from sagalog.testing import ManualClock
from sagalog_sqlite.checkpoints import PAGES
from sagalog_sqlite.creation import PAGE_SIZE

# A page and the header of its frame.
_FRAME_BYTES = PAGE_SIZE + 24

# What every run of a suite must have said something about.
ROWS = {
    "core": ("durability full: sagalog of raw", "durability normal: sagalog of raw", "claim, all kinds: large of small",
             "fold typed events", "decode stored bodies", "verify a store", "WAL of a heartbeat, 1 MB of 100 bytes",
             "tasks with a tag each", "planned undos of 4 kB",
             "claim, held: p99, large of small", "complete, held: p50, large of small",
             "claim, delayed: p50, large of small", "claim, durability full: p50, two limits of none",
             "p99 of a commit, processor time"),
    "cost": ("processor time of a lifecycle: sagalog of raw", "claim: functions entered", "step: SQL statements",
             "complete: syncs", "create, 100 at once: pages in the WAL", "bytes on disk of a task that is over"),
    "queue": ("peers litequeue", "steady: litequeue", "steady: sagalog, push and consume: of the fastest",
              "backlog: huey", "backlog: sagalog, push and consume: of the fastest",
              "backlog: sagalog, push, pop and ack: of the fastest"),
    "journal": ("readers in the writer's process have an entry after",
                "readers in another process have an entry after"),
    "race": ("lifecycles, all processes", "leased during another lease", "errors that reached a caller",
             "farthest share", "longest call"),
    "schema": ("full, page 1024, checkpoint at  250 pages", "normal, page 8192, checkpoint at 4000 pages"),
}  # fmt: skip
# What makes a suite smaller than its `--tiny` does: fewer variants, fewer items, and no lifecycles to warm up with.
SMALLER: dict[str, list[tuple[Any, str, Any]]] = {
    "queue": [(queue, "_size", lambda _: (26, 2))],
    "schema": [(schema, "_PAGE_SIZES", (1024, 8192)), (schema, "_THRESHOLDS", (250, 4000)), (schema, "_WARMING", 0)],
}


@pytest.fixture(autouse=True)
def garbage_of_the_tests_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure without a collection of garbage before each turn: here it would go through what all tests have made."""
    monkeypatch.setattr(rounds, "gc", SimpleNamespace(collect=int))


@pytest.fixture
def tape(tmp_path: Path) -> Tape:
    return record(tmp_path / "tape.db", 5)


@pytest.mark.parametrize(
    "suite", [pytest.param(one, marks=[pytest.mark.slow] if one == "core" else []) for one in ROWS]
)
def test_a_suite_runs_from_end_to_end_and_prints_its_rows(
    suite: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name, smaller in SMALLER.get(suite, []):
        monkeypatch.setattr(module, name, smaller)
    assert main([suite, "--tiny"]) == 0
    printed = capsys.readouterr().out
    assert "cores" in printed.splitlines()[0]
    assert [row for row in ROWS[suite] if row not in printed] == []


@pytest.mark.parametrize("part", ["held", "delayed", "limits", "dependants"])
def test_a_part_of_the_core_runs_at_tiny_scale(part: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The whole suite is slow; each of these parts audits the stores that it has made."""
    assert main(["core", "--tiny", "--only", part]) == 0
    assert "p99" in capsys.readouterr().out


def test_the_store_of_held_tasks_is_as_the_engine_would_have_made_it(tmp_path: Path) -> None:
    path = tmp_path / "held.db"
    core_crowds.build_held(path, 100)
    with stores.open_engine(path, "normal") as engine:
        report = engine.verify()
        assert report.ok, report.faults
        assert engine.counts() == {stores.QUEUE: {"pending": 100}}
        assert len(engine.find(limit=200)) == 100
        leases = engine.claim(stores.QUEUE, owner="w", ttl_ms=None, limit=100)
        assert [len(lease.task.uses) for lease in leases] == [1] * 4 + [0] * 10
        leases[0].complete()
        assert len(engine.claim(stores.QUEUE, owner="w", ttl_ms=None, limit=100)) == 1


def test_the_store_of_delayed_tasks_gives_claims_the_ready_ones_alone(tmp_path: Path) -> None:
    path = tmp_path / "delayed.db"
    core_crowds.build_delayed(path, 50)
    with stores.open_engine(path, "normal") as engine:
        report = engine.verify()
        assert report.ok, report.faults
        assert engine.counts() == {stores.QUEUE: {"pending": 150}}
        leases = engine.claim(stores.QUEUE, owner="w", ttl_ms=None, limit=200)
        assert {lease.task.priority for lease in leases} == {0}
        assert len(leases) == 100


def test_a_missed_goal_ends_with_1_only_where_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core_lifecycle, "_OF_RAW", {"full": 1_000.0, "normal": 1_000.0})
    measure = core.measure
    figures: list[Figure] = []

    def once(*given: Any) -> Iterator[Figure]:
        """The figures of the first run, in each."""
        if not figures:
            figures.extend(measure(*given))
        yield from figures

    monkeypatch.setattr(core, "measure", once)
    words = ["core", "--tiny", "--only", "lifecycle"]
    assert main(words) == 0
    assert main([*words, "--check"]) == 1


def test_the_raw_side_writes_exactly_the_rows_that_sagalog_wrote(tape: Tape, tmp_path: Path) -> None:
    path = tmp_path / "raw.db"
    with raw.opened(path, tape, "normal", PAGES) as writer:
        writer.live(2)
        writer.live(3)
    assert stores.weigh(path) == stores.weigh(tape.path)
    # The first stream is the store's own.
    for stream in range(1, 7):
        rows = stores.rows_of(path, stream)
        assert rows == stores.rows_of(tape.path, stream)
        assert len(rows["events"]) == (1 if stream == 1 else 3)


def test_the_store_that_the_raw_side_wrote_passes_an_audit(tape: Tape, tmp_path: Path) -> None:
    path = tmp_path / "raw.db"
    with raw.opened(path, tape, "full", PAGES) as writer:
        writer.live(5)
    with stores.open_engine(path, "full") as engine:
        report = engine.verify()
    assert report.ok, report.faults
    assert (report.tasks, report.events) == (5, 16)


@pytest.mark.parametrize("page_size", [1024, 8192])
def test_the_raw_side_can_have_another_page_size_and_writes_the_same(
    tape: Tape, tmp_path: Path, page_size: int
) -> None:
    path = tmp_path / "raw.db"
    with raw.opened(path, tape, "normal", PAGES, page_size) as writer:
        writer.live(5)
    assert stores.weigh(path) == stores.weigh(tape.path)


def test_a_raw_side_that_leaves_out_a_row_is_found_out(tmp_path: Path) -> None:
    tape = record(tmp_path / "tape.db", 25)
    honest = core_lifecycle.Contest(tmp_path, tape, "normal")
    take_turns({"sagalog": honest.sagalog, "raw": honest.raw}, rounds=2, turns=1)
    # A completion in the middle, and the last one.
    for left_out in (5, -1):
        commits = list(tape.lifecycles)
        commits[left_out] = commits[left_out]._replace(writes=())
        contest = core_lifecycle.Contest(tmp_path, tape._replace(lifecycles=tuple(commits)), "normal")
        with pytest.raises(AssertionError):
            take_turns({"sagalog": contest.sagalog, "raw": contest.raw}, rounds=1, turns=1)
        stores.remove(tmp_path / "normal-raw.db")


def test_a_claim_of_the_raw_side_finds_the_task_that_sagalog_claimed(tape: Tape, tmp_path: Path) -> None:
    created, claimed, *rest = tape.lifecycles
    assert claimed.claimed is not None
    wrong = tape._replace(lifecycles=(created, claimed._replace(claimed=claimed.claimed + 1), *rest))
    with (
        raw.opened(tmp_path / "raw.db", wrong, "normal", PAGES) as writer,
        pytest.raises(AssertionError, match="head of the ready index"),
    ):
        writer.live(1)


def test_the_crowded_store_gives_claims_in_order_and_no_delayed_tasks(tmp_path: Path) -> None:
    path = tmp_path / "crowd.db"
    crowd.build(path, 100)
    with stores.open_engine(path, "normal") as engine:
        report = engine.verify()
        assert report.ok, report.faults
        assert engine.counts() == {stores.QUEUE: {"pending": 100}}
        leases = engine.claim(stores.QUEUE, owner="w", ttl_ms=1_000, limit=100)
    assert len(leases) == 50
    places = [(lease.task.priority, lease.task.created_ms, lease.task.id) for lease in leases]
    assert [place[0] for place in places] == sorted(place[0] for place in places)
    assert places[0][0] == 0
    assert {lease.task.kind for lease in leases} == set(crowd.KINDS)


def test_a_race_that_leased_a_task_twice_at_once_is_found_out() -> None:
    clock = ManualClock(1_000)
    engine = Engine(MemoryStore(clock), clock=clock)
    lives.lead(engine, 1)
    log = engine.events()
    honest = {figure.name: figure for figure in race.judge_log(log, 1)}
    assert not any(figure.is_missed for figure in honest.values())
    leased = next(index for index, event in enumerate(log) if event.type == "leased")
    forged = [*log[: leased + 1], msgspec.structs.replace(log[leased]), *log[leased + 1 :]]
    missed = {name for name, figure in {f.name: f for f in race.judge_log(forged, 1)}.items() if figure.is_missed}
    assert "leased during another lease" in missed
    assert "leases beyond one a task" in missed


def test_frames_of_a_wal_are_counted_from_its_present_run_only(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with stores.open_engine(path, "normal") as engine:
        stores.live(engine, 20)
        before = wal.written_bytes(path)
        assert before > 0
        assert before % _FRAME_BYTES == 0
        # An allocated rest holds no frames.
        with open(f"{path}-wal", "ab") as file:
            file.write(bytes(10 * _FRAME_BYTES))
        assert wal.written_bytes(path) == before
        wal.empty(path)
        assert wal.written_bytes(path) == 0


def test_sides_take_turns_and_the_order_turns_round() -> None:
    called: list[str] = []

    def side(name: str) -> float:
        called.append(name)
        return float(len(called))

    measured = interleave({"a": lambda: side("a"), "b": lambda: side("b")}, 3)
    assert "".join(called) == "abbaab"
    assert measured == {"a": [1.0, 4.0, 5.0], "b": [2.0, 3.0, 6.0]}
    assert ratios(measured["b"], measured["a"]) == [2.0, 0.75, 1.2]


def test_workers_take_turns_in_pieces_and_are_opened_afresh_each_round() -> None:
    heard: list[str] = []

    @contextmanager
    def opened(name: str) -> Iterator[Callable[[], None]]:
        heard.append(f"+{name}")
        yield lambda: heard.append(name)
        heard.append(f"-{name}")

    workers = {"a": partial(opened, "a"), "b": partial(opened, "b")}
    measured = take_turns(workers, rounds=2, turns=3)
    assert "".join(heard) == "+a+babbaab-b-a" * 2
    assert {name: len(rounds) for name, rounds in measured.items()} == {"a": 2, "b": 2}


def test_a_figure_shows_its_noise_and_whether_its_goal_is_met() -> None:
    figure = Figure("rate", spread([3.0, 1.0, 2.0]), "/s", Goal(">=", 2))
    assert line(figure).split() == ["rate", "2", "/s", "1..3", ">=", "2", "ok"]
    assert line(single("wait", 2.5, "ms", Goal("<=", 2))).split() == ["wait", "2.50", "ms", "<=", "2", "missed"]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(shutil.which("valgrind") is None, reason="instructions are counted by valgrind")
def test_a_lifecycle_takes_more_instructions_than_its_rows_by_hand(tmp_path: Path) -> None:
    ours, theirs = (cost_instructions.instructions(tmp_path / side, side, 5, 15) for side in ("lifecycle", "raw"))
    assert ours > theirs > 50_000

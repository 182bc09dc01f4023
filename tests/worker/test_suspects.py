"""Tasks whose handler may be what kills its worker: worked on alone, so that no other task pays for it. [LEASE-5]"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import sagalog
from sagalog import Compensation
from sagalog.testing import ManualClock, SeededEntropy
from sagalog.testing.faults import answer_lost, faults
from sagalog.testing.history import check, explain
from sagalog.worker import WorkContext
from sagalog.worker.claims import PASSED_MS
from sagalog.worker.config import WorkerConfig
from tests import warm_processes
from tests.worker.inline import InlineWorker
from tests.worker.worker_processes import PATIENCE_S, story

TTL_MS = 1_000
UNDO = Compensation("undo", {"n": 1}, id="u")


@pytest.fixture(params=["memory", "sqlite"])
def engine(request: pytest.FixtureRequest, clock: ManualClock, tmp_path: Path) -> Iterator[sagalog.Engine]:
    url = "memory:" if request.param == "memory" else f"sqlite:///{tmp_path}/store.db"
    with sagalog.open(url, clock=clock, entropy=SeededEntropy(1), durability="normal") as engine:
        yield engine


def worker_of(engine: sagalog.Engine, clock: ManualClock, name: str = "w", **given: Any) -> InlineWorker:
    handlers = {"do": lambda context, _payload: context.task.id}
    compensations = {"undo": lambda _context, _params: None}
    given = {"concurrency": 4, "claim_ahead": 0, "ttl_ms": 20 * TTL_MS, "quarantine_unknown": False, **given}
    return InlineWorker(engine, WorkerConfig(("default",), handlers, compensations, **given), name, clock)


def suspect(engine: sagalog.Engine, clock: ManualClock, id: str, **given: Any) -> None:
    """A task of whose three leases two have run out."""
    engine.create("do", id=id, **given)
    for _ in range(2):
        engine.acquire(id, owner="dead", ttl_ms=TTL_MS)
        clock.advance(TTL_MS)
        engine.recover()


def suspect_undo(engine: sagalog.Engine, clock: ManualClock, id: str) -> None:
    """The same, of undoing."""
    engine.create("do", id=id, compensations=[UNDO])
    engine.acquire(id, owner="another", ttl_ms=TTL_MS).fail("no")
    for _ in range(2):
        engine.acquire(id, owner="dead", ttl_ms=TTL_MS, purpose="undo")
        clock.advance(TTL_MS)
        engine.recover()


def held(worker: InlineWorker) -> list[str]:
    """What the worker holds and has not begun."""
    return sorted(job.lease.task.id for job in worker.pool.waiting)


def time_passes(worker: InlineWorker, clock: ManualClock, ms: int) -> None:
    """Time in which the worker keeps its leases alive, and looks for what is due."""
    for _ in range(ms // 250):
        clock.advance(250)
        worker.turn()


def test_an_idle_worker_takes_a_suspect_alone_and_then_goes_on(engine: sagalog.Engine, clock: ManualClock) -> None:
    """[WORKER-5] An idle worker holds nothing."""
    suspect(engine, clock, "bad")
    for id in ("a", "b"):
        engine.create("do", id=id)
    worker = worker_of(engine, clock)
    for _ in range(4):
        worker.turn()
    assert held(worker) == ["bad"]
    worker.until_idle()
    assert [engine.get(id).state for id in ("bad", "a", "b")] == ["completed"] * 3  # type: ignore[union-attr]


def test_a_worker_that_holds_something_looks_past_suspects(engine: sagalog.Engine, clock: ManualClock) -> None:
    """[WORKER-5]"""
    engine.create("do", id="a")
    worker = worker_of(engine, clock)
    worker.turn()
    suspect(engine, clock, "bad", priority=-5)
    engine.create("do", id="b", priority=-9)
    engine.create("do", id="c")
    for _ in range(4):
        worker.turn()
    assert held(worker) == ["a", "b", "c"]


def test_nothing_is_claimed_beside_a_suspect_neither_work_nor_undos(engine: sagalog.Engine, clock: ManualClock) -> None:
    """[WORKER-5]"""
    suspect_undo(engine, clock, "bad")
    for id in ("a", "b"):
        engine.create("do", id=id, compensations=[UNDO])
        engine.acquire(id, owner="another", ttl_ms=TTL_MS).fail("no")
        engine.create("do", id=f"work {id}")
    worker = worker_of(engine, clock)
    for _ in range(4):
        worker.turn()
    assert held(worker) == ["bad"]
    worker.until_idle()
    assert all(task.is_terminal for task in engine.find())


def test_a_worker_that_has_passed_a_suspect_for_a_minute_makes_room_for_it(
    engine: sagalog.Engine, clock: ManualClock
) -> None:
    """[WORKER-5] However much else there is to do, and however late its turn would be."""
    engine.create("do", id="a")
    worker = worker_of(engine, clock, concurrency=2)
    worker.turn()
    suspect(engine, clock, "bad", priority=5)
    for number in range(200):
        engine.create("do", id=f"t{number}")
    passed_ms = 0
    while "bad" not in held(worker):
        # One ends after another, and there is always something to claim.
        worker.run_job()
        time_passes(worker, clock, 1_000)
        passed_ms += 1_000
        assert passed_ms <= PASSED_MS + 10_000
    assert held(worker) == ["bad"]
    assert passed_ms >= PASSED_MS
    worker.until_idle(1_000)
    assert all(task.state == "completed" for task in engine.find())


def test_a_worker_that_made_room_goes_on_when_another_took_the_suspect(
    engine: sagalog.Engine, clock: ManualClock
) -> None:
    """[WORKER-5]"""
    engine.create("do", id="a")
    worker = worker_of(engine, clock, concurrency=2)
    worker.turn()
    suspect(engine, clock, "bad")
    engine.create("do", id="b")
    time_passes(worker, clock, 1_000)
    assert held(worker) == ["a", "b"]
    worker.run_job(1)
    engine.create("do", id="c")
    worker.turn()
    assert held(worker) == ["a", "c"]
    time_passes(worker, clock, PASSED_MS + 1_000)
    worker.run_job(1)
    engine.create("do", id="d")
    time_passes(worker, clock, 2_000)
    assert held(worker) == ["a"]
    engine.acquire("bad", owner="another", ttl_ms=None)
    time_passes(worker, clock, 2_000)
    assert held(worker) == ["a", "d"]


def test_a_suspect_leased_in_an_unknown_commit_is_held_alone(engine: sagalog.Engine, clock: ManualClock) -> None:
    """[WORKER-5] [REPEAT-1]"""
    suspect(engine, clock, "bad")
    worker = worker_of(engine, clock)
    worker.worker_loop.look()
    with faults("commit.after_commit", answer_lost), pytest.raises(sagalog.Unknown):
        worker.worker_loop.run_round()
    engine.create("do", id="a")
    for _ in range(3):
        worker.turn()
    assert held(worker) == ["bad"]


def test_a_worker_that_ends_when_idle_has_taken_every_suspect(tmp_path: Path) -> None:
    """[WORKER-5]"""
    clock = ManualClock(1_000_000)
    with sagalog.open("memory:", clock=clock) as engine:
        for id in ("x", "y"):
            suspect(engine, clock, id)
        suspect_undo(engine, clock, "z")
        engine.create("do", id="a")
        worker = sagalog.Worker(concurrency=4)
        beside: list[int] = []
        running = threading.Semaphore(0)

        @worker.task("do")
        def do(context: WorkContext, _payload: Any) -> None:
            running.release()
            if context.task.is_suspect:
                beside.append(sum(task.lease is not None for task in engine.find()))

        worker.compensation("undo")(lambda _context, _params: None)
        worker.run(engine, until="idle")
        assert beside == [1, 1]
        assert all(task.is_terminal for task in engine.find())


def test_a_handler_that_kills_its_process_spends_no_neighbours_budget(tmp_path: Path) -> None:
    """[LEASE-5] [WORKER-5] Real processes that die by SIGKILL, the first of them with eight leases in its hands."""
    url = f"sqlite:///{tmp_path}/store.db"
    with sagalog.open(url) as engine:
        poison = engine.create("poison", waive_compensation="it does nothing").id
        beside = [engine.create("innocent", "beside").id for _ in range(7)]
        others = [engine.create("innocent").id for _ in range(20)]
        deaths = 0
        while not (task := engine.get(poison)) or not task.is_terminal:
            assert _worked(url) == -signal.SIGKILL
            deaths += 1
            _until_over(engine)
        assert _worked(url, "until idle") == 0

        assert deaths == 3
        assert story(engine, poison).count("lease_expired") == 3
        assert [engine.get(id).state for id in (*beside, *others)] == ["completed"] * 27  # type: ignore[union-attr]
        expired = [story(engine, id).count("lease_expired") for id in (*beside, *others)]
        # Each task beside it at its first death has lost one lease, and some perhaps a second; the third death was
        # that of the poison alone.
        assert max(expired) <= 2
        assert min(expired[:7]) >= 1
        violations = check(engine.events(limit=10_000))
        assert not violations, explain(violations)


def _worked(*words: str) -> int:
    """Run the worker that has the poison among its handlers to its end; its exit status."""
    process = warm_processes.start("tests.worker.poisoned", *words)
    process.communicate(timeout=PATIENCE_S * 3)
    return process.wait()


def _until_over(engine: sagalog.Engine) -> None:
    """Wait until every lease is over, and have it ended."""
    while any(task.lease is not None for task in engine.find()):
        engine.recover()
        engine.wait_change(engine.changes(), 20)

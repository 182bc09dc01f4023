"""The row that a worker keeps of itself: when it is written, by which commit, and how long a worker counts as live."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import sagalog
import sagalog.aio
from sagalog import Unavailable, WorkerInfo
from sagalog.engine.workers import LIVE_MS, REMOVED_MS, REQUESTS, WORKERS, WRITTEN_MS
from sagalog.kernel.bounds import KEPT_BYTES_MAX
from sagalog.kernel.events import Leased
from sagalog.store import Operation
from sagalog.store.memory import MemoryStore
from sagalog.testing import ManualClock, SeededEntropy
from sagalog.worker.config import WorkerConfig
from sagalog.worker.registration import Registration
from sagalog.worker.worker_loop import WorkerLoop
from tests.worker.inline import InlineHandlerPool
from tests.worker.worker_processes import PATIENCE_S, Process, at_work, ended

QUEUES = ("default", "other")


def done(_context: Any, _payload: Any) -> str:
    return "done"


def config_of(kinds: Sequence[str] = ("do",), ttl_ms: int = 60_000) -> WorkerConfig:
    return WorkerConfig(QUEUES, dict.fromkeys(kinds, done), {"undo": done}, 2, 0, ttl_ms, False)


def only(engine: sagalog.Engine) -> WorkerInfo:
    [worker] = engine.workers()
    return worker


class CountingStore(MemoryStore):
    """A memory store that counts its commits, and whose disk may be full."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.commits = 0
        self.is_full = False

    def commit(self, operations: Sequence[Operation]) -> list[Any]:
        self._require_room()
        self.commits += 1
        return super().commit(operations)

    def keep(self, space: str, name: str, expected: str | None, value: str | None) -> bool:
        self._require_room()
        self.commits += 1
        return super().keep(space, name, expected, value)

    def _require_room(self) -> None:
        if self.is_full:
            raise Unavailable("the disk is full")


@pytest.fixture
def store(clock: ManualClock) -> CountingStore:
    return CountingStore(clock)


@pytest.fixture
def counted(store: CountingStore, clock: ManualClock) -> Iterator[sagalog.Engine]:
    with sagalog.Engine(store, clock=clock, entropy=SeededEntropy(1)) as engine:
        yield engine


class Looping:
    """A worker loop with its row, turned by a test."""

    def __init__(self, engine: sagalog.Engine, clock: ManualClock, config: WorkerConfig | None = None) -> None:
        config = config or config_of()
        self.pool = InlineHandlerPool()
        self.registration = Registration(engine, "w", config)
        name = self.registration.name
        self.worker_loop = WorkerLoop(engine, config, name, self.pool, clock, self.registration)

    def turn(self) -> None:
        self.worker_loop.look()
        self.worker_loop.run_round()
        self.registration.write_alone(self.worker_loop.running)


# --- from its start to its end ----------------------------------------------------------------------------------------


def test_a_worker_is_known_from_its_start_to_its_end(real: sagalog.Engine) -> None:
    """[WORKER-7]"""
    worker = sagalog.Worker(QUEUES, name="builder", concurrency=3)
    worker.task("do")(done)
    worker.compensation("undo")(done)
    seen: list[WorkerInfo] = []
    worker.task("look")(lambda _context, _payload: seen.extend(real.workers()))
    real.create("look")

    worker.run(real, until="idle", handle_signals=False)

    [first] = seen
    [task] = real.find(kind="look")
    assert first.name == getattr(real.history(task.id)[1].event, "owner")  # noqa: B009  an event of a lease
    assert (first.queues, first.kinds, first.compensation_kinds) == (QUEUES, ("do", "look"), ("undo",))
    assert (first.pid, first.concurrency, first.state, first.is_live) == (os.getpid(), 3, "working", True)
    assert first.process_started_ms is not None
    assert first.process_started_ms <= first.since_ms <= first.seen_ms
    last = only(real)
    assert (last.name, last.state, last.running, last.is_live) == (first.name, "ended", 0, False)


def test_an_awaited_worker_is_known_too(real: sagalog.Engine) -> None:
    """[WORKER-7]"""
    worker = sagalog.aio.Worker(name="awaited")
    seen: list[WorkerInfo] = []

    @worker.task("do")
    async def do(_context: Any, _payload: Any) -> None:
        async with sagalog.aio.AsyncEngine(sagalog.open(real_url(real))) as engine:
            seen.extend(await engine.workers())

    real.create("do")
    asyncio.run(worker.run(real, until="idle"))

    assert [(one.name.startswith("awaited-"), one.is_live) for one in seen] == [(True, True)]
    assert only(real).state == "ended"


def real_url(engine: sagalog.Engine) -> str:
    return f"sqlite:///{engine.health().file.path}"  # type: ignore[union-attr]


def test_a_worker_that_ends_by_an_error_has_ended_too(engine: sagalog.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """[WORKER-7]"""
    worker = sagalog.Worker()
    worker.task("do")(done)

    def broken(*_: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(engine._executor.queries, "claimable_ms", broken)
    with pytest.raises(ZeroDivisionError):
        worker.run(engine, handle_signals=False)

    assert only(engine).state == "ended"


def test_two_workers_of_one_name_at_once_are_two(real: sagalog.Engine) -> None:
    """[WORKER-7] Each owns its leases under a name that the other does not have."""
    workers = [sagalog.Worker(name="twin", concurrency=1) for _ in range(2)]
    both = threading.Barrier(3, timeout=PATIENCE_S)

    def meet(_context: Any, _payload: Any) -> None:
        both.wait()
        both.wait()

    for worker in workers:
        worker.task("do")(meet)
    ids = [real.create("do").id for _ in workers]
    with at_work(workers[0], real), at_work(workers[1], real):
        both.wait()
        owners = {task.lease.owner for task in real.find(state="running") if task.lease is not None}
        live = {one.name for one in real.workers() if one.is_live}
        both.wait()
        assert [ended(real, id).state for id in ids] == ["completed"] * 2

    assert owners == live
    assert len(live) == 2
    assert all(name.startswith("twin-") for name in live)


def test_a_name_that_another_worker_has_is_drawn_again(engine: sagalog.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """[WORKER-7]"""
    drawn = iter(["0AAAAAAAA", "0AAAAAAAA", "0BBBBBBBB"])
    monkeypatch.setattr(engine._executor, "draw_id", lambda: next(drawn))

    names = [Registration(engine, "w", config_of()).name for _ in range(2)]

    assert names == ["w-AAAAAAAA", "w-BBBBBBBB"]
    assert [one.name for one in engine.workers()] == names


# --- when it is written -----------------------------------------------------------------------------------------------


def test_the_row_is_written_with_a_commit_that_is_made_anyway(
    store: CountingStore, counted: sagalog.Engine, clock: ManualClock
) -> None:
    """[WORKER-7]"""
    worker = Looping(counted, clock)
    counted.create("do")
    worker.turn()
    begun_ms = only(counted).seen_ms
    clock.advance(WRITTEN_MS - 1)
    worker.turn()
    assert only(counted).seen_ms == begun_ms

    clock.advance(1)
    [job] = worker.pool.take_back()
    job.begun = True
    job.run()
    worker.worker_loop.collect([job])
    counted.create("do")
    before = store.commits
    worker.worker_loop.run_round()
    worker.registration.write_alone(0)

    assert store.commits == before + 1
    assert only(counted).seen_ms == clock.now_ms()


def test_an_idle_worker_writes_its_row_alone_and_seldom(counted: sagalog.Engine, clock: ManualClock) -> None:
    """[WORKER-7] Its own row wakes no claim of others either."""
    worker = Looping(counted, clock)
    changes = counted.changes()
    seen: list[int] = []
    for _ in range(60):
        clock.advance(1_000)
        worker.turn()
        seen.append(only(counted).seen_ms)

    assert 4 <= len(set(seen)) <= 6
    assert max(after - before for before, after in pairwise(sorted(set(seen)))) < LIVE_MS // 2
    assert counted.changes() == changes


def test_the_row_shows_how_many_handlers_run(counted: sagalog.Engine, clock: ManualClock) -> None:
    """[WORKER-7]"""
    worker = Looping(counted, clock)
    for _ in range(2):
        counted.create("do")
    worker.turn()
    worker.pool.waiting[0].begun = True
    clock.advance(WRITTEN_MS + 2_000)
    worker.turn()

    assert only(counted).running == 1


def test_a_full_disk_keeps_no_worker_from_its_work(
    store: CountingStore, counted: sagalog.Engine, clock: ManualClock
) -> None:
    """[WORKER-7]"""
    store.is_full = True
    worker = Looping(counted, clock)
    clock.advance(2_000)
    worker.registration.write_alone(0)
    assert counted.workers() == []

    store.is_full = False
    counted.create("do")
    worker.turn()

    assert worker.worker_loop.held == 1
    assert only(counted).is_live


def test_a_row_that_would_be_too_long_leaves_names_out(counted: sagalog.Engine) -> None:
    """[KEEP-3]"""
    kinds = [f"{number:03}{'é' * 197}" for number in range(1_000)]
    Registration(counted, "w", config_of(kinds))

    worker = only(counted)

    assert worker.left_out == 1_000 - len(worker.kinds) > 0
    with counted._executor.store.read() as snapshot:  # type: ignore[attr-defined]
        assert len(snapshot.kept(WORKERS, worker.name).encode()) <= KEPT_BYTES_MAX


# --- how long it lives ------------------------------------------------------------------------------------------------


def test_a_worker_is_live_for_30_s_after_it_was_seen(counted: sagalog.Engine, clock: ManualClock) -> None:
    """[WORKER-7]"""
    Registration(counted, "w", config_of())
    clock.advance(LIVE_MS - 1)
    assert only(counted).is_live
    clock.advance(1)
    assert not only(counted).is_live


def test_a_row_of_a_time_that_has_not_come_is_not_live(counted: sagalog.Engine, clock: ManualClock) -> None:
    """[WORKER-7] As after a clock that was ahead for a while."""
    Registration(counted, "w", config_of())
    clock.step(-LIVE_MS)
    assert not only(counted).is_live


def test_rows_of_long_ago_are_removed_by_the_next_worker(counted: sagalog.Engine, clock: ManualClock) -> None:
    """[WORKER-7] Those of workers that have ended, and of those that were killed; and what was asked of them."""
    executor = counted._executor
    ended = Registration(counted, "ended", config_of())
    ended.end()
    killed = Registration(counted, "killed", config_of())
    counted.stop_worker(killed.name)
    clock.advance(REMOVED_MS)
    young = Registration(counted, "young", config_of())
    counted.stop_worker(young.name)
    assert {one.name for one in counted.workers()} == {ended.name, killed.name, young.name}

    clock.advance(1)
    last = Registration(counted, "last", config_of())

    assert {one.name for one in counted.workers()} == {young.name, last.name}
    assert [name for name, _ in executor.queries.kept_in(REQUESTS, "", 10)] == [young.name]


def test_a_row_that_another_program_wrote_is_left_out(counted: sagalog.Engine) -> None:
    """[WORKER-7]"""
    counted._executor.keep(WORKERS, "odd", None, '["no", "worker"]')
    worker = Registration(counted, "w", config_of())

    assert [one.name for one in counted.workers()] == [worker.name]


# --- real processes ---------------------------------------------------------------------------------------------------


def test_a_killed_worker_is_no_longer_live_after_30_s(real: sagalog.Engine, tmp_path: Path) -> None:
    """[WORKER-7] Its row says when it was seen, and what it was doing then."""
    process = Process(tmp_path / "store.db", tmp_path, "builder")
    try:
        task = real.create("patient").id
        process.reached("patient")
        process.send(signal.SIGKILL)
        process.wait()
        [lease] = [one.lease for one in real.find(state="running")]
    finally:
        process.end()
    worker = only(real)
    clock = ManualClock(worker.seen_ms + LIVE_MS - 1)
    with sagalog.open(real_url(real), clock=clock) as observer:
        assert only(observer).is_live
        clock.advance(1)
        gone = only(observer)

    assert lease is not None
    assert (gone.name, gone.state, gone.is_live) == (lease.owner, "working", False)
    assert gone.pid != os.getpid()
    real.cancel(task, now=True)


def test_a_forked_child_is_a_worker_of_its_own(real: sagalog.Engine) -> None:
    """[WORKER-7] [FORK-2] The row of the parent's worker stays the parent's."""

    def build() -> sagalog.Worker:
        worker = sagalog.Worker(name="family")
        worker.task("do")(done)
        return worker

    parent = build()
    waiting = threading.Event()
    parent.task("fork")(lambda _context, _payload: waiting.wait(PATIENCE_S))
    real.create("fork")
    with at_work(parent, real):
        child = os.fork()
        if child == 0:
            signal.alarm(60)
            build().run(real, until="idle", handle_signals=False)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        rows = {one.pid: one for one in real.workers()}
        waiting.set()

    assert set(rows) == {os.getpid(), child}
    assert (rows[child].state, rows[os.getpid()].state) == ("ended", "working")
    assert rows[child].process_started_ms >= rows[os.getpid()].process_started_ms  # type: ignore[operator]


def test_a_worker_that_cannot_begin_leaves_no_live_row(real: sagalog.Engine) -> None:
    """[WORKER-7] Its name is too long for the owner of a lease; and it can be asked to run again."""
    worker = sagalog.Worker(name="x" * 195)
    worker.task("do")(done)
    for _ in range(2):
        with pytest.raises(sagalog.InvalidValue, match="owner"):
            worker.run(real, handle_signals=False)

    assert {one.state for one in real.workers()} == {"ended"}


# --- builds -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("build", ["2026-11-29.3", None])
@pytest.mark.parametrize("kind", [sagalog.Worker, sagalog.aio.Worker])
def test_each_lease_and_the_row_name_the_build(
    real: sagalog.Engine, kind: type[sagalog.Worker], build: str | None
) -> None:
    """[WORKER-10] Those for work, and those for undoing."""
    worker = kind(build=build)
    worker.compensation("undo")(done)

    @worker.task("do")
    def do(_context: Any, _payload: Any) -> None:
        raise sagalog.Permanent("no")

    task = real.create("do", compensations=[sagalog.Compensation("undo")]).id
    running = worker.run(real, until="idle", handle_signals=False)
    if isinstance(worker, sagalog.aio.Worker):
        asyncio.run(running)  # type: ignore[arg-type]

    builds = [(one.event.purpose, one.event.build) for one in real.history(task) if isinstance(one.event, Leased)]
    assert builds == [("work", build), ("undo", build)]
    assert only(real).build == build


@pytest.mark.parametrize("build", ["", "\n", 3, "x" * 201])
def test_a_build_that_is_no_name_is_refused(build: Any) -> None:
    with pytest.raises(sagalog.InvalidValue, match="build"):
        sagalog.Worker(build=build)

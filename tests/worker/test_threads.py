"""Who runs handlers: threads that hand work on to one another, an event loop, and what a handler that hangs leaves.

Rule: the real pool; interleavings are held by its own lock or by barriers, never by time.
"""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

import sagalog
from sagalog.testing import ManualClock
from sagalog.worker import WorkContext
from sagalog.worker.config import WorkerConfig
from sagalog.worker.handler_pool import DaemonThreads
from tests.worker.threaded import ThreadedWorker
from tests.worker.worker_processes import PATIENCE_S, at_work, ended, story

TTL_MS = 10_000


def plan_of(concurrency: int, **handlers: Any) -> WorkerConfig:
    return WorkerConfig(("default",), handlers, {}, concurrency, 0, TTL_MS, quarantine_unknown=False)


def create(engine: sagalog.Engine, *kinds: str) -> list[str]:
    return [engine.create(kind, waive_compensation="nothing is made").id for kind in kinds]


def test_jobs_that_come_at_one_time_are_handed_to_every_idle_thread(engine: sagalog.Engine, clock: ManualClock) -> None:
    """Two are told of at once and need each other; the thread that wakes first must see that the other is woken too."""
    together = threading.Barrier(2, timeout=PATIENCE_S)
    config = plan_of(2, meet=lambda *_: together.wait(), quick=lambda *_: None)
    with ThreadedWorker(engine, config, "w", clock) as worker:
        for _ in range(5):
            create(engine, "meet", "meet")
            with worker.pool._guard:
                # No thread wakes in here: both jobs are there before the first one does.
                worker.turn()
            worker.take(2)
            worker.turn()
    assert {task.state for task in engine.find()} == {"completed"}


def test_a_thread_with_a_job_leaves_the_next_to_one_that_is_idle(engine: sagalog.Engine, clock: ManualClock) -> None:
    """One idle thread is told of three jobs; with room for three it must not do them one after another."""
    all_three = threading.Barrier(3, timeout=PATIENCE_S)
    with ThreadedWorker(
        engine, plan_of(3, meet=lambda *_: all_three.wait(), quick=lambda *_: None), "w", clock
    ) as worker:
        create(engine, "quick")
        worker.turn()
        worker.take()
        worker.turn()
        create(engine, "meet", "meet", "meet")
        with worker.pool._guard:
            worker.turn()
        worker.take(3)
        worker.turn()
    assert {task.state for task in engine.find()} == {"completed"}


def test_ended_coroutines_make_room_for_functions_and_the_reverse(engine: sagalog.Engine, clock: ManualClock) -> None:
    """One that ends makes room for one of the other sort."""
    ran: list[str] = []

    async def coroutine(context: Any, _payload: Any) -> None:
        await asyncio.sleep(0)
        ran.append(context.task.kind)

    def plain(context: WorkContext, _payload: Any) -> None:
        ran.append(context.task.kind)

    config = WorkerConfig(
        ("default",), {"plain": plain, "coroutine": coroutine}, {}, 1, 8, TTL_MS, quarantine_unknown=False
    )
    kinds = ["coroutine", "plain", "plain", "coroutine", "coroutine", "plain"]
    with ThreadedWorker(engine, config, "w", clock) as worker:
        create(engine, *kinds)
        worker.turn()
        worker.take(len(kinds))
        worker.turn()
    assert ran == kinds


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_a_told_handler_that_does_not_end_gives_its_place_to_others(
    engine: sagalog.Engine, clock: ManualClock, kind: str
) -> None:
    """[WORKER-2] The worker takes nothing of it later: neither its result nor its thread."""
    begun, release, ended = threading.Event(), threading.Event(), threading.Event()

    def plain(_context: WorkContext, _payload: Any) -> str:
        begun.set()
        release.wait(PATIENCE_S)
        ended.set()
        return "too late"

    async def coroutine(_context: Any, _payload: Any) -> str:
        begun.set()
        while not release.is_set():
            try:
                await asyncio.sleep(0.001)
            except asyncio.CancelledError:
                continue
        ended.set()
        return "too late"

    with ThreadedWorker(
        engine, plan_of(1, hang=plain if kind == "plain" else coroutine, quick=lambda *_: 1), "w", clock
    ) as worker:
        hung, quick = create(engine, "hang", "quick")
        worker.turn()
        assert begun.wait(PATIENCE_S)
        engine.cancel(hung, now=True)
        clock.advance(60)
        worker.worker_loop.look()
        worker.worker_loop.end_overdue()
        clock.advance(2_000)
        worker.worker_loop.end_overdue()
        worker.turn()
        worker.take()
        worker.turn()
        assert engine.get(quick).state == "completed"  # type: ignore[union-attr]
        release.set()
        assert ended.wait(PATIENCE_S)
        # It comes back, beside another that is settled.
        create(engine, "quick")
        worker.turn()
        worker.take(2)
        worker.turn()
    assert story(engine, hung) == ["created", "leased", "cancelled"]
    assert (worker.worker_loop.stats.settled, worker.worker_loop.held) == (2, 0)


def test_a_worker_that_gives_back_what_no_thread_began_leaves_it_unbegun(
    engine: sagalog.Engine, clock: ManualClock
) -> None:
    """[WORKER-3]"""
    release, begun = threading.Event(), threading.Event()
    ran: list[str] = []

    def handler(context: WorkContext, _payload: Any) -> None:
        ran.append(context.task.id)
        begun.set()
        release.wait(PATIENCE_S)

    config = WorkerConfig(("default",), {"do": handler}, {}, 1, 5, TTL_MS, quarantine_unknown=False)
    with ThreadedWorker(engine, config, "w", clock) as worker:
        ids = create(engine, "do", "do", "do")
        worker.turn()
        assert begun.wait(PATIENCE_S)
        worker.worker_loop.announce_stop()
        worker.worker_loop.run_round()
        release.set()
        worker.take()
        worker.worker_loop.run_round()
        assert not worker.worker_loop.has_unsettled
    assert ran == ids[:1]
    assert [story(engine, id)[-1] for id in ids] == ["completed", "released", "released"]


def test_a_pool_of_daemon_threads_runs_as_many_at_a_time_as_it_may() -> None:
    pool = DaemonThreads(3)
    together = threading.Barrier(3, timeout=PATIENCE_S)
    for _ in range(4):
        for future in [pool.submit(together.wait) for _ in range(3)]:
            future.result(PATIENCE_S)
    broken = pool.submit(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        broken.result(PATIENCE_S)
    assert pool.submit(lambda: "alive").result(PATIENCE_S) == "alive"
    pool.shutdown()


def test_coroutines_and_functions_work_side_by_side(real: sagalog.Engine) -> None:
    worker = sagalog.Worker(concurrency=3)

    @worker.task("plain")
    def plain(context: WorkContext, payload: int) -> int:
        return context.step("add", lambda: payload + 1)

    @worker.task("coroutine")
    async def coroutine(context: Any, payload: int) -> int:
        async def add() -> int:
            return payload + 1

        await context.sleep("nap", 1)
        added: int = await context.step("add", add)
        return added

    ids = [real.create(kind, number).id for number in range(6) for kind in ("plain", "coroutine")]
    with at_work(worker, real):
        assert [ended(real, id).result for id in ids] == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6]


def test_a_coroutine_behind_functions_is_begun_when_they_have_ended(real: sagalog.Engine) -> None:
    worker = sagalog.Worker(concurrency=2, claim_ahead=5)
    both = threading.Barrier(2, timeout=20)

    @worker.task("plain")
    def plain(_context: WorkContext, _payload: Any) -> None:
        both.wait()

    @worker.task("coroutine")
    async def coroutine(_context: Any, payload: Any) -> Any:
        return payload

    ids = [real.create(kind, "begun").id for kind in ("plain", "plain", "coroutine")]
    with at_work(worker, real):
        assert ended(real, ids[-1]).result == "begun"


def test_many_tasks_at_hand_need_no_more_threads_than_may_run(real: sagalog.Engine) -> None:
    worker = sagalog.Worker(concurrency=2, claim_ahead=200)
    alive: list[int] = []
    others = set(threading.enumerate())

    @worker.task("do")
    def do(_context: WorkContext, _payload: Any) -> None:
        mine = set(threading.enumerate()) - others
        alive.append(sum(one.name.startswith("sagalog-handler") for one in mine))

    real.create_many({"kind": "do"} for _ in range(200))
    assert worker.run(real, until="idle").settled == 200
    assert max(alive) <= 2

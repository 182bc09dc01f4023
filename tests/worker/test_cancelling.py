"""Work that is called off, cancelled, quarantined or waived: how soon its handler hears of it, and what then counts."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import sagalog
from sagalog import Compensation, Interrupted
from sagalog.testing import ManualClock
from sagalog.worker import UndoContext, WorkContext
from sagalog.worker.config import WorkerConfig
from tests.worker.inline import InlineWorker
from tests.worker.worker_processes import PATIENCE_S, at_work, ended, story, until

# The promise is 100 ms. The machine that runs this may be busy, so what is compared is the way: no renewal is due yet.
LONG_TTL_MS = 3_600_000
UNDO = Compensation("undo", {"n": 1}, id="u")


@pytest.fixture(params=["memory", "sqlite"])
def real(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sagalog.Engine]:
    url = "memory:" if request.param == "memory" else f"sqlite:///{tmp_path}/store.db"
    with sagalog.open(url, durability="normal") as engine:
        yield engine


def worker_of(engine: sagalog.Engine, clock: ManualClock, handler: Any, undo: Any = None, **given: Any) -> InlineWorker:
    compensations = {} if undo is None else {"undo": undo}
    given = {"concurrency": 2, "claim_ahead": 0, "ttl_ms": 100_000, "quarantine_unknown": False, **given}
    return InlineWorker(engine, WorkerConfig(("default",), {"do": handler}, compensations, **given), "w", clock)


CALLS: dict[str, tuple[Callable[[sagalog.Engine, str], object], str, str]] = {
    "cancel": (lambda engine, id: engine.cancel(id, "not needed"), "cancelled", "cancelled"),
    "cancel now": (lambda engine, id: engine.cancel(id, "not needed", now=True), "lost", "cancelled"),
    "quarantine": (lambda engine, id: engine.quarantine(id, "look"), "lost", "quarantined"),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_a_handler_hears_of_a_cancel_long_before_its_next_renewal(real: sagalog.Engine, call: str, kind: str) -> None:
    """[CANCEL-1] Woken by the commit."""
    act, reason, state = CALLS[call]
    worker = sagalog.Worker(ttl_ms=LONG_TTL_MS)
    begun, heard = threading.Event(), threading.Event()
    told: list[str] = []

    @worker.task("plain")
    def plain(context: WorkContext, _payload: Any) -> None:
        begun.set()
        context.wait_stop(int(PATIENCE_S * 1_000))
        told.append("lost" if context.lost else "cancelled" if context.cancelled else "not told")
        heard.set()
        context.go_on()

    @worker.task("coroutine")
    async def coroutine(context: Any, _payload: Any) -> None:
        begun.set()
        try:
            await asyncio.sleep(PATIENCE_S)
        finally:
            told.append("lost" if context.lost else "cancelled" if context.cancelled else "not told")
            heard.set()

    id = real.create(kind).id
    with at_work(worker, real):
        assert begun.wait(PATIENCE_S)
        act(real, id)
        assert heard.wait(PATIENCE_S)
        assert ended(real, id).state == state
    assert told == [reason]
    assert "heartbeat" not in story(real, id)


@pytest.mark.parametrize("when", ["before it is leased", "under its lease"])
def test_a_handler_hears_of_its_deadline_while_its_worker_is_busy(real: sagalog.Engine, when: str) -> None:
    """[DEADLINE-1] [DEADLINE-2] No renewal is due for an hour, and no other worker claims."""
    worker = sagalog.Worker(ttl_ms=LONG_TTL_MS, concurrency=1)
    begun, told = threading.Event(), []

    @worker.task("do", waive_compensation="it has no effects")
    def do(context: WorkContext, _payload: Any) -> None:
        begun.set()
        context.wait_stop(int(PATIENCE_S * 1_000))
        told.append(context.cancelled)
        context.go_on()

    given: dict[str, Any] = {"deadline_ms": real.now_ms() + 300} if when == "before it is leased" else {}
    id = real.create("do", **given).id
    with at_work(worker, real):
        assert begun.wait(PATIENCE_S)
        if not given:
            real.amend(id, deadline_ms=real.now_ms())
        assert (ended(real, id).state, ended(real, id).code) == ("cancelled", "deadline")
    assert told == [True]


def test_a_look_for_what_was_called_off_is_due_within_the_promised_time(
    engine: sagalog.Engine, clock: ManualClock
) -> None:
    """[CANCEL-1] By the clock: a caller has committed, so the worker wants to look again within 100 ms."""
    looked: list[bool] = []

    def handler(context: WorkContext, _payload: Any) -> None:
        worker.worker_loop.look()
        engine.quarantine("a", "look")
        waits_ms = worker.worker_loop.wait_ms()
        assert waits_ms <= 100
        clock.advance(waits_ms)
        worker.worker_loop.look()
        looked.append(context.lost)

    engine.create("do", id="a")
    worker = worker_of(engine, clock, handler, concurrency=1)
    worker.turn()
    worker.run_job()
    assert looked == [True]


def test_where_no_caller_commits_a_worker_does_not_look_all_the_time(
    engine: sagalog.Engine, clock: ManualClock
) -> None:
    waits: list[int] = []

    def handler(_context: WorkContext, _payload: Any) -> None:
        for _ in range(3):
            clock.advance(100)
            worker.worker_loop.look()
        waits.append(worker.worker_loop.wait_ms())

    engine.create("do", id="a")
    worker = worker_of(engine, clock, handler, concurrency=1)
    worker.turn()
    worker.run_job()
    assert waits[0] > 500


def test_what_was_called_off_counts_once_among_the_lost(engine: sagalog.Engine, clock: ManualClock) -> None:
    def handler(context: WorkContext, _payload: Any) -> str:
        engine.cancel("a", now=True)
        clock.advance(60)
        worker.worker_loop.look()
        assert context.lost
        return "all the same"

    engine.create("do", id="a")
    worker = worker_of(engine, clock, handler)
    worker.until_idle()
    assert (worker.worker_loop.stats.lost, worker.worker_loop.stats.settled) == (1, 0)
    assert engine.get("a").state == "cancelled"  # type: ignore[union-attr]


def test_a_cancelled_handler_is_told_when_its_lease_is_lost_too(engine: sagalog.Engine, clock: ManualClock) -> None:
    """[WORKER-2] Lost outweighs cancelled: nothing that it does now may count."""
    told: list[tuple[bool, bool]] = []

    def handler(context: WorkContext, _payload: Any) -> None:
        for now in (False, True):
            engine.cancel("a", now=now)
            clock.advance(60)
            worker.worker_loop.look()
            told.append((context.cancelled, context.lost))

    engine.create("do", id="a")
    worker = worker_of(engine, clock, handler)
    worker.until_idle()
    assert told == [(True, False), (False, True)]


def test_a_handler_that_ended_its_own_lease_is_not_counted_as_lost(engine: sagalog.Engine, clock: ManualClock) -> None:
    """[WORKER-1] A step whose result cannot be stored quarantines the task from within the handler."""

    def handler(context: WorkContext, _payload: Any) -> None:
        try:
            context.step("make", lambda: object())
        finally:
            clock.advance(60)
            worker.worker_loop.look()

    engine.create("do", id="a")
    worker = worker_of(engine, clock, handler)
    worker.until_idle()
    assert worker.worker_loop.stats.lost == 0
    assert story(engine, "a") == ["created", "leased", "quarantined"]


def test_an_undo_whose_task_is_quarantined_hears_of_it(engine: sagalog.Engine, clock: ManualClock) -> None:
    """[COMP-6]"""
    told: list[bool] = []

    def undo(context: UndoContext, _params: Any) -> None:
        engine.quarantine("a", "look")
        clock.advance(60)
        worker.worker_loop.look()
        told.append(context.lost)

    engine.create("do", id="a", compensations=[UNDO])
    engine.acquire("a", owner="another", ttl_ms=100).fail("no")
    worker = worker_of(engine, clock, None, undo)
    worker.until_idle()
    assert told == [True]
    assert story(engine, "a")[-1] == "quarantined"


# --- waived undos -----------------------------------------------------------------------------------------------------


def owing(engine: sagalog.Engine, *ids: str) -> None:
    engine.create("do", id="a", compensations=[Compensation("undo", id, id=id) for id in ids])
    engine.acquire("a", owner="another", ttl_ms=100).fail("no")


def test_an_undo_that_is_waived_while_another_is_in_hand_is_not_run(engine: sagalog.Engine, clock: ManualClock) -> None:
    """[COMP-4]"""
    ran: list[str] = []

    def undo(context: UndoContext, params: str) -> None:
        ran.append(params)
        if params == "d":
            engine.waive("a", "c", "done by hand")

    owing(engine, "b", "c", "d")
    worker_of(engine, clock, None, undo).until_idle()
    assert ran == ["d", "b"]
    assert engine.get("a").state == "compensated"  # type: ignore[union-attr]


def test_an_undo_that_is_waived_before_its_lease_gets_its_turn_is_not_run(
    engine: sagalog.Engine, clock: ManualClock
) -> None:
    """[COMP-4]"""
    ran: list[str] = []
    owing(engine, "b", "c")
    worker = worker_of(engine, clock, None, lambda _context, params: ran.append(params))
    worker.turn()
    engine.waive("a", "c", "done by hand")
    worker.until_idle()
    assert ran == ["b"]


def test_the_undo_in_hand_may_be_waived_and_the_others_still_run(engine: sagalog.Engine, clock: ManualClock) -> None:
    """[COMP-4]"""
    ran: list[str] = []

    def undo(context: UndoContext, params: str) -> None:
        ran.append(params)
        if params == "d":
            engine.waive("a", "d", "done by hand")
            engine.waive("a", "c", "done by hand too")

    owing(engine, "b", "c", "d")
    worker_of(engine, clock, None, undo).until_idle()
    assert ran == ["d", "b"]
    assert engine.get("a").state == "compensated"  # type: ignore[union-attr]


def test_where_all_undos_are_waived_none_is_run(engine: sagalog.Engine, clock: ManualClock) -> None:
    """[COMP-4]"""
    ran: list[str] = []
    owing(engine, "b", "c")
    worker = worker_of(engine, clock, None, lambda _context, params: ran.append(params))
    worker.turn()
    for id in ("b", "c"):
        engine.waive("a", id, "done by hand")
    worker.until_idle()
    assert ran == []
    assert story(engine, "a")[-1] == "compensated"


def test_an_undo_that_is_waived_beside_coroutines_is_not_run(real: sagalog.Engine) -> None:
    """[COMP-4]"""
    worker = sagalog.Worker()
    ran: list[str] = []
    at, go_on = threading.Event(), threading.Event()

    @worker.compensation("undo")
    def undo(_context: UndoContext, params: str) -> None:
        ran.append(params)
        if params == "d":
            at.set()
            go_on.wait(PATIENCE_S)

    @worker.compensation("coroutine")
    async def coroutine(_context: Any, params: str) -> None:
        ran.append(params)

    undos = [Compensation("coroutine", "b", id="b"), Compensation("undo", "c", id="c"), Compensation("undo", "d")]
    real.create("do", id="a", compensations=undos)
    real.acquire("a", owner="another", ttl_ms=100).fail("no")
    with at_work(worker, real):
        assert at.wait(PATIENCE_S)
        real.waive("a", "c", "done by hand")
        go_on.set()
        assert ended(real, "a").state == "compensated"
    assert ran == ["d", "b"]


# --- shutting down ----------------------------------------------------------------------------------------------------


def in_the_grace(real: sagalog.Engine, worker: sagalog.Worker, begun: threading.Event, id: str) -> sagalog.Task:
    """The task once a worker that was told to stop has ended, long before its grace is over."""
    thread = threading.Thread(target=worker.run, args=(real,))
    thread.start()
    assert begun.wait(PATIENCE_S)
    worker.stop()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    task = real.get(id)
    assert task is not None
    return task


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_a_handler_interrupted_within_the_grace_spends_no_attempt(real: sagalog.Engine, kind: str) -> None:
    """[WORKER-3] [ATTEMPT-1] It says that it was interrupted."""
    worker = sagalog.Worker(grace_ms=LONG_TTL_MS)
    begun = threading.Event()

    @worker.task("plain")
    def plain(context: WorkContext, _payload: Any) -> None:
        begun.set()
        while not context.stopping:
            time.sleep(0.002)
        raise Interrupted("the rest is for the next worker")

    @worker.task("coroutine")
    async def coroutine(context: Any, _payload: Any) -> None:
        begun.set()
        while not context.stopping:
            await asyncio.sleep(0.002)
        raise Interrupted("the rest is for the next worker")

    id = real.create(kind).id
    task = in_the_grace(real, worker, begun, id)
    assert (task.state, task.attempt, task.error) == ("pending", 1, None)
    assert story(real, id) == ["created", "leased", "released"]


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_an_undo_interrupted_within_the_grace_has_not_failed(real: sagalog.Engine, kind: str) -> None:
    """[WORKER-3] [UNDO-3] It says that it was interrupted."""
    worker = sagalog.Worker(grace_ms=LONG_TTL_MS)
    begun = threading.Event()

    @worker.compensation("plain")
    def plain(context: UndoContext, _params: Any) -> None:
        begun.set()
        while not context.stopping:
            time.sleep(0.002)
        raise Interrupted("the rest is for the next worker")

    @worker.compensation("coroutine")
    async def coroutine(context: Any, _params: Any) -> None:
        begun.set()
        while not context.stopping:
            await asyncio.sleep(0.002)
        raise Interrupted("the rest is for the next worker")

    real.create("do", id="a", compensations=[Compensation(kind)])
    real.acquire("a", owner="another", ttl_ms=LONG_TTL_MS).fail("no")
    task = in_the_grace(real, worker, begun, "a")
    assert (task.state, task.attempt) == ("compensating", 1)
    assert story(real, "a")[-2:] == ["leased", "released"]


def test_a_handler_that_claims_an_interruption_unasked_spends_a_transient(real: sagalog.Engine) -> None:
    """[LIFE-2] The worker has not told it to end."""
    worker = sagalog.Worker()

    @worker.task("do")
    def do(_context: WorkContext, _payload: Any) -> None:
        raise Interrupted("of its own accord")

    id = real.create("do").id
    worker.run(real, until="idle", handle_signals=False)
    assert story(real, id)[-1] == "retried"


# --- until idle -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("concurrency", [1, 2, 5])
def test_a_worker_that_ends_when_idle_has_done_children_and_undos(real: sagalog.Engine, concurrency: int) -> None:
    """[WAIT-3] Of parents and of children: whatever its last commit lets in is there to be claimed."""
    worker = sagalog.Worker(concurrency=concurrency, quarantine_unknown=False)
    undone: list[Any] = []

    @worker.task("grandparent")
    def grandparent(context: WorkContext, _payload: Any) -> Any:
        for name in ("x", "y"):
            context.spawn(name, "parent", name)
        return [str(task.state) for task in context.wait_tasks()]

    @worker.task("parent")
    def parent(context: WorkContext, payload: Any) -> Any:
        context.spawn("kid", "child", payload)
        [kid] = context.wait_tasks()
        if payload == "y":
            context.step("make", lambda: None, compensation=Compensation("undo", payload))
            raise sagalog.Permanent("no")
        return kid.result

    @worker.task("child")
    def child(_context: WorkContext, payload: Any) -> Any:
        return payload

    @worker.compensation("undo")
    def undo(_context: UndoContext, params: Any) -> None:
        undone.append(params)

    ids = [real.create("grandparent").id for _ in range(3)]
    worker.run(real, until="idle", handle_signals=False)

    assert [real.get(id).result for id in ids] == [["completed", "compensated"]] * 3  # type: ignore[union-attr]
    assert undone == ["y"] * 3
    assert all(task.is_terminal for task in real.find())


def test_undos_go_before_work_also_where_a_worker_has_room_for_one(engine: sagalog.Engine, clock: ManualClock) -> None:
    ran: list[str] = []
    engine.create("do", id="first")
    worker = worker_of(
        engine,
        clock,
        lambda context, _payload: ran.append(context.task.id),
        lambda context, _params: ran.append(f"undo {context.task.id}"),
        concurrency=1,
    )
    worker.turn()
    for number in range(5):
        engine.create("do", id=f"t{number}")
    engine.create("do", id="a", queue="default", compensations=[UNDO])
    engine.acquire("a", owner="another", ttl_ms=100).fail("no")
    worker.run_job()
    worker.until_idle()
    assert ran.index("undo a") <= 2


def test_half_of_the_room_is_left_to_work_where_there_is_much_to_undo(
    engine: sagalog.Engine, clock: ManualClock
) -> None:
    for number in range(6):
        engine.create("do", id=f"u{number}", compensations=[UNDO])
        engine.acquire(f"u{number}", owner="another", ttl_ms=100).fail("no")
        engine.create("do", id=f"w{number}")
    worker = worker_of(engine, clock, lambda *_: None, lambda *_: None, concurrency=4)
    worker.turn()
    worker.turn()
    assert sorted(job.lease.purpose for job in worker.pool.waiting) == ["undo", "undo", "work", "work"]


def test_a_real_worker_hears_of_a_cancel_of_another_process_by_its_commit(tmp_path: Path) -> None:
    """[CANCEL-1]"""
    worker = sagalog.Worker(ttl_ms=LONG_TTL_MS)
    begun = threading.Event()

    @worker.task("do")
    def do(context: WorkContext, _payload: Any) -> None:
        begun.set()
        context.wait_stop(int(PATIENCE_S * 1_000))
        assert context.lost

    url = f"sqlite:///{tmp_path}/store.db"
    with sagalog.open(url, durability="normal") as engine, sagalog.open(url, durability="normal") as other:
        id = engine.create("do").id
        with at_work(worker, engine):
            assert begun.wait(PATIENCE_S)
            other.cancel(id, now=True)
            until(engine, id, lambda task: task.is_terminal)
        assert story(engine, id) == ["created", "leased", "cancelled"]

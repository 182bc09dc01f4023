"""How a handler is told to end: by which reason, by whom, and without holding up the caller that tells it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import sagalog
from sagalog import Compensation
from sagalog.worker import UndoContext, WorkContext
from sagalog.worker.stop_token import StopToken
from tests.worker.worker_processes import PATIENCE_S, at_work, ended, story, until


@pytest.fixture
def real(tmp_path: Path) -> Iterator[sagalog.Engine]:
    with sagalog.open(f"sqlite:///{tmp_path}/store.db", durability="normal") as engine:
        yield engine


@pytest.mark.parametrize("first", ["cancelled", "time_limit", "shutdown"])
def test_a_lost_lease_outweighs_every_other_reason_and_none_outweighs_it(first: Any) -> None:
    """[WORKER-2]"""
    stopping = StopToken()
    stopping.request(first)
    stopping.request("cancelled")
    assert stopping.reason == first
    stopping.request("lost")
    assert stopping.reason == "lost"
    stopping.request(first)
    stopping.request_once(first)
    assert stopping.reason == "lost"


def test_a_thread_that_waits_is_woken_once_it_is_told() -> None:
    stopping = StopToken()
    waits = threading.Thread(target=stopping.wait, args=(60_000,))
    waits.start()
    stopping.request("shutdown")
    waits.join(PATIENCE_S)
    assert not waits.is_alive()
    assert stopping.wait(60_000)


def test_a_callback_that_hangs_holds_up_no_teller_and_no_callback() -> None:
    stopping = StopToken()
    release, called = threading.Event(), threading.Event()
    threads: list[int] = []

    def hang() -> None:
        threads.append(threading.get_ident())
        release.wait(PATIENCE_S)

    with stopping.calls(hang), stopping.calls(called.set):
        stopping.request("cancelled")
        assert called.wait(PATIENCE_S)
        stopping.request("lost")
    release.set()
    assert threads
    assert threads != [threading.get_ident()]


def test_a_callback_is_called_once_and_not_behind_its_block() -> None:
    stopping = StopToken()
    called: list[str] = []
    done = threading.Event()
    with stopping.calls(lambda: called.append("gone")):
        pass

    def note() -> None:
        called.append("here")
        done.set()

    with stopping.calls(note):
        stopping.request("cancelled")
        stopping.request("lost")
        assert done.wait(PATIENCE_S)
    with stopping.calls(lambda: called.append("late")):
        assert called == ["here", "late"]


def test_a_callback_that_hangs_costs_no_other_task_its_lease(real: sagalog.Engine) -> None:
    """[WORKER-2] [LEASE-3]"""
    worker = sagalog.Worker(ttl_ms=600, concurrency=2, grace_ms=0)
    release = threading.Event()
    begun = threading.Barrier(3, timeout=PATIENCE_S)
    hangs = threading.Event()

    def hang() -> None:
        hangs.set()
        release.wait(PATIENCE_S)

    @worker.task("called off")
    def called_off(context: WorkContext, _payload: Any) -> None:
        with context.on_stop(hang):
            begun.wait()
            context.wait_stop(int(PATIENCE_S * 1_000))
            context.go_on()

    @worker.task("long")
    def long(context: WorkContext, _payload: Any) -> bool:
        begun.wait()
        release.wait(PATIENCE_S)
        return context.lost

    doomed, other = real.create("called off").id, real.create("long").id
    with at_work(worker, real):
        begun.wait()
        real.cancel(doomed)
        assert hangs.wait(PATIENCE_S)
        # While the callback hangs, the lease of the other is renewed several times.
        until(real, other, lambda task: sum(one.type == "heartbeat" for one in real.history(task.id)) >= 3)
        assert ended(real, doomed).state == "cancelled"
        release.set()
        assert ended(real, other).result is False


def test_undos_that_hang_do_not_keep_coroutines_from_writing(real: sagalog.Engine) -> None:
    worker = sagalog.Worker(ttl_ms=60_000, concurrency=24, grace_ms=0)
    hung, release = threading.Semaphore(0), threading.Event()

    @worker.compensation("plain")
    def plain(_context: UndoContext, _params: Any) -> None:
        hung.release()
        # Longer than anything here is waited for: it hangs, and is not merely slow.
        release.wait(4 * PATIENCE_S)

    @worker.compensation("coroutine")
    async def coroutine(_context: Any, _params: Any) -> None: ...

    @worker.task("step")
    async def step(context: Any, _payload: Any) -> Any:
        return await context.step("only", lambda: "written")

    undos = [Compensation("coroutine"), Compensation("plain")]
    for number in range(18):
        real.create("other", id=f"t{number}", compensations=undos)
        real.acquire(f"t{number}", owner="me", ttl_ms=60_000).fail("no")
    with at_work(worker, real):
        for _ in range(18):
            assert hung.acquire(timeout=PATIENCE_S)
        assert ended(real, real.create("step").id).result == "written"
        release.set()
        assert ended(real, "t0").state == "compensated"


def test_a_worker_that_shuts_down_gives_back_what_it_has_not_begun(real: sagalog.Engine) -> None:
    """[ATTEMPT-1] [WORKER-3]"""
    worker = sagalog.Worker(concurrency=1, claim_ahead=3, grace_ms=20_000)
    begun, go_on = threading.Event(), threading.Event()

    @worker.task("slow")
    def slow(context: WorkContext, _payload: Any) -> bool:
        begun.set()
        go_on.wait(20)
        return context.stopping

    ids = [real.create("slow").id for _ in range(4)]
    thread = threading.Thread(target=worker.run, args=(real,))
    thread.start()
    assert begun.wait(20)
    until(real, ids[3], lambda task: task.lease is not None)
    worker.stop()
    for id in ids[1:]:
        until(real, id, lambda task: task.lease is None)
    go_on.set()
    thread.join(20)

    assert ended(real, ids[0]).result is True
    assert [story(real, id)[-1] for id in ids[1:]] == ["released"] * 3

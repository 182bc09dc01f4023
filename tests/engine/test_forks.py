"""Forks: the engine goes on in the child, on every store; what was begun before the fork is the parent's. [FORK-2]"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import sagalog
import sagalog.aio
from sagalog import Compensation, Engine
from sagalog.errors import Closed
from sagalog.store import Operation, Result, View
from sagalog.store.memory import MemoryStore
from sagalog.testing import ManualClock

OWN = "make another one in the child"


def in_child(work: Callable[[], object]) -> int:
    """Run `work` in a forked child; its exit status, 0 if it did not raise."""
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        try:
            work()
        except BaseException as error:  # noqa: BLE001  # the status tells the parent
            os.write(2, repr(error).encode())
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def refused(*calls: Callable[[], object]) -> Callable[[], None]:
    def work() -> None:
        for call in calls:
            with pytest.raises(Closed, match=OWN):
                call()

    return work


def leased(engine: Engine, id: str = "t") -> sagalog.Lease:
    engine.create("k", id=id, compensations=[Compensation("undo", id="u")])
    return engine.acquire(id, owner="ann", ttl_ms=60_000)


def test_the_engine_goes_on_in_the_child(engine: Engine) -> None:
    """[FORK-2] Everything is made anew there: tasks, leases, batches, subscriptions."""
    engine.create("k", id="before")

    def work() -> None:
        lease = leased(engine, "child")
        lease.heartbeat().complete("done")
        with engine.batch() as batch:
            batch.create("k", id="batched")
        assert engine.counts()["default"] == {"pending": 2, "completed": 1}
        subscription = engine.subscribe("reader")
        assert len(subscription.read()) > 5
        subscription.save()
        assert engine.verify().ok
        engine.close()

    assert in_child(work) == 0
    engine.create("k", id="after")
    assert engine.get("after") is not None


def test_a_child_on_memory_has_a_copy_of_its_own() -> None:
    engine = sagalog.open("memory:")
    engine.create("k", id="before")

    def work() -> None:
        assert engine.get("before") is not None
        engine.create("k", id="child")

    assert in_child(work) == 0
    assert engine.get("child") is None


def test_a_lease_that_was_had_before_the_fork_is_the_parents(engine: Engine) -> None:
    """[FORK-2]"""
    lease = leased(engine)
    undo = Compensation("undo", id="other")
    assert 0 == in_child(
        refused(
            lease.heartbeat,
            lambda: lease.register(undo),
            lambda: lease.step("s", 1),
            lambda: lease.put_artifact("a", b"1"),
            lambda: lease.park("w", signal="go"),
            lease.release,
            lambda: lease.retry("again"),
            lease.complete,
            lambda: lease.fail("no"),
            lambda: lease.quarantine("no"),
            lambda: lease.compensation_done("u"),
            lambda: lease.compensation_failed("u", "no"),
            lambda: engine.heartbeat([lease]),
        )
    )
    assert lease.heartbeat().complete().state == "completed"


def test_a_lease_that_the_child_has_taken_up_is_its_own(engine: Engine) -> None:
    """A process that hands work over to a child names the task and the fence."""
    lease = leased(engine)

    def work() -> None:
        taken = engine.reattach(lease.task.id, lease.fence)
        assert taken is not None
        taken.complete("by the child")

    assert in_child(work) == 0


def test_a_batch_that_was_begun_before_the_fork_is_the_parents(engine: Engine) -> None:
    """[FORK-2]"""
    lease = leased(engine)
    unopened = engine.batch()

    def commit(batch: sagalog.Batch) -> None:
        batch.__exit__(None, None, None)

    def record_old_lease() -> None:
        with engine.batch() as mine:
            mine.complete(lease)

    with engine.batch() as batch:
        batch.create("k", id="batched")
        works = refused(
            lambda: batch.create("k", id="late"), lambda: commit(batch), unopened.__enter__, record_old_lease
        )
        assert in_child(works) == 0
    assert engine.get("batched") is not None
    assert engine.get("late") is None


def test_a_subscription_that_was_begun_before_the_fork_is_the_parents(engine: Engine) -> None:
    """[FORK-2]"""
    engine.create("k", id="t")
    subscription = engine.subscribe("reader")
    next(subscription)
    works = refused(subscription.read, lambda: next(subscription), lambda: subscription.wait(0), subscription.save)
    assert in_child(works) == 0
    subscription.save()
    assert len(subscription.read()) == 1


def test_a_worker_that_was_made_before_the_fork_is_the_parents(engine: Engine) -> None:
    """[FORK-2]"""
    worker = sagalog.Worker()
    worker.task("k")(lambda _context, _payload: "done")
    awaited = sagalog.aio.Worker()
    awaited.task("k")(lambda _context, _payload: "done")
    engine.create("k", id="t")

    def work() -> None:
        refused(
            lambda: worker.run(engine, until="idle"),
            lambda: asyncio.run(awaited.run(engine, until="idle", handle_signals=False)),
        )()
        mine = sagalog.Worker()
        mine.task("k")(lambda _context, _payload: "done")
        mine.run(engine, until="idle")
        task = engine.get("t")
        assert task is not None
        assert task.state == "completed"

    assert in_child(work) == 0
    engine.create("k", id="t2")
    worker.run(engine, until="idle")
    task = engine.get("t2")
    assert task is not None
    assert task.state == "completed"


def test_a_context_in_a_fork_of_its_handler_does_nothing(engine: Engine) -> None:
    """[FORK-2] Nor does a step begin there: its effect would be made twice."""
    worker = sagalog.Worker()
    statuses: list[int] = []
    begun: list[str] = []

    def handle(context: Any, _payload: Any) -> str:
        statuses.append(
            in_child(
                refused(
                    context.go_on,
                    lambda: context.step("s", lambda: os.write(2, b"begun")),
                    lambda: context.progress(1),
                    lambda: context.artifact("a", b"1"),
                    lambda: context.sleep("w", 1),
                    lambda: context.wait_signal("go"),
                    lambda: context.spawn("c", "k"),
                    lambda: context.input("i"),
                )
            )
        )
        context.step("s", lambda: begun.append("here"))
        return "done"

    worker.task("k")(handle)
    engine.create("k", id="t", inputs={"i": b"1"})
    worker.run(engine, until="idle")
    assert (statuses, begun) == ([0], ["here"])


def test_a_fork_beside_threads_that_work_gives_a_child_whose_engine_works(engine: Engine) -> None:
    """Whatever lock a thread held at that moment, no thread of the child waits for it."""
    over = threading.Event()

    def work() -> None:
        number = 0
        while not over.is_set():
            engine.create("k", id=f"{threading.get_ident()}-{number}", queue="other")
            engine.claim("other", owner="ann", ttl_ms=60_000)
            number += 1

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for number in range(5):
            assert in_child(lambda: leased(engine, f"child{number}").complete()) == 0  # noqa: B023  # run at once
    finally:
        over.set()
        for thread in threads:
            thread.join(20)
    assert engine.verify().ok


def test_a_memory_store_copied_amid_a_commit_is_refused() -> None:
    """[FORK-1]"""
    store = MemoryStore(ManualClock(1))
    statuses: list[int] = []

    def refuses() -> None:
        with pytest.raises(Closed, match="start processes by spawn or forkserver"):
            store.commit([])

    def decide(_: View) -> Result:
        statuses.append(in_child(refuses))
        return Result("written")

    assert store.commit([Operation(decide)]) == ["written"]
    assert statuses == [0]
    assert in_child(lambda: store.commit([])) == 0


# --- asyncio --------------------------------------------------------------------------------------------------------


def refused_awaited(*calls: Callable[[], Awaitable[object]]) -> Callable[[], None]:
    async def work() -> None:
        for call in calls:
            with pytest.raises(Closed, match=OWN):
                await call()

    return lambda: asyncio.run(work())


def test_an_engine_for_asyncio_goes_on_in_the_child(store_url: str) -> None:
    """[FORK-2] What it gave before the fork does not."""
    engine: list[sagalog.aio.AsyncEngine] = []
    given: list[Any] = []

    async def before() -> None:
        engine.append(await sagalog.aio.open(store_url))
        await engine[0].create("k", id="t")
        given.append(await engine[0].acquire("t", owner="ann", ttl_ms=60_000))
        given.append(await engine[0].subscribe("reader"))

    asyncio.run(before())
    lease, subscription = given

    async def goes_on() -> None:
        await engine[0].create("k", id="child")
        mine = await engine[0].acquire("child", owner="ann", ttl_ms=60_000)
        await mine.complete()
        assert (await engine[0].wait("child", 1_000)).state == "completed"
        assert await engine[0].claim("none", owner="ann", ttl_ms=1_000, wait_ms=20) == []
        await engine[0].close()

    def work() -> None:
        refused_awaited(lease.complete, lease.heartbeat, subscription.read, subscription.save)()
        asyncio.run(goes_on())

    assert in_child(work) == 0

    async def after() -> None:
        assert (await lease.complete()).state == "completed"
        await engine[0].close()

    asyncio.run(after())

"""Cancelled in the middle: what was begun goes on to its end, what was not never happens, and no lease is orphaned."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

import sagalog.aio
from sagalog import Closed, Engine, Unavailable
from sagalog.aio import AsyncEngine
from sagalog.aio.pool import Pool
from sagalog.testing import ManualClock
from tests.engine.aio_stores import at_the_gate, gated, until


async def cancelled(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_write_that_was_begun_goes_on_and_closing_waits_for_it() -> None:
    store, plain = gated()

    async def main() -> None:
        engine = AsyncEngine(plain)
        store.gate.clear()
        creating = asyncio.create_task(engine.create("build", id="one"))
        await at_the_gate(store)
        await cancelled(creating)
        closing = asyncio.create_task(engine.close())
        for _ in range(20):
            await asyncio.sleep(0.001)
        assert not closing.done()
        with pytest.raises(Closed):
            await engine.create("build", id="two")
        store.gate.set()
        await closing

    asyncio.run(main())

    assert [*store.tables.folds] == ["one"]


def test_closing_is_done_where_its_waiting_caller_is_cancelled() -> None:
    store, plain = gated()

    async def main() -> None:
        engine = AsyncEngine(plain)
        store.gate.clear()
        creating = asyncio.create_task(engine.create("build", id="one"))
        await at_the_gate(store)
        closing = asyncio.create_task(engine.close())
        await asyncio.sleep(0)
        await cancelled(closing)
        store.gate.set()
        assert (await creating).id == "one"
        await engine.close()

    asyncio.run(main())

    with pytest.raises(Closed):
        plain.create("build")


def test_a_write_that_was_not_begun_never_happens() -> None:
    store, plain = gated()

    async def main() -> None:
        async with AsyncEngine(plain, threads=1) as engine:
            store.gate.clear()
            first = asyncio.create_task(engine.create("build", id="one"))
            await at_the_gate(store)
            second = asyncio.create_task(engine.create("build", id="two"))
            await asyncio.sleep(0)
            await cancelled(second)
            store.gate.set()
            await first

    asyncio.run(main())

    assert [*store.tables.folds] == ["one"]


def test_the_failure_of_a_write_whose_caller_was_cancelled_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    store, plain = gated()

    async def main() -> None:
        async with AsyncEngine(plain) as engine:
            store.gate.clear()
            creating = asyncio.create_task(engine.create("build", id="one"))
            await at_the_gate(store)
            await cancelled(creating)
            store.failure = Unavailable("the disk is full")
            store.gate.set()

    with caplog.at_level(logging.WARNING, "sagalog.aio"):
        asyncio.run(main())

    assert "the disk is full" in caplog.text


@pytest.mark.parametrize(
    "call",
    [
        lambda engine: engine.claim("default", owner="bob", ttl_ms=None),
        lambda engine: engine.claim("default", owner="bob", ttl_ms=None, wait_ms=60_000),
        lambda engine: engine.acquire("one", owner="bob", ttl_ms=None),
    ],
    ids=["claim", "waiting-claim", "acquire"],
)
def test_what_was_leased_for_a_caller_who_was_cancelled_is_given_back(call: Callable[[AsyncEngine], Any]) -> None:
    store, plain = gated()
    plain.create("build", id="one")

    async def main() -> None:
        async with AsyncEngine(plain, threads=1) as engine:
            store.gate.clear()
            leasing = asyncio.create_task(call(engine))
            await at_the_gate(store)
            await cancelled(leasing)
            store.gate.set()
            task = await engine.get("one")
            assert task is not None
            assert (task.state, task.lease, task.attempt, task.leases) == ("pending", None, 1, 1)

    asyncio.run(main())


@pytest.mark.parametrize("together", [True, False])
def test_leases_of_a_cancelled_callers_batch_are_given_back(
    together: bool,
) -> None:
    """The rest of the batch is kept."""
    store, plain = gated()
    plain.create("build", id="one")
    plain.create("build", id="three", queue="other")

    async def record(engine: AsyncEngine) -> None:
        async with engine.batch(together=together) as batch:
            batch.create("build", id="two", queue="other")
            if not together:
                with batch.group():
                    batch.note("three", "seen")
                    batch.acquire("three", owner="bob", ttl_ms=None)
            batch.acquire("two", owner="bob", ttl_ms=None)
            batch.claim("default", owner="bob", ttl_ms=None)

    async def main() -> None:
        async with AsyncEngine(plain, threads=1) as engine:
            store.gate.clear()
            recording = asyncio.create_task(record(engine))
            await at_the_gate(store)
            await cancelled(recording)
            store.gate.set()
            found = {task.id: (task.state, task.leases) for task in await engine.find()}
            assert found == {"one": ("pending", 1), "three": ("pending", 0 if together else 1), "two": ("pending", 1)}

    asyncio.run(main())


def test_what_cannot_be_given_back_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    has_begun, may_end = threading.Event(), threading.Event()

    def answer() -> str:
        has_begun.set()
        assert may_end.wait(10)
        return "lease"

    def give_back(answer: str) -> None:
        raise Unavailable(f"the disk is full, for the {answer} too")

    async def main() -> None:
        pool = Pool()
        running = asyncio.create_task(pool.run(answer, give_back))
        assert await asyncio.to_thread(has_begun.wait, 10)
        await cancelled(running)
        may_end.set()
        await pool.close(lambda: None)

    with caplog.at_level(logging.WARNING, "sagalog.aio"):
        asyncio.run(main())

    assert "the disk is full, for the lease too" in caplog.text


def test_a_claim_that_is_cancelled_while_it_waits_leases_nothing_later(store_url: str) -> None:
    async def main() -> None:
        async with sagalog.aio.open(store_url, durability="normal") as opened:
            engine = AsyncEngine(opened.plain, threads=1)
            claiming = [
                asyncio.create_task(engine.claim("default", owner="bob", ttl_ms=None, wait_ms=60_000)) for _ in range(5)
            ]
            for _ in range(20):
                await asyncio.sleep(0.001)
            for one in claiming:
                await cancelled(one)
            await engine.create("build", id="one")
            # Another who waits is served: the commit was seen by all who still do.
            [lease] = await engine.claim("default", owner="ann", ttl_ms=None, wait_ms=60_000)
            assert (lease.task.id, lease.task.leases) == ("one", 1)

    asyncio.run(main())


def test_cancelling_at_any_step_leases_to_the_caller_or_not_at_all(clock: ManualClock) -> None:
    """A claim is cancelled after so many steps of the loop; a lease that its caller does not get is given back."""
    got = 0
    for steps in range(40):
        with sagalog.open("memory:", clock=clock) as plain:
            plain.create("build", id="one")
            got += asyncio.run(_cancel_after(plain, steps))
    assert 0 < got < 40


async def _cancel_after(plain: Engine, steps: int) -> bool:
    engine = AsyncEngine(plain, threads=1)
    claiming = asyncio.create_task(engine.claim("default", owner="bob", ttl_ms=None))
    for _ in range(steps):
        await asyncio.sleep(0 if steps < 20 else 0.0005)
    claiming.cancel()
    await asyncio.wait([claiming])
    # Nothing is under way any more once a later call of the only thread has ended, twice: a giving back may follow.
    await engine.get("one")
    task = await engine.get("one")
    assert task is not None
    assert (task.lease is None) is claiming.cancelled()
    await engine.close()
    return not claiming.cancelled()


@pytest.mark.parametrize("steps", range(6))
def test_an_answer_is_given_or_given_back_and_never_both_or_neither(steps: int) -> None:
    given_back: list[str] = []
    has_run = threading.Event()

    def answer() -> str:
        has_run.set()
        return "lease"

    async def main() -> bool:
        pool = Pool()
        running = asyncio.create_task(pool.run(answer, given_back.append))
        await asyncio.sleep(0)
        assert has_run.wait(10)
        for _ in range(steps):
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.wait([running])
        await pool.close(lambda: None)
        return running.cancelled()

    was_cancelled = asyncio.run(main())

    assert given_back == (["lease"] if was_cancelled else [])


@pytest.mark.parametrize("steps", range(6))
def test_what_a_cancelled_caller_claimed_is_given_back_amid_closing(steps: int) -> None:
    """The call has ended, its answer is on its way, the pool closes, and only then is the caller cancelled."""
    told: list[str] = []
    has_run = threading.Event()

    def answer() -> str:
        has_run.set()
        return "lease"

    async def main() -> bool:
        pool = Pool()
        running = asyncio.create_task(pool.run(answer, lambda lease: told.append(f"{lease} given back")))
        await asyncio.sleep(0)
        assert has_run.wait(10)
        closing = asyncio.create_task(pool.close(lambda: told.append("closed")))
        for _ in range(steps):
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.wait([running, closing])
        return running.cancelled()

    was_cancelled = asyncio.run(main())
    assert told == (["lease given back", "closed"] if was_cancelled else ["closed"])


def test_an_answer_on_its_way_keeps_the_pool_open_until_given_back() -> None:
    """The event loop is blocked while the pool closes, so that the answer is neither taken nor given back yet."""
    told: list[str] = []
    has_run, is_closed = threading.Event(), threading.Event()

    def answer() -> str:
        has_run.set()
        return "lease"

    def last() -> None:
        told.append("closed")
        is_closed.set()

    async def main() -> None:
        pool = Pool()
        running = asyncio.create_task(pool.run(answer, lambda lease: told.append(f"{lease} given back")))
        await asyncio.sleep(0)
        assert has_run.wait(10)
        closing = asyncio.create_task(pool.close(last))
        await asyncio.sleep(0)
        # Were it closed too early, it would be so by now.
        is_closed.wait(0.2)
        running.cancel()
        await asyncio.wait([running, closing])
        assert running.cancelled()

    asyncio.run(main())
    assert told == ["lease given back", "closed"]


def test_closing_waits_for_a_loop_that_stands_still_no_longer_than_it_must(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sagalog.aio.pool._DELIVERY_S", 0.01)
    closed = threading.Event()

    async def main() -> None:
        pool = Pool()
        running = asyncio.create_task(pool.run(lambda: "answer"))
        closing = asyncio.create_task(pool.close(closed.set))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        # The event loop takes no answer while this blocks it.
        assert closed.wait(10)
        assert await running == "answer"
        await closing

    asyncio.run(main())


def test_an_opening_that_is_cancelled_leaves_no_store_open(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Engine] = []
    may_end, has_begun = threading.Event(), threading.Event()

    def slowly() -> Engine:
        has_begun.set()
        assert may_end.wait(10)
        opened.append(sagalog.open(sqlite_url))
        return opened[-1]

    async def main() -> None:
        async def enter() -> None:
            async with sagalog.aio.Opening(slowly):
                raise AssertionError("it was cancelled before")

        entering = asyncio.create_task(enter())
        assert await asyncio.to_thread(has_begun.wait, 10)
        await cancelled(entering)
        may_end.set()
        await until(lambda: bool(opened) and _is_closed(opened[0]))

    asyncio.run(main())


def _is_closed(engine: Engine) -> bool:
    try:
        engine.get("one")
    except Closed:
        return True
    return False


def test_who_waits_when_the_engine_closes_is_told(store_url: str) -> None:
    async def main() -> None:
        engine = await sagalog.aio.open(store_url)
        task = await engine.create("build", queue="other")
        waiting = [
            asyncio.create_task(engine.wait(task.id, 60_000)),
            asyncio.create_task(engine.claim("default", owner="bob", ttl_ms=None, wait_ms=60_000)),
            asyncio.create_task(engine.wait_change(await engine.changes(), 60_000)),
        ]
        for _ in range(20):
            await asyncio.sleep(0.001)
        await engine.close()
        for one in waiting:
            with pytest.raises(Closed):
                await one

    asyncio.run(main())


def test_a_time_limit_of_asyncio_ends_a_wait(store_url: str) -> None:
    async def main() -> None:
        async with sagalog.aio.open(store_url) as engine:
            task = await engine.create("build")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(engine.wait(task.id, 60_000), 0.05)
            assert await engine.get(task.id) == task

    asyncio.run(main())

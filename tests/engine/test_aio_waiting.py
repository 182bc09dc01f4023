"""Waiting on an event loop: for an end, for something to lease, for a commit; it holds no thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

import sagalog.aio
from sagalog.aio import AsyncEngine
from sagalog.testing import ManualClock
from tests.engine.aio_stores import Story, held_up, teller, until


@pytest.fixture
def tell(store_url: str, clock: ManualClock) -> Callable[[Story], None]:
    """Run a coroutine with an engine over each kind of store."""
    return teller(store_url, clock=clock, actor="ann")


def test_many_who_wait_hold_no_thread(store_url: str) -> None:
    async def main() -> None:
        async with sagalog.aio.open(store_url, durability="normal") as first:
            engine = AsyncEngine(first.plain, threads=1)
            tasks = await engine.create_many({"kind": "build", "queue": "held"} for _ in range(20))
            ends = [await held_up(engine.wait(task.id, 60_000)) for task in tasks[:3]]
            claims = [await held_up(engine.claim(f"q{n}", owner="b", ttl_ms=None, wait_ms=60_000)) for n in range(3)]

            for n, task in enumerate(tasks[:3]):
                await engine.cancel(task.id)
                await engine.create("build", queue=f"q{n}", id=f"task-{n}")

            assert [task.state for task in await asyncio.gather(*ends)] == ["cancelled"] * 3
            leased = [leases[0].task.id for leases in await asyncio.gather(*claims)]
            assert leased == ["task-0", "task-1", "task-2"]

    asyncio.run(main())


def test_a_wait_is_over_when_the_clock_says_so(tell: Callable[[Story], None], clock: ManualClock) -> None:
    async def story(engine: AsyncEngine) -> None:
        task = await engine.create("build", run_at_ms=engine.now_ms() + 10_000_000)
        waiting = await held_up(engine.wait(task.id, 60_000))
        claiming = await held_up(engine.claim("default", owner="bob", ttl_ms=1_000, wait_ms=60_000))
        clock.advance(60_000)

        with pytest.raises(TimeoutError, match="60000 ms"):
            await waiting
        assert await claiming == []

    tell(story)


def test_a_claim_that_waits_wakes_when_something_becomes_due(tell: Callable[[Story], None], clock: ManualClock) -> None:
    async def story(engine: AsyncEngine) -> None:
        await engine.create("build", id="later", run_at_ms=engine.now_ms() + 5_000)
        claiming = await held_up(engine.claim("default", owner="bob", ttl_ms=1_000, wait_ms=60_000))
        clock.advance(5_000)

        assert [lease.task.id for lease in await claiming] == ["later"]

    tell(story)


def test_a_repeated_claim_that_leases_nothing_new_does_not_wait(tell: Callable[[Story], None]) -> None:
    async def story(engine: AsyncEngine) -> None:
        await engine.create("build")
        [lease] = await engine.claim("default", owner="bob", ttl_ms=None, idempotency_key="r", wait_ms=60_000)
        await lease.complete()

        assert await engine.claim("default", owner="bob", ttl_ms=None, idempotency_key="r", wait_ms=10**9) == []
        assert await engine.claim("default", owner="bob", ttl_ms=None, kinds=[], wait_ms=10**9) == []

    tell(story)


def test_a_wait_sees_what_another_engine_commits(sqlite_url: str) -> None:
    async def main() -> None:
        async with sagalog.aio.open(sqlite_url) as here, sagalog.aio.open(sqlite_url) as there:
            claiming = await held_up(here.claim("default", owner="bob", ttl_ms=None, wait_ms=60_000))
            await there.create("build", id="one")
            [lease] = await claiming
            waiting = await held_up(there.wait("one", 60_000))
            await lease.complete()
            assert (await waiting).state == "completed"

    asyncio.run(main())


def test_one_engine_serves_two_event_loops(store_url: str) -> None:
    engine = AsyncEngine(sagalog.open(store_url))

    asyncio.run(until_created(engine, "one"))
    asyncio.run(until_created(engine, "two"))
    asyncio.run(engine.close())


async def until_created(engine: AsyncEngine, id: str) -> None:
    await engine.create("build", id=id)
    waiting = await held_up(engine.wait(id, 60_000))
    await engine.cancel(id)
    assert (await waiting).state == "cancelled"


def test_the_thread_that_watches_ends_when_no_caller_waits() -> None:
    def watching() -> bool:
        return any(thread.name == "sagalog-aio-watch" for thread in threading.enumerate())

    async def main() -> None:
        async with sagalog.aio.open("memory:") as engine:
            task = await engine.create("build")
            waiting = await held_up(engine.wait(task.id, 60_000))
            assert watching()
            await engine.cancel(task.id)
            await waiting
            await until(lambda: not watching())

    asyncio.run(main())

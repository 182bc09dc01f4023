"""One thread wakes all callers that wait: at a commit of any process, at the end, and once at the beginning."""

from __future__ import annotations

import asyncio

import sagalog
from sagalog import Engine
from sagalog.aio.change_watch import ChangeWaiter, ChangeWatch
from tests.engine.aio_stores import PATIENCE_S


async def woken(waiter: ChangeWaiter) -> None:
    """Only a watch that wakes it ends this in time: it has far more slices than that."""
    async with asyncio.timeout(PATIENCE_S):
        await waiter.woken(lambda: 1_000_000_000, slices=1_000_000_000)


def test_a_waiter_that_begins_is_woken_once_since_no_thread_watched_before(engine: Engine) -> None:
    async def main() -> None:
        watch = ChangeWatch(engine)
        with watch.waiting() as waiter:
            waiter.expect()
            await woken(waiter)

    asyncio.run(main())


def test_a_commit_wakes_every_waiter(engine: Engine) -> None:
    async def main() -> None:
        watch = ChangeWatch(engine)
        with watch.waiting() as first:
            await woken(first)
            with watch.waiting() as second:
                first.expect()
                second.expect()
                await asyncio.to_thread(engine.create, "build")
                await asyncio.gather(woken(first), woken(second))

    asyncio.run(main())


def test_a_commit_of_another_engine_wakes_too(sqlite_url: str) -> None:
    async def main() -> None:
        with sagalog.open(sqlite_url) as here, sagalog.open(sqlite_url) as there:
            watch = ChangeWatch(here)
            with watch.waiting() as waiter:
                await woken(waiter)
                waiter.expect()
                await asyncio.to_thread(there.create, "build")
                await woken(waiter)
            watch.stop()
            watch.join()

    asyncio.run(main())


def test_stopping_wakes_every_waiter_and_starts_no_thread_again(engine: Engine) -> None:
    async def main() -> None:
        watch = ChangeWatch(engine)
        with watch.waiting() as waiter:
            await woken(waiter)
            waiter.expect()
            watch.stop()
            await woken(waiter)
            watch.join()
        with watch.waiting():
            assert watch._thread is None or not watch._thread.is_alive()

    asyncio.run(main())


def test_a_waiter_whose_event_loop_is_gone_holds_up_no_other(engine: Engine) -> None:
    watch = ChangeWatch(engine)

    async def leave() -> ChangeWaiter:
        return ChangeWaiter()

    gone = asyncio.run(leave())

    async def main() -> None:
        with watch.waiting() as waiter:
            await woken(waiter)
            with watch._guard:
                watch._waiters.add(gone)
            waiter.expect()
            await asyncio.to_thread(engine.create, "build")
            await woken(waiter)

    asyncio.run(main())

    assert not gone.wake()

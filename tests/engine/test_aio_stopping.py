"""A worker on the caller's event loop: how it and its coroutines are stopped."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest

import sagalog.aio
from sagalog import (
    Interrupted,
    Rejected,
    Retry,
    Unavailable,
)
from sagalog.aio import AsyncEngine, Worker
from sagalog.testing import ManualClock
from sagalog.worker import AsyncWorkContext
from tests.engine.aio_stores import Story, Stuck, at_the_gate, gated, made, one, teller, until


@pytest.fixture
def tell(store_url: str, clock: ManualClock) -> Callable[[Story], None]:
    """Run a coroutine with an engine over each kind of store."""
    return teller(store_url, clock=clock)


def test_cancelling_a_task_cancels_its_coroutine(tell: Callable[[Story], None], clock: ManualClock) -> None:
    async def story(engine: AsyncEngine) -> None:
        handler = Stuck()
        worker = made(handler, ttl_ms=600_000)
        await engine.create("build", id="one")
        running = asyncio.create_task(worker.run(engine))
        await handler.has_begun.wait()
        await engine.cancel("one")
        clock.advance(1_000)
        # It looks now and then, when a caller has committed.
        await engine.note("one", "called off")
        ended = await engine.wait("one", 60_000)
        worker.stop()
        await running

        assert (ended.state, handler.reasons) == ("cancelled", ["cancelled"])

    tell(story)


def test_a_coroutine_whose_lease_is_lost_is_cancelled(tell: Callable[[Story], None]) -> None:
    async def story(engine: AsyncEngine) -> None:
        handler = Stuck()
        worker = made(handler, ttl_ms=300)
        await engine.create("build", id="one")
        running = asyncio.create_task(worker.run(engine))
        await handler.has_begun.wait()
        await engine.cancel("one", now=True)
        engine.plain._executor.clock.advance(150)  # type: ignore[attr-defined]  # a manual one: a renewal is due
        await until(lambda: handler.reasons == ["lost"])
        worker.stop()
        stats = await running

        assert stats.lost >= 1
        assert (await one(engine, "one")).state == "cancelled"

    tell(story)


def test_a_coroutine_whose_renewals_fail_is_cancelled_in_time(clock: ManualClock) -> None:
    store, plain = gated(clock)

    async def main() -> None:
        async with AsyncEngine(plain) as engine:
            handler = Stuck()
            worker = made(handler, ttl_ms=300)
            await engine.create("build", id="one")
            running = asyncio.create_task(worker.run(engine))
            await handler.has_begun.wait()
            store.gate.clear()
            clock.advance(250)
            await at_the_gate(store)
            # The commit hangs, and the lease may be over before it comes back.
            await until(lambda: handler.reasons == ["lost"])
            store.gate.set()
            worker.stop()
            await running

    asyncio.run(main())


def test_a_coroutine_that_ignores_that_it_is_cancelled_is_left_behind(tell: Callable[[Story], None]) -> None:
    async def story(engine: AsyncEngine) -> None:
        handler = Stuck(obeys=False)
        worker = made(handler)
        await engine.create("build", id="one")
        running = asyncio.create_task(worker.run(engine))
        await handler.has_begun.wait()
        worker.stop()
        worker.stop()
        await running

        task = await one(engine, "one")
        assert (task.state, task.lease, task.attempt) == ("pending", None, 1)
        assert handler.reasons == ["interrupted"]
        # The worker takes nothing that the handler returns later.
        handler.may_end.set()
        await asyncio.sleep(0)
        assert (await one(engine, "one")).state == "pending"

    tell(story)


def test_cancelling_the_run_lets_handlers_finish_and_then_raises(tell: Callable[[Story], None]) -> None:
    async def story(engine: AsyncEngine) -> None:
        handler = Stuck()
        worker = made(handler, concurrency=1)
        await engine.create("build", id="one")
        running = asyncio.create_task(worker.run(engine))
        await handler.has_begun.wait()
        running.cancel()
        await engine.create("build", id="two")
        assert not running.done()
        handler.may_end.set()
        with pytest.raises(asyncio.CancelledError):
            await running

        assert (await one(engine, "one")).result == "done"
        assert (await one(engine, "two")).leases == 0

    tell(story)


def test_cancelling_the_run_twice_ends_it_at_once(tell: Callable[[Story], None]) -> None:
    async def story(engine: AsyncEngine) -> None:
        handler = Stuck()
        worker = made(handler)
        await engine.create("build", id="one")
        running = asyncio.create_task(worker.run(engine))
        await handler.has_begun.wait()
        running.cancel()
        await asyncio.sleep(0.01)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

        task = await one(engine, "one")
        assert (task.state, task.lease, task.attempt, handler.reasons) == ("pending", None, 1, ["interrupted"])
        # It can be run again: nothing of the stop is left.
        handler.may_end.set()
        await worker.run(engine, until="idle")
        assert (await one(engine, "one")).result == "done"

    tell(story)


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_what_ends_the_event_loop_itself_fails_no_other_task(sqlite_url: str, error: type[BaseException]) -> None:
    """Asyncio lets these two out of the loop when a task of its own raises them, and then cancels everything."""

    async def leave() -> None:
        raise error

    async def main() -> None:
        handler = Stuck()
        worker = made(handler)

        @worker.task("leave")
        async def leaving(context: AsyncWorkContext, payload: Any) -> None:
            await handler.has_begun.wait()
            await asyncio.gather(leave())

        async with sagalog.aio.open(sqlite_url, durability="normal") as engine:
            await engine.create("build", id="one")
            await engine.create("leave", id="two")
            await worker.run(engine)

    with pytest.raises(error):
        asyncio.run(main())

    with sagalog.open(sqlite_url) as engine:
        found = [(task.state, task.lease, task.attempt) for task in engine.find(kind="build")]
    assert found == [("pending", None, 1)]


def test_an_abandoned_run_gives_back_what_it_holds_as_the_loop_ends(sqlite_url: str) -> None:
    with sagalog.open(sqlite_url, durability="normal") as engine:
        engine.create("build", id="one")

        async def main() -> None:
            handler = Stuck()
            tasks.append(asyncio.create_task(made(handler).run(engine)))
            await handler.has_begun.wait()

        tasks: list[asyncio.Task[Any]] = []
        asyncio.run(main())

        task = engine.get("one")
        assert task is not None
        assert (task.state, task.lease, task.attempt) == ("pending", None, 1)


class HardOfHearing(Worker):
    """A worker that hears that it is to stop later than its coroutines do."""

    may_hear = False

    def stop(self) -> None:
        if self.may_hear:
            super().stop()


def test_a_coroutine_cancelled_with_its_loop_spends_no_budget(
    tell: Callable[[Story], None],
) -> None:
    """[WORKER-3] [ATTEMPT-1] Its worker hears of it later.

    Who of the two is cancelled first is the event loop's choice.
    """

    async def story(engine: AsyncEngine) -> None:
        handler = Stuck()
        worker = HardOfHearing(concurrency=1)
        worker.task("build")(handler)
        await engine.create("build", id="one")
        running = asyncio.create_task(worker.run(engine))
        await handler.has_begun.wait()
        mine = asyncio.current_task()
        running.cancel()
        for task in asyncio.all_tasks() - {running, mine}:
            if "run" in repr(task.get_coro()):
                task.cancel()
        await until(lambda: running.done() or worker.stats.settled > 0)
        released = [one.type for one in await engine.history("one")]
        worker.may_hear = True
        handler.may_end.set()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

        assert released[:3] == ["created", "leased", "released"]

    tell(story)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_worker_and_not_the_program(sqlite_url: str, number: signal.Signals) -> None:
    async def main() -> None:
        async with sagalog.aio.open(sqlite_url, durability="normal") as engine:
            before = signal.getsignal(number)
            handler = Stuck()
            worker = made(handler)
            await engine.create("build", id="one")
            running = asyncio.create_task(worker.run(engine, handle_signals=True))
            await handler.has_begun.wait()
            os.kill(os.getpid(), number)
            await asyncio.sleep(0)
            handler.may_end.set()
            await running

            assert (await one(engine, "one")).result == "done"
            assert signal.getsignal(number) is before

    asyncio.run(main())


def test_a_signal_stops_every_worker_of_the_event_loop(sqlite_url: str) -> None:
    async def main() -> None:
        async with sagalog.aio.open(sqlite_url, durability="normal") as engine:
            before = signal.getsignal(signal.SIGTERM)
            handlers = [Stuck(), Stuck(), Stuck()]
            running = []
            for n, handler in enumerate(handlers):
                await engine.create("build", queue=f"q{n}")
                running.append(asyncio.create_task(made(handler, queues=f"q{n}").run(engine, handle_signals=True)))
                await handler.has_begun.wait()
            # One ends before those that began after it: what it took is still theirs.
            handlers[0].may_end.set()
            running[0].cancel()
            await asyncio.wait(running[:1])
            os.kill(os.getpid(), signal.SIGTERM)
            for handler in handlers:
                handler.may_end.set()
            await asyncio.gather(*running[1:])

            assert signal.getsignal(signal.SIGTERM) is before

    asyncio.run(main())


def test_a_signal_that_the_process_ignores_stays_ignored(sqlite_url: str) -> None:
    async def build(context: AsyncWorkContext, payload: Any) -> bool:
        return signal.getsignal(signal.SIGTERM) is signal.SIG_IGN

    async def main() -> None:
        async with sagalog.aio.open(sqlite_url, durability="normal") as engine:
            await engine.create("build", id="one")
            await made(build).run(engine, until="idle", handle_signals=True)
            assert (await one(engine, "one")).result is True

    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        asyncio.run(main())
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_worker_in_another_thread_than_the_main_one_takes_no_signals(sqlite_url: str) -> None:
    async def build(context: AsyncWorkContext, payload: Any) -> str:
        return "built"

    async def main() -> None:
        async with sagalog.aio.open(sqlite_url, durability="normal") as engine:
            await engine.create("build", id="one")
            await made(build).run(engine, until="idle", handle_signals=True)
            results.append((await one(engine, "one")).result)

    results: list[Any] = []
    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    thread.join(20)

    assert results == ["built"]


def test_closing_the_engine_under_a_worker_ends_it(store_url: str) -> None:
    async def main() -> None:
        engine = await sagalog.aio.open(store_url, durability="normal")
        handler = Stuck()
        worker = made(handler, ttl_ms=300)
        await engine.create("build", id="one")
        running = asyncio.create_task(worker.run(engine))
        await handler.has_begun.wait()
        await engine.close()
        worker.stop()
        worker.stop()
        await running

    asyncio.run(main())


def test_a_worker_that_runs_already_or_knows_nothing_is_refused(tell: Callable[[Story], None]) -> None:
    async def story(engine: AsyncEngine) -> None:
        with pytest.raises(Rejected, match="no handler"):
            await Worker().run(engine)
        handler = Stuck()
        worker = made(handler)
        await engine.create("build", id="one")
        running = asyncio.create_task(worker.run(engine))
        await handler.has_begun.wait()
        with pytest.raises(Rejected, match="runs already"):
            await worker.run(engine)
        handler.may_end.set()
        worker.stop()
        await running

    tell(story)


def test_the_loop_runs_on_while_the_worker_and_its_handlers_write(tell: Callable[[Story], None]) -> None:
    ticks: list[int] = []

    async def build(context: AsyncWorkContext, payload: Any) -> None:
        for n in range(5):
            before = len(ticks)
            await context.step(f"step-{n}", lambda: 1)
            assert len(ticks) > before

    async def tick() -> None:
        while True:
            ticks.append(1)
            await asyncio.sleep(0)

    async def story(engine: AsyncEngine) -> None:
        await engine.create_many({"kind": "build"} for _ in range(20))
        ticker = asyncio.create_task(tick())
        await made(build, concurrency=8).run(engine, until="idle")
        ticker.cancel()

        assert await engine.counts() == {"default": {"completed": 20}}

    tell(story)


def test_a_store_that_is_away_holds_up_the_worker_and_no_more(clock: ManualClock) -> None:
    store, plain = gated(clock)

    async def build(context: AsyncWorkContext, payload: Any) -> str:
        return "built"

    async def main() -> None:
        async with AsyncEngine(plain) as engine:
            await engine.create("build", id="one")
            store.failure = Unavailable("the disk is full")
            worker = made(build)
            running = asyncio.create_task(worker.run(engine))
            for _ in range(20):
                await asyncio.sleep(0.001)
            assert not running.done()
            store.failure = None
            assert (await engine.wait("one", 60_000)).result == "built"
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running

    asyncio.run(main())


def test_a_handler_may_say_that_it_was_interrupted(tell: Callable[[Story], None]) -> None:
    async def story(engine: AsyncEngine) -> None:
        worker = made(build)
        await engine.create("build", id="one", retry=Retry(delay_min_ms=0, delay_max_ms=0))
        running = asyncio.create_task(worker.run(engine))
        assert (await engine.wait("one", 60_000)).leases == 2
        worker.stop()
        await running

    async def build(context: AsyncWorkContext, payload: Any) -> None:
        if context.task.leases == 1:
            raise Interrupted("another time")

    tell(story)

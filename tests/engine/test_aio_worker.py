"""A worker on the caller's event loop: what coroutine handlers may do, how they end, and how the worker stops."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any

import pytest

import sagalog.aio
from sagalog import (
    Compensation,
    Failed,
    Interrupted,
    Park,
    Permanent,
    Quarantine,
    Rejected,
    Retry,
    Task,
    Transient,
    Unavailable,
)
from sagalog.aio import AsyncEngine, Worker
from sagalog.testing import ManualClock
from sagalog.worker import AsyncContext, AsyncWorkContext
from tests.engine.aio_making import at_the_gate, gated, until

Story = Callable[[AsyncEngine], Coroutine[Any, Any, None]]


@pytest.fixture
def tell(store_url: str, clock: ManualClock) -> Callable[[Story], None]:
    """Run a coroutine with an engine over each kind of store."""

    def run(story: Story) -> None:
        async def main() -> None:
            async with sagalog.aio.open(store_url, clock=clock, durability="normal") as engine:
                await story(engine)

        asyncio.run(main())

    return run


def made(handler: Callable[..., Any], **arguments: Any) -> Worker:
    worker = Worker(**arguments)
    worker.task("build")(handler)
    return worker


async def one(engine: AsyncEngine, id: str) -> Task:
    task = await engine.get(id)
    assert task is not None
    return task


# --- what a coroutine handler may do ---------------------------------------------------------------------------------


def test_coroutines_run_on_the_callers_loop_and_plain_functions_in_threads(tell: Callable[[Story], None]) -> None:
    trace: ContextVar[str] = ContextVar("trace", default="none")

    async def story(engine: AsyncEngine) -> None:
        here, loop = threading.get_ident(), asyncio.get_running_loop()
        worker = Worker()

        @worker.task("coroutine")
        async def on_the_loop(context: AsyncWorkContext, payload: Any) -> list[Any]:
            assert asyncio.get_running_loop() is loop
            return [threading.get_ident() == here, payload, trace.get()]

        @worker.task("plain")
        def in_a_thread(context: Any, payload: Any) -> list[Any]:
            return [threading.get_ident() == here, payload]

        await engine.create("coroutine", 1, id="a")
        await engine.create("plain", 2, id="b")
        trace.set("mine")
        tally = await worker.run(engine, until_idle=True)

        assert (await one(engine, "a")).result == [True, 1, "mine"]
        assert (await one(engine, "b")).result == [False, 2]
        assert (tally.claimed, tally.settled) == (2, 2)

    tell(story)


def test_a_plain_engine_will_do_too(engine: sagalog.Engine) -> None:
    async def build(context: AsyncWorkContext, payload: Any) -> str:
        return "built"

    engine.create("build", id="one")

    asyncio.run(made(build).run(engine, until_idle=True))

    task = engine.get("one")
    assert task is not None
    assert task.result == "built"


def test_steps_run_at_the_same_time_and_once(tell: Callable[[Story], None]) -> None:
    runs: list[str] = []

    async def story(engine: AsyncEngine) -> None:
        together = asyncio.Barrier(3)

        async def step(name: str) -> str:
            runs.append(name)
            await together.wait()
            return name.upper()

        async def build(context: AsyncWorkContext, payload: Any) -> list[str]:
            found = await asyncio.gather(*(context.step(name, step, name) for name in "abc"))
            if context.attempt == 1:
                raise Failed("once")
            return found

        await engine.create("build", id="one", retry=Retry(attempts_max=2))
        worker = made(build)
        await worker.run(engine, until_idle=True)
        assert sorted((await one(engine, "one")).steps) == ["a", "b", "c"]
        engine.clock.advance(1_000_000)  # type: ignore[attr-defined]  # a manual one
        await worker.run(engine, until_idle=True)

        assert (await one(engine, "one")).result == ["A", "B", "C"]
        assert sorted(runs) == ["a", "b", "c"]

    tell(story)


def test_a_coroutine_sleeps_and_waits_for_a_signal_without_a_lease(
    tell: Callable[[Story], None], clock: ManualClock
) -> None:
    async def build(context: AsyncWorkContext, payload: Any) -> Any:
        await context.sleep("nap", 60_000)
        return await context.wait_signal("go")

    async def story(engine: AsyncEngine) -> None:
        await engine.create("build", id="one")
        worker = made(build)
        await worker.run(engine, until_idle=True)
        asleep = await one(engine, "one")
        assert (asleep.lease, asleep.waiting is not None and asleep.waiting.name) == (None, "nap")
        clock.advance(60_000)
        await worker.run(engine, until_idle=True)
        assert (await one(engine, "one")).waits == ("nap",)
        await engine.signal("one", "go", {"n": 7})
        await worker.run(engine, until_idle=True)

        ended = await one(engine, "one")
        assert (ended.result, ended.attempt) == ({"n": 7}, 1)

    tell(story)


def test_a_coroutine_spawns_children_and_waits_for_them(tell: Callable[[Story], None]) -> None:
    worker = Worker(concurrency=2)

    @worker.task("parent")
    async def parent(context: AsyncWorkContext, payload: Any) -> list[Any]:
        for n in range(3):
            await context.spawn(f"child-{n}", "child", n)
        return [task.result for task in await context.wait_tasks()]

    @worker.task("child")
    async def child(context: AsyncWorkContext, payload: int) -> int:
        return payload * 10

    async def story(engine: AsyncEngine) -> None:
        await engine.create("parent", id="one")
        running = asyncio.create_task(worker.run(engine))
        ended = await engine.wait("one", 60_000)
        worker.stop()
        await running

        assert ended.result == [0, 10, 20]

    tell(story)


def test_inputs_artifacts_and_progress_are_those_of_the_task(tell: Callable[[Story], None]) -> None:
    async def build(context: AsyncWorkContext, payload: Any) -> str:
        await context.artifact("copy", await context.input("source"))
        context.progress({"done": 1})
        return context.owner

    async def story(engine: AsyncEngine) -> None:
        await engine.create("build", id="one", inputs={"source": b"text"})
        await made(build, name="bob").run(engine, until_idle=True)

        assert (await engine.artifact("one", "copy")).data == b"text"
        assert str((await one(engine, "one")).result).startswith("bob-")

    tell(story)


# --- how it ends -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "state", "attempt", "code"),
    [
        (Transient("busy"), "pending", 1, "transient"),
        (Failed("broken"), "pending", 2, "failed"),
        (ValueError("what"), "pending", 2, None),
        (Permanent("never", waive_compensation="nothing was done"), "failed", 1, None),
        (Permanent("never"), "quarantined", 1, None),
        (Quarantine("look"), "quarantined", 1, None),
        (Park("later", signal="go"), "pending", 1, None),
        (KeyboardInterrupt(), "pending", 2, None),
        (SystemExit(3), "pending", 2, None),
        (asyncio.CancelledError(), "pending", 2, None),
    ],
    ids=lambda given: type(given).__name__ if isinstance(given, BaseException) else "",
)
def test_what_a_coroutine_raises_is_its_outcome(
    tell: Callable[[Story], None], error: BaseException, state: str, attempt: int, code: str | None
) -> None:
    async def build(context: AsyncWorkContext, payload: Any) -> None:
        await asyncio.sleep(0)
        raise error

    async def story(engine: AsyncEngine) -> None:
        await engine.create("build", id="one")
        tally = await made(build).run(engine, until_idle=True)

        task = await one(engine, "one")
        assert (task.state, task.attempt, task.lease, tally.settled) == (state, attempt, None, 1)
        assert code is None or (task.error is not None and task.error.code == code)

    tell(story)


def test_undos_are_coroutines_too(tell: Callable[[Story], None]) -> None:
    undone: list[Any] = []

    async def story(engine: AsyncEngine) -> None:
        worker = Worker()

        @worker.task("build")
        async def build(context: AsyncWorkContext, payload: Any) -> None:
            await context.step("make", lambda: 1, compensation=Compensation("remove", {"n": 1}, id="x"))
            raise Permanent("never")

        @worker.compensation("remove")
        async def remove(context: AsyncContext, params: Any) -> None:
            undone.append((params, context.idempotency_key))

        await engine.create("build", id="one")
        await worker.run(engine, until_idle=True)

        assert (await one(engine, "one")).state == "compensated"
        assert undone == [({"n": 1}, "one/x")]

    tell(story)


def test_two_workers_on_one_loop_share_the_tasks(tell: Callable[[Story], None]) -> None:
    async def story(engine: AsyncEngine) -> None:
        both = asyncio.Barrier(2)

        async def build(context: AsyncWorkContext, payload: Any) -> str:
            await both.wait()
            return context.owner

        await engine.create_many({"kind": "build"} for _ in range(10))
        workers = [made(build, name=f"worker-{n}", concurrency=1) for n in range(2)]
        await asyncio.gather(*(worker.run(engine, until_idle=True) for worker in workers))

        owners = [task.result.rpartition("-")[0] for task in await engine.find(state="completed")]
        assert sorted(owners) == ["worker-0"] * 5 + ["worker-1"] * 5

    tell(story)


# --- when it is to end -----------------------------------------------------------------------------------------------


class Stuck:
    """A handler that waits for ever, and notes that it began and whether it was cancelled."""

    def __init__(self, obeys: bool = True) -> None:
        self.obeys = obeys
        self.has_begun = asyncio.Event()
        self.reasons: list[str] = []
        self.may_end = asyncio.Event()

    async def __call__(self, context: AsyncWorkContext, payload: Any) -> str:
        self.has_begun.set()
        while True:
            try:
                await self.may_end.wait()
            except asyncio.CancelledError:
                for reason in ("lost", "cancelled", "interrupted"):
                    if getattr(context, reason):
                        self.reasons.append(reason)
                if self.obeys:
                    raise
            else:
                return "done"


def test_cancelling_a_task_cancels_its_coroutine(tell: Callable[[Story], None], clock: ManualClock) -> None:
    async def story(engine: AsyncEngine) -> None:
        handler = Stuck()
        worker = made(handler, ttl_ms=600_000)
        await engine.create("build", id="one")
        running = asyncio.create_task(worker.run(engine))
        await handler.has_begun.wait()
        await engine.cancel("one")
        clock.advance(1_000)
        # It looks now and then, when somebody has committed.
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
        engine.clock.advance(150)  # type: ignore[attr-defined]  # a manual one: a renewal is due
        await until(lambda: handler.reasons == ["lost"])
        worker.stop()
        tally = await running

        assert tally.lost >= 1
        assert (await one(engine, "one")).state == "cancelled"

    tell(story)


def test_a_coroutine_whose_renewals_do_not_come_through_is_cancelled_in_time(clock: ManualClock) -> None:
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
        # What it comes to later is nobody's.
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
        await worker.run(engine, until_idle=True)
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


def test_a_run_that_is_left_to_itself_gives_back_what_it_holds_when_the_event_loop_ends(sqlite_url: str) -> None:
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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_worker_and_not_the_program(sqlite_url: str, number: signal.Signals) -> None:
    async def main() -> None:
        async with sagalog.aio.open(sqlite_url, durability="normal") as engine:
            before = signal.getsignal(number)
            handler = Stuck()
            worker = made(handler)
            await engine.create("build", id="one")
            running = asyncio.create_task(worker.run(engine))
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
                running.append(asyncio.create_task(made(handler, queues=f"q{n}").run(engine)))
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
            await made(build).run(engine, until_idle=True)
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
            await made(build).run(engine, until_idle=True)
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
        await made(build, concurrency=8).run(engine, until_idle=True)
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
        await engine.create("build", id="one")
        running = asyncio.create_task(worker.run(engine))
        assert (await engine.wait("one", 60_000)).leases == 2
        worker.stop()
        await running

    async def build(context: AsyncWorkContext, payload: Any) -> None:
        if context.task.leases == 1:
            raise Interrupted("another time")

    tell(story)

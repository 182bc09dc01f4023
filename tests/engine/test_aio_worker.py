"""A worker on the caller's event loop: what coroutine handlers may do, and how they end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import pytest

import sagalog.aio
from sagalog import (
    Compensation,
    Failed,
    Park,
    Permanent,
    Quarantine,
    Retry,
    Transient,
)
from sagalog.aio import AsyncEngine, Worker
from sagalog.testing import ManualClock
from sagalog.worker import AsyncContext, AsyncWorkContext
from tests.engine.aio_stores import Story, made, one, teller


@pytest.fixture
def tell(store_url: str, clock: ManualClock) -> Callable[[Story], None]:
    """Run a coroutine with an engine over each kind of store."""
    return teller(store_url, clock=clock)


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
        stats = await worker.run(engine, until="idle")

        assert (await one(engine, "a")).result == [True, 1, "mine"]
        assert (await one(engine, "b")).result == [False, 2]
        assert (stats.claimed, stats.settled) == (2, 2)

    tell(story)


def test_a_plain_engine_will_do_too(engine: sagalog.Engine) -> None:
    async def build(context: AsyncWorkContext, payload: Any) -> str:
        return "built"

    engine.create("build", id="one")

    asyncio.run(made(build).run(engine, until="idle"))

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
        await worker.run(engine, until="idle")
        assert sorted((await one(engine, "one")).steps) == ["a", "b", "c"]
        engine.plain._executor.clock.advance(1_000_000)  # type: ignore[attr-defined]  # a manual one
        await worker.run(engine, until="idle")

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
        await worker.run(engine, until="idle")
        asleep = await one(engine, "one")
        assert (asleep.lease, asleep.waiting is not None and asleep.waiting.name) == (None, "nap")
        clock.advance(60_000)
        await worker.run(engine, until="idle")
        assert (await one(engine, "one")).waits == {"nap": 1}
        await engine.signal("one", "go", {"n": 7})
        await worker.run(engine, until="idle")

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
        await made(build, name="bob").run(engine, until="idle")

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
        stats = await made(build).run(engine, until="idle")

        task = await one(engine, "one")
        assert (task.state, task.attempt, task.lease, stats.settled) == (state, attempt, None, 1)
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
        await worker.run(engine, until="idle")

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
        await asyncio.gather(*(worker.run(engine, until="idle") for worker in workers))

        owners = [task.result.rpartition("-")[0] for task in await engine.find(state="completed")]
        assert sorted(owners) == ["worker-0"] * 5 + ["worker-1"] * 5

    tell(story)

"""The calls of an engine, awaited: on real stores, at the same time, and never on the event loop itself."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextvars import ContextVar
from itertools import pairwise
from typing import Any

import pytest

import sagalog.aio
from sagalog import Closed, Compensation, Conflict, Engine, InvalidValue, LeaseLost, NotFound, Unavailable
from sagalog.aio import AsyncEngine, AsyncLease
from sagalog.system import SystemClock
from sagalog.testing import ManualClock
from tests.engine.aio_stores import NotingStore, Story, at_the_gate, gated, teller


@pytest.fixture
def tell(store_url: str, clock: ManualClock) -> Callable[[Story], None]:
    """Run a coroutine with an engine over each kind of store."""
    return teller(store_url, clock=clock, actor="ann")


def test_a_task_is_created_claimed_and_completed(tell: Callable[[Story], None]) -> None:
    async def story(engine: AsyncEngine) -> None:
        task = await engine.create("build", {"n": 1}, inputs={"source": b"text"})
        [lease] = await engine.claim("default", owner="bob", ttl_ms=1_000)
        assert (lease.task.id, lease.owner, lease.attempt, lease.purpose) == (task.id, "bob", 1, "work")
        assert (lease.fence, lease.ttl_ms, lease.record.owner) == (lease.plain.fence, 1_000, "bob")
        assert lease.expires_ms == engine.now_ms() + 1_000
        assert await lease.heartbeat() == await engine.reattach(task.id, lease.fence)
        lease = await lease.step("compile", 7)
        lease = await lease.put_artifact("binary", b"bytes")
        ended = await lease.complete({"ok": True})

        assert ended.state == "completed"
        assert await engine.get(task.id) == ended
        assert await engine.step_result(task.id, "compile") == 7
        assert (await engine.artifact(task.id, "binary")).data == b"bytes"
        assert await engine.input(task.id, "source") == b"text"
        assert await engine.counts() == {"default": {"completed": 1}}
        assert (await engine.history(task.id))[0].type == "created"
        assert await engine.newest_position() == len(await engine.events())
        assert not (await engine.verify()).faults
        assert await engine.wait(task.id, 0) == ended

    tell(story)


def test_an_audit_and_a_rebuild_say_how_far_they_are_off_the_event_loop(tell: Callable[[Story], None]) -> None:
    async def story(engine: AsyncEngine) -> None:
        told: list[tuple[int, int]] = []
        threads: set[int] = set()

        def progress(done: int, total: int) -> None:
            told.append((done, total))
            threads.add(threading.get_ident())

        await engine.create("build")
        await engine.verify(progress)
        await engine.rebuild(progress=progress)

        assert {(0, 2), (2, 2)} == set(told)
        assert threading.get_ident() not in threads

    tell(story)


def test_undos_are_leased_and_settled(tell: Callable[[Story], None]) -> None:
    async def story(engine: AsyncEngine) -> None:
        task = await engine.create("build", compensations=[Compensation("a", id="1"), Compensation("b", id="2")])
        lease = await engine.acquire(task.id, owner="bob", ttl_ms=None)
        lease = await lease.register(Compensation("c", id="3"))
        await lease.fail("broken")
        undo = await engine.acquire(task.id, owner="bob", ttl_ms=None, purpose="undo")
        await engine.waive(task.id, "2", "done by hand")

        left = await undo.compensation_done("3")
        assert isinstance(left, AsyncLease)
        ended = await left.compensation_done("1")

        assert not isinstance(ended, AsyncLease)
        assert ended.state == "compensated"
        again = await engine.retry_as_new(task.id)
        assert again.predecessor == task.id

    tell(story)


def test_refusals_are_raised_where_they_are_awaited(tell: Callable[[Story], None]) -> None:
    async def story(engine: AsyncEngine) -> None:
        with pytest.raises(InvalidValue):
            await engine.create("")
        with pytest.raises(InvalidValue):
            await engine.heartbeat(["no lease"])  # type: ignore[list-item]
        with pytest.raises(InvalidValue):
            await engine.claim("default", owner="bob", ttl_ms=1, wait_ms=-1)
        with pytest.raises(NotFound):
            await engine.history("nobody")
        with pytest.raises(NotFound):
            await engine.wait("nobody", 1_000)
        task = await engine.create("build")
        lease = await engine.acquire(task.id, owner="bob", ttl_ms=1_000)
        await engine.cancel(task.id, now=True)
        with pytest.raises(LeaseLost):
            await lease.complete()
        renewal = await engine.heartbeat([lease])
        assert ((), [LeaseLost]) == (renewal.renewed, [type(one) for one in renewal.lost])

    tell(story)


def test_a_batch_records_without_awaiting_and_commits_at_the_end(tell: Callable[[Story], None]) -> None:
    async def story(engine: AsyncEngine) -> None:
        await engine.create("build", id="first")
        [lease] = await engine.claim("default", owner="bob", ttl_ms=1_000)
        async with engine.batch() as batch:
            second = batch.create("build", queue="next")
            batch.complete(lease, 1)
            assert await engine.get(second) is None
            assert batch.results == []

        assert [getattr(result, "id", None) for result in batch.results] == [second, "first"]
        assert len(batch) == 2

    tell(story)


def test_a_batch_not_together_gives_leases_groups_and_refusals(tell: Callable[[Story], None]) -> None:
    async def story(engine: AsyncEngine) -> None:
        await engine.create("build", id="one")
        lease = await engine.acquire("one", owner="bob", ttl_ms=1_000)
        async with engine.batch(together=False) as batch:
            batch.heartbeat(lease)
            with batch.group():
                batch.step(lease, "compile", 1)
                batch.complete(lease)
            batch.cancel("nobody")
            batch.create("build", id="two")
            batch.claim("default", owner="bob", ttl_ms=1_000)

        renewed, group, refusal, created, claimed = batch.results
        assert isinstance(renewed, AsyncLease)
        assert isinstance(group, tuple)
        assert [type(one).__name__ for one in group] == ["AsyncLease", "Task"]
        assert isinstance(refusal, NotFound)
        assert getattr(created, "id", None) == "two"
        assert isinstance(claimed, list)
        assert [one.task.id for one in claimed] == ["two"]
        await claimed[0].complete()

    tell(story)


def test_a_batch_whose_block_raises_writes_nothing(tell: Callable[[Story], None]) -> None:
    async def story(engine: AsyncEngine) -> None:
        async def record() -> None:
            async with engine.batch() as batch:
                batch.create("build", id="one")
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await record()
        assert await engine.get("one") is None

    tell(story)


def test_many_creations_at_the_same_time_are_all_there_once(tell: Callable[[Story], None]) -> None:
    async def story(engine: AsyncEngine) -> None:
        tasks = await asyncio.gather(*(engine.create("build", {"n": n}) for n in range(200)))

        assert sorted(task.payload["n"] for task in await engine.find()) == list(range(200))
        assert len({task.id for task in tasks}) == 200

    tell(story)


def test_a_ticker_goes_on_while_two_hundred_writes_are_made(tell: Callable[[Story], None]) -> None:
    async def story(engine: AsyncEngine) -> None:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0)

        ticker = asyncio.create_task(tick())
        seen = []
        for n in range(200):
            await engine.create("build", {"n": n})
            seen.append(ticks)
        ticker.cancel()

        # It has moved between every two of them.
        assert all(before < after for before, after in pairwise(seen))

    tell(story)


def test_an_engine_is_awaited_too_and_closed_by_hand(store_url: str) -> None:
    async def main() -> None:
        engine = await sagalog.aio.open(store_url)
        await engine.create("build", id="one")
        await engine.close()
        await engine.close()
        for call in (engine.get("one"), engine.create("build"), engine.claim("default", owner="bob", ttl_ms=1)):
            with pytest.raises(Closed):
                await call

    asyncio.run(main())


def test_what_cannot_be_opened_is_refused_where_it_is_awaited(sqlite_url: str) -> None:
    async def main() -> None:
        with pytest.raises(Unavailable):
            await sagalog.aio.open(sqlite_url, create=False)
        with pytest.raises(ValueError, match="no store"):
            async with sagalog.aio.open("nothing:"):
                pass

    asyncio.run(main())


def test_no_call_and_no_wait_touches_the_store_on_the_event_loop() -> None:
    clock = SystemClock()
    store = NotingStore(clock)
    plain = Engine(store, clock=clock)
    store.callers.clear()

    async def use(engine: AsyncEngine) -> None:
        task = await engine.create("build")
        waiting = asyncio.gather(
            engine.wait(task.id, 10_000),
            engine.claim("other", owner="bob", ttl_ms=1_000, wait_ms=10_000),
            engine.wait_change(await engine.changes(), 10_000),
        )
        lease = await engine.acquire(task.id, owner="bob", ttl_ms=1_000)
        await engine.heartbeat([lease])
        await lease.complete()
        async with engine.batch() as batch:
            batch.create("build", queue="other")
        ended, leases, _ = await waiting
        assert (ended.state, len(leases)) == ("completed", 1)

    async def main() -> None:
        async with AsyncEngine(plain) as engine:
            await use(engine)

    asyncio.run(main())

    assert threading.get_ident() not in store.callers
    assert store.callers


def test_the_loop_runs_on_while_a_commit_hangs() -> None:
    store, plain = gated()

    async def main() -> None:
        async with AsyncEngine(plain) as engine:
            store.gate.clear()
            creating = asyncio.create_task(engine.create("build", id="one"))
            await at_the_gate(store)
            assert await engine.get("one") is None
            for _ in range(100):
                await asyncio.sleep(0)
            assert not creating.done()
            store.gate.set()
            assert (await creating).id == "one"

    asyncio.run(main())


def test_leases_are_compared_by_what_they_hold(tell: Callable[[Story], None]) -> None:
    async def story(engine: AsyncEngine) -> None:
        task = await engine.create("build")
        lease = await engine.acquire(task.id, owner="bob", ttl_ms=None)
        same = await engine.reattach(task.id, lease.fence)

        assert (lease, hash(lease)) == (same, hash(same))
        assert lease != lease.plain
        assert repr(lease) == f"<Async{repr(lease.plain)[1:]}"

    tell(story)


def test_a_call_sees_the_context_variables_of_its_caller() -> None:
    trace: ContextVar[str] = ContextVar("trace", default="none")
    seen = []

    def specs() -> Any:
        seen.append(trace.get())
        yield {"kind": "build"}

    async def main() -> None:
        async with sagalog.aio.open("memory:") as engine:
            trace.set("mine")
            await engine.create_many(specs())

    asyncio.run(main())

    assert seen == ["mine"]


def test_a_conflict_in_a_batch_is_raised_at_the_end_of_its_block(tell: Callable[[Story], None]) -> None:
    async def story(engine: AsyncEngine) -> None:
        await engine.create("build", id="one")
        lease = await engine.acquire("one", owner="bob", ttl_ms=None)
        await lease.release()

        async def record() -> None:
            async with engine.batch() as batch:
                batch.create("build", id="two")
                batch.complete(lease)

        with pytest.raises(Conflict):
            await record()
        assert await engine.get("two") is None

    tell(story)

"""sagalog for asyncio: the same surface as the plain one, off the event loop, and nothing lost when nobody waits."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import sagalog
from sagalog import Compensation, Permanent, Retry, aio, failpoints
from sagalog.batch import Batch
from sagalog.subscription import Subscription
from sagalog.worker import AsyncContext, AsyncWorkContext, Context, UndoContext, WorkContext

# What workers and leases need of an engine, and nobody else.
INSIDE = {
    *("settle", "jitter", "clock", "draw_id", "claimable_ms", "asked_to_stop", "changes", "wait_change"),
}
# What a coroutine has no use for, or is given by the loop itself.
OF_THREADS = {"wait_stop", "on_stop", "begin_step", "finish_step", "allow_any_order", "done"}
OF_CONTEXTS = {"newest_progress", "forget_progress", "record_children", "begins_something", "interruption"}


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(coroutine, 30))


def url(path: Path) -> str:
    return f"sqlite:///{path}/store.db"


# --- the surface ------------------------------------------------------------------------------------------------------


def public(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


@pytest.mark.parametrize(
    ("plain", "other", "left_out", "added"),
    [
        (sagalog.Engine, aio.AsyncEngine, INSIDE, {"store_id"}),
        (sagalog.Lease, aio.AsyncLease, set(), set()),
        (Batch, aio.AsyncBatch, set(), set()),
        (Subscription, aio.AsyncSubscription, set(), {"name", "position", "checkpoint"}),
        (sagalog.Worker, aio.Worker, set(), set()),
        (WorkContext, AsyncWorkContext, OF_THREADS | OF_CONTEXTS, {"compensation", "idempotency_key"}),
        (UndoContext, AsyncContext, OF_THREADS | OF_CONTEXTS, {"compensation"}),
        (Context, AsyncContext, OF_THREADS | OF_CONTEXTS, {"compensation", "idempotency_key"}),
    ],
)
def test_the_two_surfaces_have_the_same_names(plain: type, other: type, left_out: set[str], added: set[str]) -> None:
    assert public(other) - {"plain"} == (public(plain) - left_out) | added


@pytest.mark.parametrize(
    ("plain", "other"),
    [
        (sagalog.Engine, aio.AsyncEngine),
        (sagalog.Lease, aio.AsyncLease),
        (Batch, aio.AsyncBatch),
        (Subscription, aio.AsyncSubscription),
        (sagalog.Worker, aio.Worker),
        (WorkContext, AsyncWorkContext),
    ],
)
def test_the_two_surfaces_take_the_same_arguments(plain: type, other: type) -> None:
    for name in public(plain) & public(other):
        mine, theirs = getattr(plain, name), getattr(other, name)
        if callable(mine):
            assert shape(mine) == shape(theirs), name
    assert shape(sagalog.open) == shape(aio.open)


def shape(call: Any) -> list[tuple[str, Any, Any]]:
    """The arguments of a call: name, kind, default."""
    parameters = list(inspect.signature(call).parameters.values())
    return [(one.name, one.kind, one.default) for one in parameters if one.name != "self"]


# --- calls ------------------------------------------------------------------------------------------------------------


def test_calls_made_at_the_same_time_are_all_carried_out(tmp_path: Path) -> None:
    async def main() -> list[sagalog.Task]:
        async with aio.open(url(tmp_path)) as engine:
            await asyncio.gather(*[engine.create("build", number, id=str(number)) for number in range(200)])
            leases = await engine.claim("default", owner="me", ttl_ms=60_000, limit=200)
            leases = [await leases[0].heartbeat(), *leases[1:]]
            renewal = await engine.heartbeat(leases, 90_000)
            async with engine.batch(together=False) as batch:
                for lease in renewal.renewed[:100]:
                    batch.complete(lease, "in a batch")
            await asyncio.gather(*[lease.complete("alone") for lease in renewal.renewed[100:]])
            assert [one.result for one in batch.results if isinstance(one, sagalog.Task)] == ["in a batch"] * 100
            assert (await engine.verify()).ok
            return await engine.find()

    tasks = run(main())
    assert {task.state for task in tasks} == {"completed"}
    assert sorted(task.payload for task in tasks) == list(range(200))


def test_the_event_loop_goes_on_while_commits_are_made(tmp_path: Path) -> None:
    async def main() -> int:
        ticks = 0
        held = threading.Event()

        async def tick() -> None:
            nonlocal ticks
            while not held.is_set():
                ticks += 1
                await asyncio.sleep(0)
                if ticks > 1_000:
                    held.set()

        async with aio.open(url(tmp_path)) as engine:

            def hold() -> None:
                held.wait(20)

            failpoints.armed["commit.before_commit"] = hold
            try:
                await asyncio.gather(engine.create("build"), tick())
            finally:
                del failpoints.armed["commit.before_commit"]
        return ticks

    assert run(main()) > 1_000


def test_errors_are_those_of_the_plain_engine(tmp_path: Path) -> None:
    async def main() -> None:
        engine = await aio.open(url(tmp_path))
        with pytest.raises(sagalog.NotFound):
            await engine.signal("nobody", "go")
        task = await engine.create("build", compensations=[Compensation("undo", id="u")])
        lease = await engine.acquire(task.id, owner="me", ttl_ms=60_000)
        assert (await engine.resume(task.id, lease.fence)) == lease
        await lease.fail("broken")
        with pytest.raises(sagalog.LeaseLost):
            await lease.complete()
        undo = await engine.acquire(task.id, owner="me", ttl_ms=60_000, purpose="undo")
        assert (await undo.compensation_done("u")).state == "compensated"  # type: ignore[union-attr]
        with pytest.raises(TimeoutError, match="not ended within 1 ms"):
            await engine.wait((await engine.create("build")).id, 1)
        await engine.close()
        await engine.close()

    run(main())


def test_a_wait_ends_with_the_task_and_a_claim_that_waits_with_a_task_to_lease(tmp_path: Path) -> None:
    async def main() -> None:
        async with aio.open(url(tmp_path)) as engine:
            claimed = asyncio.create_task(engine.claim("default", owner="me", ttl_ms=60_000, wait_ms=20_000))
            await asyncio.sleep(0)
            task = await engine.create("build")
            waited = asyncio.create_task(engine.wait(task.id, 20_000))
            [lease] = await claimed
            await lease.complete(1)
            assert (await waited).result == 1

    run(main())


def test_what_a_claim_leased_for_somebody_who_has_gone_is_given_back(tmp_path: Path) -> None:
    """[ATTEMPT-1]"""

    async def main() -> sagalog.Task:
        async with aio.open(url(tmp_path)) as engine:
            task = await engine.create("build")
            reached, go_on = threading.Event(), threading.Event()

            def hold() -> None:
                reached.set()
                go_on.wait(20)

            failpoints.armed["commit.before_commit"] = hold
            try:
                claim = asyncio.create_task(engine.claim("default", owner="me", ttl_ms=60_000))
                await asyncio.to_thread(reached.wait, 20)
                claim.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await claim
            finally:
                del failpoints.armed["commit.before_commit"]
                go_on.set()
            while (await engine.history(task.id))[-1].type != "released":
                await asyncio.sleep(0.005)
            found = await engine.get(task.id)
            assert found is not None
            return found

    task = run(main())
    assert (task.state, task.attempt, task.lease) == ("pending", 1, None)


def test_a_call_that_is_cancelled_is_carried_out_all_the_same(tmp_path: Path) -> None:
    async def main() -> None:
        reached, go_on = threading.Event(), threading.Event()

        def hold() -> None:
            reached.set()
            go_on.wait(20)

        async with aio.open(url(tmp_path)) as engine:
            failpoints.armed["commit.before_commit"] = hold
            try:
                creating = asyncio.create_task(engine.create("build", id="a"))
                await asyncio.to_thread(reached.wait, 20)
                creating.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await creating
            finally:
                del failpoints.armed["commit.before_commit"]
                go_on.set()

    run(main())
    with sagalog.open(url(tmp_path)) as engine:
        assert engine.get("a") is not None


def test_a_subscription_is_read_with_async_for(tmp_path: Path) -> None:
    async def main() -> list[str]:
        async with aio.open(url(tmp_path)) as engine:
            seen = []
            subscription = await engine.subscribe("reader")

            async def read() -> None:
                async for recorded in subscription:
                    seen.append(recorded.type)
                    if recorded.type == "cancelled":
                        return

            reading = asyncio.create_task(read())
            task = await engine.create("build")
            await engine.cancel(task.id)
            await reading
            await subscription.save()
            assert subscription.checkpoint == subscription.position == 3
            return seen

    assert run(main()) == ["founded", "created", "cancelled"]


# --- workers ----------------------------------------------------------------------------------------------------------


def test_a_worker_runs_coroutines_on_the_callers_loop_and_functions_in_threads(tmp_path: Path) -> None:
    """[STEP-1] [WAIT-2] [WAIT-3] [COMP-5]"""
    worker = aio.Worker(concurrency=4)
    undone: list[str] = []

    @worker.task("parent")
    async def parent(context: AsyncWorkContext, _payload: Any) -> Any:
        loop = asyncio.get_running_loop()

        async def work(number: int) -> int:
            assert asyncio.get_running_loop() is loop
            await asyncio.sleep(0)
            return number

        numbers = await asyncio.gather(*[context.step(f"step{n}", work, n) for n in range(5)])
        await context.artifact("numbers", repr(numbers).encode())
        context.progress({"at": "children"})
        await context.spawn("kid", "child", 20)
        [child] = await context.wait_tasks()
        await context.sleep("nap", 1)
        return [sum(numbers), child.result, await context.wait_signal("go")]

    @worker.task("child")
    def child(_context: WorkContext, payload: int) -> int:
        assert threading.current_thread() is not threading.main_thread()
        return payload + 1

    @worker.task("fails")
    async def fails(context: AsyncWorkContext, _payload: Any) -> None:
        await context.step("effect", lambda: 1, compensation=Compensation("undo", {"n": 1}))
        raise Permanent("no")

    @worker.compensation("undo")
    async def undo(context: AsyncContext, params: Any) -> None:
        await asyncio.sleep(0)
        undone.append(f"{params['n']} {context.idempotency_key}")

    async def main() -> None:
        async with aio.open(url(tmp_path)) as engine:
            good = await engine.create("parent")
            bad = await engine.create("fails")
            await engine.signal(good.id, "go", "now")
            running = asyncio.create_task(worker.run(engine))
            assert (await engine.wait(good.id, 20_000)).result == [10, 21, "now"]
            assert (await engine.wait(bad.id, 20_000)).state == "compensated"
            assert undone == [f"1 {bad.id}/{(await engine.get(bad.id)).compensations[0].id}"]  # type: ignore[union-attr]
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running

    run(main())


def test_a_cancelled_task_cancels_its_coroutine_and_one_that_is_deaf_completes(tmp_path: Path) -> None:
    """[CANCEL-2]"""
    worker = aio.Worker()
    begun = asyncio.Event()

    @worker.task("patient")
    async def patient(_context: AsyncWorkContext, _payload: Any) -> None:
        begun.set()
        await asyncio.sleep(60)

    @worker.task("deaf")
    async def deaf(context: AsyncWorkContext, _payload: Any) -> str:
        begun.set()
        while not context.cancelled:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(60)
        return "all the same"

    async def main() -> None:
        async with aio.open(url(tmp_path)) as engine:
            running = asyncio.create_task(worker.run(engine))
            states = []
            for kind in ("patient", "deaf"):
                begun.clear()
                task = await engine.create(kind)
                await begun.wait()
                await engine.cancel(task.id, "not needed")
                states.append((await engine.wait(task.id, 20_000)).state)
            assert states == ["cancelled", "completed"]
            worker.stop()
            assert (await running).claimed == 2

    run(main())


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (ValueError("no"), "failed"),
        (SystemExit(1), "failed"),
        (KeyboardInterrupt(), "failed"),
        (Permanent("x"), "failed"),
    ],
    ids=lambda given: type(given).__name__ if isinstance(given, BaseException) else None,
)
def test_what_a_coroutine_raises_is_its_outcome_and_the_loop_goes_on(
    error: BaseException, state: str, tmp_path: Path
) -> None:
    """[WORKER-1]"""
    worker = aio.Worker()

    @worker.task("do")
    async def do(_context: AsyncWorkContext, _payload: Any) -> None:
        raise error

    async def main() -> None:
        async with aio.open(url(tmp_path)) as engine:
            task = await engine.create("do", retry=Retry(attempts_max=1), waive_compensation="it has no effects")
            tally = await worker.run(engine, until_idle=True)
            found = await engine.get(task.id)
            assert found is not None
            assert (found.state, tally.settled) == (state, 1)

    run(main())


def test_a_worker_that_is_cancelled_gives_back_what_it_holds(tmp_path: Path) -> None:
    """[WORKER-3]"""
    worker = aio.Worker(grace_ms=0)
    begun = asyncio.Event()

    @worker.task("patient")
    async def patient(_context: AsyncWorkContext, _payload: Any) -> None:
        begun.set()
        await asyncio.sleep(60)

    async def main() -> None:
        async with aio.open(url(tmp_path)) as engine:
            task = await engine.create("patient")
            running = asyncio.create_task(worker.run(engine))
            await begun.wait()
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            assert [one.type for one in await engine.history(task.id)] == ["created", "leased", "released"]

    run(main())

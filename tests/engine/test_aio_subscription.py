"""A subscription of `aio` that is cancelled in the middle: what it did not give is given again, and not counted."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import sagalog
import sagalog.aio
from sagalog import Engine, InvalidValue, Subscription
from sagalog.aio import AsyncEngine, AsyncSubscription
from sagalog.ports import Clock
from sagalog.store.memory import MemoryStore
from sagalog.system import SystemClock
from tests.engine.aio_stores import PATIENCE_S

_EVENTS = 12

Reading = Callable[[AsyncSubscription], Awaitable[Any]]


class GatedReads(MemoryStore):
    """A memory store whose reads, and savings of checkpoints, wait at a gate while it is shut."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.gate = threading.Event()
        self.gate.set()
        self.waiting = threading.Event()

    def _pass(self) -> None:
        if not self.gate.is_set():
            self.waiting.set()
            assert self.gate.wait(PATIENCE_S)

    @contextmanager
    def read(self) -> Iterator[Any]:
        self._pass()
        with super().read() as snapshot:
            yield snapshot

    def keep(self, space: str, name: str, expected: str | None, value: str | None) -> bool:
        self._pass()
        return super().keep(space, name, expected, value)


async def cancelled_at_the_gate(store: GatedReads, call: Awaitable[Any]) -> None:
    """Begin a call, cancel it while its thread waits at the gate, and open the gate."""
    store.gate.clear()

    async def run() -> Any:
        return await call

    running = asyncio.create_task(run())
    assert await asyncio.to_thread(store.waiting.wait, PATIENCE_S)
    store.waiting.clear()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    store.gate.set()


def told(story: Callable[[GatedReads, AsyncEngine, AsyncSubscription], Awaitable[None]]) -> None:
    """Run the story with a subscription of a log that holds some events."""
    store = GatedReads(SystemClock())
    plain = Engine(store)
    for number in range(_EVENTS - 1):
        plain.create("build", id=f"t{number}")

    async def main() -> None:
        async with asyncio.timeout(PATIENCE_S), AsyncEngine(plain, threads=2) as engine:
            await story(store, engine, await engine.subscribe("reader"))

    asyncio.run(main())


@pytest.mark.parametrize("reading", [anext, lambda one: one.read(2)], ids=["iterating", "reading"])
def test_what_a_cancelled_call_has_read_is_given_by_the_next_one(reading: Reading) -> None:
    async def story(store: GatedReads, engine: AsyncEngine, subscription: AsyncSubscription) -> None:
        await cancelled_at_the_gate(store, reading(subscription))
        # Its thread has ended once both threads have done something else.
        await asyncio.gather(engine.get("t0"), engine.get("t1"))

        assert subscription.position == 0
        await subscription.save()
        assert subscription.checkpoint == 0
        assert [(await anext(subscription)).position for _ in range(_EVENTS)] == [*range(1, _EVENTS + 1)]

    told(story)


@pytest.mark.parametrize("steps", range(30))
def test_cancelling_at_any_step_of_the_loop_gives_an_event_once(steps: int) -> None:
    async def story(_: GatedReads, __: AsyncEngine, subscription: AsyncSubscription) -> None:
        given: list[int] = []

        async def read() -> None:
            given.append((await anext(subscription)).position)
            given.extend(one.position for one in await subscription.read(3))

        while len(given) < _EVENTS:
            reading = asyncio.create_task(read())
            for _step in range(steps):
                await asyncio.sleep(0 if steps < 20 else 0.0002)
            if steps < 20 and len(given) < 8:
                reading.cancel()
                await asyncio.wait([reading])
                reading = asyncio.create_task(read())
            await reading

        assert given == [*range(1, _EVENTS + 1)]

    told(story)


def test_a_save_that_was_cancelled_is_no_other_reader_for_the_next_one() -> None:
    async def story(store: GatedReads, _: AsyncEngine, subscription: AsyncSubscription) -> None:
        await subscription.read(3)
        store.gate.clear()
        saving = asyncio.create_task(subscription.save())
        assert await asyncio.to_thread(store.waiting.wait, PATIENCE_S)
        saving.cancel()
        await asyncio.wait([saving])
        again = asyncio.create_task(subscription.save())
        await asyncio.sleep(0)
        store.gate.set()
        await again

        assert subscription.checkpoint == 3

    told(story)


def test_a_save_includes_nothing_that_is_given_after_it_was_asked_for() -> None:
    store = MemoryStore(SystemClock())
    plain = Engine(store)
    for number in range(_EVENTS - 1):
        plain.create("build", id=f"t{number}")

    async def main() -> None:
        async with AsyncEngine(plain, threads=1) as engine:
            subscription = await engine.subscribe("reader")
            await subscription.read(3)
            may_end = threading.Event()
            # The only thread is busy, so the save is asked for now and carried out later.
            busy = asyncio.create_task(engine._pool.run(lambda: may_end.wait(PATIENCE_S)))
            await asyncio.sleep(0)
            saving = asyncio.create_task(subscription.save())
            await asyncio.sleep(0)
            subscription.plain._give(subscription.plain._look(5))
            may_end.set()
            await asyncio.gather(busy, saving)

            assert (subscription.checkpoint, subscription.position) == (3, 8)

    asyncio.run(main())


def test_what_is_asked_for_wrongly_is_refused_before_a_thread_is_asked() -> None:
    async def story(_: GatedReads, __: AsyncEngine, subscription: AsyncSubscription) -> None:
        with pytest.raises(InvalidValue):
            await subscription.read(0)
        assert subscription.position == 0

    told(story)


def test_iterating_and_reading_by_turns_leave_no_event_out(store_url: str) -> None:
    with sagalog.open(store_url, durability="normal") as engine:
        for number in range(_EVENTS - 1):
            engine.create("build", id=f"t{number}")
        subscription: Subscription = engine.subscribe(None)

        given = [next(subscription).position]
        given += [one.position for one in subscription.read(4)]
        given += [next(subscription).position]
        given += [one.position for one in subscription.read()]

    assert given == [*range(1, _EVENTS + 1)]

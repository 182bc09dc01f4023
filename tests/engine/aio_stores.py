"""What tests of `sagalog.aio` share: stores that hold a commit up or note who calls them, workers, waits for a fact.

Rule: nothing waits for a time; what is waited for is a fact, and one that never comes fails the test by name.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

import sagalog.aio
from sagalog import Engine, Task
from sagalog.aio import AsyncEngine, Worker
from sagalog.ports import Clock
from sagalog.store import Operation
from sagalog.store.memory import MemoryStore
from sagalog.system import SystemClock
from sagalog.worker import AsyncWorkContext

Story = Callable[[AsyncEngine], Coroutine[Any, Any, None]]

PATIENCE_S = 20


class GatedStore(MemoryStore):
    """A memory store whose commits wait at a gate while it is shut, and then may fail."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.gate = threading.Event()
        self.gate.set()
        self.waiting = threading.Event()
        self.failure: Exception | None = None

    def commit(self, operations: Sequence[Operation]) -> list[Any]:
        if not self.gate.is_set():
            self.waiting.set()
            assert self.gate.wait(PATIENCE_S)
        if self.failure is not None:
            raise self.failure
        return super().commit(operations)


class NotingStore(MemoryStore):
    """A memory store that notes which threads have called it."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.callers: set[int] = set()

    def commit(self, operations: Sequence[Operation]) -> list[Any]:
        self.callers.add(threading.get_ident())
        return super().commit(operations)

    def read(self) -> Any:
        self.callers.add(threading.get_ident())
        return super().read()

    def changes(self) -> int:
        self.callers.add(threading.get_ident())
        return super().changes()

    def wait_change(self, since: int, timeout_ms: int) -> None:
        self.callers.add(threading.get_ident())
        super().wait_change(since, timeout_ms)

    def close(self) -> None:
        self.callers.add(threading.get_ident())
        super().close()


def gated(clock: Clock | None = None) -> tuple[GatedStore, Engine]:
    clock = clock or SystemClock()
    store = GatedStore(clock)
    return store, Engine(store, clock=clock)


async def at_the_gate(store: GatedStore) -> None:
    """Return when a commit waits at the gate."""
    assert await asyncio.to_thread(store.waiting.wait, PATIENCE_S)
    store.waiting.clear()


async def until(fact: Callable[[], bool]) -> None:
    """Return when the fact has come true, with the event loop running meanwhile."""
    async with asyncio.timeout(PATIENCE_S):
        while not fact():
            await asyncio.sleep(0.001)


def teller(url: str, **arguments: Any) -> Callable[[Story], None]:
    """What runs a coroutine with an engine over the store, which is closed at its end."""

    def tell(story: Story) -> None:
        async def main() -> None:
            async with sagalog.aio.open(url, durability="normal", **arguments) as engine:
                await story(engine)

        asyncio.run(main())

    return tell


async def held_up(waiting: Awaitable[Any]) -> asyncio.Task[Any]:
    """A task that waits, after it has had every chance to end."""

    async def run() -> Any:
        return await waiting

    task = asyncio.create_task(run())
    for _ in range(20):
        await asyncio.sleep(0.001)
    assert not task.done()
    return task


def made(handler: Callable[..., Any], **arguments: Any) -> Worker:
    worker = Worker(**arguments)
    worker.task("build")(handler)
    return worker


async def one(engine: AsyncEngine, id: str) -> Task:
    task = await engine.get(id)
    assert task is not None
    return task


class Stuck:
    """A handler that waits for ever, and notes that it began and whether it was cancelled.

    One that does not obey ignores the first cancelling alone: the second is that of an event loop which ends, and a
    test that has failed must be able to end it.
    """

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
                self.obeys = True
            else:
                return "done"

"""What tests of `sagalog.aio` share: stores that hold a commit up, or note who calls them, and short waits for a fact.

Rule: nothing waits for a time; what is waited for is a fact, and one that never comes fails the test by name.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any

from sagalog import Engine
from sagalog.memory import MemoryStore
from sagalog.ports import Clock, Unit
from sagalog.system import SystemClock

PATIENCE_S = 20


class GatedStore(MemoryStore):
    """A memory store whose commits wait at a gate while it is shut, and then may fail."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.gate = threading.Event()
        self.gate.set()
        self.waiting = threading.Event()
        self.failure: Exception | None = None

    def commit(self, units: Sequence[Unit]) -> list[Any]:
        if not self.gate.is_set():
            self.waiting.set()
            assert self.gate.wait(PATIENCE_S)
        if self.failure is not None:
            raise self.failure
        return super().commit(units)


class NotingStore(MemoryStore):
    """A memory store that notes which threads have called it."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.callers: set[int] = set()

    def commit(self, units: Sequence[Unit]) -> list[Any]:
        self.callers.add(threading.get_ident())
        return super().commit(units)

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

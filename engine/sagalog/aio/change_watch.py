"""The wait of coroutines for a commit: one thread watches the store and wakes all, so no coroutine holds a thread.

Rule: a wake-up says that there may be something, never what; a coroutine also looks again by itself before long. The
thread lives while a coroutine waits. It must not know tasks.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from sagalog.engine import Engine
from sagalog.engine.executor import WAIT_SLICE_MS
from sagalog.errors import SagalogError
from sagalog.forks import reset_in_children

_JOIN_S: Final = 1.0


class ChangeWaiter:
    """One waiting coroutine, which any commit wakes."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._woken = asyncio.Event()

    def expect(self) -> None:
        """Count commits from now on; call it before a look at the store."""
        self._woken.clear()

    async def woken(self, left_ms: Callable[[], int], slices: int = 1) -> None:
        """Return when a caller has committed, when no time is left, or after so many slices to look again."""
        for _ in range(slices):
            # A clock may jump, and a manual one does not wait: ask it again at each slice.
            slice_ms = min(left_ms(), WAIT_SLICE_MS)
            if slice_ms <= 0:
                return
            try:
                async with asyncio.timeout(slice_ms / 1_000):
                    await self._woken.wait()
            except TimeoutError:
                continue
            return

    def wake(self) -> bool:
        """Wake the coroutine, from any thread; False if its event loop is closed, so that none waits."""
        try:
            self._loop.call_soon_threadsafe(self._woken.set)
        except RuntimeError:
            return False
        return True


class ChangeWatch:
    """The watch over the commits of one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._guard = threading.Lock()
        self._over = threading.Event()
        self._waiters: set[ChangeWaiter] = set()
        self._thread: threading.Thread | None = None
        reset_in_children(self)

    def begin_anew(self) -> None:
        """Reset the watch in a forked child, which has neither the thread nor any waiting coroutine."""
        self._guard = threading.Lock()
        is_over, self._over = self._over.is_set(), threading.Event()
        if is_over:
            self._over.set()
        self._waiters = set()
        self._thread = None

    @contextmanager
    def waiting(self) -> Iterator[ChangeWaiter]:
        """Give a waiter for the block; every commit wakes it."""
        waiter = ChangeWaiter()
        with self._guard:
            self._waiters.add(waiter)
            if self._thread is None and not self._over.is_set():
                self._thread = threading.Thread(target=self._watch, name="sagalog-aio-watch", daemon=True)
                self._thread.start()
        try:
            yield waiter
        finally:
            with self._guard:
                self._waiters.discard(waiter)

    def stop(self) -> None:
        """Wake every waiter and end the watch: the engine closes."""
        self._over.set()
        self._wake()

    def join(self) -> None:
        """Wait for the thread to end."""
        thread = self._thread
        if thread is not None:
            thread.join(_JOIN_S)

    # --- inside -------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        # At first the thread does not know whether a caller has committed since the waiters looked: it wakes them once.
        since: int | None = None
        while not self._over.is_set():
            with self._guard:
                if not self._waiters:
                    self._thread = None
                    return
            try:
                now = self._engine.changes()
                if now != since:
                    since = now
                    self._wake()
                self._engine.wait_change(since, WAIT_SLICE_MS)
            except SagalogError:
                # Each waiter looks by itself, and gets the same error.
                self._over.wait(WAIT_SLICE_MS / 1_000)

    def _wake(self) -> None:
        with self._guard:
            self._waiters = {waiter for waiter in self._waiters if waiter.wake()}

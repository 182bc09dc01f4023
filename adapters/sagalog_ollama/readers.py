"""The readers of jobs: a job that has none for long enough is called off, where the operator wants that.

Rule: readers of this process are counted; one that reads at another gateway says so beside the log, since the gateway
that has taken a job up does not see it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Final

import msgspec

from sagalog import SagalogError
from sagalog.aio import AsyncEngine
from sagalog_ollama.jobs import Jobs

_SPACE: Final = "ollama-readers"

_log: Final = logging.getLogger("sagalog.ollama")


class Readers:
    """The clients that wait for jobs at this gateway.

    Args:
        engine, jobs: where the jobs are.
        abandoned_ms: when a job without a reader is called off; None: never.
    """

    def __init__(self, engine: AsyncEngine, jobs: Jobs, abandoned_ms: int | None) -> None:
        self._engine = engine
        self._jobs = jobs
        self._abandoned_ms = abandoned_ms
        self._reading: Counter[str] = Counter()
        self._watches: dict[str, asyncio.Task[None]] = {}

    @contextmanager
    def reading(self, id: str) -> Iterator[None]:
        """Count a client as a reader of a job, for the block."""
        if self._abandoned_ms is None:
            yield
            return
        self._reading[id] += 1
        if id not in self._watches:
            watch = asyncio.create_task(self._watch(id, self._abandoned_ms))
            self._watches[id] = watch
            watch.add_done_callback(lambda _: self._forget(id))
        try:
            yield
        finally:
            if id in self._reading:
                self._reading[id] -= 1

    async def read(self, id: str, parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Give the parts of a job's answer, and count their client as a reader meanwhile."""
        with self.reading(id):
            async for part in parts:
                yield part

    async def close(self) -> None:
        """End all watches: what has no reader now is kept."""
        watches = list(self._watches.values())
        for watch in watches:
            watch.cancel()
        await asyncio.gather(*watches, return_exceptions=True)

    def _forget(self, id: str) -> None:
        self._watches.pop(id, None)
        self._reading.pop(id, None)

    async def _watch(self, id: str, abandoned_ms: int) -> None:
        """Say that the job is read while it is, and call it off once it was not for long enough, at any gateway."""
        now_ms = self._engine.plain.now_ms
        unread_ms = 0
        step_ms = max(abandoned_ms // 4, 50)
        while unread_ms <= abandoned_ms:
            try:
                task = await self._engine.get(id)
                if task is None or task.is_terminal:
                    await self._say(id, None)
                    return
                if self._reading[id] > 0:
                    unread_ms = 0
                    await self._say(id, now_ms() + 2 * step_ms)
                elif await self._said(id) > now_ms():
                    unread_ms = 0
                else:
                    unread_ms += step_ms
            except SagalogError as error:
                _log.warning("the readers of the job %s could not be looked up: %s", id, error)
            await asyncio.sleep(step_ms / 1_000)
        await self._jobs.cancel(id, "its client has gone")

    async def _say(self, id: str, until_ms: int | None) -> None:
        before = await self._engine.kept(_SPACE, id)
        now = None if until_ms is None else msgspec.json.encode(until_ms).decode()
        if before != now:
            await self._engine.keep(_SPACE, id, before, now)

    async def _said(self, id: str) -> int:
        kept = await self._engine.kept(_SPACE, id)
        return 0 if kept is None else msgspec.json.decode(kept, type=int)

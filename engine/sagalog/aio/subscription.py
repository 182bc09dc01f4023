"""`AsyncSubscription`: the log read on, awaited, and with `async for`.

Rule: it is the plain one, which is for one thread at a time, so it is awaited by one coroutine at a time; waiting holds
no thread.
"""

from __future__ import annotations

from types import TracebackType
from typing import Final

from sagalog.aio.lifting import Lifted, lifted
from sagalog.aio.pool import Pool
from sagalog.aio.watching import Watch
from sagalog.codec import Recorded
from sagalog.door import check_milliseconds
from sagalog.ports import Clock
from sagalog.subscription import Subscription

# Whoever iterates waits for ever, this long at a time.
_PATIENCE_MS: Final = 3_600_000


class AsyncSubscription(Lifted[Subscription]):
    """One reader of the log, and under its name a durable checkpoint; as `Subscription`."""

    __slots__ = ("_clock", "_watch")

    def __init__(self, plain: Subscription, pool: Pool, watch: Watch, clock: Clock) -> None:
        super().__init__(plain, pool)
        self._watch = watch
        self._clock = clock

    @property
    def name(self) -> str | None:
        """Whose checkpoint it moves."""
        return self.plain.name

    @property
    def position(self) -> int:
        """How far it has read."""
        return self.plain.position

    @property
    def checkpoint(self) -> int | None:
        """What is saved, as far as this reader knows."""
        return self.plain.checkpoint

    async def __aenter__(self) -> AsyncSubscription:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._pool.run(lambda: self.plain.__exit__(kind, error, trace))

    def __aiter__(self) -> AsyncSubscription:
        return self

    async def __anext__(self) -> Recorded:
        while not await self.wait(_PATIENCE_MS):
            pass
        return await self._pool.run(self.plain.__next__)

    read = lifted(Subscription.read)
    save = lifted(Subscription.save)

    async def wait(self, timeout_ms: int) -> bool:
        """As `Subscription.wait`; it holds no thread meanwhile."""
        check_milliseconds(timeout_ms, "timeout_ms")
        until_ms = self._clock.monotonic_ms() + timeout_ms

        def left_ms() -> int:
            return until_ms - self._clock.monotonic_ms()

        with self._watch.waiting() as waiter:
            while True:
                is_over = left_ms() <= 0
                waiter.expect()
                if await self._pool.run(lambda: self.plain.wait(0)):
                    return True
                if is_over:
                    return False
                await waiter.woken(left_ms)

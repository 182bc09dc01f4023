"""The class `AsyncSubscription`: a reader of the log to await, and for `async for`.

Rule: it is the plain one, which is for one thread at a time, so one coroutine at a time awaits it; a wait holds no
thread. Threads only read. An event counts as given when its caller gets it, on the event loop, so a call that is
cancelled has given nothing. [SUBSCRIBE-2]
"""

from __future__ import annotations

import threading
from functools import partial
from types import TracebackType
from typing import Final

from sagalog.aio.change_watch import ChangeWatch
from sagalog.aio.coroutine_methods import CoroutineMethod
from sagalog.aio.pool import Pool
from sagalog.codec import Recorded
from sagalog.engine.subscription import AHEAD, Subscription
from sagalog.kernel import bounds
from sagalog.ports import Clock
from sagalog.validation.values import check_integer, check_milliseconds

# How long an iterating reader waits at a time; it waits for ever.
_PATIENCE_MS: Final = 3_600_000


class AsyncSubscription(CoroutineMethod[Subscription]):
    """One reader of the log, and under its name a durable checkpoint; as `Subscription`.

    A call that is cancelled has given nothing: `position` stays, and the next call gives the same events. A `save` that
    is cancelled may be saved all the same.
    """

    __slots__ = ("_clock", "_saving", "_watch")

    def __init__(self, plain: Subscription, pool: Pool, watch: ChangeWatch, clock: Clock) -> None:
        super().__init__(plain, pool)
        self._watch = watch
        self._clock = clock
        # A save whose caller was cancelled may still be running when the next one begins.
        self._saving = threading.Lock()

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
        if error is None and self.name is not None:
            await self.save()

    def __aiter__(self) -> AsyncSubscription:
        return self

    async def __anext__(self) -> Recorded:
        while (following := self.plain._give_ahead()) is None:
            await self.wait(_PATIENCE_MS)
            self.plain._keep_ahead(await self._pool.run(partial(self.plain._look, AHEAD)))
        return following

    async def read(self, limit: int = 1_000) -> list[Recorded]:
        """As `Subscription.read`."""
        check_integer(limit, "limit", 1, bounds.BATCH_COMMANDS_MAX)
        return self.plain._give(await self._pool.run(partial(self.plain._look, limit)))

    async def save(self, position: int | None = None) -> None:
        """As `Subscription.save`; what is given after this call was made is not included."""
        wanted = self.position if position is None else position

        def save() -> None:
            with self._saving:
                self.plain.save(wanted)

        await self._pool.run(save)

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

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
    """One reader of the log, and under its name a durable checkpoint, as `Subscription`; for one coroutine at a time.

    `async for` waits for ever for what comes next. A call that is cancelled has given nothing: `position` stays, and
    the next call gives the same events. A `save` that is cancelled may be saved all the same. [SUBSCRIBE-2]
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
        """The name whose checkpoint it moves; None: none is kept."""
        return self.plain.name

    @property
    def position(self) -> int:
        """The position of the last event that it gave."""
        return self.plain.position

    @property
    def checkpoint(self) -> int | None:
        """The position that is saved, as far as this reader knows; None without a name."""
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
        """Read what comes next, without waiting, as `Subscription.read`. [SUBSCRIBE-1]

        Args:
            limit: how many events at most, 1 to 10,000.

        Raises:
            UnknownEvent: this version does not know the very next event; those before it were given. [SUBSCRIBE-4]
            LogDamaged: the very next event is not the one that was written.
        """
        check_integer(limit, "limit", 1, bounds.BATCH_COMMANDS_MAX)
        return self.plain._give(await self._pool.run(partial(self.plain._look, limit)))

    async def save(self, position: int | None = None) -> None:
        """Save the checkpoint, as `Subscription.save`, without what is given after this call was made. [SUBSCRIBE-3]

        Args:
            position: of an event that was given, not before the checkpoint; None: the last one.

        Raises:
            InvalidValue: it lies before the checkpoint or beyond what was given, or there is no name to save under.
            Conflict: another reader has moved the checkpoint, so two read under one name.
            Unknown: it may have been saved: save again.
        """
        wanted = self.position if position is None else position

        def save() -> None:
            with self._saving:
                self.plain.save(wanted)

        await self._pool.run(save)

    async def wait(self, timeout_ms: int) -> bool:
        """Wait until there is something to read, or until the time is over; no thread is held meanwhile.

        Args:
            timeout_ms: how long to wait at most, in milliseconds; 0: only look.

        Returns:
            Whether there is something to read.
        """
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

"""The classes `AsyncJournal` and `AsyncJournalReader`: a journal whose calls are awaited.

Rule: a reader that waits holds no thread, and all that follow one journal on one event loop share one look at the store
for each commit [JOURNAL-5]. A call that is cancelled has given nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Final
from weakref import WeakKeyDictionary

from sagalog.aio.change_watch import ChangeWatch
from sagalog.aio.coroutine_methods import CoroutineMethod, as_coroutine
from sagalog.aio.pool import Pool
from sagalog.engine.journal import AHEAD, LOOK_MS, Journal, JournalReader
from sagalog.engine.journal_tails import Behind, Tail, TailListener
from sagalog.engine.journal_values import JournalCursor, JournalEntry
from sagalog.kernel import bounds
from sagalog.ports import Clock
from sagalog.validation.values import check_integer, check_milliseconds

# How long a reader waits at most before it looks again by itself, and how many slices of a watch that are.
_PATIENCE_MS: Final = 1_000
_SLICES: Final = 20


class TailWatch(TailListener):
    """The coroutines of one event loop that wait for one journal, and the one task that looks at the store for them."""

    def __init__(self, tail: Tail, pool: Pool, watch: ChangeWatch, clock: Clock) -> None:
        self._tail = tail
        self._pool = pool
        self._watch = watch
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._waiting: set[asyncio.Future[None]] = set()
        self._is_waking = False
        self._looker: asyncio.Task[None] | None = None
        tail.listen(self)

    def wake(self) -> None:
        """Wake all that wait, from any thread; once for all news since the event loop has come to it."""
        if self._is_waking:
            return
        self._is_waking = True
        try:
            self._loop.call_soon_threadsafe(self._wake)
        except RuntimeError:
            # The loop is closed, so no coroutine waits there.
            self._is_waking = False

    def expect(self) -> asyncio.Future[None]:
        """Return what is done once there is something new; call it before a look at the tail."""
        future: asyncio.Future[None] = self._loop.create_future()
        self._waiting.add(future)
        if self._looker is None:
            self._looker = self._loop.create_task(self._look())
        return future

    def forget(self, future: asyncio.Future[None]) -> None:
        """Forget what a reader waits for no more."""
        self._waiting.discard(future)
        if not future.cancel() and not future.cancelled():
            # Otherwise asyncio logs that no reader has looked at it.
            future.exception()

    # --- inside -------------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        self._is_waking = False
        waiting, self._waiting = self._waiting, set()
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def _look(self) -> None:
        """Look at the store at each commit while a reader waits; where a handler here writes, only now and then."""
        is_cancelled = False
        try:
            looked_ms, idle = 0, 0
            with self._watch.waiting() as waiter:
                while idle < 2:
                    waiter.expect()
                    now_ms = self._clock.monotonic_ms()
                    if not self._tail.is_fed or now_ms - looked_ms >= LOOK_MS:
                        await self._pool.run(self._tail.look)
                        looked_ms = now_ms
                    # A reader that has just got something waits again in a moment.
                    idle = 0 if self._waiting else idle + 1
                    await waiter.woken(lambda: _PATIENCE_MS, _SLICES)
        except asyncio.CancelledError:
            # The event loop ends, and the readers with it.
            is_cancelled = True
            raise
        except Exception as error:  # noqa: BLE001  each reader that waits gets it
            waiting, self._waiting = self._waiting, set()
            for future in waiting:
                if not future.done():
                    future.set_exception(error)
        finally:
            self._looker = None
            if self._waiting and not is_cancelled:
                # One has begun to wait at the last moment.
                self._looker = self._loop.create_task(self._look())


class TailWatches:
    """The watches of one engine, by journal and event loop."""

    def __init__(self, pool: Pool, watch: ChangeWatch, clock: Clock) -> None:
        self._pool = pool
        self._watch = watch
        self._clock = clock
        self._found: WeakKeyDictionary[asyncio.AbstractEventLoop, WeakKeyDictionary[Tail, TailWatch]] = (
            WeakKeyDictionary()
        )

    def of(self, tail: Tail) -> TailWatch:
        """Return the watch of a tail on the running event loop."""
        by_tail = self._found.setdefault(asyncio.get_running_loop(), WeakKeyDictionary())
        watch = by_tail.get(tail)
        if watch is None:
            watch = by_tail[tail] = TailWatch(tail, self._pool, self._watch, self._clock)
        return watch


class AsyncJournal(CoroutineMethod[Journal]):
    """One journal, as `Journal`, whose calls are awaited and never block the event loop. [JOURNAL-1]

    Example:
        import asyncio

        import sagalog.aio


        async def main() -> None:
            async with sagalog.aio.open("memory:") as engine:
                journal = engine.journal("build")
                await journal.append([b"compiling", b"linking"])
                await journal.close()
                async for entry in journal.follow():
                    print(entry.number, entry.data)


        asyncio.run(main())
    """

    __slots__ = ("_watches",)

    def __init__(self, plain: Journal, pool: Pool, watches: TailWatches) -> None:
        super().__init__(plain, pool)
        self._watches = watches

    @property
    def name(self) -> str:
        """Its name."""
        return self.plain.name

    @property
    def task(self) -> str | None:
        """The id of the task to which it belongs; None: it is no task's."""
        return self.plain.task

    append = as_coroutine(Journal.append)
    close = as_coroutine(Journal.close)
    status = as_coroutine(Journal.status)
    read = as_coroutine(Journal.read)

    def follow(self, after: JournalCursor | str | None = None) -> AsyncJournalReader:
        """Follow it, as `Journal.follow`; a reader that waits holds no thread. [JOURNAL-5]

        Args:
            after: the cursor behind which to go on, or its text; None: the first entry.
        """
        return AsyncJournalReader(self.plain.follow(after), self._pool, self._watches)


class AsyncJournalReader:
    """One reader that follows a journal, as `JournalReader`; for one coroutine at a time.

    `async for` waits for what comes next, and ends when the journal is closed. A call that is cancelled has given
    nothing: `position` stays, and the next call gives the same entries.
    """

    def __init__(self, plain: JournalReader, pool: Pool, watches: TailWatches) -> None:
        self._plain = plain
        self._pool = pool
        self._watches = watches

    @property
    def position(self) -> JournalCursor:
        """The cursor of the last entry that it gave."""
        return self._plain.position

    @property
    def is_over(self) -> bool:
        """Whether the journal is closed and all of it was given."""
        return self._plain.is_over

    def __aiter__(self) -> AsyncJournalReader:
        return self

    async def __anext__(self) -> JournalEntry:
        plain = self._plain
        while not plain._ahead:
            plain._keep_ahead(await self._take(None, AHEAD))
            if plain.is_over:
                raise StopAsyncIteration
        return plain._give_ahead()

    def __repr__(self) -> str:
        return f"<Async{repr(self._plain).removeprefix('<')}"

    async def take(self, timeout_ms: int, limit: int = 1_000) -> list[JournalEntry]:
        """Take all that is there, as `JournalReader.take`; a wait holds no thread.

        Args:
            timeout_ms: how long to wait at most, in milliseconds; 0: only look.
            limit: how many entries at most, 1 to 10,000.

        Returns:
            The entries; none where the time is over, or the journal is closed, as `is_over` then says.
        """
        check_milliseconds(timeout_ms, "timeout_ms")
        check_integer(limit, "limit", 1, bounds.JOURNAL_ENTRIES_MAX)
        return self._plain._give(await self._take(timeout_ms, limit))

    # --- inside -------------------------------------------------------------------------------------------------

    async def _take(self, timeout_ms: int | None, limit: int) -> list[JournalEntry] | None:
        """As `JournalReader._take`, on the event loop."""
        tail = self._plain._tail
        watch = self._watches.of(tail)
        until_s = None if timeout_ms is None else asyncio.get_running_loop().time() + timeout_ms / 1_000
        is_first = True
        while True:
            future = watch.expect()
            try:
                found: Sequence[JournalEntry] | None
                try:
                    found = self._plain._at_hand(limit)
                    if is_first and found is not None and not found and not tail.is_fed:
                        # What was written before this call is there at once.
                        await self._pool.run(tail.look)
                        found = self._plain._at_hand(limit)
                except Behind as behind:
                    found = (await self._pool.run(partial(tail.read, behind.cursor)))[:limit]
                if found or found is None:
                    return None if found is None else list(found)
                left_s = _PATIENCE_MS / 1_000
                if until_s is not None:
                    left_s = min(left_s, until_s - asyncio.get_running_loop().time())
                    if left_s <= 0:
                        return []
                is_first = False
                try:
                    async with asyncio.timeout(left_s):
                        await future
                except TimeoutError:
                    continue
            finally:
                watch.forget(future)

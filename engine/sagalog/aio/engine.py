"""`AsyncEngine`: every call of an engine as a coroutine that never blocks the event loop.

Rule: a call is the plain one in a thread; only what waits is here, and holds no thread while it waits. Who is cancelled
while it claims is leased nothing: what its claim came to is given back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Final

from sagalog.aio.batch import AsyncBatch
from sagalog.aio.lease import UNWANTED, AsyncLease, AsyncRenewal, give_back, lift_lease, lower_lease
from sagalog.aio.lifting import Lifted, lifted, lifted_to, passed_on
from sagalog.aio.pool import THREADS, Pool
from sagalog.aio.subscription import AsyncSubscription
from sagalog.aio.watching import Waiter, Watch
from sagalog.engine import Engine
from sagalog.engine.leasing import Leasing
from sagalog.engine.task import Lease, Task
from sagalog.kernel.values import Purpose, Suspects
from sagalog.ports import Clock
from sagalog.validation import arguments
from sagalog.validation import commands as forms
from sagalog.validation.commands import Asked
from sagalog.validation.values import check_milliseconds

# In how many slices of waiting whoever waits for an end looks again, though nobody seems to have committed.
_SLICES: Final = 20


def _give_back_one(_: Leasing, lease: Lease) -> None:
    lease.release(UNWANTED)


class AsyncEngine(Lifted[Engine]):
    """An `Engine` whose calls are awaited; an asynchronous context manager.

    A call that is cancelled before it was begun writes nothing. One that was begun goes on to its end: its outcome is
    on record, as after a lost connection, and repeating it gives the first answer. A failure of it is logged.

    Args:
        plain: the engine; closed with this one.
        threads: how many calls run at a time; all others wait, in order, and those that wait for something hold none.
    """

    __slots__ = ("_watch",)

    def __init__(self, plain: Engine, threads: int = THREADS) -> None:
        super().__init__(plain, Pool(threads))
        self._watch = Watch(plain)

    async def __aenter__(self) -> AsyncEngine:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def clock(self) -> Clock:
        """Its clock; whoever works on it measures by that too."""
        return self.plain.clock

    @property
    def store_id(self) -> str:
        """The id of the store."""
        return self.plain.store_id

    async def close(self) -> None:
        """Take no more calls, wait for those under way, and give the store back; a second time does nothing.

        All of that happens also where whoever waits for it is cancelled.
        """
        self._watch.stop()
        await self._pool.close(self._close)

    def batch(self, *, together: bool = True) -> AsyncBatch:
        """Commands that are carried out in one commit when the `async with` block ends; as `Engine.batch`."""
        return AsyncBatch(self.plain.batch(together=together), self._pool, self.plain)

    async def subscribe(self, name: str | None, after: int | None = None) -> AsyncSubscription:
        """As `Engine.subscribe`."""
        plain = await self._pool.run(partial(self.plain.subscribe, name, after))
        return AsyncSubscription(plain, self._pool, self._watch, self.plain.clock)

    # --- calls that never block -----------------------------------------------------------------------------------

    draw_id = passed_on(Engine.draw_id)
    now_ms = passed_on(Engine.now_ms)

    # --- calls that write -----------------------------------------------------------------------------------------

    create = lifted(Engine.create)
    create_many = lifted(Engine.create_many)
    cancel = lifted(Engine.cancel)
    quarantine = lifted(Engine.quarantine)
    signal = lifted(Engine.signal)
    note = lifted(Engine.note)
    waive = lifted(Engine.waive)
    retry_as_new = lifted(Engine.retry_as_new)
    recover = lifted(Engine.recover)
    rebuild = lifted(Engine.rebuild)

    # --- calls that read ------------------------------------------------------------------------------------------

    verify = lifted(Engine.verify)
    get = lifted(Engine.get)
    find = lifted(Engine.find)
    counts = lifted(Engine.counts)
    stale = lifted(Engine.stale)
    health = lifted(Engine.health)
    history = lifted(Engine.history)
    events = lifted(Engine.events)
    input = lifted(Engine.input)
    artifact = lifted(Engine.artifact)
    step_result = lifted(Engine.step_result)
    wait_end = lifted(Engine.wait_end)
    wait_ends = lifted(Engine.wait_ends)
    asked_to_stop = lifted(Engine.asked_to_stop)
    called_off = lifted(Engine.called_off)
    newest_position = lifted(Engine.newest_position)
    changes = lifted(Engine.changes)
    ready_kinds = lifted(Engine.ready_kinds)
    claimable_ms = lifted(Engine.claimable_ms)
    standing = lifted(Engine.standing)

    # --- leasing --------------------------------------------------------------------------------------------------

    acquire = lifted_to(lift_lease, Engine.acquire, _give_back_one)
    resume = lifted_to(lift_lease, Engine.resume)

    async def heartbeat(self, leases: Iterable[AsyncLease], ttl_ms: int | None = None) -> AsyncRenewal:
        """Renew many leases in one commit, each by itself: what is lost does not hold up the others. [LEASE-3]"""
        held = [lower_lease(one) for one in arguments.many_leases(leases)]
        renewal = await self._pool.run(partial(self.plain.heartbeat, held, ttl_ms))
        return AsyncRenewal(tuple(AsyncLease(one, self._pool) for one in renewal.renewed), renewal.lost)

    async def claim(
        self,
        queues: str | Sequence[str],
        *,
        owner: str,
        ttl_ms: int | None,
        limit: int = 1,
        kinds: Iterable[str] | None = None,
        affinity: str | Sequence[str] | None = None,
        purpose: Purpose = "work",
        idempotency_key: str | None = None,
        wait_ms: int = 0,
        suspects: Suspects = "alone",
        waive_compensation: Mapping[str, str] | None = None,
    ) -> list[AsyncLease]:
        """As `Engine.claim`; waiting holds no thread, and who is cancelled is leased nothing."""
        asked = forms.claim(
            queues, owner, ttl_ms, limit, kinds, affinity, purpose, idempotency_key, suspects, waive_compensation
        )
        check_milliseconds(wait_ms, "wait_ms")
        if asked.claim.kinds is not None and not asked.claim.kinds:
            return []
        left_ms = self._left_ms(wait_ms)
        repeated, leases = await self._pool.run(partial(_claim, self.plain, asked), self._give_back)
        if not leases and not repeated and wait_ms:
            with self._watch.waiting() as waiter:
                leases = await self._claim_later(asked, waiter, left_ms)
        return [AsyncLease(lease, self._pool) for lease in leases]

    # --- waiting --------------------------------------------------------------------------------------------------

    async def wait(self, id: str, timeout_ms: int) -> Task:
        """As `Engine.wait`; it holds no thread meanwhile."""
        check_milliseconds(timeout_ms, "timeout_ms")
        left_ms = self._left_ms(timeout_ms)
        with self._watch.waiting() as waiter:
            while True:
                # Asked before the look, so that what happens in time is seen.
                is_over = left_ms() <= 0
                waiter.expect()
                try:
                    return await self._pool.run(partial(self.plain.wait, id, 0))
                except TimeoutError:
                    if is_over:
                        text = f"task {id!r} has not ended within {timeout_ms} ms; wait again or see its history"
                        raise TimeoutError(text) from None
                await waiter.woken(left_ms, _SLICES)

    async def wait_change(self, since: int, timeout_ms: int) -> None:
        """As `Engine.wait_change`; it holds no thread meanwhile."""
        left_ms = self._left_ms(timeout_ms)
        with self._watch.waiting() as waiter:
            while left_ms() > 0:
                waiter.expect()
                if await self.changes() != since:
                    return
                await waiter.woken(left_ms)

    # --- inside ---------------------------------------------------------------------------------------------------

    async def _claim_later(self, asked: Asked, waiter: Waiter, left_ms: Callable[[], int]) -> list[Lease]:
        while True:
            is_over = left_ms() <= 0
            waiter.expect()
            # Nothing to wait for there: it looks once, and takes a turn only where there may be something.
            look = partial(self.plain._claim_later, asked, 0)
            leases: list[Lease] = await self._pool.run(look, partial(give_back, self.plain))
            if leases or is_over:
                return leases
            await waiter.woken(left_ms)

    def _give_back(self, answer: tuple[bool, list[Lease]]) -> None:
        give_back(self.plain, answer[1])

    def _left_ms(self, timeout_ms: int) -> Callable[[], int]:
        """How much is left of a time that begins now."""
        clock = self.plain.clock
        until_ms = clock.monotonic_ms() + timeout_ms
        return lambda: until_ms - clock.monotonic_ms()

    def _close(self) -> None:
        self._watch.join()
        self.plain.close()


def _claim(engine: Engine, asked: Asked) -> tuple[bool, list[Lease]]:
    """What is there to be leased now, and whether the claim is a repeat, which never leases anything new."""
    claimed = engine._claim(asked)
    return claimed.repeated, [Lease(task, engine) for task in claimed.tasks]

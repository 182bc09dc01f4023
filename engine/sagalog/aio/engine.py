"""The class `AsyncEngine`: every call of an engine as a coroutine that never blocks the event loop.

Rule: a call is the plain one in a thread. Only the calls that wait are implemented here, and they hold no thread while
they wait. If a caller is cancelled while it claims, the engine gives back what the claim has leased.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from types import TracebackType
from typing import Any, Concatenate, Final, ParamSpec

from sagalog.aio.batch import AsyncBatch
from sagalog.aio.change_watch import ChangeWaiter, ChangeWatch
from sagalog.aio.coroutine_methods import CoroutineMethod, as_coroutine, as_coroutine_of, passed_on
from sagalog.aio.journal import AsyncJournal, TailWatches
from sagalog.aio.lease import UNWANTED, AsyncLease, AsyncRenewal, give_back, lift_lease, lower_lease
from sagalog.aio.pool import THREADS, Pool
from sagalog.aio.subscription import AsyncSubscription
from sagalog.engine import Engine, verbs
from sagalog.engine.adapters import call_of
from sagalog.engine.executor import Executor
from sagalog.engine.lease import Lease
from sagalog.engine.task import Task
from sagalog.validation import arguments
from sagalog.validation.commands import ClaimRequest
from sagalog.validation.values import check_milliseconds

# After how many slices a caller that waits for an end looks again, even without a commit.
_SLICES: Final = 20


P = ParamSpec("P")


def _give_back_one(_: Engine, lease: Lease) -> None:
    lease.release(UNWANTED)


def _claimed(
    verb: Callable[Concatenate[Executor, P], ClaimRequest],
) -> Callable[Concatenate[AsyncEngine, P], Coroutine[Any, Any, list[AsyncLease]]]:
    """Make the claim a coroutine, which holds no thread while it waits."""

    @call_of(verb, 1)
    async def call(self: AsyncEngine, /, *args: P.args, **kwargs: P.kwargs) -> list[AsyncLease]:
        request = verb(self.plain._executor, *args, **kwargs)
        if request.claim.kinds is not None and not request.claim.kinds:
            return []
        leases = await self._claim(request)
        return [AsyncLease(lease, self._pool) for lease in leases]

    return call


class AsyncEngine(CoroutineMethod[Engine]):
    """An `Engine` whose calls are awaited and never block the event loop; an asynchronous context manager.

    `sagalog.aio.open` makes one. A call that is cancelled before it was begun writes nothing. One that was begun goes
    on to its end: its outcome is on record, as after a lost connection, and repeating it gives the first answer. Its
    failure is logged then. A caller that is cancelled while it claims is leased nothing: its leases are given back.

    Args:
        plain: the engine, which is closed with this one unless it is shared.
        threads: how many calls run at a time; the others wait in order, and a call that waits for something holds none.
        shares: the plain engine stays open when this one closes. So several may be made of one plain engine, each with
            threads of its own, and calls of one never wait for those of another.

    Raises:
        InvalidValue: an argument is none of its kind, or beyond a limit; the field `path` names it.
        OverBound: a list or a text is beyond a limit; the field `bound` names that. [BOUND-1]
        Unavailable: nothing was written: wait and repeat the call. `Closed`: the engine was closed.
        Unknown: it may have been written: repeat the call with the same identity.
        Corrupt: the store is damaged, or newer than this version: stop and call a human.
    """

    __slots__ = ("_shares", "_tail_watches", "_watch")

    def __init__(self, plain: Engine, threads: int = THREADS, *, shares: bool = False) -> None:
        super().__init__(plain, Pool(threads))
        self._shares = shares
        self._watch = ChangeWatch(plain)
        self._tail_watches = TailWatches(self._pool, self._watch, plain._executor.clock)

    async def __aenter__(self) -> AsyncEngine:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def store_id(self) -> str:
        """The id of the store."""
        return self.plain.store_id

    async def close(self) -> None:
        """Close the store, once the calls under way have ended; later calls raise `Closed`. A second call does nothing.

        An engine that shares its store leaves it open, and ends its own threads.
        All of that happens also where the caller that waits for it is cancelled.
        """
        self._watch.stop()
        await self._pool.close(self._close)

    def batch(self, *, together: bool = True) -> AsyncBatch:
        """Open a batch: commands that are recorded in an `async with` block and carried out in one commit when it ends.

        Args:
            together: True: all or none; False: each command succeeds or is refused by itself; as in `Engine.batch`.
        """
        return AsyncBatch(self.plain.batch(together=together), self._pool, self.plain)

    async def subscribe(
        self, name: str | None, after: int | None = None, *, journals: bool = False
    ) -> AsyncSubscription:
        """Read on in the log where the subscription of this name has stopped; as `Engine.subscribe`. [SUBSCRIBE-1]

        Args:
            name: the name under which its checkpoint is kept, for one reader at a time; None: none is kept.
            after: the position behind which a new name begins; None: the beginning of the log.
            journals: whether it also gives the events of journals. [SUBSCRIBE-6]

        Raises:
            InvalidValue: `after` lies beyond the log.
            Corrupt: the checkpoint lies beyond the log, so the newest events are lost.
        """
        plain = await self._pool.run(partial(self.plain.subscribe, name, after, journals=journals))
        return AsyncSubscription(plain, self._pool, self._watch, self.plain._executor.clock)

    def journal(self, name: str, *, task: str | None = None) -> AsyncJournal:
        """Give the journal of this name, as `Engine.journal`; this writes nothing. [JOURNAL-1]

        Args:
            name: its name.
            task: the id of the task whose handler writes it, by `context.journal(name)`; None: it is no task's.
        """
        return AsyncJournal(self.plain.journal(name, task=task), self._pool, self._tail_watches)

    # --- calls that never block -----------------------------------------------------------------------------------

    now_ms = passed_on(Engine.now_ms)

    # --- calls that write -----------------------------------------------------------------------------------------

    create = as_coroutine(Engine.create)
    create_many = as_coroutine(Engine.create_many)
    cancel = as_coroutine(Engine.cancel)
    quarantine = as_coroutine(Engine.quarantine)
    signal = as_coroutine(Engine.signal)
    note = as_coroutine(Engine.note)
    waive = as_coroutine(Engine.waive)
    retry_as_new = as_coroutine(Engine.retry_as_new)
    amend = as_coroutine(Engine.amend)
    recover = as_coroutine(Engine.recover)
    rebuild = as_coroutine(Engine.rebuild)
    prune = as_coroutine(Engine.prune)

    set_limit = as_coroutine(Engine.set_limit)
    reset_breaker = as_coroutine(Engine.reset_breaker)
    remove_limit = as_coroutine(Engine.remove_limit)
    limit_queue = as_coroutine(Engine.limit_queue)
    set_queue = as_coroutine(Engine.set_queue)
    pause = as_coroutine(Engine.pause)
    resume = as_coroutine(Engine.resume)
    set_schedule = as_coroutine(Engine.set_schedule)
    remove_schedule = as_coroutine(Engine.remove_schedule)

    # --- calls that read ------------------------------------------------------------------------------------------

    verify = as_coroutine(Engine.verify)
    get = as_coroutine(Engine.get)
    explain = as_coroutine(Engine.explain)
    held_back = as_coroutine(Engine.held_back)
    find = as_coroutine(Engine.find)
    ids_with_prefix = as_coroutine(Engine.ids_with_prefix)
    unreadable = as_coroutine(Engine.unreadable)
    counts = as_coroutine(Engine.counts)
    stale = as_coroutine(Engine.stale)
    health = as_coroutine(Engine.health)
    history = as_coroutine(Engine.history)
    journals = as_coroutine(Engine.journals)
    events = as_coroutine(Engine.events)
    input = as_coroutine(Engine.input)
    artifact = as_coroutine(Engine.artifact)
    blob = as_coroutine(Engine.blob)
    step_result = as_coroutine(Engine.step_result)
    wait_end = as_coroutine(Engine.wait_end)
    wait_ends = as_coroutine(Engine.wait_ends)
    newest_position = as_coroutine(Engine.newest_position)
    changes = as_coroutine(Engine.changes)
    ready_kinds = as_coroutine(Engine.ready_kinds)
    absent_builds = as_coroutine(Engine.absent_builds)
    limits = as_coroutine(Engine.limits)
    breakers = as_coroutine(Engine.breakers)
    queues = as_coroutine(Engine.queues)
    paused_kinds = as_coroutine(Engine.paused_kinds)
    holders = as_coroutine(Engine.holders)
    workers = as_coroutine(Engine.workers)
    schedules = as_coroutine(Engine.schedules)
    next_times = as_coroutine(Engine.next_times)

    # --- beside the log -------------------------------------------------------------------------------------------

    kept = as_coroutine(Engine.kept)
    kept_in = as_coroutine(Engine.kept_in)
    keep = as_coroutine(Engine.keep)

    # --- workers --------------------------------------------------------------------------------------------------

    drain_worker = as_coroutine(Engine.drain_worker)
    stop_worker = as_coroutine(Engine.stop_worker)

    # --- leasing --------------------------------------------------------------------------------------------------

    acquire = as_coroutine_of(lift_lease, Engine.acquire, _give_back_one)
    claim = _claimed(verbs.claim)
    reattach = as_coroutine_of(lift_lease, Engine.reattach)

    def rebind(self, lease: AsyncLease) -> AsyncLease:
        """Give the same lease with verbs that this engine carries out, as `Engine.rebind`.

        Raises:
            InvalidValue: it is no lease, or one of another store.
            Closed: the process that this one was forked from holds it. [FORK-2]
        """
        return AsyncLease(self.plain.rebind(lower_lease(lease)), self._pool)

    async def heartbeat(self, leases: Iterable[AsyncLease], ttl_ms: int | None = None) -> AsyncRenewal:
        """Renew many leases in one commit, each by itself: one that is lost holds up no other. [LEASE-3]

        Args:
            leases: 10,000 at most.
            ttl_ms: how long each lasts from now, in milliseconds; None: as long as before.

        Returns:
            The renewed leases, and for each other one the refusal, mostly `LeaseLost`.
        """
        held = [lower_lease(one) for one in arguments.many_leases(leases)]
        renewal = await self._pool.run(partial(self.plain.heartbeat, held, ttl_ms))
        return AsyncRenewal(tuple(AsyncLease(one, self._pool) for one in renewal.renewed), renewal.lost)

    # --- waiting --------------------------------------------------------------------------------------------------

    async def wait(self, id: str, timeout_ms: int) -> Task:
        """Wait until a task has ended, and give it as it is then; no thread is held meanwhile.

        Args:
            id: the id of the task.
            timeout_ms: how long to wait at most, in milliseconds; 0: only look.

        Raises:
            NotFound: there is no such task.
            TimeoutError: it has not ended in time; it goes on, and may be waited for again.
        """
        check_milliseconds(timeout_ms, "timeout_ms")
        left_ms = self._left_ms(timeout_ms)
        with self._watch.waiting() as waiter:
            while True:
                # Read the time before the look, so that the look sees all that happens in time.
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
        """Wait until `changes()` differs from `since`, or until the time is over; no thread is held meanwhile.

        Args:
            since: what `changes()` gave before the caller looked, so that no commit is missed.
            timeout_ms: how long to wait at most, in milliseconds.
        """
        left_ms = self._left_ms(timeout_ms)
        with self._watch.waiting() as waiter:
            while left_ms() > 0:
                waiter.expect()
                if await self.changes() != since:
                    return
                await waiter.woken(left_ms)

    # --- inside ---------------------------------------------------------------------------------------------------

    async def _claim(self, request: ClaimRequest) -> list[Lease]:
        left_ms = self._left_ms(request.wait_ms)
        repeated, leases = await self._pool.run(partial(_claim, self.plain, request), self._give_back)
        if not leases and not repeated and request.wait_ms:
            with self._watch.waiting() as waiter:
                leases = await self._claim_later(request, waiter, left_ms)
        return leases

    async def _claim_later(
        self, request: ClaimRequest, waiter: ChangeWaiter, left_ms: Callable[[], int]
    ) -> list[Lease]:
        while True:
            is_over = left_ms() <= 0
            waiter.expect()
            # The call looks once, and takes a turn only if there may be something.
            look = partial(_claim_now, self.plain, request)
            leases: list[Lease] = await self._pool.run(look, partial(give_back, self.plain))
            if leases or is_over:
                return leases
            await waiter.woken(left_ms)

    def _give_back(self, answer: tuple[bool, list[Lease]]) -> None:
        give_back(self.plain, answer[1])

    def _left_ms(self, timeout_ms: int) -> Callable[[], int]:
        """Return a function that says how much is left of a time that begins now."""
        clock = self.plain._executor.clock
        until_ms = clock.monotonic_ms() + timeout_ms
        return lambda: until_ms - clock.monotonic_ms()

    def _close(self) -> None:
        self._watch.join()
        if not self._shares:
            self.plain.close()


def _claim(engine: Engine, request: ClaimRequest) -> tuple[bool, list[Lease]]:
    """Claim what can be leased now; tell whether the claim is a repeat, which never leases anything new."""
    executor = engine._executor
    claimed = executor.claim(request)
    return claimed.repeated, [Lease(task, executor) for task in claimed.tasks]


def _claim_now(engine: Engine, request: ClaimRequest) -> list[Lease]:
    """Claim what can be leased since the claim was made."""
    executor = engine._executor
    return [Lease(task, executor) for task in executor.claim_later(request, 0)]

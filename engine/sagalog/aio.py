"""sagalog for asyncio: the same engine, leases, batches, subscriptions and workers, awaited.

    async with sagalog.aio.open("sqlite:///agents.db") as engine:
        task = await engine.create("build", {"ref": "main"})
        for lease in await engine.claim("default", owner="me", ttl_ms=30_000):
            await lease.complete()

Rule: no second implementation; every call is the plain one, run in a thread of the engine's own, so that calls made at
the same time are committed together and the event loop never waits for a disk. A test compares the two surfaces.
A call that is cancelled goes on in its thread to its end: what it writes stands or falls as if nobody had looked away.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from types import TracebackType
from typing import Any, Concatenate, Final, NamedTuple, ParamSpec, TypeVar

from sagalog import batch as plain_batch
from sagalog import opening
from sagalog.codec import Recorded
from sagalog.door import check_milliseconds
from sagalog.engine import Engine
from sagalog.errors import SagalogError
from sagalog.kernel.values import LeaseRecord, Purpose
from sagalog.ports import Chance, Clock
from sagalog.subscription import Subscription
from sagalog.task import Lease, Task
from sagalog.worker import Tally
from sagalog.worker import Worker as PlainWorker

P = ParamSpec("P")
R = TypeVar("R")

# So many calls run at a time; more wait for a thread. What they write at one time goes into one commit.
_THREADS: Final = 32
# How long one wait in a thread lasts at most: what is cancelled meanwhile keeps its thread no longer than that.
_SLICE_MS: Final = 200


class _Pool:
    """The threads of one engine."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="sagalog-aio")

    async def run(self, function: Callable[P, R], /, *arguments: P.args, **named: P.kwargs) -> R:
        """Call it in a thread, with the caller's context variables."""
        return await asyncio.wrap_future(self.begin(function, *arguments, **named))

    def begin(self, function: Callable[P, R], /, *arguments: P.args, **named: P.kwargs) -> Future[R]:
        """The same, for whoever wants to know of its end also when nobody awaits it any more."""
        context = contextvars.copy_context()
        return self._threads.submit(context.run, functools.partial(function, *arguments, **named))

    def close(self) -> None:
        """Wait for what is under way."""
        self._threads.shutdown(wait=True)


# --- leases -----------------------------------------------------------------------------------------------------------


def _verb(
    verb: Callable[Concatenate[Lease, P], Lease],
) -> Callable[Concatenate[AsyncLease, P], Coroutine[Any, Any, AsyncLease]]:
    """A verb after which the lease lives on."""

    @functools.wraps(verb)
    async def call(self: AsyncLease, /, *arguments: P.args, **named: P.kwargs) -> AsyncLease:
        return AsyncLease(await self._pool.run(verb, self.plain, *arguments, **named), self._pool)

    return call


def _ending(
    verb: Callable[Concatenate[Lease, P], R],
) -> Callable[Concatenate[AsyncLease, P], Coroutine[Any, Any, R]]:
    """A verb that ends the lease."""

    @functools.wraps(verb)
    async def call(self: AsyncLease, /, *arguments: P.args, **named: P.kwargs) -> R:
        return await self._pool.run(verb, self.plain, *arguments, **named)

    return call


class AsyncLease:
    """`Lease`, with its verbs as coroutines; `plain` is the lease itself. Compared by content, like it."""

    def __init__(self, plain: Lease, pool: _Pool) -> None:
        self.plain = plain
        self._pool = pool

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AsyncLease) and self.plain == other.plain

    def __hash__(self) -> int:
        return hash(self.plain)

    def __repr__(self) -> str:
        return f"Async{self.plain!r}"

    @property
    def task(self) -> Task:
        """The task as it was leased or last renewed."""
        return self.plain.task

    @property
    def record(self) -> LeaseRecord:
        """The plain data of the lease."""
        return self.plain.record

    @property
    def owner(self) -> str:
        """Who holds it."""
        return self.plain.owner

    @property
    def fence(self) -> int:
        """The number that makes a late holder harmless."""
        return self.plain.fence

    @property
    def attempt(self) -> int:
        """1 + recorded failures."""
        return self.plain.attempt

    @property
    def purpose(self) -> Purpose:
        """`work` or `undo`."""
        return self.plain.purpose

    @property
    def ttl_ms(self) -> int | None:
        """How long a renewal lasts; None: without end."""
        return self.plain.ttl_ms

    @property
    def expires_ms(self) -> int | None:
        """When the lease is over, by the store's clock; None: never."""
        return self.plain.expires_ms

    heartbeat = _verb(Lease.heartbeat)
    register = _verb(Lease.register)
    step = _verb(Lease.step)
    put_artifact = _verb(Lease.put_artifact)
    park = _ending(Lease.park)
    release = _ending(Lease.release)
    retry = _ending(Lease.retry)
    complete = _ending(Lease.complete)
    fail = _ending(Lease.fail)
    give_up = _ending(Lease.give_up)
    compensation_failed = _ending(Lease.compensation_failed)

    async def compensation_done(self, id: str) -> AsyncLease | Task:
        """As `Lease.compensation_done`."""
        after = await self._pool.run(self.plain.compensation_done, id)
        return AsyncLease(after, self._pool) if isinstance(after, Lease) else after


# --- batches ----------------------------------------------------------------------------------------------------------


def _recording(
    record: Callable[Concatenate[plain_batch.Batch, P], R],
) -> Callable[Concatenate[AsyncBatch, P], R]:
    """Recording writes nothing, so there is nothing to await."""

    @functools.wraps(record)
    def call(self: AsyncBatch, /, *arguments: P.args, **named: P.kwargs) -> R:
        return record(self.plain, *arguments, **named)

    return call


def _holding(
    record: Callable[Concatenate[plain_batch.Batch, Lease, P], None],
) -> Callable[Concatenate[AsyncBatch, AsyncLease | Lease, P], None]:
    """The same for the verbs of a lease."""

    @functools.wraps(record)
    def call(self: AsyncBatch, lease: AsyncLease | Lease, /, *arguments: P.args, **named: P.kwargs) -> None:
        record(self.plain, _plain(lease), *arguments, **named)

    return call


Result = AsyncLease | Task | list[AsyncLease] | tuple[AsyncLease | Task, ...] | SagalogError


class AsyncBatch:
    """`Batch`: recorded in an `async with` block, carried out in one commit when it ends without an exception."""

    def __init__(self, plain: plain_batch.Batch, pool: _Pool) -> None:
        self.plain = plain
        self.results: list[Result] = []
        self._pool = pool

    async def __aenter__(self) -> AsyncBatch:
        self.plain.__enter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._pool.run(self.plain.__exit__, kind, error, trace)
        self.results = [self._result(one) for one in self.plain.results]

    def __len__(self) -> int:
        return len(self.plain)

    group = _recording(plain_batch.Batch.group)
    create = _recording(plain_batch.Batch.create)
    carry = _recording(plain_batch.Batch.carry)
    cancel = _recording(plain_batch.Batch.cancel)
    quarantine = _recording(plain_batch.Batch.quarantine)
    signal = _recording(plain_batch.Batch.signal)
    note = _recording(plain_batch.Batch.note)
    waive = _recording(plain_batch.Batch.waive)
    retry_as_new = _recording(plain_batch.Batch.retry_as_new)
    claim = _recording(plain_batch.Batch.claim)
    heartbeat = _holding(plain_batch.Batch.heartbeat)
    register = _holding(plain_batch.Batch.register)
    step = _holding(plain_batch.Batch.step)
    put_artifact = _holding(plain_batch.Batch.put_artifact)
    park = _holding(plain_batch.Batch.park)
    release = _holding(plain_batch.Batch.release)
    retry = _holding(plain_batch.Batch.retry)
    complete = _holding(plain_batch.Batch.complete)
    fail = _holding(plain_batch.Batch.fail)
    give_up = _holding(plain_batch.Batch.give_up)
    compensation_done = _holding(plain_batch.Batch.compensation_done)
    compensation_failed = _holding(plain_batch.Batch.compensation_failed)

    def _result(self, one: plain_batch.Result) -> Result:
        if isinstance(one, Lease):
            return AsyncLease(one, self._pool)
        if isinstance(one, list):
            return [AsyncLease(lease, self._pool) for lease in one]
        if isinstance(one, tuple):
            return tuple(AsyncLease(each, self._pool) if isinstance(each, Lease) else each for each in one)
        return one


# --- subscriptions ----------------------------------------------------------------------------------------------------


class AsyncSubscription:
    """`Subscription`: read, wait and save as coroutines, and `async for` over what comes."""

    def __init__(self, plain: Subscription, pool: _Pool) -> None:
        self.plain = plain
        self._pool = pool
        self._ahead: list[Recorded] = []

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
        await self._pool.run(self.plain.__exit__, kind, error, trace)

    def __aiter__(self) -> AsyncSubscription:
        return self

    async def __anext__(self) -> Recorded:
        # Waited for in slices before the plain one is asked, which would wait in its thread for ever.
        while not await self.wait(_SLICE_MS):
            pass
        return await self._pool.run(self.plain.__next__)

    async def read(self, limit: int = 1_000) -> list[Recorded]:
        """As `Subscription.read`."""
        return await self._pool.run(self.plain.read, limit)

    async def wait(self, timeout_ms: int) -> bool:
        """As `Subscription.wait`."""
        return await _sliced(timeout_ms, lambda slice_ms: self._pool.run(self.plain.wait, slice_ms))

    async def save(self, position: int | None = None) -> None:
        """As `Subscription.save`."""
        await self._pool.run(self.plain.save, position)


# --- the engine -------------------------------------------------------------------------------------------------------


def _call(
    method: Callable[Concatenate[Engine, P], R],
) -> Callable[Concatenate[AsyncEngine, P], Coroutine[Any, Any, R]]:
    """A call of the engine, off the event loop."""

    @functools.wraps(method)
    async def call(self: AsyncEngine, /, *arguments: P.args, **named: P.kwargs) -> R:
        return await self._pool.run(method, self.plain, *arguments, **named)

    return call


def _leasing(
    method: Callable[Concatenate[Engine, P], Lease],
) -> Callable[Concatenate[AsyncEngine, P], Coroutine[Any, Any, AsyncLease]]:
    """A call that gives a lease."""

    @functools.wraps(method)
    async def call(self: AsyncEngine, /, *arguments: P.args, **named: P.kwargs) -> AsyncLease:
        [lease] = await self._leased(lambda: [method(self.plain, *arguments, **named)])
        return lease

    return call


class AsyncEngine:
    """`Engine`, with its calls as coroutines; `plain` is the engine itself."""

    def __init__(self, plain: Engine) -> None:
        self.plain = plain
        self._pool = _Pool()

    async def __aenter__(self) -> AsyncEngine:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Wait for what is under way, and give the store back; a second time does nothing."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self._close)

    def _close(self) -> None:
        self._pool.close()
        self.plain.close()

    @property
    def store_id(self) -> str:
        """The store's id."""
        return self.plain.store_id

    def now_ms(self) -> int:
        """The time by this engine's clock."""
        return self.plain.now_ms()

    create = _call(Engine.create)
    create_many = _call(Engine.create_many)
    cancel = _call(Engine.cancel)
    quarantine = _call(Engine.quarantine)
    signal = _call(Engine.signal)
    note = _call(Engine.note)
    waive = _call(Engine.waive)
    retry_as_new = _call(Engine.retry_as_new)
    recover = _call(Engine.recover)
    rebuild = _call(Engine.rebuild)
    verify = _call(Engine.verify)
    get = _call(Engine.get)
    find = _call(Engine.find)
    counts = _call(Engine.counts)
    stale = _call(Engine.stale)
    history = _call(Engine.history)
    events = _call(Engine.events)
    input = _call(Engine.input)
    artifact = _call(Engine.artifact)
    step_result = _call(Engine.step_result)
    wait_end = _call(Engine.wait_end)
    newest_position = _call(Engine.newest_position)
    acquire = _leasing(Engine.acquire)
    resume = _leasing(Engine.resume)

    def batch(self, *, together: bool = True) -> AsyncBatch:
        """As `Engine.batch`: `async with engine.batch() as batch:`."""
        return AsyncBatch(self.plain.batch(together=together), self._pool)

    async def subscribe(self, name: str | None, after: int | None = None) -> AsyncSubscription:
        """As `Engine.subscribe`."""
        return AsyncSubscription(await self._pool.run(self.plain.subscribe, name, after), self._pool)

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
        request: str | None = None,
        wait_ms: int = 0,
    ) -> list[AsyncLease]:
        """As `Engine.claim`; one that is cancelled gives back what it leased meanwhile."""
        kinds = None if kinds is None or isinstance(kinds, str) else list(kinds)

        def claim(slice_ms: int) -> Awaitable[list[AsyncLease]]:
            return self._leased(
                lambda: self.plain.claim(
                    queues,
                    owner=owner,
                    ttl_ms=ttl_ms,
                    limit=limit,
                    kinds=kinds,
                    affinity=affinity,
                    purpose=purpose,
                    request=request,
                    wait_ms=slice_ms,
                )
            )

        return await _sliced(wait_ms, claim)

    async def heartbeat(self, leases: Iterable[AsyncLease | Lease], ttl_ms: int | None = None) -> AsyncRenewal:
        """As `Engine.heartbeat`."""
        renewal = await self._pool.run(self.plain.heartbeat, [_plain(one) for one in leases], ttl_ms)
        return AsyncRenewal(tuple(AsyncLease(one, self._pool) for one in renewal.renewed), renewal.lost)

    async def wait(self, id: str, timeout_ms: int) -> Task:
        """As `Engine.wait`."""

        async def wait(slice_ms: int) -> Task | None:
            with suppress(TimeoutError):
                return await self._pool.run(self.plain.wait, id, slice_ms)
            return None

        task = await _sliced(check_milliseconds(timeout_ms, "timeout_ms"), wait)
        if task is None:
            raise TimeoutError(f"task {id!r} has not ended within {timeout_ms} ms; wait again or see its history")
        return task

    async def _leased(self, claim: Callable[[], list[Lease]]) -> list[AsyncLease]:
        """Leases for whoever awaits them; where nobody does any more they are given back."""
        future = self._pool.begin(claim)
        try:
            leases = await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            future.add_done_callback(_give_back)
            raise
        return [AsyncLease(lease, self._pool) for lease in leases]


class AsyncRenewal(NamedTuple):
    """As `Renewal`: the leases renewed, and for each other one the refusal."""

    renewed: tuple[AsyncLease, ...]
    lost: tuple[SagalogError, ...]


class _Opening:
    """`await` it, or enter it with `async with`."""

    def __init__(self, begin: Callable[[], Engine]) -> None:
        self._begin = begin
        self._engine: AsyncEngine | None = None

    def __await__(self) -> Generator[Any, None, AsyncEngine]:
        return self._open().__await__()

    async def __aenter__(self) -> AsyncEngine:
        self._engine = await self._open()
        return self._engine

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._engine is not None
        await self._engine.close()

    async def _open(self) -> AsyncEngine:
        return AsyncEngine(await asyncio.get_running_loop().run_in_executor(None, self._begin))


def open(
    url: str,
    *,
    create: bool = True,
    clock: Clock | None = None,
    chance: Chance | None = None,
    durability: str = "full",
    actor: str | None = None,
) -> _Opening:
    """As `sagalog.open`: `async with sagalog.aio.open(url) as engine:`, or `engine = await sagalog.aio.open(url)`."""
    return _Opening(
        functools.partial(
            opening.open, url, create=create, clock=clock, chance=chance, durability=durability, actor=actor
        )
    )


class Worker(PlainWorker):
    """`sagalog.Worker` on the caller's event loop: `async def` handlers run there, plain functions in threads."""

    async def run(  # type: ignore[override]  # the plain one blocks; this one is awaited
        self, engine: AsyncEngine | Engine, *, until_idle: bool = False, signals: bool = True
    ) -> Tally:
        """As `sagalog.Worker.run`. Cancelled, it stops gracefully, and cancelled again at once; then it raises."""
        loop = asyncio.get_running_loop()
        plain = engine.plain if isinstance(engine, AsyncEngine) else engine
        ended: Future[Tally] = Future()

        def run() -> None:
            try:
                ended.set_result(self._run(plain, loop, until_idle, signals=False))
            except BaseException as error:  # noqa: BLE001  whoever awaits it is told
                ended.set_exception(error)

        threading.Thread(target=run, name="sagalog-worker", daemon=True).start()
        handled = _handle_signals(loop, self.stop) if signals else []
        cancelled: asyncio.CancelledError | None = None
        try:
            while not ended.done():
                try:
                    await asyncio.shield(asyncio.wrap_future(ended))
                except asyncio.CancelledError as error:
                    cancelled = error
                    self.stop()
                except BaseException:
                    if not ended.done():
                        raise
        finally:
            for number in handled:
                loop.remove_signal_handler(number)
        if cancelled is not None:
            raise cancelled
        return ended.result()


def _handle_signals(loop: asyncio.AbstractEventLoop, stop: Callable[[], None]) -> list[signal.Signals]:
    """Have SIGTERM and SIGINT stop a worker, where this is the main thread's loop; the signals that do."""
    handled = []
    with suppress(NotImplementedError, RuntimeError, ValueError):
        for number in (signal.SIGTERM, signal.SIGINT):
            if signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, stop)
                handled.append(number)
    return handled


async def _sliced(timeout_ms: int, ask: Callable[[int], Awaitable[R]]) -> R:
    """Ask for something that waits, a slice of the time at a time, until it gives something or the time is over."""
    until_s = time.monotonic() + timeout_ms / 1_000
    while True:
        left_ms = max(0, round((until_s - time.monotonic()) * 1_000))
        found = await ask(min(left_ms, _SLICE_MS))
        if found or left_ms <= _SLICE_MS:
            return found


def _plain(lease: AsyncLease | Lease) -> Lease:
    return lease.plain if isinstance(lease, AsyncLease) else lease


def _give_back(future: Future[list[Lease]]) -> None:
    """Release what was leased for somebody who has gone."""
    if not future.cancelled() and future.exception() is None:
        for lease in future.result():
            # Whoever was to have it is gone; where it cannot be given back it ends by itself.
            with suppress(SagalogError):
                lease.release("whoever claimed it had gone")


__all__ = ["AsyncBatch", "AsyncEngine", "AsyncLease", "AsyncSubscription", "Worker", "open"]

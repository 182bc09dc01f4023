"""The context for coroutines: the same calls, awaited where they write or read.

Rule: it implements nothing anew; each call is the plain one, in a thread and not on the event loop. A test compares the
names.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from sagalog.engine.task import Task
from sagalog.kernel.values import Compensation, OnParentEnd
from sagalog.outcomes import Interrupted
from sagalog.worker.context import Context
from sagalog.worker.gathering import payloads_of
from sagalog.worker.task_journal import AsyncTaskJournal
from sagalog.worker.undo_context import UndoContext
from sagalog.worker.work_context import WorkContext

OffLoop = Callable[..., Awaitable[Any]]


class AsyncContext:
    """The context of every coroutine handler: as `Context` and `UndoContext`, awaited where a call writes or reads.

    task      the task as it was leased
    fence     the number that makes a late holder harmless; outside systems may compare it [FENCE-1]
    attempt   1 + recorded failures [ATTEMPT-1]

    Raises:
        Interrupted: the handler is to end; let it pass, since its task is given back. [WORKER-2]
        Closed: the process that this one was forked from holds the lease. [FORK-2]
    """

    def __init__(self, context: Context, off_loop: OffLoop) -> None:
        self._context = context
        self._off_loop = off_loop
        self.task: Task = context.task
        self.fence: int = context.fence
        self.attempt: int = context.attempt

    @property
    def owner(self) -> str:
        """The name of the lease's holder: this worker."""
        return self._context.owner

    @property
    def store_id(self) -> str:
        """The id of the store that holds the task."""
        return self._context.store_id

    @property
    def lost(self) -> bool:
        """Whether the lease is, or may be, another worker's: nothing that is done now may count. [WORKER-2]"""
        return self._context.lost

    @property
    def cancelled(self) -> bool:
        """Whether the task is to be called off; as `Context.cancelled`. [CANCEL-2]"""
        return self._context.cancelled

    @property
    def stopping(self) -> bool:
        """Whether the worker shuts down; the handler may finish until the worker's deadline."""
        return self._context.stopping

    @property
    def interrupted(self) -> bool:
        """Whether the handler's time limit, or the worker's deadline for shutting down, has come."""
        return self._context.interrupted

    @property
    def timed_out(self) -> bool:
        """Whether the handler is to end because its time limit has come."""
        return self._context.timed_out

    @property
    def compensation(self) -> str:
        """The id of the compensation in hand; only for the handler of one."""
        assert isinstance(self._context, UndoContext)
        return self._context.compensation

    @property
    def idempotency_key(self) -> str:
        """A key for outside systems, the same at every attempt of this undo; only for its handler. [NAME-2]"""
        assert isinstance(self._context, UndoContext)
        return self._context.idempotency_key

    def _end_with_its_loop(self) -> None:
        """Note that the event loop ends, and so the worker: the handler's outcome burns no attempt from now on."""
        self._context._end_with_its_loop()

    def go_on(self) -> None:
        """Ask whether the handler may go on, as `Context.go_on`: return if so.

        Raises:
            Interrupted: the lease is lost, the task is cancelled, or the handler's or the worker's time is over.
        """
        self._context.go_on()

    def progress(self, value: Any) -> None:
        """Tell how far the work is, as `Context.progress`. [LEASE-3]

        Args:
            value: JSON of at most 8 KiB, which `Task.progress` then shows.
        """
        self._context.progress(value)

    async def artifact(self, name: str, data: bytes, media_type: str = "application/octet-stream") -> None:
        """Keep bytes that the work has made, as `Context.artifact`, with its errors. [BLOB-1]

        Args:
            name: the name of the artifact.
            data: at most 16 MiB.
            media_type: what the bytes are, as in `text/plain`.
        """
        await self._off_loop(self._context.artifact, name, data, media_type)


class AsyncWorkContext(AsyncContext):
    """The context of a coroutine handler of a task: the calls of `WorkContext`, awaited where they write or read.

    Several steps may run at the same time; waits that are open at the same time need different names. [WAIT-1]
    """

    def __init__(self, context: WorkContext, off_loop: OffLoop) -> None:
        super().__init__(context, off_loop)
        self._work = context

    @property
    def payload(self) -> Any:
        """What the task was created with."""
        return self._work.payload

    async def input(self, name: str) -> bytes:
        """Read bytes that the task was given at its creation, as `WorkContext.input`, with its errors. [BLOB-1]

        Args:
            name: the name under which it was given them.
        """
        found: bytes = await self._off_loop(self._work.input, name)
        return found

    async def journal(self, name: str) -> AsyncTaskJournal:
        """Give a journal of this task, as `WorkContext.journal`, with its errors. [JOURNAL-2]

        Args:
            name: its name; one attempt that asks again gets the same journal.
        """
        return AsyncTaskJournal(await self._off_loop(self._work.journal, name), self._off_loop)

    async def _flush_journals(self) -> None:
        """Wait until what the handler has given to journals is on record. [JOURNAL-4]"""
        if self._work._journals:
            await self._off_loop(self._work._flush_journals)

    async def _try_to_flush_journals(self) -> None:
        """Flush as far as it is possible, to the end also where the handler is cancelled once more."""
        if self._work._journals:
            with suppress(Interrupted, RuntimeError):
                await to_its_end(self._off_loop(self._work._try_to_flush_journals))

    async def step(
        self, name: str, run: Callable[..., Any], *arguments: Any, compensation: Compensation | None = None
    ) -> Any:
        """Run a step once, as `WorkContext.step`, with its errors; several may run at the same time. [STEP-1]

        A step whose caller is cancelled may be asked for again: what was being written for it is written first.

        Args:
            name: the name of the step, used once in an attempt.
            run: what to do: a coroutine function, or a function.
            *arguments: what `run` is given.
            compensation: its undo, put on record before it runs. [COMP-1]
        """
        begun = asyncio.ensure_future(self._off_loop(self._work._begin_step, name, run, compensation))
        try:
            found = await to_its_end(begun)
        except asyncio.CancelledError:
            if _has_succeeded(begun):
                self._work._drop_step(name)
            raise
        if found is not None:
            return found.result
        try:
            result = run(*arguments)
            if inspect.isawaitable(result):
                result = await result
        except BaseException:
            self._work._drop_step(name)
            raise
        finished = asyncio.ensure_future(self._off_loop(self._work._finish_step, name, run, result))
        try:
            return await to_its_end(finished)
        except asyncio.CancelledError:
            if _has_succeeded(finished):
                self._work._reopen_step(name)
            raise

    async def use(self, limit: str, units: int) -> None:
        """State how many units of a rate this attempt uses, as `WorkContext.use`, with its errors. [LIMIT-3]

        Args:
            limit: a named limit with a rate, one of the task's `uses`.
            units: how many units this attempt has used in all, 0 or more.
        """
        await self._off_loop(self._work.use, limit, units)

    async def healthy(self, limit: str | None = None) -> None:
        """Say that what a breaker watches has answered, as `WorkContext.healthy`, with its errors. [BREAKER-3]

        Args:
            limit: a named limit, one of the task's `uses`; None: the queue.
        """
        await self._off_loop(self._work.healthy, limit)

    async def sleep(self, name: str, duration_ms: int) -> None:
        """Sleep without a thread and without a lease, as `WorkContext.sleep`, with its errors. [WAIT-1]

        Args:
            name: the name of the wait.
            duration_ms: how long from the first attempt that asks, in milliseconds.
        """
        self._work.sleep(name, duration_ms)

    async def wait_signal(self, signal: str, *, name: str | None = None, timeout_ms: int | None = None) -> Any:
        """Wait until a signal has come and give its data, as `WorkContext.wait_signal`, with its errors. [WAIT-2]

        Args:
            signal: the name of the signal.
            name: the name of the wait; None: that of the signal.
            timeout_ms: how long to wait at most, in milliseconds; None: for ever.
        """
        # Open it here and not in the thread: the order of the calls is the order of the coroutines.
        with self._work._open_wait(signal if name is None else name) as wait:
            return await self._off_loop(self._work._signal_of, wait, signal, timeout_ms)

    async def wait_tasks(
        self, tasks: Iterable[str] | None = None, *, name: str = "tasks", timeout_ms: int | None = None
    ) -> list[Task]:
        """Wait until all these tasks have ended, as `WorkContext.wait_tasks`, with its errors. [WAIT-3]

        Args:
            tasks: their ids, 10,000 at most; None: the children that this attempt has asked for.
            name: the name of the wait.
            timeout_ms: how long to wait at most, in milliseconds; None: for ever.
        """
        ids = self._work._waited_tasks(tasks)
        if not ids:
            return []
        with self._work._open_wait(name) as wait:
            found: list[Task] = await self._off_loop(self._work._tasks_of, wait, ids, timeout_ms)
            return found

    async def gather(
        self,
        kind: str,
        payloads: Iterable[Any],
        *,
        name: str | None = None,
        timeout_ms: int | None = None,
        return_exceptions: bool = False,
        **arguments: Any,
    ) -> list[Any]:
        """Create a child for each payload and give their results, as `WorkContext.gather`, with its errors. [STEP-3]

        Args:
            kind, payloads: the kind of the children, and the payload of each, 10,000 at most.
            name: the name of the wait, by which the children are named too; None: the kind.
            timeout_ms: how long to wait at most, in milliseconds; None: for ever.
            return_exceptions: whether errors of children take the places of their results.
            **arguments: the same for every child, as in `spawn`, but for `dedupe`.
        """
        given = payloads_of(payloads)
        if not given:
            self._work.go_on()
            return []
        # Open it here and not in the thread: the order of the calls is the order of the coroutines.
        with self._work._open_wait(kind if name is None else name) as wait:
            found: list[Any] = await self._off_loop(
                self._work._gathered, wait, kind, given, timeout_ms, return_exceptions, arguments
            )
            return found

    async def spawn(
        self,
        name: str,
        kind: str,
        payload: Any = None,
        *,
        inputs: Mapping[str, bytes] | None = None,
        on_parent_end: OnParentEnd = "cancel",
        **arguments: Any,
    ) -> str:
        """Create a child task, once per name, and give its id, as `WorkContext.spawn`, with its errors. [STEP-2]

        Args:
            name: the name of the child within its parent.
            kind, payload, inputs: as in `Engine.create`.
            on_parent_end: what becomes of it when this task is cancelled or fails: "cancel" or "leave". [CANCEL-4]
            **arguments: the other arguments of `Engine.create`, but for `id` and `parent`.
        """
        # Here and not in the thread: the order of the calls is the order of the coroutines.
        self._work._place_child(name)
        id: str = await self._off_loop(
            lambda: self._work.spawn(name, kind, payload, inputs=inputs, on_parent_end=on_parent_end, **arguments)
        )
        return id


async def to_its_end(running: Awaitable[Any]) -> Any:
    """Await what runs in a thread; if the caller is cancelled, raise that only after the thread has finished."""
    future = asyncio.ensure_future(running)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        while not future.done():
            with suppress(asyncio.CancelledError, Exception):
                await asyncio.shield(future)
        raise


def _has_succeeded(future: asyncio.Future[Any]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None

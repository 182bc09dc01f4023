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
from sagalog.kernel.values import Compensation
from sagalog.worker.context import Context
from sagalog.worker.undo_context import UndoContext
from sagalog.worker.work_context import WorkContext

OffLoop = Callable[..., Awaitable[Any]]


class AsyncContext:
    """What every coroutine handler may do; the plain values of the context are attributes here too."""

    def __init__(self, context: Context, off_loop: OffLoop) -> None:
        self._context = context
        self._off_loop = off_loop
        self.task: Task = context.task
        self.fence: int = context.fence
        self.attempt: int = context.attempt

    @property
    def owner(self) -> str:
        """Who holds the lease."""
        return self._context.owner

    @property
    def store_id(self) -> str:
        """The id of the store that holds the task."""
        return self._context.store_id

    @property
    def lost(self) -> bool:
        """Whether the lease is, or may be, another worker's."""
        return self._context.lost

    @property
    def cancelled(self) -> bool:
        """Whether the task is to be called off."""
        return self._context.cancelled

    @property
    def stopping(self) -> bool:
        """Whether the worker shuts down."""
        return self._context.stopping

    @property
    def interrupted(self) -> bool:
        """Whether the worker's deadline for shutting down has come."""
        return self._context.interrupted

    @property
    def timed_out(self) -> bool:
        """Whether it is to end because its time limit has come."""
        return self._context.timed_out

    @property
    def compensation(self) -> str:
        """Of an undo: the id of the compensation."""
        assert isinstance(self._context, UndoContext)
        return self._context.compensation

    @property
    def idempotency_key(self) -> str:
        """Of an undo: the same at every attempt to carry it out."""
        assert isinstance(self._context, UndoContext)
        return self._context.idempotency_key

    def _end_with_its_loop(self) -> None:
        """Note that the event loop ends, and so the worker: the handler's outcome burns no attempt from now on."""
        self._context._end_with_its_loop()

    def go_on(self) -> None:
        """Nothing, unless the handler is to end; raises Interrupted."""
        self._context.go_on()

    def progress(self, value: Any) -> None:
        """Say how far it is; the worker writes it."""
        self._context.progress(value)

    async def artifact(self, name: str, data: bytes, media_type: str = "application/octet-stream") -> None:
        """As `Context.artifact`."""
        await self._off_loop(self._context.artifact, name, data, media_type)


class AsyncWorkContext(AsyncContext):
    """What the coroutine handler of a task may do."""

    def __init__(self, context: WorkContext, off_loop: OffLoop) -> None:
        super().__init__(context, off_loop)
        self._work = context

    @property
    def payload(self) -> Any:
        """What the task was created with."""
        return self._work.payload

    async def input(self, name: str) -> bytes:
        """As `WorkContext.input`."""
        found: bytes = await self._off_loop(self._work.input, name)
        return found

    async def step(
        self, name: str, run: Callable[..., Any], *arguments: Any, compensation: Compensation | None = None
    ) -> Any:
        """As `WorkContext.step`; `run` may be a coroutine function, and several steps may run at the same time.

        One whose caller is cancelled may be asked for again: what was being written for it is written first.
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

    async def sleep(self, name: str, duration_ms: int) -> None:
        """As `WorkContext.sleep`."""
        self._work.sleep(name, duration_ms)

    async def wait_signal(self, signal: str, *, name: str | None = None, timeout_ms: int | None = None) -> Any:
        """As `WorkContext.wait_signal`."""
        # Open it here and not in the thread: the order of the calls is the order of the coroutines.
        with self._work._open_wait(signal if name is None else name) as wait:
            return await self._off_loop(self._work._signal_of, wait, signal, timeout_ms)

    async def wait_tasks(
        self, tasks: Iterable[str] | None = None, *, name: str = "tasks", timeout_ms: int | None = None
    ) -> list[Task]:
        """As `WorkContext.wait_tasks`."""
        ids = self._work._waited_tasks(tasks)
        if not ids:
            return []
        with self._work._open_wait(name) as wait:
            found: list[Task] = await self._off_loop(self._work._tasks_of, wait, ids, timeout_ms)
            return found

    async def spawn(
        self, name: str, kind: str, payload: Any = None, *, inputs: Mapping[str, bytes] | None = None, **arguments: Any
    ) -> str:
        """As `WorkContext.spawn`."""
        # Here and not in the thread: the order of the calls is the order of the coroutines.
        self._work._place_child(name)
        id: str = await self._off_loop(lambda: self._work.spawn(name, kind, payload, inputs=inputs, **arguments))
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

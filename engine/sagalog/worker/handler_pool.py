"""The pool that runs handlers: plain functions in threads, coroutines on an event loop.

Rule: the pool puts every job that it has begun into the inbox exactly once, whatever its handler does. A handler that
never ends costs its thread and nothing else. Threads are daemons, so none keeps a process from ending. It must not know
the store.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Executor, Future
from queue import Empty, SimpleQueue
from typing import Any, Final, Protocol

from sagalog.engine.lease import Lease
from sagalog.outcomes import Interrupted
from sagalog.worker.async_context import AsyncContext, AsyncWorkContext, OffLoop
from sagalog.worker.preflights import verdict, verdict_async
from sagalog.worker.settlement import Handler, Settlement, Undoing, is_coroutine_function, work, work_async
from sagalog.worker.stop_token import StopToken
from sagalog.worker.undo_context import UndoContext
from sagalog.worker.work_context import WorkContext

# The number of threads that write for coroutines; writes at the same time go into one commit.
_WRITERS: Final = 16


class Job:
    """One lease at work: its handler, and what the worker knows of it.

    lease        as last renewed
    sent_ms      when the worker sent the last renewal that was accepted, by the monotonic clock
    settlement   what its end means; None before its end, and if it is settled already
    renew_after_ms   no renewal before, because the last one was refused
    begun_ms     when the worker first saw its handler run; time_limit_ms: how long it may run
    tries        how often a settlement was refused
    stop_requested_ms   since when the worker waits for it to end
    """

    def __init__(self, lease: Lease, context: WorkContext | UndoContext, stopping: StopToken, sent_ms: int) -> None:
        self.lease = lease
        self.context = context
        self.stopping = stopping
        self.sent_ms = sent_ms
        self.settlement: Settlement | None = None
        self.undoing: Undoing | None = None
        self.handler: Handler | None = None
        self.time_limit_ms: int | None = None
        self.begun_ms = 0
        self.is_coroutine = False
        self.coroutine: asyncio.Task[None] | None = None
        self.begun = False
        self.ended = False
        # The worker has settled its lease without it, and drops what its handler returns or raises.
        self.abandoned = False
        self.stop_requested_ms: int | None = None
        self.renew_after_ms = 0
        self.tries = 0
        # Whether the numbers of the worker count its lease as lost.
        self.is_counted_lost = False

    @property
    def undo_at(self) -> str | None:
        """Return, of an undoing, the current compensation."""
        return None if self.undoing is None else self.undoing.at

    def run(self) -> None:
        """Run the handler in this thread, to its end."""
        if isinstance(self.context, WorkContext):
            assert self.handler is not None
            self.settlement = work(self.context, self.lease, self.handler)
        else:
            assert self.undoing is not None
            self.settlement = self.undoing.run()

    async def run_async(self, off_loop: OffLoop, in_thread: OffLoop) -> None:
        """Run the handler on this event loop, to its end.

        Args:
            off_loop: runs what writes, in the threads of the pool.
            in_thread: runs a plain handler of an undo, in a thread of its own.
        """
        if isinstance(self.context, WorkContext):
            assert self.handler is not None
            async_context: AsyncContext = AsyncWorkContext(self.context, off_loop)
            self.settlement = await work_async(self.context, async_context, self.lease, self.handler)
        else:
            assert self.undoing is not None
            self.settlement = await self.undoing.run_async(AsyncContext(self.context, off_loop), off_loop, in_thread)


class Inbox:
    """The news for a worker since its last look: jobs that have ended, or a wake-up."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[Job | None] = SimpleQueue()

    def put(self, ended: Job | None = None) -> None:
        """Wake the worker: with a job that has ended, or without one."""
        self._queue.put(ended)

    def take(self, timeout_s: float) -> list[Job]:
        """Wait for news, `timeout_s` at most; return the jobs that have ended."""
        ended: list[Job] = []
        try:
            first = self._queue.get(timeout=timeout_s) if timeout_s > 0 else self._queue.get_nowait()
            while True:
                if first is not None:
                    ended.append(first)
                first = self._queue.get_nowait()
        except Empty:
            return ended


class HandlerPool(Protocol):
    """The port of what runs jobs, a number of them at a time, and puts each into the inbox."""

    def begin(self, job: Job) -> None:
        """Run the job, now or when the pool has room."""
        ...

    def take_back(self) -> list[Job]:
        """Return the jobs that the pool has not begun, and now will not begin."""
        ...

    def replace(self, job: Job) -> None:
        """Run another job in the place of one whose handler does not end."""
        ...

    def close(self) -> None:
        """Begin nothing more."""
        ...


class DaemonThreads(Executor):
    """A pool of threads that keep no process from ending; those of the standard library do."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._guard = threading.Lock()
        self._threads = 0
        self._busy = 0

    def submit(self, fn: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        """Have a thread call `fn`, as an executor does."""
        future: Future[Any] = Future()

        def call() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(fn(*arguments, **named))
            except BaseException as error:  # noqa: BLE001  the coroutine that awaits it gets the error
                future.set_exception(error)

        with self._guard:
            self._busy += 1
            if self._busy > self._threads and self._threads < self._size:
                self._threads += 1
                threading.Thread(target=self._run_calls, name=f"sagalog-writer-{self._threads}", daemon=True).start()
        self._calls.put(call)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the threads end after their calls; do not wait for them."""
        del wait, cancel_futures
        for _ in range(self._threads):
            self._calls.put(None)

    def _run_calls(self) -> None:
        while (call := self._calls.get()) is not None:
            call()
            with self._guard:
                self._busy -= 1


class ThreadHandlerPool:
    """A pool with threads for plain functions, and an event loop for coroutines: its own, or a given one."""

    def __init__(self, size: int, inbox: Inbox, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._size = size
        self._inbox = inbox
        self._loop = loop
        self._owns_loop = False
        self._writers: DaemonThreads | None = None
        self._guard = threading.Condition()
        self._waiting: deque[Job] = deque()
        self._running: set[Job] = set()
        self._threads = 0
        self._idle = 0
        self._closed = False
        self._process = os.getpid()

    def begin(self, job: Job) -> None:
        """Run the job when fewer than `size` are running."""
        with self._guard:
            self._waiting.append(job)
            self._dispatch()

    @property
    def waiting(self) -> int:
        """Return how many jobs the pool has not begun."""
        return len(self._waiting)

    def start_preflight(self, function: Callable[[], Any]) -> Future[str | None]:
        """Run a preflight beside the handlers: in a thread of its own, or on their event loop. [WORKER-9]

        Raises:
            RuntimeError: the event loop has ended, or there is no more thread.
        """
        if not is_coroutine_function(function):
            return _in_thread(verdict, (function,), "sagalog-preflight")
        with self._guard:
            loop = self._event_loop()
        coroutine = self._run_preflight(function)
        try:
            return asyncio.run_coroutine_threadsafe(coroutine, loop)
        except RuntimeError:
            coroutine.close()
            raise

    async def _run_preflight(self, function: Callable[[], Any]) -> str | None:
        found = await verdict_async(function)
        _end_copy(self._process)
        return found

    def take_back(self) -> list[Job]:
        """Return the jobs that the pool has not begun."""
        with self._guard:
            taken = list(self._waiting)
            self._waiting.clear()
        return taken

    def replace(self, job: Job) -> None:
        """Count the job no more among those that run."""
        with self._guard:
            if job in self._running:
                self._running.discard(job)
                # The pool no longer counts its thread, which ends when its handler does.
                self._threads -= not job.is_coroutine
                self._dispatch()

    def close(self) -> None:
        """Let the threads end after their jobs, and stop the event loop if the pool made it."""
        with self._guard:
            self._closed = True
            self._guard.notify_all()
        if self._owns_loop and self._loop is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
        if self._writers is not None:
            self._writers.shutdown(wait=False)

    # --- inside -------------------------------------------------------------------------------------------------

    def _dispatch(self) -> None:
        """Begin waiting jobs as far as there is room; the guard is held."""
        self._begin_coroutines()
        if not self._may_take():
            return
        if self._idle:
            self._guard.notify()
        elif self._threads < self._size:
            self._threads += 1
            threading.Thread(target=self._run_jobs, name=f"sagalog-handler-{self._threads}", daemon=True).start()

    def _begin_coroutines(self) -> None:
        """Begin the coroutines at the front of the waiting jobs; the guard is held."""
        while self._waiting and self._waiting[0].is_coroutine and len(self._running) < self._size:
            job = self._waiting.popleft()
            self._running.add(job)
            job.begun = True
            self._schedule(job)

    def _run_jobs(self) -> None:
        """Run in a thread of the pool: one plain job after another."""
        while True:
            with self._guard:
                self._idle += 1
                # This thread has made room: it begins coroutines at the front, and takes a plain job itself.
                self._begin_coroutines()
                while not self._closed and not self._may_take():
                    self._guard.wait()
                    self._begin_coroutines()
                self._idle -= 1
                if self._closed:
                    return
                job = self._waiting.popleft()
                self._running.add(job)
                job.begun = True
                self._dispatch()
            # Each handler has a context of its own for its context variables, as in asyncio.
            contextvars.Context().run(job.run)
            _end_copy(self._process)
            with self._guard:
                replaced = job not in self._running
                self._running.discard(job)
            self._inbox.put(job)
            if replaced:
                return

    def _may_take(self) -> bool:
        return bool(self._waiting) and len(self._running) < self._size and not self._waiting[0].is_coroutine

    def _event_loop(self) -> asyncio.AbstractEventLoop:
        """Return the event loop, which runs in a thread of its own unless the pool was given one; the guard is held."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._owns_loop = True
            threading.Thread(target=_run_loop, args=(self._loop,), name="sagalog-event-loop", daemon=True).start()
        return self._loop

    def _schedule(self, job: Job) -> None:
        if self._writers is None:
            self._writers = DaemonThreads(_WRITERS)
        loop = self._event_loop()
        loop.call_soon_threadsafe(lambda: self._start(job, loop))

    def _start(self, job: Job, loop: asyncio.AbstractEventLoop) -> None:
        task = loop.create_task(self._run_async(job, loop))
        # The loop itself holds tasks weakly.
        job.coroutine = task

        def stop() -> None:
            loop.call_soon_threadsafe(task.cancel)

        job.stopping.add(stop)
        task.add_done_callback(lambda _: job.stopping.remove(stop))
        task.add_done_callback(lambda _: self._finish(job))

    def _run_async(self, job: Job, loop: asyncio.AbstractEventLoop) -> Coroutine[Any, Any, None]:
        def off_loop(function: Callable[..., Any], *arguments: Any) -> Awaitable[Any]:
            if self._closed:
                # The worker has shut down without this handler.
                raise Interrupted("the worker has shut down")
            return loop.run_in_executor(self._writers, lambda: function(*arguments))

        def in_thread(function: Callable[..., Any], *arguments: Any) -> Awaitable[Any]:
            # No more threads than jobs may run; and one that hangs blocks none of the threads that write.
            return asyncio.wrap_future(_in_thread(function, arguments), loop=loop)

        async def run() -> None:
            await job.run_async(off_loop, in_thread)
            _end_copy(self._process)

        return run()

    def _finish(self, job: Job) -> None:
        with self._guard:
            self._running.discard(job)
            self._dispatch()
        self._inbox.put(job)


def _end_copy(process: int) -> None:
    """End this process if a handler has forked it: job, store and worker are the parent's."""
    if os.getpid() != process:
        os._exit(os.EX_SOFTWARE)


def _in_thread(function: Callable[..., Any], arguments: tuple[Any, ...], name: str = "sagalog-undo") -> Future[Any]:
    """Call a function in a thread of its own, which keeps no process from ending."""
    future: Future[Any] = Future()
    # A caller that is cancelled does not cancel the call.
    future.set_running_or_notify_cancel()
    process = os.getpid()

    def call() -> None:
        try:
            result = function(*arguments)
        except BaseException as error:  # noqa: BLE001  the caller that awaits it gets the error
            _end_copy(process)
            future.set_exception(error)
        else:
            _end_copy(process)
            future.set_result(result)

    threading.Thread(target=call, name=name, daemon=True).start()
    return future


def _run_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Run an event loop in its own thread, from its first job until it is stopped."""
    try:
        while True:
            try:
                loop.run_forever()
                break
            except (KeyboardInterrupt, SystemExit):
                # A task of a handler has raised it, and asyncio lets it through; the other handlers continue.
                continue
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()

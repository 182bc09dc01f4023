"""Who runs handlers: threads for plain functions, an event loop for coroutines.

Rule: a job that was begun comes back to the inbox exactly once, whatever its handler does; a handler that never ends
costs its thread and nothing else. Threads are daemons, so that none keeps a process from ending. Knows no store.
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
from sagalog.worker.settlement import Handler, Settlement, Undoing, work, work_async
from sagalog.worker.stop_token import StopToken
from sagalog.worker.undo_context import UndoContext
from sagalog.worker.work_context import WorkContext

# Threads that write for coroutines: what they write at one time goes into one commit.
_WRITERS: Final = 16


class Job:
    """One lease at work: its handler, and what is known of it here.

    lease        as it was last renewed
    sent_ms      when the last renewal that was accepted was sent, by a clock that never steps back
    settlement   what its end means; None before its end, and where it is settled already
    renew_after_ms   no renewal before, since the last one was refused
    begun_ms     when its handler was first seen to run; time_limit_ms: how long it may
    tries        how often a settlement was refused; told_ms: since when it is waited for to end
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
        # Given up on: the worker has settled its lease, and drops what its handler returns or raises.
        self.abandoned = False
        self.told_ms: int | None = None
        self.renew_after_ms = 0
        self.tries = 0
        # Whether it counts among those whose lease was lost.
        self.is_counted_lost = False

    @property
    def undo_at(self) -> str | None:
        """Of an undoing: the compensation in hand."""
        return None if self.undoing is None else self.undoing.at

    def run(self) -> None:
        """Run the handler in this thread, to its end."""
        if isinstance(self.context, WorkContext):
            assert self.handler is not None
            self.settlement = work(self.context, self.lease, self.handler)
        else:
            assert self.undoing is not None
            self.settlement = self.undoing.run()

    async def run_async(self, off_loop: OffLoop, apart: OffLoop) -> None:
        """Run the handler on this event loop, to its end; writes go `off_loop`, and plain handlers of undos `apart`."""
        if isinstance(self.context, WorkContext):
            assert self.handler is not None
            asking: AsyncContext = AsyncWorkContext(self.context, off_loop)
            self.settlement = await work_async(self.context, asking, self.lease, self.handler)
        else:
            assert self.undoing is not None
            self.settlement = await self.undoing.run_async(AsyncContext(self.context, off_loop), off_loop, apart)


class Inbox:
    """What has happened since the worker looked last: jobs that have ended, or something that it should look at."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[Job | None] = SimpleQueue()

    def put(self, ended: Job | None = None) -> None:
        """Wake the worker: with a job that has ended, or just so."""
        self._queue.put(ended)

    def take(self, timeout_s: float) -> list[Job]:
        """The jobs that have ended; waits for something to happen, no longer than so."""
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
    """Runs jobs, so many at a time, and gives each back by the inbox."""

    def begin(self, job: Job) -> None:
        """Run it, now or when the pool has room."""
        ...

    def take_back(self) -> list[Job]:
        """Jobs that the pool has not begun, and now will not begin."""
        ...

    def replace(self, job: Job) -> None:
        """The job's handler does not end: run another job in its place."""
        ...

    def close(self) -> None:
        """Begin nothing more."""
        ...


class DaemonThreads(Executor):
    """A pool of threads that keep no process from ending, whatever runs in them; the standard library's do."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._guard = threading.Lock()
        self._threads = 0
        self._busy = 0

    def submit(self, fn: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        """Have a thread call it; as of an executor."""
        future: Future[Any] = Future()

        def call() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(fn(*arguments, **named))
            except BaseException as error:  # noqa: BLE001  the coroutine that awaits it is told
                future.set_exception(error)

        with self._guard:
            self._busy += 1
            if self._busy > self._threads and self._threads < self._size:
                self._threads += 1
                threading.Thread(target=self._serve, name=f"sagalog-writer-{self._threads}", daemon=True).start()
        self._calls.put(call)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the threads end as they come back; the caller does not wait for them."""
        del wait, cancel_futures
        for _ in range(self._threads):
            self._calls.put(None)

    def _serve(self) -> None:
        while (call := self._calls.get()) is not None:
            call()
            with self._guard:
                self._busy -= 1


class ThreadHandlerPool:
    """Plain functions in threads of its own, coroutines on an event loop: its own, or one that is given."""

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
        """Run it when fewer than `size` are running."""
        with self._guard:
            self._waiting.append(job)
            self._hand_out()

    @property
    def waiting(self) -> int:
        """How many jobs the pool has not begun."""
        return len(self._waiting)

    def take_back(self) -> list[Job]:
        """Jobs that the pool has not begun."""
        with self._guard:
            taken = list(self._waiting)
            self._waiting.clear()
        return taken

    def replace(self, job: Job) -> None:
        """Count it no more among those that run."""
        with self._guard:
            if job in self._running:
                self._running.discard(job)
                # The crew counts its thread no more; the thread ends when it comes back.
                self._threads -= not job.is_coroutine
                self._hand_out()

    def close(self) -> None:
        """Let the threads end as they come back, and the event loop that it made."""
        with self._guard:
            self._closed = True
            self._guard.notify_all()
        if self._owns_loop and self._loop is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
        if self._writers is not None:
            self._writers.shutdown(wait=False)

    # --- inside -------------------------------------------------------------------------------------------------

    def _hand_out(self) -> None:
        """See to it that what is waiting is begun, as far as there is room; the guard is held."""
        self._begin_coroutines()
        if not self._may_take():
            return
        if self._idle:
            self._guard.notify()
        elif self._threads < self._size:
            self._threads += 1
            threading.Thread(target=self._serve, name=f"sagalog-handler-{self._threads}", daemon=True).start()

    def _begin_coroutines(self) -> None:
        """Begin those that stand first in line; the guard is held."""
        while self._waiting and self._waiting[0].is_coroutine and len(self._running) < self._size:
            job = self._waiting.popleft()
            self._running.add(job)
            job.begun = True
            self._schedule(job)

    def _serve(self) -> None:
        """The life of a thread: one plain job after another."""
        while True:
            with self._guard:
                self._idle += 1
                # The thread that has made room begins what stands first, and takes what is for threads.
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
                self._hand_out()
            # Each handler finds the variables of a context of its own, as with asyncio.
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

    def _schedule(self, job: Job) -> None:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._owns_loop = True
            threading.Thread(target=_serve_loop, args=(self._loop,), name="sagalog-event-loop", daemon=True).start()
        if self._writers is None:
            self._writers = DaemonThreads(_WRITERS)
        loop = self._loop
        loop.call_soon_threadsafe(lambda: self._start(job, loop))

    def _start(self, job: Job, loop: asyncio.AbstractEventLoop) -> None:
        task = loop.create_task(self._run_async(job, loop))
        # The loop itself holds tasks weakly.
        job.coroutine = task

        def stop() -> None:
            loop.call_soon_threadsafe(task.cancel)

        job.stopping.add(stop)
        task.add_done_callback(lambda _: job.stopping.remove(stop))
        task.add_done_callback(lambda _: self._came_back(job))

    def _run_async(self, job: Job, loop: asyncio.AbstractEventLoop) -> Coroutine[Any, Any, None]:
        def off_loop(function: Callable[..., Any], *arguments: Any) -> Awaitable[Any]:
            if self._closed:
                # The worker has gone on without this handler.
                raise Interrupted("the worker has shut down")
            return loop.run_in_executor(self._writers, lambda: function(*arguments))

        def apart(function: Callable[..., Any], *arguments: Any) -> Awaitable[Any]:
            # No more at a time than jobs may run; and one that hangs keeps nothing from being written.
            return asyncio.wrap_future(_in_thread(function, arguments), loop=loop)

        async def run() -> None:
            await job.run_async(off_loop, apart)
            _end_copy(self._process)

        return run()

    def _came_back(self, job: Job) -> None:
        with self._guard:
            self._running.discard(job)
            self._hand_out()
        self._inbox.put(job)


def _end_copy(process: int) -> None:
    """End, where a handler has forked and this is the copy: job, store and worker are the parent's."""
    if os.getpid() != process:
        os._exit(os.EX_SOFTWARE)


def _in_thread(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Future[Any]:
    """Call it in a thread of its own, which keeps no process from ending."""
    future: Future[Any] = Future()
    # A caller that ceases to wait for it does not take it back.
    future.set_running_or_notify_cancel()
    process = os.getpid()

    def call() -> None:
        try:
            result = function(*arguments)
        except BaseException as error:  # noqa: BLE001  the caller that awaits it is told
            _end_copy(process)
            future.set_exception(error)
        else:
            _end_copy(process)
            future.set_result(result)

    threading.Thread(target=call, name="sagalog-undo", daemon=True).start()
    return future


def _serve_loop(loop: asyncio.AbstractEventLoop) -> None:
    """The life of the thread of an event loop, from its first job until it is stopped."""
    try:
        while True:
            try:
                loop.run_forever()
                break
            except (KeyboardInterrupt, SystemExit):
                # Some task of a handler's has raised it, and asyncio lets it through; the other handlers go on.
                continue
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()

"""A worker on the caller's event loop: its coroutine handlers run there, everything else in threads.

Rule: it is the plain worker, which a thread of its own drives. This file only connects the two, and turns a cancelled
`run` into a stop.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import nullcontext, suppress
from contextvars import ContextVar, copy_context
from dataclasses import replace
from typing import Any, Final

from sagalog import worker
from sagalog.aio.engine import AsyncEngine
from sagalog.engine import Engine
from sagalog.outcomes import Interrupted
from sagalog.worker import WorkerStats
from sagalog.worker.config import Until, WorkerConfig
from sagalog.worker.process_signals import listening
from sagalog.worker.settlement import Handler, is_coroutine_function

_log: Final = logging.getLogger("sagalog.aio")

# The asyncio task that awaits the run, in the context of that run.
_awaiting: Final[ContextVar[asyncio.Task[Any] | None]] = ContextVar("_awaiting", default=None)


class Worker(worker.Worker):
    """A `sagalog.Worker` whose `run` is awaited; its handlers are registered in the same way.

    A coroutine function runs on the event loop on which `run` is awaited, with the context variables of the caller that
    awaits it; a plain function runs in a thread.
    """

    async def run(  # type: ignore[override]  # awaited here; no caller takes the one for the other unseen
        self, engine: AsyncEngine | Engine, *, until: Until | None = None, handle_signals: bool = False
    ) -> WorkerStats:
        """Run handlers until the worker is told to stop: by `stop`, by cancelling, or by a signal. [WORKER-3]

        Args:
            engine: the engine on the store that holds the tasks; it is to stay open meanwhile.
            until: when the run ends by itself, "idle" or "drained", as in `sagalog.Worker.run`; None: it does not.
            handle_signals: listen to SIGTERM, SIGINT and SIGHUP, as far as they are not ignored, where the event loop
                runs in the main thread, and give them back at the end. Left out, they stay those of the program: a
                server or a framework that runs the event loop has handlers of its own.

        Returns:
            What it has done, in numbers.

        Raises:
            CancelledError: it was cancelled, and has stopped gracefully, as after a signal; cancelled again, at once.
            InvalidValue: `until` is neither of these.
            Rejected: it runs already, or has no handler.
            Corrupt: the store is damaged, or newer than this version: stop and call a human.
            Closed: the worker was made in the process that this one was forked from. [FORK-2]
        """
        plain = engine.plain if isinstance(engine, AsyncEngine) else engine
        running = self._start(plain, until)
        with listening(lambda _number: self.stop()) if handle_signals else nullcontext():
            await self._await_end(running)
        return running.result()

    def _config(self) -> WorkerConfig:
        config = super()._config()
        return replace(config, handlers=_guarded(config.handlers), compensations=_guarded(config.compensations))

    def _start(self, engine: Engine, until: Until | None) -> Future[WorkerStats]:
        """Start to work in a thread of its own; return the future of its numbers."""
        context, loop = copy_context(), asyncio.get_running_loop()
        context.run(_awaiting.set, asyncio.current_task())
        running: Future[WorkerStats] = Future()

        def run() -> None:
            try:
                running.set_result(context.run(self._run, engine, loop, until, False))
            except BaseException as error:  # noqa: BLE001  the caller that awaits it gets the error
                running.set_exception(error)

        threading.Thread(target=run, name=f"sagalog-{self.name}", daemon=True).start()
        return running

    async def _await_end(self, running: Future[WorkerStats]) -> None:
        """Wait for the end of the run; every cancellation meanwhile stops the worker."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        running.add_done_callback(lambda _: _set_event(loop, ended))
        cancelled: asyncio.CancelledError | None = None
        while not ended.is_set():
            try:
                await ended.wait()
            except asyncio.CancelledError as error:
                cancelled = error
                if not running.done():
                    self.stop()
        if cancelled is not None:
            failure = running.exception()
            if failure is not None:
                _log.error("a worker that was cancelled has failed: %s", failure)
            raise cancelled


def _guarded(handlers: Mapping[str, Handler]) -> dict[str, Handler]:
    awaiting = _awaiting.get()
    return {kind: _guard(one, awaiting) if is_coroutine_function(one) else one for kind, one in handlers.items()}


def _guard(handler: Handler, awaiting: asyncio.Task[Any] | None) -> Handler:
    """Return the handler such that it does not fail when it is cancelled together with the caller that awaits `run`.

    That happens when an event loop ends: it cancels everything that runs on it at once.
    """

    async def guarded(context: Any, given: Any) -> Any:
        try:
            return await handler(context, given)
        except asyncio.CancelledError:
            if awaiting is not None and awaiting.cancelling():
                # Note it here: the worker may learn of it only after its jobs have come back.
                context._end_with_its_loop()
                raise Interrupted("its event loop ends") from None
            raise

    return guarded


def _set_event(loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
    # A closed loop has no waiting caller.
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(ended.set)

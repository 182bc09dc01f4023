"""The threads for calls that block, so that the event loop never does; a bounded number runs at a time.

Rule: a call that was begun runs to its end, even after its caller was cancelled, and `close` waits for it. Then the
pool logs its failure, and gives back what it took for its caller before anything is closed. It must not know the
engine.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import Any, Final, TypeVar

from sagalog.errors import Closed
from sagalog.forks import reset_in_children

R = TypeVar("R")

_log: Final = logging.getLogger("sagalog.aio")

THREADS: Final = 16
# How long `close` waits until answers have reached their callers, or were given back: a blocked event loop takes no
# answer.
_DELIVERY_S: Final = 2.0


class Pool:
    """The threads that run plain calls for coroutines of any event loops, `threads` at a time."""

    def __init__(self, threads: int = THREADS) -> None:
        self._size = threads
        self._closing: Future[None] | None = None
        self._set_up()
        reset_in_children(self)

    def _set_up(self) -> None:
        self._guard = threading.Lock()
        self._threads = ThreadPoolExecutor(self._size, thread_name_prefix="sagalog-aio")
        # How many answers are on the way to their callers, or back.
        self._in_transit = 0
        self._arrived = threading.Condition(self._guard)

    def begin_anew(self) -> None:
        """Reset the pool in a forked child, which has neither the threads nor any caller. [FORK-2]"""
        self._set_up()
        if self._closing is not None and not self._closing.done():
            self._closing = Future()
            self._closing.set_result(None)

    async def run(self, function: Callable[[], R], give_back: Callable[[R], None] | None = None) -> R:
        """Run the call in a thread, with the caller's context variables; return or raise as it does.

        Args:
            function: the call.
            give_back: gets, in a thread, an answer that no caller awaits any more.

        Raises:
            Closed: the pool is closed. CancelledError: a call that was begun runs to its end; any other never begins.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[R] = loop.create_future()
        call: Future[R] = self._submit(partial(copy_context().run, function))
        call.add_done_callback(partial(_deliver, loop, answer))
        is_left = False
        try:
            return await answer
        except asyncio.CancelledError:
            if answer.done() and not answer.cancelled():
                answer.exception()  # otherwise asyncio logs that no caller has looked at it
            if not call.cancel():
                is_left = True
                call.add_done_callback(partial(self._finish_abandoned, threading.get_ident(), give_back))
            raise
        finally:
            if not is_left:
                self._count_arrived()

    async def close(self, last: Callable[[], None]) -> None:
        """Take no more calls, finish those that were begun or wait, then call `last`, once, in a thread.

        All of that also happens if the caller is cancelled; a second call waits for the same end.
        """
        with self._guard:
            if self._closing is None:
                self._closing = Future()
                threading.Thread(target=self._close, args=(self._closing, last), name="sagalog-aio-close").start()
            closing = self._closing
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[None] = loop.create_future()
        closing.add_done_callback(partial(_deliver, loop, answer))
        await answer

    def shut_down(self) -> None:
        """Take no more calls and let the threads end after their calls, without waiting for that."""
        self._threads.shutdown(wait=False)

    # --- inside -------------------------------------------------------------------------------------------------

    def _submit(self, function: Callable[[], R]) -> Future[R]:
        with self._guard:
            if self._closing is None:
                call = self._threads.submit(function)
                self._in_transit += 1
                return call
        raise Closed("this engine was closed; open it again")

    def _close(self, closing: Future[None], last: Callable[[], None]) -> None:
        try:
            self._threads.shutdown(wait=True)
            with self._arrived:
                self._arrived.wait_for(lambda: self._in_transit == 0, _DELIVERY_S)
            last()
        except BaseException as error:  # noqa: BLE001  the caller that waits for the end gets it
            closing.set_exception(error)
        else:
            closing.set_result(None)

    def _finish_abandoned(self, loop_thread: int, give_back: Callable[[Any], None] | None, call: Future[Any]) -> None:
        """Finish a call that no caller awaits any more: log its failure, or give its answer back."""
        error = call.exception()
        if error is not None or give_back is None:
            if error is not None:
                _log.warning("a call whose caller was cancelled has failed: %s", error)
            self._count_arrived()
            return
        giving = partial(self._give_back, give_back, call.result())
        if threading.get_ident() != loop_thread:
            giving()
            return
        # The call had ended before the caller was cancelled: this thread runs the event loop, and must not block.
        with self._guard:
            if self._closing is None:
                self._threads.submit(giving)
                return
        # The threads of the pool may have ended by now; `close` waits for this one, as for any answer.
        threading.Thread(target=giving, name="sagalog-aio-give-back", daemon=True).start()

    def _give_back(self, give_back: Callable[[Any], None], answer: Any) -> None:
        try:
            _give_back(give_back, answer)
        finally:
            self._count_arrived()

    def _count_arrived(self) -> None:
        """Count an answer that has reached its caller, or was given back."""
        with self._arrived:
            self._in_transit -= 1
            self._arrived.notify_all()


def _give_back(give_back: Callable[[R], None], answer: R) -> None:
    try:
        give_back(answer)
    except Exception as error:  # noqa: BLE001  no caller waits for it, so it goes to the log
        _log.warning("the pool could not give back what a call took for a cancelled caller: %s", error)


def _deliver(loop: asyncio.AbstractEventLoop, answer: asyncio.Future[R], call: Future[R]) -> None:
    """Pass a call's end from its thread to the event loop."""

    def set_answer() -> None:
        if answer.done():
            return
        error = call.exception()
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(call.result())

    if not call.cancelled():
        # A closed loop has no waiting caller.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(set_answer)

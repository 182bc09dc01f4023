"""Threads for calls that block, so that the event loop never does, and so many at a time.

Rule: a call that was begun goes on to its end, even if its caller has ceased to wait for it, and closing waits for it.
Its failure is logged then, and what it took for its caller is given back before anything is closed. Knows no engine.
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
from sagalog.forks import begins_anew_in_children

R = TypeVar("R")

_log: Final = logging.getLogger("sagalog.aio")

THREADS: Final = 16
# How long closing waits until answers have reached those who wait for them, or were given back: an event loop that
# stands still takes no answer.
_HANDED_OVER_S: Final = 2.0


class Pool:
    """Runs plain calls for coroutines, of one event loop or several, `threads` at a time."""

    def __init__(self, threads: int = THREADS) -> None:
        self._size = threads
        self._closing: Future[None] | None = None
        self._begin()
        begins_anew_in_children(self)

    def _begin(self) -> None:
        self._guard = threading.Lock()
        self._threads = ThreadPoolExecutor(self._size, thread_name_prefix="sagalog-aio")
        # Answers that are on their way to their callers, or back.
        self._underway = 0
        self._arrived = threading.Condition(self._guard)

    def begin_anew(self) -> None:
        """In a forked child: none of the threads is here, and no caller waits for what they did. [FORK-2]"""
        self._begin()
        if self._closing is not None and not self._closing.done():
            self._closing = Future()
            self._closing.set_result(None)

    async def run(self, function: Callable[[], R], give_back: Callable[[R], None] | None = None) -> R:
        """What the call returns or raises, with the caller's context variables.

        Args:
            function: the call.
            give_back: what to do, off the loop, with an answer for which no caller waits any more.

        Raises:
            Closed: the pool is closed. CancelledError: a call that was begun goes on; one that was not never happens.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[R] = loop.create_future()
        call: Future[R] = self._submit(partial(copy_context().run, function))
        call.add_done_callback(partial(_hand_over, loop, answer))
        is_left = False
        try:
            return await answer
        except asyncio.CancelledError:
            if answer.done() and not answer.cancelled():
                answer.exception()  # looked at, so that asyncio does not log that it never was
            if not call.cancel():
                is_left = True
                call.add_done_callback(partial(self._leave, threading.get_ident(), give_back))
            raise
        finally:
            if not is_left:
                self._arrive()

    async def close(self, last: Callable[[], None]) -> None:
        """Take no more calls, wait for those that were begun or wait, then call `last`, once, in a thread.

        All of that happens also if the caller is cancelled; closing again waits for the same end.
        """
        with self._guard:
            if self._closing is None:
                self._closing = Future()
                threading.Thread(target=self._close, args=(self._closing, last), name="sagalog-aio-close").start()
            closing = self._closing
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[None] = loop.create_future()
        closing.add_done_callback(partial(_hand_over, loop, answer))
        await answer

    def let_go(self) -> None:
        """Take no more calls and let the threads end when they are done, without waiting for that."""
        self._threads.shutdown(wait=False)

    # --- inside -------------------------------------------------------------------------------------------------

    def _submit(self, function: Callable[[], R]) -> Future[R]:
        with self._guard:
            if self._closing is None:
                call = self._threads.submit(function)
                self._underway += 1
                return call
        raise Closed("this engine was closed; open it again")

    def _close(self, closing: Future[None], last: Callable[[], None]) -> None:
        try:
            self._threads.shutdown(wait=True)
            with self._arrived:
                self._arrived.wait_for(lambda: self._underway == 0, _HANDED_OVER_S)
            last()
        except BaseException as error:  # noqa: BLE001  the caller that waits for the end gets it
            closing.set_exception(error)
        else:
            closing.set_result(None)

    def _leave(self, loop_thread: int, give_back: Callable[[Any], None] | None, call: Future[Any]) -> None:
        """A call has ended, or had, for which no caller waits any more."""
        error = call.exception()
        if error is not None or give_back is None:
            if error is not None:
                _log.warning("a call whose caller was cancelled has failed: %s", error)
            self._arrive()
            return
        giving = partial(self._give_back, give_back, call.result())
        if threading.get_ident() != loop_thread:
            giving()
            return
        # It had ended before the caller was cancelled: this is the event loop, where nothing may block.
        with self._guard:
            if self._closing is None:
                self._threads.submit(giving)
                return
        # The threads of the pool may have ended by now; closing waits for this one, as for any answer.
        threading.Thread(target=giving, name="sagalog-aio-give-back", daemon=True).start()

    def _give_back(self, give_back: Callable[[Any], None], answer: Any) -> None:
        try:
            _give_back(give_back, answer)
        finally:
            self._arrive()

    def _arrive(self) -> None:
        """An answer has reached its caller, or was given back."""
        with self._arrived:
            self._underway -= 1
            self._arrived.notify_all()


def _give_back(give_back: Callable[[R], None], answer: R) -> None:
    try:
        give_back(answer)
    except Exception as error:  # noqa: BLE001  no caller waits for it, so only the log is told
        _log.warning("what a call has taken for a caller that was cancelled could not be given back: %s", error)


def _hand_over(loop: asyncio.AbstractEventLoop, answer: asyncio.Future[R], call: Future[R]) -> None:
    """In the thread that did it: let the event loop know how a call has ended."""

    def deliver() -> None:
        if answer.done():
            return
        error = call.exception()
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(call.result())

    if not call.cancelled():
        # No caller waits on a loop that is closed.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(deliver)

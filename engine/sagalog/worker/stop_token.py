"""The stop token of a handler: whether it has to end, and why. The worker sets it; the handler reads it or waits.

Rule: the first reason stays, except that a lost lease outweighs every other. A request never blocks its thread: the
callbacks of a handler run in a thread of their own. It must not know stores and tasks.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Literal

_log: Final = logging.getLogger("sagalog.worker")

Reason = Literal["cancelled", "time_limit", "shutdown", "lost"]


class StopToken:
    """The state of one handler's stop. Threads may share it.

    announced   the worker shuts down, and the handler has until its deadline
    reason      why the handler has to end now; None: it goes on
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        # Made when a handler first waits: each handler has a token, and most never wait.
        self._event: threading.Event | None = None
        # The callbacks of the pool are quick and run at once; those of the handler may do anything.
        self._callbacks: list[Callable[[], None]] = []
        self._foreign: list[Callable[[], None]] = []
        self.announced = False
        self.reason: Reason | None = None

    def request(self, reason: Reason) -> None:
        """Request the end of the handler: wake every waiting thread, and call every callback once. It never blocks."""
        with self._guard:
            if self.reason is None or reason == "lost":
                self.reason = reason
            callbacks, self._callbacks = self._callbacks, []
            foreign, self._foreign = self._foreign, []
            if self._event is not None:
                self._event.set()
        for callback in callbacks:
            _call(callback)
        for callback in foreign:
            _call_in_thread(callback)

    def request_once(self, reason: Reason) -> None:
        """Request the end of the handler unless there is a reason already."""
        if self.reason is None:
            self.request(reason)

    def wait(self, timeout_ms: int) -> bool:
        """Sleep until the handler has to end, or the time is over; tell whether it has to end."""
        with self._guard:
            if self.reason is not None:
                return True
            if self._event is None:
                self._event = threading.Event()
        return self._event.wait(timeout_ms / 1_000)

    @contextmanager
    def calls(self, callback: Callable[[], None]) -> Iterator[None]:
        """Call `callback` once, in a thread of its own, if the handler has to end while the block lasts.

        If the handler has to end already, call it at once, in this thread.
        """
        with self._guard:
            is_requested = self.reason is not None
            if not is_requested:
                self._foreign.append(callback)
        if is_requested:
            _call(callback)
        try:
            yield
        finally:
            with self._guard:
                if callback in self._foreign:
                    self._foreign.remove(callback)

    def add(self, callback: Callable[[], None]) -> None:
        """Call `callback`, which is quick, once when the handler has to end; at once if it has to already."""
        with self._guard:
            is_requested = self.reason is not None
            if not is_requested:
                self._callbacks.append(callback)
        if is_requested:
            _call(callback)

    def remove(self, callback: Callable[[], None]) -> None:
        """Call the callback no more, if it was not called."""
        with self._guard:
            if callback in self._callbacks:
                self._callbacks.remove(callback)


def _call_in_thread(callback: Callable[[], None]) -> None:
    """Call it in a thread of its own: it may block, and the requesting thread has the leases of others to renew."""
    try:
        threading.Thread(target=_call, args=(callback,), name="sagalog-on-stop", daemon=True).start()
    except RuntimeError:
        # The system gives no thread. The handler notices at its next call of the context.
        _log.exception("the callback of a handler that has to end could not be called")


def _call(callback: Callable[[], None]) -> None:
    """Call a handler's callback; its errors are its own, and the other callbacks still have to be called."""
    try:
        callback()
    except Exception:  # noqa: BLE001  it is foreign code
        _log.exception("the callback of a handler that has to end has failed")

"""Whether a handler is to end, and why: told by the worker from any thread, looked at and waited for by the handler.

Rule: told once and for good; a lost lease outweighs every other reason. The thread that tells is never held up: what
a handler wants to be called runs in a thread of its own. Knows no store and no task.
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
    """The state of one handler's stop. Safe to share between threads.

    announced   the worker shuts down, and the handler has until its deadline
    reason      why the handler is to end now; None: it goes on
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        # Most handlers end without ever waiting for this, and there is one of these for each.
        self._told: threading.Event | None = None
        # Those of the pool are quick and called at once; those of the handler may do anything.
        self._callbacks: list[Callable[[], None]] = []
        self._foreign: list[Callable[[], None]] = []
        self.announced = False
        self.reason: Reason | None = None

    def tell(self, reason: Reason) -> None:
        """The handler is to end: every waiting thread wakes up, and every callback is called once. It never blocks."""
        with self._guard:
            if self.reason is None or reason == "lost":
                self.reason = reason
            callbacks, self._callbacks = self._callbacks, []
            foreign, self._foreign = self._foreign, []
            if self._told is not None:
                self._told.set()
        for callback in callbacks:
            _call(callback)
        for callback in foreign:
            _call_apart(callback)

    def tell_once(self, reason: Reason) -> None:
        """As `tell`, unless there is a reason already."""
        if self.reason is None:
            self.tell(reason)

    def wait(self, timeout_ms: int) -> bool:
        """Sleep until the handler is to end, or the time is over; whether it is to end."""
        with self._guard:
            if self.reason is not None:
                return True
            if self._told is None:
                self._told = threading.Event()
        return self._told.wait(timeout_ms / 1_000)

    @contextmanager
    def calls(self, callback: Callable[[], None]) -> Iterator[None]:
        """Within the block `callback` is called once, in a thread of its own, if the handler is to end.

        It is called at once, and in this thread, if the handler is to end already.
        """
        with self._guard:
            told = self.reason is not None
            if not told:
                self._foreign.append(callback)
        if told:
            _call(callback)
        try:
            yield
        finally:
            with self._guard:
                if callback in self._foreign:
                    self._foreign.remove(callback)

    def add(self, callback: Callable[[], None]) -> None:
        """Have the thread that tells call `callback` once when the handler is to end; at once if it is. It is quick."""
        with self._guard:
            told = self.reason is not None
            if not told:
                self._callbacks.append(callback)
        if told:
            _call(callback)

    def remove(self, callback: Callable[[], None]) -> None:
        """Have it called no more, if it was not."""
        with self._guard:
            if callback in self._callbacks:
                self._callbacks.remove(callback)


def _call_apart(callback: Callable[[], None]) -> None:
    """Call it in a thread of its own: it may block, and the thread that tells has the leases of others to renew."""
    try:
        threading.Thread(target=_call, args=(callback,), name="sagalog-on-stop", daemon=True).start()
    except RuntimeError:
        # No thread is to be had. The handler finds out by itself, at its next call of the context.
        _log.exception("what a handler wanted to be called when it is to end could not be called")


def _call(callback: Callable[[], None]) -> None:
    """Call what a handler has left; its mistakes are its own, and others still have to be told."""
    try:
        callback()
    except Exception:  # noqa: BLE001  it is foreign code
        _log.exception("what a handler wanted to be called when it is to end has failed")

"""The renewal of an item's lease, in a thread of its own while a command works on the item.

Rule: a renewal counts from the moment at which it was sent. A store that does not answer delays no caller that has to
know that the lease may be over: it learns that beforehand. It must not know processes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final

from sagalog import LeaseLost, Unavailable, Unknown
from sagalog_queue import Item, Queue

# Parts of the visibility: when the thread sends the next renewal, when it repeats a failed one, and what remains for
# the end of the command.
_RENEW_AT: Final = 1 / 3
_REPEAT_AFTER: Final = 1 / 6
_RESERVED: Final = 1 / 6


class Renewal:
    """The renewal of an item's lease until the `with` block ends."""

    def __init__(
        self, queue: Queue, item: Item, visibility_s: float | None, popped_s: float, wake: Callable[[], None]
    ) -> None:
        """Begin nothing yet.

        Args:
            queue, item: the item to renew.
            visibility_s: how long the lease lasts, in seconds; None: no end, and no renewal.
            popped_s: when the pop was sent, on the monotonic clock.
            wake: the thread calls it once, when the caller has something to look at.
        """
        self.item = item
        self._queue = queue
        self._visibility_s = visibility_s
        self._wake = wake
        self._is_lost = False
        self._error: BaseException | None = None
        self._is_over = threading.Event()
        self._thread: threading.Thread | None = None
        self._renewed(popped_s)

    def __enter__(self) -> Renewal:
        if self._visibility_s is not None:
            self._thread = threading.Thread(target=self._run, name="sagalog-renewal", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        if self._thread is not None:
            self._thread.join()

    def is_lost(self) -> bool:
        """Tell whether another owner has the lease, or may soon have it.

        Raises:
            SagalogError: the store refuses renewals, and not because it cannot be reached.
        """
        if self._error is not None:
            raise self._error
        return self._is_lost or self.left_s() <= 0

    def left_s(self) -> float:
        """Return in how many seconds the lease may soon be over, if the store accepts no renewal until then."""
        return float("inf") if self._visibility_s is None else self._over_s - time.monotonic()

    def _renewed(self, sent_s: float) -> None:
        visibility_s = self._visibility_s or 0.0
        self._over_s = sent_s + visibility_s * (1 - _RESERVED)
        self._next_s = sent_s + visibility_s * _RENEW_AT

    def _run(self) -> None:
        while not self._is_over.wait(max(0.0, self._next_s - time.monotonic())):
            try:
                self._renew()
            except LeaseLost:
                self._is_lost = True
            except BaseException as error:  # noqa: BLE001  the thread that waits raises it
                self._error = error
            if self._is_lost or self._error is not None:
                self._wake()
                return

    def _renew(self) -> None:
        sent_s = time.monotonic()
        try:
            self.item = self._queue.heartbeat(self.item)
        except (Unavailable, Unknown):
            self._next_s = sent_s + (self._visibility_s or 0.0) * _REPEAT_AFTER
        else:
            self._renewed(sent_s)

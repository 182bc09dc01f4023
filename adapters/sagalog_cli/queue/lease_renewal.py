"""The lease of an item, renewed from a thread of its own while a command works on the item.

Rule: a renewal counts from the moment at which it was sent. A store that does not answer holds up no caller that has
to know that the lease may be over: that is told before it is so. Knows no process.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final

from sagalog import LeaseLost, Unavailable, Unknown
from sagalog_queue import Item, Queue

# Parts of the visibility: when the next renewal is sent, when one that has failed is repeated, and what is kept free
# for ending a command.
_BEAT: Final = 1 / 3
_REPEAT: Final = 1 / 6
_KEPT_FREE: Final = 1 / 6


class Renewal:
    """Renews the lease of an item until the `with` block ends."""

    def __init__(
        self, queue: Queue, item: Item, visibility_s: float | None, popped_s: float, wake: Callable[[], None]
    ) -> None:
        """Begin nothing yet.

        Args:
            queue, item: what is renewed.
            visibility_s: how long the lease lasts, in seconds; None is without end, and then nothing is renewed.
            popped_s: when the pop was sent, on the monotonic clock.
            wake: called from the thread, once, when something is to be looked at.
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
        """Whether another owner has the lease, or may soon have it.

        Raises:
            SagalogError: the store refuses renewals, for another reason than that it cannot be reached.
        """
        if self._error is not None:
            raise self._error
        return self._is_lost or self.left_s() <= 0

    def left_s(self) -> float:
        """In how many seconds the lease may soon be over, if no renewal is accepted until then."""
        return float("inf") if self._visibility_s is None else self._over_s - time.monotonic()

    def _renewed(self, sent_s: float) -> None:
        visibility_s = self._visibility_s or 0.0
        self._over_s = sent_s + visibility_s * (1 - _KEPT_FREE)
        self._beat_s = sent_s + visibility_s * _BEAT

    def _run(self) -> None:
        while not self._is_over.wait(max(0.0, self._beat_s - time.monotonic())):
            try:
                self._beat()
            except LeaseLost:
                self._is_lost = True
            except BaseException as error:  # noqa: BLE001  the thread that waits is to raise it
                self._error = error
            if self._is_lost or self._error is not None:
                self._wake()
                return

    def _beat(self) -> None:
        sent_s = time.monotonic()
        try:
            self.item = self._queue.heartbeat(self.item)
        except (Unavailable, Unknown):
            self._beat_s = sent_s + (self._visibility_s or 0.0) * _REPEAT
        else:
            self._renewed(sent_s)

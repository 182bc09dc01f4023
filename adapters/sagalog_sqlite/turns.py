"""The turns of one store: the ticket lock, and a place at the barrier with each turn.

Rule: a thread that has a turn has a place, so a fork sees every transaction; while a fork is under way, this process
leaves the turn to others. The error for a turn that does not come is here too. It must not know what a turn is for.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from sagalog.errors import Unavailable
from sagalog_sqlite.fork_barrier import BARRIER, Place
from sagalog_sqlite.ticket_lock import TicketLock, TurnTimeout


class Turns:
    """Turns to write to one file."""

    def __init__(self, path: str, ticket_lock: TicketLock | None) -> None:
        """Without a ticket lock, as in a forked child, the first turn opens one."""
        self._path = path
        self._ticket_lock = ticket_lock
        self._opening = threading.Lock()

    def take(self, place: Place, timeout_ms: int, waited_ms: Callable[[], int]) -> None:
        """Wait for a turn and take `place` with it; `waited_ms` gives the time that a refusal names.

        Raises:
            Unavailable: no turn came in time, or the lock files fail. RuntimeError: as the ticket lock.
        """
        until_s = time.monotonic() + timeout_ms / 1_000
        while True:
            try:
                (self._ticket_lock or self.ticket_lock).acquire(timeout_ms)
            except TurnTimeout as error:
                raise self.refused(error, waited_ms()) from error
            except OSError as error:
                raise Unavailable(f"{self._path}: its lock files fail ({error}); mend that", path=self._path) from error
            if place.try_enter():
                return
            # Other processes need not wait for the end of this one's fork.
            self.ticket_lock.release()
            BARRIER.wait_open()
            timeout_ms = max(0, round((until_s - time.monotonic()) * 1_000))

    def give_back(self, place: Place) -> None:
        """Leave the place and give the turn back, if this thread has it."""
        place.leave()
        if self._ticket_lock is not None:
            self._ticket_lock.release()

    def refused(self, error: TurnTimeout, waited_ms: int) -> Unavailable:
        """Make the error for a caller that got no turn."""
        holder = "unknown" if error.holder_pid is None else error.holder_pid
        return Unavailable(
            f"{self._path}: no turn to write within {waited_ms} ms (holder: process {holder}); "
            "see what that process is doing, then repeat the call",
            path=self._path,
            holder_pid=error.holder_pid,
        )

    # --- at the end -----------------------------------------------------------------------------------------------

    def has_place(self) -> bool:
        """Tell whether this thread has the turn, or waits for it."""
        return self._ticket_lock is not None and self._ticket_lock.has_place()

    def take_last(self, timeout_ms: int) -> None:
        """Take a turn for the thread that closes; do nothing once turns have ended. Raises TurnTimeout, OSError."""
        ticket_lock = self.ticket_lock
        if not ticket_lock.is_closed:
            ticket_lock.acquire(timeout_ms)

    def release(self) -> None:
        """Give the turn back, if this thread has it."""
        if self._ticket_lock is not None:
            self._ticket_lock.release()

    def close(self) -> None:
        """Give no more turns."""
        if self._ticket_lock is not None:
            self._ticket_lock.close()

    @property
    def ticket_lock(self) -> TicketLock:
        """Return the ticket lock; open it if needed. OSErrors pass through."""
        while (ticket_lock := self._ticket_lock) is None:
            # A fork waits for this block: its child has to know every descriptor.
            with BARRIER.place(self._path), self._opening:
                if self._ticket_lock is None:
                    self._ticket_lock = TicketLock(self._path)
        return ticket_lock

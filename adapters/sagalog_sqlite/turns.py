"""The turns of one store: the ticket, and a place at the barrier with each turn.

Its one rule: who has a turn has a place, so that no fork takes place unseen by a transaction; and while a fork is under
way the turn is left to others. What is told when no turn comes stands here too. It must not know what a turn is for.
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

    def __init__(self, path: str, ticket: TicketLock | None) -> None:
        """Without a ticket, as in a forked child, the first turn opens one."""
        self._path = path
        self._ticket = ticket
        self._opening = threading.Lock()

    def take(self, place: Place, timeout_ms: int, waited_ms: Callable[[], int]) -> None:
        """Wait for a turn and go to `place` with it; `waited_ms` is what a refusal says of how long it took.

        Raises:
            Unavailable: none came in time; or the lock files fail. RuntimeError: as of a ticket.
        """
        until_s = time.monotonic() + timeout_ms / 1_000
        while True:
            try:
                (self._ticket or self.ticket).acquire(timeout_ms)
            except TurnTimeout as error:
                raise self.refused(error, waited_ms()) from error
            except OSError as error:
                raise Unavailable(f"{self._path}: its lock files fail ({error}); mend that", path=self._path) from error
            if place.try_enter():
                return
            # Others need not wait for the end of our fork too.
            self.ticket.release()
            BARRIER.wait_open()
            timeout_ms = max(0, round((until_s - time.monotonic()) * 1_000))

    def give_back(self, place: Place) -> None:
        """Leave the place and give the turn back, if this thread has it."""
        place.leave()
        if self._ticket is not None:
            self._ticket.release()

    def refused(self, error: TurnTimeout, waited_ms: int) -> Unavailable:
        """What to tell a caller that got no turn."""
        holder = "unknown" if error.holder_pid is None else error.holder_pid
        return Unavailable(
            f"{self._path}: no turn to write within {waited_ms} ms (holder: process {holder}); "
            "see what that process is doing, then repeat the call",
            path=self._path,
            holder_pid=error.holder_pid,
        )

    # --- at the end -----------------------------------------------------------------------------------------------

    def has_place(self) -> bool:
        """Whether this thread has the turn, or waits for it."""
        return self._ticket is not None and self._ticket.has_place()

    def take_last(self, timeout_ms: int) -> None:
        """A turn for the thread that closes; raises TurnTimeout, OSError. Nothing where no turns are given any more."""
        ticket = self.ticket
        if not ticket.is_closed:
            ticket.acquire(timeout_ms)

    def release(self) -> None:
        """Give the turn back, if this thread has it."""
        if self._ticket is not None:
            self._ticket.release()

    def close(self) -> None:
        """Give no turns any more."""
        if self._ticket is not None:
            self._ticket.close()

    @property
    def ticket(self) -> TicketLock:
        """Where turns are had. Raises OSError as it comes, where it has to be opened."""
        while (ticket := self._ticket) is None:
            # A fork waits for that: its child has to know of every descriptor.
            with BARRIER.place(self._path), self._opening:
                if self._ticket is None:
                    self._ticket = TicketLock(self._path)
        return ticket

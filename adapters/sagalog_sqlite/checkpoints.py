"""When the WAL is moved into the file.

Its one rule: only while the ticket is held and outside a transaction, so that no writer runs beside it; and never so
that a commit, durable already, would fail by it. The WAL is overwritten rather than cut, since a sync of a file that
does not grow takes half the time; but one that a burst or a long reader has let grow is cut to `KEPT_BYTES` when it is
next begun anew. It must not know what is stored.
"""

from __future__ import annotations

from typing import Final

import apsw

from sagalog.errors import SagalogError
from sagalog.store import Clock, reach
from sagalog_sqlite.failures import told

PAGES: Final = 1_000
RESTART_BYTES: Final = 64 * 1024 * 1024
# What a WAL may keep of the disk: some times what lies between two checkpoints.
KEPT_BYTES: Final = 8 * 1024 * 1024
# A reader that was in the way may be gone long before so many pages are written again.
RETRY_MS: Final = 1_000


class Checkpoints:
    """The policy for one store, and what it has seen.

    `error` is what the last checkpoint met, None if it went well; `wal_pages` how long the WAL was at the last commit.
    """

    def __init__(self, path: str, clock: Clock) -> None:
        self.error: SagalogError | None = None
        self.wal_pages = 0
        self._path = path
        self._clock = clock
        self._due = PAGES
        self._tried_ms = 0
        self._restart_pages = RESTART_BYTES // 4096

    def watch(self, connection: apsw.Connection) -> None:
        """Have the connection tell how long the WAL is after each of its commits."""
        self._restart_pages = RESTART_BYTES // int(connection.pragma("page_size"))
        connection.set_wal_hook(self._see)

    def after_commit(self, connection: apsw.Connection, busy_timeout_ms: int) -> None:
        """Checkpoint if it is time; what fails is kept in `error`."""
        if self.wal_pages < PAGES:
            return
        if self.wal_pages < self._due and self._clock.monotonic_ms() - self._tried_ms < RETRY_MS:
            return
        if self.wal_pages < self._restart_pages:
            self._run(connection, apsw.SQLITE_CHECKPOINT_PASSIVE)
            return
        # Waits for readers to leave the WAL, if it may wait; we only look whether they have.
        connection.set_busy_timeout(0)
        try:
            self._run(connection, apsw.SQLITE_CHECKPOINT_TRUNCATE)
        finally:
            connection.set_busy_timeout(busy_timeout_ms)

    def at_close(self, connection: apsw.Connection) -> bool:
        """Move everything into the file and empty the WAL; whether that was done to the end."""
        connection.set_busy_timeout(0)
        return self._run(connection, apsw.SQLITE_CHECKPOINT_TRUNCATE)

    def _see(self, _: apsw.Connection, __: str, pages: int) -> int:
        if pages < self.wal_pages:
            self._due = PAGES  # it was begun anew
        self.wal_pages = pages
        return apsw.SQLITE_OK

    def _run(self, connection: apsw.Connection, mode: int) -> bool:
        """Checkpoint; whether all was moved."""
        done = False
        self._tried_ms = self._clock.monotonic_ms()
        reach("checkpoint.before")
        try:
            pages, moved = connection.wal_checkpoint(mode=mode)
        except apsw.BusyError:
            # A reader or another program is in the way: no fault, but no reason to try again at the next commit.
            self._due = self.wal_pages + PAGES
        except apsw.Error as error:
            self.error = told(error, self._path)
            self.error.__cause__ = error
            self._due = self.wal_pages + PAGES
        else:
            self.error = None
            self.wal_pages = pages
            done = moved == pages
            self._due = PAGES if done else pages + PAGES
        reach("checkpoint.after")
        return done

"""The policy that moves the WAL into the file.

Rule: a checkpoint runs only while this process has the turn and outside a transaction, so that no writer runs beside
it. A checkpoint that fails never makes a durable commit fail. SQLite overwrites the WAL and does not cut it, because
the sync of a file that does not grow takes half the time. After a burst or a long reader has let the WAL grow, SQLite
cuts it to `KEPT_BYTES` when it next starts it anew. It must not know what the store holds.
"""

from __future__ import annotations

from typing import Final

import apsw

from sagalog.errors import SagalogError
from sagalog.store import Clock, reach
from sagalog_sqlite.failures import store_error

PAGES: Final = 1_000
RESTART_BYTES: Final = 64 * 1024 * 1024
# The bytes that a WAL may keep on the disk: several times what lies between two checkpoints.
KEPT_BYTES: Final = 8 * 1024 * 1024
# A reader that blocked a checkpoint may be gone long before writers add so many pages again.
RETRY_MS: Final = 1_000


class Checkpoints:
    """The checkpoints of one store.

    error      why the last checkpoint failed; None if it did not
    wal_pages  the length of the WAL after the last commit
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
        """Have the connection report the length of the WAL after each of its commits."""
        self._restart_pages = RESTART_BYTES // int(connection.pragma("page_size"))
        connection.set_wal_hook(self._see)

    def after_commit(self, connection: apsw.Connection, busy_timeout_ms: int) -> None:
        """Run a checkpoint if one is due; keep a failure in `error`."""
        if self.wal_pages < PAGES:
            return
        if self.wal_pages < self._due and self._clock.monotonic_ms() - self._tried_ms < RETRY_MS:
            return
        if self.wal_pages < self._restart_pages:
            self._run(connection, apsw.SQLITE_CHECKPOINT_PASSIVE)
            return
        # With a busy timeout, SQLite would wait for readers to leave the WAL; we only look whether they have.
        connection.set_busy_timeout(0)
        try:
            self._run(connection, apsw.SQLITE_CHECKPOINT_TRUNCATE)
        finally:
            connection.set_busy_timeout(busy_timeout_ms)

    def at_close(self, connection: apsw.Connection) -> bool:
        """Move everything into the file and empty the WAL; tell whether nothing is left."""
        connection.set_busy_timeout(0)
        return self._run(connection, apsw.SQLITE_CHECKPOINT_TRUNCATE)

    def _see(self, _: apsw.Connection, __: str, pages: int) -> int:
        if pages < self.wal_pages:
            self._due = PAGES  # SQLite has started the WAL anew
        self.wal_pages = pages
        return apsw.SQLITE_OK

    def _run(self, connection: apsw.Connection, mode: int) -> bool:
        """Run a checkpoint; tell whether it moved everything."""
        done = False
        self._tried_ms = self._clock.monotonic_ms()
        reach("checkpoint.before")
        try:
            pages, moved = connection.wal_checkpoint(mode=mode)
        except apsw.BusyError:
            # A reader or another program blocks it. That is no fault, but the next commit need not try again.
            self._due = self.wal_pages + PAGES
        except apsw.Error as error:
            self.error = store_error(error, self._path)
            self.error.__cause__ = error
            self._due = self.wal_pages + PAGES
        else:
            self.error = None
            self.wal_pages = pages
            done = moved == pages
            self._due = PAGES if done else pages + PAGES
        reach("checkpoint.after")
        return done

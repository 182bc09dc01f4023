"""The raw writer: it writes the rows of a tape with SQLite alone, as the yardstick for sagalog.

Rule: it has the same tables, indexes and triggers (from the store's own migrations), the same settings (from the
store's own `connect`), the same commits and the same bytes. It has no folding, no digest, no decision, no lock but
SQLite's, and reads only the head of the ready index. So the difference in speed is the cost of sagalog's work.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import apsw

from bench import stores
from bench.tape import Commit, Tape
from sagalog_sqlite.connection import BUSY_TIMEOUT_MS, connect
from sagalog_sqlite.creation import PAGE_SIZE, create

_HEAD = (
    "SELECT stream FROM tasks WHERE gate = 'ready' AND queue = ? AND kind = ? ORDER BY priority, stream LIMIT 1",
    (stores.QUEUE, stores.KIND),
)


def make(path: Path, page_size: int = PAGE_SIZE) -> None:
    """Make a new file as the store makes it, with the store's page size unless another is given."""
    create(str(path), now_ms=0)
    if page_size != PAGE_SIZE:
        with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)) as connection:
            # SQLite changes the page size of a file with rows only when it rewrites the file outside WAL mode.
            connection.pragma("journal_mode", "delete")
            connection.pragma("page_size", page_size)
            connection.execute("VACUUM")
            connection.pragma("journal_mode", "wal")


@contextmanager
def opened(
    path: Path,
    tape: Tape,
    durability: str,
    checkpoint_pages: int,
    page_size: int = PAGE_SIZE,
    without: Sequence[str] = (),
) -> Iterator[Writer]:
    """Open a writer on a new file, which stays at the end; `without` names indexes to leave out."""
    make(path, page_size)
    with closing(connect(str(path), durability, BUSY_TIMEOUT_MS, writing=True)) as connection:
        connection.wal_autocheckpoint(checkpoint_pages)
        if (found := connection.pragma("page_size")) != page_size:
            raise AssertionError(f"asked for pages of {page_size} bytes, got {found}")
        for index in without:
            connection.execute(f'DROP INDEX "{index}"')
        replay(connection, tape.founding)
        yield Writer(connection, tape)


class Writer:
    """A writer of the tape from its beginning; `lifecycles` is how many it has written."""

    def __init__(self, connection: apsw.Connection, tape: Tape) -> None:
        self._connection = connection
        self._tape = tape
        self.lifecycles = 0

    def live(self, lifecycles: int) -> None:
        """Write the next so many lifecycles; raises ValueError if the tape has no more."""
        after = self.lifecycles + lifecycles
        if 3 * after > len(self._tape.lifecycles):
            raise ValueError(f"the tape holds {len(self._tape.lifecycles) // 3} lifecycles and {after} are asked for")
        replay(self._connection, self._tape.lifecycles[3 * self.lifecycles : 3 * after])
        self.lifecycles = after


def replay(connection: apsw.Connection, commits: Iterable[Commit]) -> None:
    """Write commits from the tape; the connection keeps prepared statements."""
    execute = connection.execute
    for writes, claimed in commits:
        execute("BEGIN IMMEDIATE")
        if claimed is not None and execute(*_HEAD).get != claimed:
            raise AssertionError(f"the head of the ready index is not stream {claimed}, which sagalog claimed")
        for sql, values in writes:
            execute(sql, values)
        execute("COMMIT")

"""The store's row, tasks and estimates as the last transaction of this process left them, for the next one.

Rule: a transaction uses the cache only while no other connection has committed, which the file's data version says
within the write transaction; after a transaction that failed it uses nothing. So the store reads and folds a task once
that one worker creates, claims and completes. It must not know what operations do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import apsw

from sagalog.store import Account, StoreFold, TaskFold
from sagalog_sqlite import rows
from sagalog_sqlite.estimates import Estimates
from sagalog_sqlite.rows import Execute, Loaded

# Some megabytes: the tasks in work, not all tasks. The store reads a task with a long stream anew each time.
TASKS_MAX: Final = 2_048
LENGTH_MAX: Final = 64
CREATED_CHARACTERS_MAX: Final = 4_096


class FoldCache:
    """The loaded streams; only the thread that has the turn changes them, in place.

    streams      by name
    numbered     by the stream's number
    accounts     what is used of limits, by name; None: there is no such account
    governed     whether a queue has settings, by name
    estimates    what the tables hold at most
    """

    def __init__(self) -> None:
        self.streams: Final[dict[str, Loaded]] = {}
        self.numbered: Final[dict[int, Loaded]] = {}
        self.accounts: Final[dict[str, Account | None]] = {}
        self.governed: Final[dict[str, bool]] = {}
        self.estimates: Final = Estimates()
        # The pager's count of changes, including this connection's; -1: the cache is not valid.
        self._version = -1
        self._store: StoreFold | None = None

    def begin(self, connection: apsw.Connection, execute: Execute) -> StoreFold | None:
        """Return the store's own fold in a new transaction; forget everything if another connection has committed.

        Raises:
            SchemaMismatch, Corrupt: as `rows.store_row`.
        """
        if connection.data_version() != self._version:
            self.forget()
            self._store = rows.store_fold(rows.store_row(execute))
        # From here on the transaction changes the cache in place, so the cache is right only after the commit.
        # After any other end, an interrupt too, the next transaction uses nothing of it.
        self._version = -1
        return self._store

    def add(self, loaded: Loaded) -> Loaded:
        """Add a stream that the transaction has just read or begun."""
        self.streams[loaded.saved.stream] = loaded
        self.numbered[loaded.number] = loaded
        return loaded

    def end(self, connection: apsw.Connection, store: StoreFold | None, finished: list[str]) -> None:
        """Keep, after a commit by this connection, what a call may soon ask for again, and not what is `finished`."""
        self._store = store
        for stream in finished:
            self.drop(stream)
        if len(self.streams) > TASKS_MAX:
            self.forget()
            return
        # Outside a transaction this counts no commit after this one; the next transaction sees those of others.
        self._version = connection.data_version()

    def drop(self, stream: str) -> None:
        """Forget one stream."""
        loaded = self.streams.pop(stream, None)
        if loaded is not None:
            self.numbered.pop(loaded.number, None)

    def wake(self, numbers: Sequence[int]) -> None:
        """Move the tasks of these streams to the gate `waking`, as the table has them now."""
        for number in numbers:
            loaded = self.numbered.get(number)
            if loaded is not None:
                loaded.wake()

    def make_room(self) -> None:
        """Forget what is known of limits, if that is much, so that as much may be added."""
        if len(self.accounts) >= TASKS_MAX or len(self.governed) >= TASKS_MAX:
            self.accounts.clear()
            self.governed.clear()

    def forget(self) -> None:
        """Forget everything."""
        self._version = -1
        self.estimates.forget()
        self.streams.clear()
        self.numbered.clear()
        self.accounts.clear()
        self.governed.clear()


def is_worth_keeping(fold: object) -> bool:
    """Tell whether a call may soon ask for a stream with this fold again, and whether it is small."""
    if isinstance(fold, TaskFold):
        return not fold.is_terminal and fold.length <= LENGTH_MAX
    # The cache keeps the store's own fold separately.
    return not isinstance(fold, StoreFold)

"""The store's row, tasks and estimates as the last transaction of this process left them, for the next one.

Its one rule: what is kept is used only while no other connection has committed, which the file's data version says
within the write transaction; after a transaction that failed nothing is. So a task that one worker creates, claims and
completes is read and folded once. It must not know what units do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import apsw

from sagalog.store import StoreFold, TaskFold
from sagalog_sqlite import rows
from sagalog_sqlite.estimates import Estimates
from sagalog_sqlite.rows import Execute, Loaded

# Some megabytes: tasks that are being worked on, not all there are. One with a long story is read anew each time.
TASKS_MAX: Final = 2_048
LENGTH_MAX: Final = 64
CREATED_CHARACTERS_MAX: Final = 4_096


class Kept:
    """Loaded tasks by the name of their stream and by its number. Only the thread that has the turn uses it.

    estimates    what the tables hold at most
    """

    def __init__(self) -> None:
        self.estimates: Final = Estimates()
        self._tasks: dict[str, Loaded] = {}
        self._names: dict[int, str] = {}
        # The pager's count of changes, those of this connection among them; -1: nothing is kept.
        self._version = -1
        self._store: StoreFold | None = None

    def __iter__(self) -> Iterator[Loaded]:
        return iter(self._tasks.values())

    def begin(self, connection: apsw.Connection, execute: Execute) -> StoreFold | None:
        """Within a new transaction: the store's own fold; forgets everything if another connection has committed.

        Raises:
            SchemaMismatch, Corrupt: as `rows.store_row`.
        """
        if connection.data_version() != self._version:
            self.forget()
            self._store = rows.store_fold(rows.store_row(execute))
        # From here on what is kept is changed in place, and stands only once this transaction is committed: whatever
        # else becomes of it, and however it is interrupted, the next one believes nothing.
        self._version = -1
        return self._store

    def get(self, stream: str) -> Loaded | None:
        """A task by the name of its stream, if it is kept."""
        return self._tasks.get(stream)

    def numbered(self, number: int) -> Loaded | None:
        """A task by the number of its stream, if it is kept."""
        stream = self._names.get(number)
        return None if stream is None else self._tasks[stream]

    def keep(self, connection: apsw.Connection, store: StoreFold | None, loaded: Mapping[str, Loaded | None]) -> None:
        """After a commit by this connection: keep what may be asked for again soon."""
        self._store = store
        for stream, one in loaded.items():
            if one is None:
                continue
            fold = one.saved.fold
            if not isinstance(fold, TaskFold) or fold.is_terminal or fold.length > LENGTH_MAX:
                self.drop(stream)
            else:
                if one.created is not None and len(one.created.body) > CREATED_CHARACTERS_MAX:
                    one.created = None
                self._tasks[stream] = one
                self._names[one.number] = stream
        if len(self._tasks) > TASKS_MAX:
            self.forget()
            return
        # Outside a transaction it tells of no commit but this one; another's is seen when the next one begins.
        self._version = connection.data_version()

    def drop(self, stream: str) -> None:
        """Keep one task no more."""
        one = self._tasks.pop(stream, None)
        if one is not None:
            del self._names[one.number]

    def drop_waiting(self, loaded: dict[str, Loaded | None]) -> None:
        """Ends were told to waiting tasks: keep none of which it is not known whether it was told."""
        for tasks in (loaded, self._tasks):
            for stream in [stream for stream, one in tasks.items() if one is not None and one.may_have_been_told]:
                loaded.pop(stream, None)
                self.drop(stream)

    def forget(self) -> None:
        """Keep nothing."""
        self._version = -1
        self.estimates.forget()
        self._tasks.clear()
        self._names.clear()

"""The store's row, tasks and estimates as the last transaction of this process left them, for the next one.

Its one rule: what is cached is used only while no other connection has committed, which the file's data version says
within the write transaction; after a transaction that failed nothing is. So a task that one worker creates, claims and
completes is read and folded once. It must not know what operations do.
"""

from __future__ import annotations

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


class FoldCache:
    """Loaded streams by name and by number, changed in place by the thread that has the turn, and by no other.

    streams      by name
    numbered     by the stream's number
    estimates    what the tables hold at most
    """

    def __init__(self) -> None:
        self.streams: Final[dict[str, Loaded]] = {}
        self.numbered: Final[dict[int, Loaded]] = {}
        self.estimates: Final = Estimates()
        # The pager's count of changes, those of this connection among them; -1: nothing may be believed.
        self._version = -1
        self._store: StoreFold | None = None

    def begin(self, connection: apsw.Connection, execute: Execute) -> StoreFold | None:
        """Within a new transaction: the store's own fold; forgets everything if another connection has committed.

        Raises:
            SchemaMismatch, Corrupt: as `rows.store_row`.
        """
        if connection.data_version() != self._version:
            self.forget()
            self._store = rows.store_fold(rows.store_row(execute))
        # From here on what is cached is changed in place, and is right only once this transaction is committed:
        # whatever else becomes of it, and however it is interrupted, the next one believes nothing.
        self._version = -1
        return self._store

    def add(self, loaded: Loaded) -> Loaded:
        """Note a stream that has just been read, or begun."""
        self.streams[loaded.saved.stream] = loaded
        self.numbered[loaded.number] = loaded
        return loaded

    def end(self, connection: apsw.Connection, store: StoreFold | None, finished: list[str]) -> None:
        """After a commit by this connection: keep what may be asked for again soon, and not what is `finished`."""
        self._store = store
        for stream in finished:
            self.drop(stream)
        if len(self.streams) > TASKS_MAX:
            self.forget()
            return
        # Outside a transaction it tells of no commit but this one; another's is seen when the next one begins.
        self._version = connection.data_version()

    def drop(self, stream: str) -> None:
        """Know one stream no more."""
        loaded = self.streams.pop(stream, None)
        if loaded is not None:
            self.numbered.pop(loaded.number, None)

    def wake(self, ended: str) -> None:
        """The tasks that await one which has ended were moved to the gate `waking`."""
        for stream, loaded in list(self.streams.items()):
            if loaded.awaited is not None:
                if ended in loaded.awaited:
                    loaded.wake()
            elif loaded.stands_at("waiting"):
                # It is not known for whose end it waits.
                self.drop(stream)

    def forget(self) -> None:
        """Know nothing."""
        self._version = -1
        self.estimates.forget()
        self.streams.clear()
        self.numbered.clear()


def is_worth_keeping(fold: object) -> bool:
    """Whether a stream that is folded to this may be asked for again soon, and takes little."""
    if isinstance(fold, TaskFold):
        return not fold.is_terminal and fold.length <= LENGTH_MAX
    # The store's own is kept by itself.
    return not isinstance(fold, StoreFold)

"""The moments of a call on a store of SQLite: before each statement, before its turn begins and after it has ended.

Rule: what is done at a moment is done once, in the calling thread, and has no moments of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TypeVar

import apsw
import pytest

from sagalog import failpoints
from sagalog_sqlite.store import SqliteStore
from sagalog_sqlite.transaction import Transaction

# The other failpoints of a commit are between two statements.
POINTS = ("commit.before_begin", "commit.after_commit")


T = TypeVar("T")


class Moments:
    """Those of what runs within the block `watching`; `act` is called at the one of the number `at` (from 0).

    names    of the moments so far: the statement's first words, or the failpoint's name
    """

    def __init__(self, at: int | None = None, act: Callable[[], None] | None = None) -> None:
        self.names: list[str] = []
        self._at = at
        self._act = act
        self._is_acting = False

    def reach(self, name: str) -> None:
        if self._is_acting:
            return
        self.names.append(name)
        if self._act is not None and len(self.names) - 1 == self._at:
            self._is_acting = True
            try:
                self._act()
            finally:
                self._is_acting = False

    @contextmanager
    def watching(self, store: SqliteStore) -> Iterator[None]:
        def trace(_: apsw.Cursor, statement: str, __: object) -> bool:
            self.reach(" ".join(statement.split()[:3]))
            return True

        keep = Transaction.keep

        def ended(transaction: Transaction) -> None:
            # Nothing else is between the end of a transaction and the note that what it knows may be believed.
            self.reach("ended")
            keep(transaction)

        connections = list(store._connections)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Transaction, "keep", ended)
            for point in POINTS:
                patch.setitem(failpoints.armed, point, lambda point=point: self.reach(point))  # type: ignore[misc]
            for connection in connections:
                connection.exec_trace = trace
            try:
                yield
            finally:
                for connection in connections:
                    with suppress(apsw.ConnectionClosedError):
                        connection.exec_trace = None


def elsewhere(work: Callable[[], T]) -> T:
    """Do it in a thread of its own: an error's traceback would keep the statement alive before which it was raised."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(work).result()

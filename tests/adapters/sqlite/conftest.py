"""What tests of the SQLite store share: a path, a store on it, a connection behind its back, and a ticket.

Rule: a file of tests that needs another store or path defines its own under the same name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import apsw
import pytest

from sagalog.testing import ManualClock
from sagalog_sqlite.store import SqliteStore
from sagalog_sqlite.ticket_lock import TicketLock
from tests.adapters.sqlite.stores import START_MS, open_at, raw
from tests.adapters.sqlite.ticket_lock_callers import Member


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START_MS)


@pytest.fixture
def store(path: Path, clock: ManualClock) -> Iterator[SqliteStore]:
    store = open_at(path, clock)
    yield store
    store.close()


@pytest.fixture
def behind(store: SqliteStore, path: Path) -> Iterator[apsw.Connection]:
    """A connection that changes the file behind the store's back."""
    connection = raw(path)
    connection.set_busy_timeout(1_000)
    yield connection
    connection.close()


@pytest.fixture
def ticket(path: Path | str) -> Iterator[TicketLock]:
    ticket = TicketLock(str(path))
    yield ticket
    ticket.release()
    ticket.close()


@pytest.fixture
def members(path: Path | str) -> Iterator[Callable[[int], list[Member]]]:
    """Start so many members; they are gone after the test, whatever happened to them."""
    with ExitStack() as stack:

        def start(number: int) -> list[Member]:
            started = [Member(str(path)) for _ in range(number)]
            for member in started:
                stack.callback(member.kill)
            assert ["ready"] * number == [member.hear() for member in started]
            return started

        yield start

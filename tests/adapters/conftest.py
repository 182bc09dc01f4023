"""What every test of the adapters has to leave as it found it: what the whole process shares."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from sagalog_sqlite import file_locks
from sagalog_sqlite.fork_barrier import BARRIER


@pytest.fixture(autouse=True)
def nothing_of_the_process_stays_taken() -> Iterator[None]:
    """What a test leaves shut or locked would hold up other threads, in tests that come later in this process."""
    yield
    assert not BARRIER.shut_by, "the barrier was left shut"
    mine = [place.path for place in BARRIER.inside() if place.thread == threading.get_ident()]
    assert not mine, f"places were left taken: {mine}"
    assert not file_locks._opening._is_owned(), "the lock around opening was left locked"  # type: ignore[attr-defined]

"""What tests of the queue share: how one is opened on each store, and one that is open."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from sagalog.testing import ManualClock
from sagalog_queue import Queue, open_queue
from tests.adapters.queue.items import VISIBILITY_MS, OpenQueue


@pytest.fixture(params=["memory", "sqlite"])
def open_(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> Iterator[OpenQueue]:
    """Opens a queue with a clock that is moved by hand; on SQLite a second call opens the same file."""
    url = "memory:" if request.param == "memory" else f"sqlite:///{tmp_path}/queue.db"
    with ExitStack() as stack:
        yield lambda **given: stack.enter_context(
            open_queue(url, clock=clock, **{"visibility_ms": VISIBILITY_MS, **given})
        )


@pytest.fixture
def queue(open_: OpenQueue) -> Queue:
    return open_()

"""What the tests share: a clock that a test moves, and a store of each kind.

Rule: time passes by the clock only.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from saga_store import SagaStore, open_store
from sagalog.testing import ManualClock

START_MS = 1_700_000_000_000


@pytest.fixture
def clock() -> ManualClock:
    """Time for the test."""
    return ManualClock(START_MS)


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> Iterator[SagaStore]:
    """An empty store of each kind."""
    url = "memory:" if request.param == "memory" else f"sqlite:///{tmp_path / 'sagas.db'}"
    with open_store(url, clock=clock, durability="normal") as opened:
        yield opened

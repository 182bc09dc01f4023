"""A store on memory and on a real file, with a clock that is moved by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from saga_store import SagaStore, open_store
from sagalog import Retry
from sagalog.testing import ManualClock

START_MS = 1_700_000_000_000


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START_MS)


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> Iterator[SagaStore]:
    url = "memory:" if request.param == "memory" else f"sqlite:///{tmp_path}/sagas.db"
    retry = Retry(undo_attempts_max=2, delay_min_ms=1_000, delay_max_ms=1_000)
    with open_store(url, clock=clock, retry=retry) as store:
        yield store
        report = store.engine.verify()
        assert report.ok, report.faults

"""What tests of workers share: a clock that a test moves, an engine in memory, and a real one on a file.

Workers say what goes wrong; here it does so on purpose and by the thousand, so their log is quiet.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

import sagalog
from sagalog.testing import ManualClock, SeededEntropy


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    log = logging.getLogger("sagalog.worker")
    before = log.level
    log.setLevel(logging.CRITICAL)
    yield
    log.setLevel(before)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_000_000)


@pytest.fixture
def engine(clock: ManualClock) -> Iterator[sagalog.Engine]:
    """An engine in memory, on the clock that the test moves."""
    with sagalog.open("memory:", clock=clock, entropy=SeededEntropy(1)) as engine:
        yield engine


@pytest.fixture
def real(tmp_path: Path) -> Iterator[sagalog.Engine]:
    """An engine on a file, on the clock of the machine."""
    with sagalog.open(f"sqlite:///{tmp_path}/store.db") as engine:
        yield engine

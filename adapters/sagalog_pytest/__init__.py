"""Fixtures for pytest, which loads this module at every start wherever sagalog is installed.

    sagalog_clock    a clock that only the test moves
    sagalog_engine   an engine on a SQLite file of the test's own, by that clock
    sagalog_worker   a worker on that engine: register handlers, then `run()`

Rule: it imports pytest alone. Nothing of sagalog is imported before a test asks for one of them, so a run that asks for
none pays for this file and no more.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

try:
    import pytest
except ModuleNotFoundError as error:
    raise ImportError("sagalog_pytest needs pytest: pip install 'sagalog[pytest]'") from error

if TYPE_CHECKING:
    from sagalog import Engine
    from sagalog.testing import ManualClock
    from sagalog_pytest.engine_worker import EngineWorker

__all__ = ["sagalog_clock", "sagalog_engine", "sagalog_worker"]

# The first of January 2024, so that times look like times.
_START_MS: Final = 1_704_067_200_000


@pytest.fixture
def sagalog_clock() -> ManualClock:
    """Give a clock that begins with the year 2024 and that only the test moves: `sagalog_clock.advance(ms)`."""
    from sagalog.testing import ManualClock

    return ManualClock(_START_MS)


@pytest.fixture
def sagalog_engine(tmp_path: Path, sagalog_clock: ManualClock) -> Iterator[Engine]:
    """Give an engine on the new file `sagalog.db` in `tmp_path`, by `sagalog_clock`; closed after the test.

    Its ids and delays are drawn alike in every run.
    """
    import sagalog
    from sagalog.testing import SeededEntropy

    url = f"sqlite:///{tmp_path / 'sagalog.db'}"
    # A test outlives no power loss, so no commit waits for the disk.
    with sagalog.open(url, clock=sagalog_clock, entropy=SeededEntropy(0), durability="normal") as engine:
        yield engine


@pytest.fixture
def sagalog_worker(sagalog_engine: Engine) -> Iterator[EngineWorker]:
    """Give a worker of the queue `default` on `sagalog_engine`, stopped after the test.

    `sagalog_worker.run()` works until there is nothing to do at the clock's time; all else is as in `sagalog.Worker`.
    """
    from sagalog_pytest.engine_worker import EngineWorker

    worker = EngineWorker(sagalog_engine)
    yield worker
    worker.finish()

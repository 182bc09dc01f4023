"""SQLite against the memory oracle: random runs with jumping clocks, reopening, and crashes amid commits."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import sagalog
from sagalog import Engine
from sagalog.ports import Clock, Entropy
from sagalog.testing.machine import prove, store_machine
from sagalog.testing.oracle_pair import Open

CRASH_POINTS = (
    "commit.before_begin",
    "commit.after_begin",
    "commit.after_events",
    "commit.after_fold",
    "commit.before_commit",
    "commit.after_commit",
)


@contextmanager
def new_place() -> Iterator[Open]:
    # In memory where there is such a file system: what is proved here does not depend on the disk.
    shared_memory = Path("/dev/shm")  # noqa: S108  a folder of our own is made in it
    folder = tempfile.mkdtemp(dir=shared_memory if shared_memory.is_dir() else None)

    def open_(clock: Clock, entropy: Entropy) -> Engine:
        return sagalog.open(f"sqlite:///{folder}/log.db", clock=clock, entropy=entropy, durability="normal")

    yield open_
    shutil.rmtree(folder)


@pytest.mark.timeout(600)  # seconds: a failing run is shrunk first
def test_sqlite_answers_as_the_oracle_does_whatever_happens() -> None:
    # A quarter of a minute of one core; the campaign below looks longer for the rarest refusals.
    prove(store_machine(new_place, CRASH_POINTS), max_examples=15)


@pytest.mark.slow
@pytest.mark.timeout(3_600)  # seconds: a part takes half an hour of one slow core
@pytest.mark.parametrize("part", range(1, 5))
def test_sqlite_answers_as_the_oracle_does_in_a_long_campaign(part: int) -> None:
    """5,000 runs in parts, each of which draws its own, so that several cores share them and each ends in its time."""
    del part  # entropy is not seeded: no two parts draw the same runs
    prove(store_machine(new_place, CRASH_POINTS), max_examples=1_250, stateful_step_count=80)

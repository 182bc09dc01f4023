"""A store in memory with the machine's own time, and a worker that has no handlers yet."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import sagalog


@pytest.fixture
def engine() -> Iterator[sagalog.Engine]:
    with sagalog.open("memory:") as engine:
        yield engine


@pytest.fixture
def worker() -> sagalog.Worker:
    return sagalog.Worker(quarantine_unknown=True)

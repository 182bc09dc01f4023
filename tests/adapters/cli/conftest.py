"""What tests of the command line share: where a store is, and one that exists and is empty.

Rule: a file of tests that needs a store with tasks defines its own under the same name.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import sagalog
from tests.adapters.cli.calls import past, url_of


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a store is, once a test makes it."""
    return tmp_path / "store.db"


@pytest.fixture
def engine(path: Path) -> Iterator[sagalog.Engine]:
    """An engine over that store, beside which the commands run."""
    with sagalog.open(url_of(path)) as engine:
        yield engine


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that is made once, to be copied: what takes its time is syncing a new file."""
    path = tmp_path_factory.mktemp("empty") / "store.db"
    with past(path):
        return path


@pytest.fixture
def db(empty: Path, path: Path) -> str:
    """The URL of a store that exists and is empty."""
    shutil.copy(empty, path)
    return url_of(path)

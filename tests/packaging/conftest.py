"""What is shipped, once a run, for every test that looks at it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.packaging.default_install import install
from tests.packaging.shipped import Shipped, build


@pytest.fixture(scope="session")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Shipped:
    return build(tmp_path_factory.mktemp("shipped"))


@pytest.fixture(scope="session")
def default(shipped: Shipped, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(shipped, tmp_path_factory.mktemp("default"))

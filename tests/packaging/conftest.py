"""What is shipped, once a run, for every test that looks at it."""

from __future__ import annotations

import pytest

from tests.packaging.shipped import Shipped, build


@pytest.fixture(scope="session")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Shipped:
    return build(tmp_path_factory.mktemp("shipped"))

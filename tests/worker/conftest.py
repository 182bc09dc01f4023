"""Workers say what goes wrong; here it does so on purpose and by the thousand."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    log = logging.getLogger("sagalog.worker")
    before = log.level
    log.setLevel(logging.CRITICAL)
    yield
    log.setLevel(before)

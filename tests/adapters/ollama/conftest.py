"""The upstream and the gateway that most tests here have."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.adapters.ollama.gateways import Gateway, gateway
from tests.faulty_upstream import FaultyUpstream, Script


@pytest.fixture
def upstream() -> Iterator[FaultyUpstream]:
    with FaultyUpstream() as running:
        running.have_models("tiny", "other")
        # The empty prompts that only say how long a model stays.
        running.always("/api/generate", Script.answer({"done": True, "done_reason": "load"}))
        yield running


@pytest.fixture
def ollama(upstream: FaultyUpstream, tmp_path: Path) -> Iterator[Gateway]:
    with gateway(tmp_path, upstream.url) as running:
        yield running

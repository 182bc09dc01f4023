"""Worker processes that are killed and stopped at random, on sagas that fail; see `tests.worker.campaign`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.worker import campaign


@pytest.mark.parametrize(
    ("seconds", "backlog"),
    [(4, 40), pytest.param(600, campaign.BACKLOG, marks=[pytest.mark.slow, pytest.mark.timeout(1_800)])],
    ids=["gate", "campaign"],
)
def test_every_saga_ends_whatever_is_done_to_processes(seconds: int, backlog: int, tmp_path: Path) -> None:
    """[FENCE-2] [STEP-1] [COMP-5] [COMP-6] [UNDO-3] [UPKEEP-1] [WORKER-3] What failed is undone."""
    figures = campaign.run(tmp_path, seconds, backlog=backlog)
    assert set(figures["states"]) >= {"completed", "compensated"}
    assert figures["violations"] == 0

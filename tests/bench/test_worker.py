"""The suite `worker`: every side does all it is timed for, and leaves nothing behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bench import worker, worker_sides

SIDES: list[Callable[[Path, int], float]] = [
    worker_sides.sagalog_tasks,
    worker_sides.sagalog_steps,
    worker_sides.sagalog_sagas,
    *worker.DURABLE.values(),
    *worker.DBOS_TASKS.values(),
    *worker.DBOS_STEPS.values(),
]
# Each takes seconds to begin and to end; another side in the gate has the same work, and another the same way to begin.
SLOW = (worker_sides.dbos_tasks_called, worker_sides.dbos_steps_queued)


@pytest.mark.parametrize(
    "side",
    [pytest.param(side, id=side.__name__, marks=[pytest.mark.slow] if side in SLOW else []) for side in SIDES],
)
def test_a_side_does_what_it_is_timed_for_and_leaves_nothing_behind(
    side: Callable[[Path, int], float], tmp_path: Path
) -> None:
    assert side(tmp_path / "side.db", 5) > 0
    assert list(tmp_path.iterdir()) == []


def test_a_side_that_leaves_something_out_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_sides, "_create", lambda engine, kind, _count: engine.create(kind))
    with pytest.raises(AssertionError, match="of 5 tasks 1 are done"):
        worker_sides.sagalog_tasks(tmp_path / "side.db", 5)

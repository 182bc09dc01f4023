"""The measurement of many threads: that it runs, and would notice a task that was not led to its end."""

from __future__ import annotations

import pytest

from bench import stores
from bench.__main__ import main
from sagalog import Engine


def test_the_part_runs_and_prints_its_rows(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["core", "--tiny", "--only", "threads"]) == 0
    printed = capsys.readouterr().out
    for row in ("durability full: 16 threads  ", "one caller beside them", "16 threads of one caller"):
        assert row in printed


def test_a_side_that_leaves_a_task_undone_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def live(engine: Engine, lifecycles: int) -> None:
        for _ in range(lifecycles):
            engine.create(stores.KIND, queue=stores.QUEUE)

    monkeypatch.setattr(stores, "live", live)
    with pytest.raises(AssertionError, match="not all tasks"):
        main(["core", "--tiny", "--only", "threads"])

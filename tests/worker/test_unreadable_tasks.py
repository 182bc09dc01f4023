"""A task that needs another one which cannot be read is held up, and loses nothing by it. [LOG-5]

Rule: the other task is made unreadable in the store's own file, by another process, as a newer version would.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import sagalog
from sagalog import Compensation, InvalidValue, Retry
from sagalog.testing import ManualClock
from sagalog.worker import UndoContext, WorkContext
from sagalog.worker.config import WorkerConfig
from sagalog.worker.verdicts import HELD_UP
from tests.contract.tampering import tamper
from tests.worker.inline import InlineWorker
from tests.worker.worker_processes import story

# Every budget is one: whatever costs anything ends the task.
ONCE = Retry(attempts_max=1, transient_max=1, expiries_max=1, releases_max=1, delay_min_ms=0, delay_max_ms=0)
MINUTE_MS = 60_000


class Stage:
    """A store with a parent and its child `c`, and a worker for the parent."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "store.db"
        self.clock = ManualClock(1_000_000_000_000)
        self.engine = sagalog.open(f"sqlite:///{self.path}", clock=self.clock, durability="normal")
        self.undone: list[str] = []

    def works(self, handler: Any, **create: Any) -> InlineWorker:
        def undo(context: UndoContext, _: Any) -> None:
            self.undone.append(context.compensation)

        self.engine.create("do", id="p", **{"retry": ONCE, **create})
        config = WorkerConfig(("default",), {"do": handler}, {"undo": undo}, 1, 0, 1_000, False)
        return InlineWorker(self.engine, config, "w", self.clock)

    def parent(self) -> sagalog.Task:
        task = self.engine.get("p")
        assert task is not None
        return task

    def spoil(self, child: str) -> None:
        """Have the child's first event be of a newer version."""
        self._retype(child, "created", "created_anew")

    def mend(self, child: str) -> None:
        """Have a version that can read it."""
        self._retype(child, "created_anew", "created")
        self.engine.rebuild()

    def _retype(self, child: str, old: str, new: str) -> None:
        tamper(
            self.path,
            (
                "UPDATE events SET type = ? WHERE type = ?"
                " AND stream = (SELECT number FROM streams WHERE category = 'task' AND id = ?)",
                [new, old, child],
            ),
            # What the store has kept of it must not answer.
            (
                "UPDATE tasks SET format = 0"
                " WHERE stream = (SELECT number FROM streams WHERE category = 'task' AND id = ?)",
                [child],
            ),
        )


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    yield stage
    stage.engine.close()


def test_a_parent_that_waits_for_an_unreadable_child_undoes_nothing(stage: Stage) -> None:
    """[LOG-5] [WAIT-3] It is held up."""

    def handler(context: WorkContext, _: Any) -> Any:
        context.step("made", lambda: 1, compensation=Compensation("undo"))
        return [task.result for task in context.wait_tasks(["c"])]

    stage.engine.create("leaf", id="c", queue="elsewhere")
    worker = stage.works(handler)
    stage.spoil("c")
    worker.until_idle()
    parent = stage.parent()
    assert (parent.state, parent.waiting and parent.waiting.after) == ("pending", ("c",))
    stage.mend("c")
    stage.engine.acquire("c", owner="x", ttl_ms=1_000).complete("leaf")
    worker.until_idle()

    assert (stage.parent().result, stage.undone) == (["leaf"], [])


def test_a_child_unreadable_after_its_end_holds_its_parent_up(stage: Stage) -> None:
    """[LOG-5] The child holds it up for as long as it is unreadable. It costs no budget, whichever is the smallest."""
    stage.engine.create("leaf", id="c", queue="elsewhere")
    worker = stage.works(lambda context, _: [task.result for task in context.wait_tasks(["c"])])
    worker.until_idle()
    stage.engine.acquire("c", owner="x", ttl_ms=1_000).complete("leaf")
    assert [one.events for one in stage.engine.recover()] == [("unblocked",)]
    stage.spoil("c")
    for number in range(1, 4):
        worker.until_idle()
        parent = stage.parent()
        assert parent.waiting is not None
        assert (parent.waiting.name, parent.waiting.number, parent.attempt) == (HELD_UP, number, 1)
        stage.clock.advance(MINUTE_MS)
    stage.mend("c")
    worker.until_idle()

    assert stage.parent().result == ["leaf"]
    assert {"failed", "released", "retried"}.isdisjoint(story(stage.engine, "p"))


def test_a_parent_that_asks_again_for_an_unreadable_child_is_held_up(stage: Stage) -> None:
    """[LOG-5] [STEP-2]"""
    children: list[str] = []

    def handler(context: WorkContext, _: Any) -> list[Any]:
        children.append(context.spawn("kid", "leaf", queue="elsewhere"))
        return [str(task.state) for task in context.wait_tasks()]

    worker = stage.works(handler)
    worker.until_idle()
    stage.engine.cancel(children[0])
    assert [one.events for one in stage.engine.recover()] == [("unblocked",)]
    stage.spoil(children[0])
    worker.until_idle()
    parent = stage.parent()
    assert parent.waiting is not None
    assert parent.waiting.name == HELD_UP
    stage.mend(children[0])
    stage.clock.advance(MINUTE_MS)
    worker.until_idle()

    assert stage.parent().result == ["cancelled"]


def test_a_wait_that_ran_out_of_time_reads_no_child(stage: Stage) -> None:
    """[WAIT-3]"""

    def handler(context: WorkContext, _: Any) -> str:
        try:
            context.wait_tasks(["c"], timeout_ms=100)
        except TimeoutError:
            return "late"
        return "in time"

    stage.engine.create("leaf", id="c", queue="elsewhere")
    worker = stage.works(handler)
    worker.until_idle()
    stage.spoil("c")
    stage.clock.advance(100)
    worker.until_idle()

    assert stage.parent().result == "late"


def test_the_name_of_the_waits_that_hold_up_a_task_is_the_engines_alone(stage: Stage) -> None:
    def handler(context: WorkContext, _: Any) -> str:
        with pytest.raises(InvalidValue, match="the engine's own"):
            context.sleep(HELD_UP, 1)
        return "refused"

    worker = stage.works(handler)
    worker.until_idle()
    assert stage.parent().result == "refused"

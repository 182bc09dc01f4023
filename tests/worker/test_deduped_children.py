"""Children that are spawned with a dedupe key: one task for all parents, and the same one at every attempt."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import sagalog
from sagalog import Dedupe, Engine, InvalidValue
from sagalog.testing import ManualClock
from sagalog.worker import AsyncWorkContext, WorkContext

WAIVED = "it has no effects"
ONCE = Dedupe("index")


@pytest.fixture
def engine(clock: ManualClock, store_url: str) -> Iterator[Engine]:
    with sagalog.open(store_url, clock=clock, durability="normal") as engine:
        yield engine


@pytest.fixture
def worker() -> sagalog.Worker:
    """A worker of one thread, that knows the children; a test adds the parent."""
    worker = sagalog.Worker("q", concurrency=1)

    @worker.task("index", waive_compensation=WAIVED)
    def index(context: WorkContext, by: object) -> list[Any]:
        return [context.task.id, by]

    return worker


def work(engine: Engine, worker: sagalog.Worker) -> None:
    worker.run(engine, until="idle", handle_signals=False)
    assert engine.verify().ok


def get(engine: Engine, id: str) -> sagalog.Task:
    task = engine.get(id)
    assert task is not None
    return task


def test_two_parents_share_the_child_that_has_the_key(engine: Engine, worker: sagalog.Worker) -> None:
    """[DEDUPE-2] Both wait for it, and once it has ended and freed its key, later attempts still get that one."""
    attempts: list[str] = []

    @worker.task("parent", waive_compensation=WAIVED)
    def parent(context: WorkContext, name: str) -> Any:
        attempts.append(name)
        child = context.spawn("index", "index", name, dedupe=ONCE)
        [done] = context.wait_tasks()
        assert done.id == child
        return done.result

    for name in ("one", "two"):
        engine.create("parent", name, id=name, queue="q", priority=-1)
    work(engine, worker)

    results = [get(engine, name).result for name in ("one", "two")]
    assert results[0] == results[1]
    assert len(engine.find(kind="index")) == 1
    assert sorted(attempts) == ["one", "one", "two", "two"]
    assert get(engine, "two").steps == ("spawn index",)


def test_a_shared_child_is_not_cancelled_with_another_parent(engine: Engine, worker: sagalog.Worker) -> None:
    """[CANCEL-4] Only with the parent that has created it."""

    @worker.task("parent", waive_compensation=WAIVED)
    def parent(context: WorkContext, _payload: object) -> None:
        context.spawn("index", "index", queue="elsewhere", dedupe=ONCE)
        context.wait_tasks()

    engine.create("parent", id="first", queue="q")
    engine.create("parent", id="second", queue="q")
    work(engine, worker)
    [child] = engine.find(kind="index")
    engine.cancel("second")
    assert get(engine, child.id).state == "pending"
    engine.cancel("first")
    assert get(engine, child.id).state == "cancelled"


def test_a_coroutine_spawns_a_child_with_a_key(engine: Engine, worker: sagalog.Worker) -> None:
    """[DEDUPE-2]"""
    holder = engine.create("index", queue="elsewhere", dedupe=ONCE)

    @worker.task("parent", waive_compensation=WAIVED)
    async def parent(context: AsyncWorkContext, _payload: object) -> str:
        return await context.spawn("index", "index", dedupe=ONCE)

    task = engine.create("parent", queue="q")
    work(engine, worker)
    assert get(engine, task.id).result == holder.id


def test_children_that_are_gathered_have_no_common_key(engine: Engine, worker: sagalog.Worker) -> None:
    """[DEDUPE-1]"""

    @worker.task("parent", waive_compensation=WAIVED)
    def parent(context: WorkContext, _payload: object) -> Any:
        with pytest.raises(InvalidValue, match="wait_tasks") as refused:
            context.gather("index", [1, 2], dedupe=ONCE)
        return refused.value.path

    task = engine.create("parent", queue="q")
    work(engine, worker)
    assert get(engine, task.id).result == "dedupe"

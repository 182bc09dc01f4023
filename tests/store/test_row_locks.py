"""Why operations declare what they read: a store that locks rows must not let two writes miss each other."""

from __future__ import annotations

import threading
from typing import Any

import msgspec
import pytest

from sagalog import Engine, Rejected
from sagalog.actors import worker_actor
from sagalog.engine.operations import writing
from sagalog.engine.task import Task
from sagalog.engine.unit_of_work import Step
from sagalog.kernel import commands as c
from sagalog.store import Operation
from sagalog.store.memory import MemoryStore
from sagalog.store.memory_view import MemoryView
from sagalog.testing import ManualClock
from tests.store.row_locks import OpenView, RowLocks

START_MS = 1_700_000_000_000


def parking(engine: Engine, task: str, after: str) -> Operation:
    """The operation by which the holder of a task parks it until another has ended."""
    lease = engine.acquire(task, owner="ann", ttl_ms=None)
    command = c.Park(task=task, fence=lease.fence, name="w", after=(after,))
    return writing((Step(command, worker_actor("ann")),))


def at_once(store: MemoryStore, view: type[MemoryView], *operations: Operation) -> list[Any]:
    """The answers of operations whose commits run at the same time, as far as locks let them."""
    locks = RowLocks(store.tables, START_MS, view)
    answers: list[Any] = [None] * len(operations)

    def commit(place: int) -> None:
        answers[place] = locks.commit(operations[place])

    threads = [threading.Thread(target=commit, args=(place,)) for place in range(len(operations))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(ManualClock(START_MS))


@pytest.fixture
def halves(store: MemoryStore) -> tuple[Operation, Operation]:
    """Two parks that close a circle of four tasks, b after c and d after a being there: none locks the other's task."""
    engine = Engine(store)
    for id in "abcd":
        engine.create("build", id=id)
    for task, after in (("b", "c"), ("d", "a")):
        engine.acquire(task, owner="ann", ttl_ms=None).park("w", after=after)
    return parking(engine, "a", after="b"), parking(engine, "c", after="d")


def waits(store: MemoryStore) -> dict[str, tuple[str, ...]]:
    return {id: awaited for id, awaited in store.tables.awaited.items() if awaited}


def test_a_view_of_what_is_not_locked_would_let_two_parks_close_a_circle(
    store: MemoryStore, halves: tuple[Operation, Operation]
) -> None:
    """[WAIT-4] The flaw that declaring mends: each looks at a task that the other one is about to write."""
    blind = [
        msgspec.structs.replace(one, reads=(f"task/{after}",), along=())
        for one, after in zip(halves, "bd", strict=True)
    ]
    answers = at_once(store, OpenView, *blind)
    assert [type(answer) for answer in answers] == [list, list]
    assert waits(store) == {"a": ("b",), "b": ("c",), "c": ("d",), "d": ("a",)}


@pytest.mark.parametrize("along", [True, False], ids=["declared", "found out in rounds"])
def test_of_two_parks_that_would_close_a_circle_one_is_refused(
    store: MemoryStore, halves: tuple[Operation, Operation], along: bool
) -> None:
    """[WAIT-4] Whether an operation declares its chain or finds it out, it decides on what is locked."""
    parks = halves if along else [msgspec.structs.replace(one, along=()) for one in halves]
    answers = at_once(store, MemoryView, *parks)
    refused = [answer for answer in answers if isinstance(answer, Rejected)]
    [(parked,)] = [answer for answer in answers if not isinstance(answer, Rejected)]
    assert len(refused) == 1
    assert isinstance(parked, Task)
    assert len(waits(store)) == 3


def test_two_parks_that_share_a_task_and_close_no_circle_both_succeed(store: MemoryStore) -> None:
    engine = Engine(store)
    for id in "abc":
        engine.create("build", id=id)
    answers = at_once(store, MemoryView, parking(engine, "a", after="c"), parking(engine, "b", after="c"))
    assert [type(answer) for answer in answers] == [list, list]
    assert waits(store) == {"a": ("c",), "b": ("c",)}

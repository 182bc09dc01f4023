"""Why operations declare what they read: a store that locks rows must not let two writes miss each other."""

from __future__ import annotations

import threading
from typing import Any

import msgspec
import pytest

from sagalog import Dedupe, Engine, Rejected
from sagalog.actors import worker_actor
from sagalog.engine import verbs
from sagalog.engine.entries import CommandEntry
from sagalog.engine.operations import writing
from sagalog.engine.task import Task
from sagalog.kernel import commands as c
from sagalog.store import Execution, Operation, Result
from sagalog.store.memory import MemoryStore
from sagalog.store.memory_view import MemoryView
from sagalog.testing import ManualClock
from tests.store.row_locks import OpenView, RowLocks

START_MS = 1_700_000_000_000


def parking(engine: Engine, task: str, after: str) -> Operation:
    """The operation by which the holder of a task parks it until another has ended."""
    lease = engine.acquire(task, owner="ann", ttl_ms=None)
    command = c.Park(task=task, fence=lease.fence, name="w", after=(after,))
    return writing((CommandEntry(command, worker_actor("ann")),))


def creating(engine: Engine, idempotency_key: str) -> Operation:
    """The operation that creates a task under an id that is drawn."""
    return writing((verbs.create(engine._executor, "build", idempotency_key=idempotency_key),))


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


@pytest.fixture
def twins(store: MemoryStore) -> tuple[Operation, Operation]:
    """Two creations under one idempotency key, of tasks whose ids were drawn: they share no stream."""
    engine = Engine(store)
    return creating(engine, "k"), creating(engine, "k")


def created(store: MemoryStore) -> list[str]:
    """The ids of all tasks."""
    return list(store.tables.folds)


def test_a_key_that_is_not_locked_would_let_two_creations_miss_each_other(
    store: MemoryStore, twins: tuple[Operation, Operation]
) -> None:
    """[REPEAT-4] The flaw that locking keys mends: each looks for a key that the other one is about to write."""
    blind = [msgspec.structs.replace(one, keys=()) for one in twins]
    [first], [second] = at_once(store, OpenView, *blind)
    assert first.id != second.id
    assert sorted(created(store)) == sorted((first.id, second.id))


@pytest.mark.parametrize("keys", [("k",), ()], ids=["declared", "found out in rounds"])
def test_the_second_creation_under_one_key_gives_the_task_of_the_first(
    store: MemoryStore, twins: tuple[Operation, Operation], keys: tuple[str, ...]
) -> None:
    """[REPEAT-4] Whether an operation declares its key or finds it out, the key is locked before it is looked for."""
    [first], [second] = at_once(store, MemoryView, *[msgspec.structs.replace(one, keys=keys) for one in twins])
    assert first == second
    assert created(store) == [first.id]


def test_creations_under_keys_of_their_own_do_not_wait_for_each_other(store: MemoryStore) -> None:
    engine = Engine(store)
    [first], [second] = at_once(store, MemoryView, creating(engine, "k"), creating(engine, "l"))
    assert first.id != second.id


def creating_once(engine: Engine) -> Operation:
    """The operation that creates a task with a dedupe key, under an id that is drawn."""
    return writing((verbs.create(engine._executor, "build", dedupe=Dedupe("k")),))


def test_a_dedupe_key_that_is_not_locked_would_let_two_tasks_have_it(store: MemoryStore) -> None:
    """[DEDUPE-1] The flaw that locking keys mends: each looks for a key that the other one is about to take."""
    engine = Engine(store)
    blind = [msgspec.structs.replace(creating_once(engine), dedupes=()) for _ in range(2)]
    [first], [second] = at_once(store, OpenView, *blind)
    assert first.id != second.id
    assert sorted(created(store)) == sorted((first.id, second.id))


@pytest.mark.parametrize("dedupes", [(("build", "k"),), ()], ids=["declared", "found out in rounds"])
def test_of_two_creations_with_one_dedupe_key_one_gives_the_other_s_task(
    store: MemoryStore, dedupes: tuple[tuple[str, str], ...]
) -> None:
    """[DEDUPE-1] [DEDUPE-2]"""
    engine = Engine(store)
    twins = [msgspec.structs.replace(creating_once(engine), dedupes=dedupes) for _ in range(2)]
    [first], [second] = at_once(store, MemoryView, *twins)
    assert first.id == second.id
    assert sorted([first.deduplicated, second.deduplicated]) == [False, True]
    assert created(store) == [first.id]


def test_a_creation_waits_for_the_end_of_the_task_that_has_its_key(store: MemoryStore) -> None:
    """[DEDUPE-1] It gives that task, or takes the key once that has ended, and nothing between."""
    engine = Engine(store)
    [holder] = store.commit([creating_once(engine)])[0]
    cancelling = writing((verbs.cancel(engine._executor, holder.id),))
    [ended], [made] = at_once(store, MemoryView, cancelling, creating_once(engine))
    assert ended.state == "cancelled"
    assert (made.id == holder.id) == made.deduplicated
    rows = store.tables.dedupes
    assert {row.task for row in rows.values()} == (set() if made.deduplicated else {made.id})


def test_no_lock_of_a_key_has_the_name_of_a_stream() -> None:
    """A key may be spelled like a stream; keys come first, so that what they name is found in order."""
    operation = Operation(lambda _: Result(None), writes=("task/a", "store/s"), keys=("task/a", "a", "z"))
    assert Execution(operation).locks() == ["/a", "/task/a", "/z", "store/s", "task/a"]
    once = msgspec.structs.replace(operation, dedupes=(("build", "k"), ("a", "task/a")))
    assert Execution(once).locks() == ["#a/task/a", "#build/k", "/a", "/task/a", "/z", "store/s", "task/a"]

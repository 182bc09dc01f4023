"""Children that a handler gathers: their results in order, one child a name at every attempt, errors that name it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

import sagalog
from sagalog import ChildFailed, Engine, Permanent
from sagalog.kernel import bounds
from sagalog.testing import ManualClock
from sagalog.worker import AsyncWorkContext, WorkContext
from sagalog.worker import work_context as module

WAIVED = "it has no effects"


@pytest.fixture
def engine(clock: ManualClock, store_url: str) -> Iterator[Engine]:
    with sagalog.open(store_url, clock=clock, durability="normal") as engine:
        yield engine


@pytest.fixture
def worker() -> sagalog.Worker:
    """A worker that knows the children; a test adds the parent."""
    worker = sagalog.Worker("q")

    @worker.task("double", waive_compensation=WAIVED)
    def double(_context: WorkContext, number: int) -> int:
        if number < 0:
            raise Permanent("negative", waive_compensation=WAIVED)
        return 2 * number

    return worker


def run(engine: Engine, worker: sagalog.Worker, kind: str = "parent", payload: Any = None) -> sagalog.Task:
    """Create a parent, work until nothing is left, and read it."""
    id = engine.create(kind, payload, queue="q").id
    worker.run(engine, until="idle", handle_signals=False)
    task = engine.get(id)
    assert task is not None
    assert engine.verify().ok
    return task


def test_results_come_in_the_order_of_the_payloads(engine: Engine, worker: sagalog.Worker) -> None:
    """[STEP-3] Whichever child ends first."""

    @worker.task("parent", waive_compensation=WAIVED)
    def parent(context: WorkContext, _payload: object) -> list[Any]:
        return context.gather("double", [3, 1, 2], priority=1)

    task = run(engine, worker)
    assert (task.state, task.result) == ("completed", [6, 2, 4])
    children = engine.find(parent=task.id)
    assert [child.id for child in children] == [f"{task.id}/double 1.{place}" for place in range(3)]
    assert {child.priority for child in children} == {1}


def test_a_coroutine_gathers_several_times_at_once(engine: Engine, worker: sagalog.Worker) -> None:
    """[STEP-3] Under names of their own; what is empty waits for nothing."""

    @worker.task("parent", waive_compensation=WAIVED)
    async def parent(context: AsyncWorkContext, _payload: object) -> list[Any]:
        one, two = await asyncio.gather(
            context.gather("double", [1, 2], name="one"), context.gather("double", [3], name="two")
        )
        return [*one, *two, *await context.gather("double", [])]

    assert run(engine, worker).result == [2, 4, 6]


def test_a_loop_gathers_under_one_name(engine: Engine, worker: sagalog.Worker) -> None:
    """[STEP-3] [WAIT-1] Each round has children of its own."""

    @worker.task("parent", waive_compensation=WAIVED)
    def parent(context: WorkContext, _payload: object) -> list[Any]:
        found = [1, 2]
        for _ in range(3):
            found = context.gather("double", found)
        return found

    task = run(engine, worker)
    assert task.result == [8, 16]
    assert len(engine.find(parent=task.id)) == 6


def test_a_child_that_has_not_completed_is_an_error_that_names_it(engine: Engine, worker: sagalog.Worker) -> None:
    """[STEP-3] The first in the order given; uncaught, the parent fails for good."""
    seen: list[ChildFailed] = []

    @worker.task("parent", waive_compensation=WAIVED)
    def parent(context: WorkContext, _payload: object) -> list[Any]:
        try:
            return context.gather("double", [1, -2, -3])
        except ChildFailed as error:
            seen.append(error)
            raise

    task = run(engine, worker)
    assert (task.state, task.attempt) == ("failed", 1)
    assert task.error is not None
    child = f"{task.id}/double 1.1"
    assert (task.error.code, task.error.details["task"]) == ("child_failed", child)
    assert (seen[0].task.id, seen[0].task.state) == (child, "failed")
    assert "negative" in str(seen[0])


def test_errors_take_the_places_of_results_if_they_are_asked_for(engine: Engine, worker: sagalog.Worker) -> None:
    """[STEP-3]"""

    @worker.task("parent", waive_compensation=WAIVED)
    def parent(context: WorkContext, _payload: object) -> list[Any]:
        found = context.gather("double", [1, -2, 3], return_exceptions=True)
        return [str(one.task.state) if isinstance(one, ChildFailed) else one for one in found]

    assert run(engine, worker).result == [2, "failed", 6]


def test_a_later_attempt_gathers_the_same_children(engine: Engine, worker: sagalog.Worker, clock: ManualClock) -> None:
    """[STEP-3] [STEP-2]"""
    attempts: list[int] = []

    @worker.task("parent", waive_compensation=WAIVED)
    def parent(context: WorkContext, _payload: object) -> list[Any]:
        found = context.gather("double", [1, 2])
        attempts.append(context.attempt)
        if len(attempts) == 1:
            raise RuntimeError("odd")
        return found

    id = engine.create("parent", queue="q").id
    worker.run(engine, until="idle", handle_signals=False)
    clock.advance(600_000)
    worker.run(engine, until="idle", handle_signals=False)
    task = engine.get(id)
    assert task is not None
    assert (task.result, attempts) == ([2, 4], [1, 2])
    assert len(engine.find(parent=id)) == 2


def test_other_payloads_in_a_later_attempt_are_a_mismatch(engine: Engine, worker: sagalog.Worker) -> None:
    """[STEP-3] [WORKER-4]"""
    rounds: list[int] = []

    @worker.task("parent", waive_compensation=WAIVED)
    def parent(context: WorkContext, _payload: object) -> list[Any]:
        rounds.append(1)
        return context.gather("double", [len(rounds)])

    task = run(engine, worker)
    assert (task.state, task.error and task.error.code) == ("quarantined", "step_mismatch")


def test_a_gathering_that_takes_too_long_is_a_timeout(
    engine: Engine, worker: sagalog.Worker, clock: ManualClock
) -> None:
    """[STEP-3] [WAIT-1]"""

    @worker.task("parent", waive_compensation=WAIVED)
    def parent(context: WorkContext, _payload: object) -> str:
        try:
            context.gather("double", [1], timeout_ms=50, run_at_ms=context.payload)
        except TimeoutError:
            return "late"
        return "in time"

    id = engine.create("parent", clock.now_ms() + 1_000, queue="q").id
    worker.run(engine, until="idle", handle_signals=False)
    clock.advance(50)
    worker.run(engine, until="idle", handle_signals=False)
    task = engine.get(id)
    assert task is not None
    assert task.result == "late"


@pytest.mark.parametrize("given", ["abc", {"a": 1}, 5])
def test_payloads_that_are_no_list_are_refused(engine: Engine, worker: sagalog.Worker, given: Any) -> None:
    @worker.task("parent", waive_compensation=WAIVED)
    def parent(context: WorkContext, _payload: object) -> str:
        with pytest.raises(sagalog.InvalidValue):
            context.gather("double", given)
        return "refused"

    assert run(engine, worker).result == "refused"


def test_many_children_are_created_in_several_commits(
    engine: Engine, worker: sagalog.Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """[BOUND-1] No commit holds more commands than a batch may."""
    monkeypatch.setattr(module, "_CHILDREN_AT_ONCE", 10)
    monkeypatch.setattr(bounds, "BATCH_COMMANDS_MAX", 12)

    @worker.task("parent", waive_compensation=WAIVED)
    def parent(context: WorkContext, _payload: object) -> int:
        return sum(context.gather("double", range(25)))

    assert run(engine, worker).result == 2 * sum(range(25))


def test_the_children_of_a_cancelled_parent_are_cancelled(engine: Engine, worker: sagalog.Worker) -> None:
    """[CANCEL-4] Those that are spawned to be left go on."""

    @worker.task("parent", waive_compensation=WAIVED)
    def parent(context: WorkContext, _payload: object) -> None:
        context.spawn("left", "elsewhere", on_parent_end="leave")
        context.gather("elsewhere", [1, 2])

    task = run(engine, worker)
    engine.cancel(task.id, "called off")
    states = {child.id.partition("/")[2]: str(child.state) for child in engine.find(parent=task.id)}
    assert states == {"left": "pending", "elsewhere 1.0": "cancelled", "elsewhere 1.1": "cancelled"}


def test_a_child_may_be_spawned_to_wait_for_others(engine: Engine, worker: sagalog.Worker) -> None:
    """[WAIT-5] Also for one that is spawned with it."""

    @worker.task("parent", waive_compensation=WAIVED)
    def parent(context: WorkContext, _payload: object) -> list[Any]:
        first = context.spawn("first", "double", 1)
        context.spawn("second", "double", 2, after=[first])
        return [task.result for task in context.wait_tasks()]

    task = run(engine, worker)
    assert task.result == [2, 4]
    assert [one.type for one in engine.history(f"{task.id}/second")][:3] == ["created", "unblocked", "leased"]


@pytest.mark.parametrize("word", ["quex", "actor", "cause", "idempotency_key", "executor"])
def test_an_argument_that_no_child_has_is_refused_by_the_call(
    engine: Engine, worker: sagalog.Worker, word: str
) -> None:
    said: list[str] = []
    unknown: dict[str, Any] = {word: "x"}

    def note(error: TypeError) -> None:
        said.append(str(error).partition(";")[0])

    @worker.task("parent", waive_compensation=WAIVED)
    def parent(context: WorkContext, _payload: object) -> None:
        calls: list[Any] = [context.gather, context.spawn]
        for call in calls:
            with pytest.raises(TypeError) as raised:
                call("double", [1], **unknown)
            note(raised.value)

    @worker.task("coroutine", waive_compensation=WAIVED)
    async def coroutine(context: AsyncWorkContext, _payload: object) -> None:
        with pytest.raises(TypeError) as raised:
            await context.gather("double", [1], **unknown)
        note(raised.value)

    assert run(engine, worker).state == "completed"
    assert run(engine, worker, "coroutine").state == "completed"
    refused = f"got an unexpected keyword argument '{word}'"
    assert said == [f"gather() {refused}", f"spawn() {refused}", f"gather() {refused}"]
    assert engine.find(kind="double") == []

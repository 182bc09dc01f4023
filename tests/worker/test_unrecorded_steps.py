"""Steps whose result cannot be recorded: the effect is not repeated, and a human is told which steps had begun."""

from __future__ import annotations

import asyncio
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import sagalog
from sagalog import Compensation, Interrupted, Worker, failpoints
from sagalog.errors import Unavailable
from sagalog.testing import ManualClock
from sagalog.worker import AsyncWorkContext, WorkContext
from tests.worker.step_runs import AT_ONCE, UNDO, named, run, worker_of
from tests.worker.worker_processes import PATIENCE_S, story


@pytest.mark.parametrize(
    ("result", "path"),
    [
        ({"at": [1, object()]}, "result.at[1]"),
        (float("nan"), "result"),
        ("x" * 20_000_000, "result"),
        ({1: 2}, "result"),
    ],
    ids=["an object", "NaN", "too large", "a key"],
)
def test_an_effect_whose_result_cannot_be_stored_is_not_repeated(
    result: Any, path: str, engine: sagalog.Engine, clock: ManualClock
) -> None:
    """[WORKER-1] [STEP-1] The quarantine names the step, and where in its result the fault is."""
    ran: list[int] = []

    def effect() -> Any:
        ran.append(1)
        return result

    def handler(context: WorkContext, _: Any) -> None:
        context.step("fine", lambda: 1)
        context.step("charge", effect, compensation=UNDO)
        ran.append(2)

    task = run(engine, clock, handler)

    assert (task.state, task.code, ran) == ("quarantined", "unstorable_result", [1])
    assert (task.unrecorded_steps, task.steps) == ((sagalog.UnrecordedStep("charge", "u"),), ("fine",))
    assert [one.id for one in task.owed] == ["u"]
    assert task.error is not None
    assert (task.error.details["step"], task.error.details["path"]) == ("charge", path)
    assert engine.verify().ok


def test_a_handler_that_swallows_the_interruption_has_no_say_any_more(
    engine: sagalog.Engine, clock: ManualClock
) -> None:
    """[WORKER-1]"""
    told: list[Any] = []

    def handler(context: WorkContext, _: Any) -> str:
        try:
            context.step("charge", object)
        except Interrupted as interrupted:
            told.append(str(interrupted))
        told.append(context.lost)
        with pytest.raises(Interrupted):
            context.step("ship", told.append, "shipped")
        return "done"

    task = run(engine, clock, handler)

    assert (task.state, task.code, story(engine, task.id)) == (
        "quarantined",
        "unstorable_result",
        ["created", "leased", "quarantined"],
    )
    assert told == ["quarantined: the result of step 'charge' cannot be stored", True]


def test_a_coroutines_step_whose_result_cannot_be_stored_is_not_repeated(engine: sagalog.Engine) -> None:
    """[WORKER-1]"""
    worker = Worker()
    ran: list[int] = []

    async def effect() -> object:
        ran.append(1)
        await asyncio.sleep(0)
        return object()

    @worker.task("do")
    async def handler(context: AsyncWorkContext, _: Any) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(context.step("charge", effect))

    id = engine.create("do", retry=AT_ONCE).id
    worker.run(engine, until="idle", handle_signals=False)
    task = engine.get(id)

    assert task is not None
    assert (task.state, task.code, named(task), ran) == ("quarantined", "unstorable_result", ["charge"], [1])


@pytest.mark.parametrize("also", [2, object()], ids=["one result", "no result"])
def test_a_quarantine_names_every_step_that_had_begun_in_a_thread(
    also: Any, engine: sagalog.Engine, clock: ManualClock
) -> None:
    """[WORKER-1] [STEP-1] The effect beside the one whose result cannot be stored is not repeated unasked."""
    both = threading.Barrier(2)
    is_quarantined = threading.Event()

    def charge() -> Any:
        both.wait(PATIENCE_S)
        return object()

    def ship() -> Any:
        both.wait(PATIENCE_S)
        assert is_quarantined.wait(PATIENCE_S)
        return also

    def handler(context: WorkContext, _: Any) -> None:
        context.step("fine", lambda: 1)
        with context.on_stop(is_quarantined.set), ThreadPoolExecutor(2) as pool:
            for told in [pool.submit(context.step, "charge", charge), pool.submit(begin_ship, context)]:
                with pytest.raises(Interrupted):
                    told.result()

    def begin_ship(context: WorkContext) -> Any:
        return context.step("ship", ship, compensation=UNDO)

    task = run(engine, clock, handler)

    assert (task.state, task.code, task.steps) == ("quarantined", "unstorable_result", ("fine",))
    assert sorted(task.unrecorded_steps, key=lambda step: step.name) == [
        sagalog.UnrecordedStep("charge"),
        sagalog.UnrecordedStep("ship", "u"),
    ]
    with pytest.raises(sagalog.ResultRequired) as refusal:
        engine.retry_as_new(task.id, results={"charge": 1})
    assert refusal.value.steps == ["ship"]
    assert engine.retry_as_new(task.id, results={"charge": 1}, rerun=["ship"]).steps == ("fine", "charge")


def test_two_results_of_a_gather_that_cannot_be_stored_are_both_named(engine: sagalog.Engine) -> None:
    """[WORKER-1] [STEP-1]"""
    worker = Worker()
    ran: list[str] = []

    @worker.task("do")
    async def handler(context: AsyncWorkContext, _: Any) -> None:
        both = asyncio.Barrier(2)

        async def effect(name: str) -> object:
            ran.append(name)
            await both.wait()
            return object()

        await asyncio.gather(context.step("a", effect, "a"), context.step("b", effect, "b"))

    id = engine.create("do", retry=AT_ONCE).id
    worker.run(engine, until="idle", handle_signals=False)
    task = engine.get(id)

    assert task is not None
    assert (task.state, sorted(named(task)), sorted(ran)) == ("quarantined", ["a", "b"], ["a", "b"])


@pytest.mark.parametrize("says", ["a result that cannot be stored", "a quarantine"])
def test_a_quarantine_names_the_step_at_which_a_thread_is_left_behind(
    says: str, engine: sagalog.Engine, clock: ManualClock
) -> None:
    """[WORKER-1] [STEP-1]"""
    begun, go_on = threading.Event(), threading.Event()
    left: list[threading.Thread] = []

    def ship() -> None:
        begun.set()
        go_on.wait(PATIENCE_S)

    def handler(context: WorkContext, _: Any) -> Any:
        def behind() -> None:
            with pytest.raises(Interrupted):
                context.step("ship", ship)

        left.append(threading.Thread(target=behind))
        left[0].start()
        assert begun.wait(PATIENCE_S)
        if says == "a quarantine":
            raise sagalog.Quarantine("look at this")
        return object()

    task = run(engine, clock, handler)
    go_on.set()
    left[0].join(PATIENCE_S)

    assert (task.state, named(task)) == ("quarantined", ["ship"])


def test_a_step_that_failed_before_is_not_named(engine: sagalog.Engine, clock: ManualClock) -> None:
    """[STEP-1] What it raised is its outcome."""

    def down() -> None:
        raise ConnectionError("down")

    def handler(context: WorkContext, _: Any) -> None:
        with pytest.raises(ConnectionError):
            context.step("first", down)
        context.step("charge", object)

    assert named(run(engine, clock, handler)) == ["charge"]


def test_a_refused_child_is_named_and_not_the_step_beside_it(engine: sagalog.Engine, clock: ManualClock) -> None:
    """[STEP-2] [WORKER-1] The result of that step is not named."""
    engine.create("other", id="t/c", queue="elsewhere")

    def handler(context: WorkContext, _: Any) -> None:
        context.spawn("b", "part", queue="elsewhere")
        context.spawn("c", "part", queue="elsewhere")
        context.step("charge", lambda: 1)

    task = run(engine, clock, handler, id="t")

    assert (task.state, task.code, named(task)) == ("quarantined", "already_exists", ["charge"])
    assert task.error is not None
    assert task.error.message.startswith("the child 't/c', which comes with step 'charge', cannot be stored")


def test_a_quarantine_over_a_step_outlasts_a_store_that_is_away(engine: sagalog.Engine, clock: ManualClock) -> None:
    """[WORKER-1] Also where the handler is told to end before the store has taken it."""
    ran: list[int] = []

    def full() -> None:
        raise Unavailable("no room")

    def effect() -> object:
        ran.append(1)
        failpoints.armed["commit.before_begin"] = full
        worker.worker_loop.interrupt()
        return object()

    def handler(context: WorkContext, _: Any) -> None:
        try:
            context.step("charge", effect)
        finally:
            failpoints.armed.pop("commit.before_begin", None)

    id = engine.create("do", retry=AT_ONCE).id
    worker = worker_of(engine, clock, handler)
    worker.until_idle()
    task = engine.get(id)

    assert task is not None
    assert (task.state, task.code, named(task), ran) == ("quarantined", "unstorable_result", ["charge"], [1])


@pytest.mark.parametrize("undo", [UNDO, None], ids=["at its undo", "at its result"])
def test_a_cancelled_coroutine_step_may_be_asked_again_and_runs_once(
    undo: Compensation | None, engine: sagalog.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """[STEP-1] It was cancelled while it was written.

    As by a time-out of the handler's own: what a slow store does meanwhile is no mismatch of the code.
    """
    worker = Worker()
    worker.compensation("undo")(lambda *_: None)
    ran: list[int] = []
    is_writing, may_go_on = threading.Event(), threading.Event()

    def hold() -> None:
        if threading.current_thread().name.startswith("sagalog-writer") and not is_writing.is_set():
            is_writing.set()
            assert may_go_on.wait(PATIENCE_S)

    @worker.task("do")
    async def handler(context: AsyncWorkContext, _: Any) -> list[Any]:
        monkeypatch.setitem(failpoints.armed, "commit.before_begin", hold)
        first = asyncio.ensure_future(context.step("charge", ran.append, 1, compensation=undo))
        assert await asyncio.to_thread(is_writing.wait, PATIENCE_S)
        first.cancel()
        await asyncio.sleep(0)
        may_go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await first
        return [await context.step("charge", ran.append, 1, compensation=undo), len(ran)]

    id = engine.create("do", retry=AT_ONCE).id
    worker.run(engine, until="idle", handle_signals=False)
    task = engine.get(id)

    assert task is not None
    assert (task.state, task.result, ran) == ("completed", [None, 1], [1])
    assert story(engine, id).count("step_completed") == 1


def test_threads_may_begin_children_while_others_record_steps(engine: sagalog.Engine, clock: ManualClock) -> None:
    """[STEP-2] Another thread's child comes between any two looks at those that are not there yet."""

    def handler(context: WorkContext, _: Any) -> None:
        for number in range(3):
            context.spawn(str(number), "other", queue="elsewhere")
        more = iter(range(3, 100))

        def spawning(frame: Any, event: str, _: Any) -> Any:
            if frame.f_code.co_name == "<genexpr>" and frame.f_globals["__name__"] == WorkContext.__module__:
                context._children[f"another {next(more)}"] = None
            return spawning

        sys.settrace(spawning)
        try:
            context.step("s", lambda: 1)
        finally:
            sys.settrace(None)

    assert run(engine, clock, handler).state == "completed"


@pytest.mark.parametrize(("given", "expected"), [(None, "t"), ("tenant-1", "tenant-1")])
def test_a_child_has_the_data_key_of_its_parent_unless_it_is_named_another(
    engine: sagalog.Engine, clock: ManualClock, given: str | None, expected: str
) -> None:
    """[KEY-1]"""

    def handler(context: WorkContext, _: Any) -> None:
        context.spawn("same", "part", queue="elsewhere")
        context.spawn("other", "part", queue="elsewhere", data_key="ann")

    run(engine, clock, handler, id="t", data_key=given)

    children = {id: task.data_key for id in ("t/same", "t/other") if (task := engine.get(id)) is not None}
    assert children == {"t/same": expected, "t/other": "ann"}

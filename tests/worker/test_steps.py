"""Steps of handlers: what a name stands for, what is checked before a step is begun, and what cannot be recorded.

Rule: turn by turn on a manual clock; an effect is a call that a list counts, and the log says what is on record of it.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import sagalog
from sagalog import Compensation, Failed, Interrupted, InvalidValue, OverBound, Retry, Transient, Worker, failpoints
from sagalog.errors import Unavailable
from sagalog.kernel.bounds import STEPS_MAX
from sagalog.testing import ManualClock, SeededEntropy
from sagalog.worker import AsyncWorkContext, WorkContext
from sagalog.worker.config import WorkerConfig
from tests.worker.crew_of import PATIENCE_S, at_work, ended, story
from tests.worker.inline import InlineWorker

AT_ONCE = Retry(delay_min_ms=0, delay_max_ms=0)
UNDO = Compensation("undo", {"n": 1}, id="u")
Handler = Callable[[WorkContext, Any], Any]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_000_000)


@pytest.fixture
def engine(clock: ManualClock) -> Iterator[sagalog.Engine]:
    with sagalog.open("memory:", clock=clock, entropy=SeededEntropy(1)) as engine:
        yield engine


def worker_of(engine: sagalog.Engine, clock: ManualClock, handler: Handler, strict: bool = False) -> InlineWorker:
    kinds = frozenset({"do"}) if strict else frozenset()
    config = WorkerConfig(("default",), {"do": handler}, {"undo": lambda *_: None}, 1, 0, 1_000, True, strict=kinds)
    return InlineWorker(engine, config, "w", clock)


def named(task: sagalog.Task) -> list[str]:
    """The names of the steps whose results are not on record."""
    return [step.name for step in task.unrecorded_steps]


def run(engine: sagalog.Engine, clock: ManualClock, handler: Handler, **create: Any) -> sagalog.Task:
    """What becomes of a task whose handler is this, until there is nothing more to do now."""
    id = engine.create("do", **{"retry": AT_ONCE, "waive_compensation": "none", **create}).id
    worker_of(engine, clock, handler).until_idle()
    task = engine.get(id)
    assert task is not None
    return task


# --- by name ----------------------------------------------------------------------------------------------------------


def test_a_fallback_after_a_failed_step_is_no_mismatch(engine: sagalog.Engine, clock: ManualClock) -> None:
    """[STEP-1] [WORKER-4]"""

    def down() -> None:
        raise ConnectionError("model A is down")

    def handler(context: WorkContext, _: Any) -> Any:
        try:
            answer = context.step("model-a", down)
        except ConnectionError:
            answer = context.step("model-b", lambda: "B")
        if context.task.leases == 1:
            raise Transient("later")
        return answer

    task = run(engine, clock, handler)

    assert (task.state, task.result, task.steps) == ("completed", "B", ("model-b",))


def test_a_step_that_failed_may_be_asked_for_again_in_the_same_attempt(
    engine: sagalog.Engine, clock: ManualClock
) -> None:
    """[STEP-1] What has come to nothing is not on record under its name."""
    tries: list[int] = []

    def flaky() -> str:
        tries.append(1)
        if len(tries) < 3:
            raise ConnectionError("again")
        return "there"

    def handler(context: WorkContext, _: Any) -> Any:
        for _ in range(3):
            try:
                return context.step("call", flaky, compensation=UNDO)
            except ConnectionError:
                continue
        return None

    task = run(engine, clock, handler)

    assert (task.state, task.result, len(tries)) == ("completed", "there", 3)
    assert story(engine, task.id).count("compensation_registered") == 1


def test_steps_from_a_pool_of_threads_come_in_any_order(engine: sagalog.Engine, clock: ManualClock) -> None:
    """[STEP-1] [WORKER-4]"""

    def handler(context: WorkContext, _: Any) -> None:
        names = ["a", "b"] if context.attempt == 1 else ["b", "a"]
        done = {name: threading.Event() for name in names}
        done[names[0]].set()

        def step(name: str, before: str) -> None:
            done[before].wait(20)
            context.step(name, lambda: name)
            done[name].set()

        with ThreadPoolExecutor(2) as pool:
            futures = [pool.submit(step, names[0], names[0]), pool.submit(step, names[1], names[0])]
        for future in futures:
            future.result()
        if context.attempt == 1:
            raise Failed("once more")

    task = run(engine, clock, handler)

    assert (task.state, sorted(task.steps)) == ("completed", ["a", "b"])


def test_new_and_renamed_steps_run_and_an_unasked_one_is_a_warning(
    engine: sagalog.Engine, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """[STEP-1] [WORKER-4] The unasked step is on record, and the code asks for it no more."""
    ran: list[str] = []

    def handler(context: WorkContext, _: Any) -> None:
        first = context.attempt == 1
        for name in ("charge", "ship") if first else ("check", "charge", "send"):
            context.step(name, ran.append, name)
        if first:
            raise Failed("once more")

    with caplog.at_level(logging.WARNING, "sagalog.worker"):
        task = run(engine, clock, handler)

    assert (task.state, ran) == ("completed", ["charge", "ship", "check", "send"])
    [warning] = [one.getMessage() for one in caplog.records if "without asking" in one.getMessage()]
    assert task.id in warning
    assert "'ship'" in warning


@pytest.mark.parametrize("names", [("check", "a", "b"), ("b", "a"), ("a",)], ids=["new", "another order", "unasked"])
def test_strict_code_is_held_to_the_history(names: tuple[str, ...], engine: sagalog.Engine, clock: ManualClock) -> None:
    """[WORKER-4]"""
    ran: list[str] = []

    def handler(context: WorkContext, _: Any) -> None:
        first = context.attempt == 1
        for name in ("a", "b") if first else names:
            context.step(name, ran.append, name)
        if first:
            raise Failed("once more")

    id = engine.create("do", retry=AT_ONCE).id
    worker_of(engine, clock, handler, strict=True).until_idle()
    task = engine.get(id)
    assert task is not None
    assert (task.state, task.code, ran) == ("quarantined", "step_mismatch", ["a", "b"])


def test_a_kind_is_strict_where_its_handler_says_so(engine: sagalog.Engine) -> None:
    """[WORKER-4]"""
    worker = Worker()
    runs: list[str] = []

    def handler(context: WorkContext, _: Any) -> None:
        runs.append(context.task.kind)
        if context.attempt == 1:
            context.step("old", lambda: 1)
            raise Failed("once more")
        context.step("new", lambda: 1)

    worker.task("strict", strict=True)(handler)
    worker.task("lenient")(handler)
    ids = [engine.create(kind, retry=AT_ONCE).id for kind in ("strict", "lenient")]
    worker.run(engine, until="idle", handle_signals=False)

    assert [str(task.state) for id in ids if (task := engine.get(id))] == ["quarantined", "completed"]


def test_an_undo_waived_before_the_work_leaves_the_step_its_own(engine: sagalog.Engine, clock: ManualClock) -> None:
    """[COMP-1] [COMP-4] The step has an undo of its own.

    No code has changed: an operator has settled what was planned before there was an effect.
    """

    def handler(context: WorkContext, _: Any) -> None:
        context.step("make", lambda: 1, compensation=UNDO)
        if context.attempt == 1:
            raise Failed("once more")
        raise sagalog.Permanent("no")

    id = engine.create("do", retry=AT_ONCE, compensations=[UNDO]).id
    engine.waive(id, "u", "not needed")
    undone: list[str] = []
    config = WorkerConfig(
        ("default",),
        {"do": handler},
        {"undo": lambda context, _: undone.append(context.compensation)},
        1,
        0,
        1_000,
        True,
    )
    InlineWorker(engine, config, "w", clock).until_idle()
    task = engine.get(id)

    assert task is not None
    assert (task.state, undone) == ("compensated", ["u~2"])
    assert [(one.id, one.status) for one in task.compensations] == [("u", "waived"), ("u~2", "done")]


def test_an_undo_waived_repeatedly_gets_a_name_that_later_attempts_find(
    engine: sagalog.Engine, clock: ManualClock
) -> None:
    """[COMP-1] [REPEAT-3] It gets a new name each time."""
    long = "x" * 200

    def handler(context: WorkContext, _: Any) -> None:
        def make() -> None:
            if context.attempt <= 3:
                raise Failed("not yet")

        context.step("make", make, compensation=Compensation("undo", id=long))

    id = engine.create("do", retry=Retry(attempts_max=9, delay_min_ms=5, delay_max_ms=5)).id
    worker = worker_of(engine, clock, handler)
    for _ in range(2):
        worker.until_idle()
        task = engine.get(id)
        assert task is not None
        engine.waive(id, task.owed[0].id, "gone")
        clock.advance(5)
    for _ in range(2):
        worker.until_idle()
        clock.advance(5)
    task = engine.get(id)

    assert task is not None
    assert task.state == "completed"
    assert [one.status for one in task.compensations] == ["waived", "waived", "void"]
    assert all(len(one.id) <= 200 for one in task.compensations)


# --- called off -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("result", "state"), [(None, "cancelled"), ({"half": 1}, "completed")], ids=["None", "a value"]
)
def test_a_handler_that_reads_its_cancel_and_returns_none_is_cancelled(result: Any, state: str, tmp_path: Any) -> None:
    """[CANCEL-2]"""
    worker = Worker(ttl_ms=3_000)
    waits = threading.Event()

    @worker.task("do")
    def handler(context: WorkContext, _: Any) -> Any:
        for number in range(5):
            if context.cancelled:
                return result
            context.step(f"s{number}", lambda: 1)
            if context.attempt == 2 and number == 1:
                waits.set()
                context.wait_stop(20_000)
        raise Failed("once more")

    with sagalog.open(f"sqlite:///{tmp_path}/store.db", durability="normal") as engine:
        id = engine.create("do", retry=AT_ONCE, waive_compensation="none").id
        with at_work(worker, engine):
            assert waits.wait(20)
            engine.cancel(id, "stop")
            task = ended(engine, id)
        assert (task.state, task.result) == (state, result)


def test_a_coroutine_that_returns_none_without_having_looked_completes(engine: sagalog.Engine) -> None:
    """[CANCEL-2] Who has not read that it is cancelled has done its work."""
    worker = Worker()

    @worker.task("do")
    def handler(context: WorkContext, _: Any) -> None:
        engine.cancel(context.task.id)

    id = engine.create("do").id
    worker.run(engine, until="idle", handle_signals=False)
    task = engine.get(id)
    assert task is not None
    assert task.state == "completed"


# --- checked before ---------------------------------------------------------------------------------------------------


async def _coroutine() -> int:
    return 1


@pytest.mark.parametrize(
    ("name", "function", "compensation"),
    [
        ("x" * 201, list, UNDO),
        ("", list, None),
        (7, list, None),
        ("s", "no function", UNDO),
        ("s", _coroutine, UNDO),
        ("s", list, "no compensation"),
        ("s", list, Compensation("x" * 201)),
        ("s", list, Compensation("undo", params=object())),
    ],
    ids=["long", "empty", "no name", "no function", "coroutine", "no undo", "an undo's kind", "an undo's params"],
)
def test_what_a_step_is_given_is_checked_before_its_function_runs(
    name: Any, function: Any, compensation: Any, engine: sagalog.Engine, clock: ManualClock
) -> None:
    """[WORKER-1]"""
    ran: list[int] = []
    refused: list[Exception] = []

    def effect() -> None:
        ran.append(1)

    def handler(context: WorkContext, _: Any) -> None:
        try:
            context.step(name, effect if function is list else function, compensation=compensation)
        except InvalidValue as error:
            refused.append(error)

    task = run(engine, clock, handler)

    assert (task.state, ran, len(refused)) == ("completed", [], 1)
    assert story(engine, task.id) == ["created", "leased", "completed"]


def test_a_step_beyond_the_bound_is_not_begun(engine: sagalog.Engine, clock: ManualClock) -> None:
    """[BOUND-1] Steps that failed and that are on record already take no place."""
    ran: list[str] = []
    failed: list[type[Exception]] = []

    def handler(context: WorkContext, _: Any) -> None:
        for number in range(STEPS_MAX - 1):
            context.step(f"s{number}", lambda: 1)
        for _ in range(3 if context.attempt == 1 else 0):
            try:
                context.step("fails", lambda: 1 / 0)
            except (ZeroDivisionError, OverBound) as error:
                failed.append(type(error))
        context.step("last", ran.append, "last")
        with pytest.raises(OverBound, match="1,000"):
            context.step("one more", ran.append, "one more", compensation=UNDO)
        if context.attempt == 1:
            raise Failed("once more")

    task = run(engine, clock, handler)

    assert (task.state, len(task.steps), ran) == ("completed", STEPS_MAX, ["last"])
    assert failed == [ZeroDivisionError] * 3
    assert task.compensations == ()


# --- what cannot be recorded ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("result", "path"),
    [
        ({"at": [1, object()]}, "result.at[1]"),
        (float("nan"), "result"),
        ("x" * 2_000_000, "result"),
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

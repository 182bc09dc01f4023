"""Steps of handlers: what a name means, and what is checked before a step is begun.

Rule: turn by turn on a manual clock; an effect is a call that a list counts, and the log says what is on record of it.
"""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import sagalog
from sagalog import Compensation, Failed, InvalidValue, OverBound, Retry, Transient, Worker
from sagalog.kernel.bounds import STEPS_MAX
from sagalog.testing import ManualClock
from sagalog.worker import WorkContext
from sagalog.worker.config import WorkerConfig
from tests.worker.inline import InlineWorker
from tests.worker.step_runs import AT_ONCE, UNDO, run, worker_of
from tests.worker.worker_processes import story

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

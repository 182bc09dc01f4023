"""What annotated handlers and steps return is recorded as JSON, and every attempt gets the same. [WORKER-6]"""

from __future__ import annotations

import datetime
import functools
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

import sagalog
from sagalog import Compensation
from sagalog.worker import AsyncWorkContext, Context, WorkContext
from tests.worker.typed.values import AT_ONCE, Line, Order, Seat, run, told


def test_a_struct_and_a_dataclass_are_recorded_as_json_wherever_json_is(
    worker: sagalog.Worker, engine: sagalog.Engine
) -> None:
    """[WORKER-6] As a payload, as the result of a handler, and as the params of an undo, which has the same id."""

    @worker.task("order")
    def take(context: Context, order: Order) -> Seat:
        return Seat(len(order.lines), "a")

    undo, same = Compensation("free", Seat(1, "a")), Compensation("free", {"row": 1, "place": "a"})
    task = run(worker, engine, "order", Order([Line("pen")], datetime.date(2026, 11, 2)), compensations=[undo], id="t")

    assert task.payload == {"lines": [{"article": "pen", "count": 1}], "due": "2026-11-02"}
    assert task.result == {"row": 1, "place": "a"}
    assert [one.params for one in task.compensations] == [{"row": 1, "place": "a"}]
    # The same creation once more, in the other form.
    again = engine.create("order", task.payload, compensations=[same], id="t", retry=AT_ONCE, waive_compensation="none")
    assert again == task


@pytest.mark.parametrize(
    ("result", "path", "why"),
    [
        (msgspec.defstruct("Loose", [("place", Any)])(object()), "result", "Encoding objects of type object"),
        (msgspec.defstruct("Loose", [("place", Any)])(float("nan")), "result.place", "nan"),
        ([Line("pen")], "result[0]", "msgspec.to_builtins"),
    ],
)
def test_a_struct_of_which_no_json_can_be_made_quarantines_its_task(
    result: Any, path: str, why: str, worker: sagalog.Worker, engine: sagalog.Engine
) -> None:
    """[WORKER-1] One inside a list of the handler's own is looked for by no caller."""
    worker.task("do")(lambda _context, _payload: result)

    task = run(worker, engine, "do")

    assert (task.state, task.code) == ("quarantined", "unstorable_result")
    assert told(task)[2] == path
    assert why in told(task)[1]


def find_seat(row: int) -> Seat:
    return Seat(row, "a")


async def find_line() -> Line:
    return Line("pen")


def find_json() -> Seat:
    return {"row": 2, "place": "b"}  # type: ignore[return-value]  # as it comes from a server


def twice(worker: sagalog.Worker, engine: sagalog.Engine, ask: Callable[[WorkContext], Any]) -> list[Any]:
    """What a handler finds in two attempts, of which the second one reads what the first one has put on record."""
    found: list[Any] = []

    @worker.task("do")
    def do(context: WorkContext, payload: None) -> None:
        found.append(ask(context))
        if context.attempt == 1:
            raise OSError("again")

    assert run(worker, engine, "do").state == "completed"
    return found


@pytest.mark.parametrize(
    ("function", "arguments", "expected"),
    [
        (find_seat, (3,), Seat(3, "a")),
        (functools.partial(find_seat, 3), (), Seat(3, "a")),
        (find_json, (), Seat(2, "b")),
        (lambda: Seat(1, "c"), (), {"row": 1, "place": "c"}),
        (lambda: {"row": 1}, (), {"row": 1}),
    ],
    ids=["function", "partial", "json", "lambda", "plain"],
)
def test_every_attempt_gets_the_same_from_a_step(
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    expected: Any,
    worker: sagalog.Worker,
    engine: sagalog.Engine,
) -> None:
    """[WORKER-6] [STEP-1] What its function is annotated to return, or else the JSON that is on record."""
    assert twice(worker, engine, lambda context: context.step("find", function, *arguments)) == [expected, expected]


def test_every_attempt_of_a_coroutine_gets_the_same_from_a_step(worker: sagalog.Worker, engine: sagalog.Engine) -> None:
    """[WORKER-6] [STEP-1]"""
    found: list[object] = []

    @worker.task("do")
    async def do(context: AsyncWorkContext, payload: None) -> None:
        found.append(await context.step("find", find_line))
        if context.attempt == 1:
            raise OSError("again")

    assert run(worker, engine, "do").state == "completed"
    assert found == [Line("pen"), Line("pen")]


def test_a_step_on_record_that_no_longer_fits_quarantines_its_task(
    worker: sagalog.Worker, engine: sagalog.Engine
) -> None:
    """[WORKER-6] The code has changed since the step was carried out."""

    def find_other() -> Line:
        raise AssertionError("it was carried out again")

    @worker.task("do")
    def do(context: WorkContext, payload: None) -> None:
        context.step("find", find_seat if context.attempt == 1 else find_other, *[1][context.attempt - 1 :])
        raise OSError("again")

    task = run(worker, engine, "do")

    assert (task.state, task.code) == ("quarantined", "step_mismatch")
    assert task.error is not None
    assert "the result of step 'find' that is on record is no" in task.error.message


def test_a_child_may_be_given_a_struct_and_is_the_same_at_every_attempt(
    worker: sagalog.Worker, engine: sagalog.Engine
) -> None:
    """[STEP-2]"""
    worker.task("line")(lambda _context, payload: payload)
    found = twice(worker, engine, lambda context: context.spawn("one", "line", Seat(3, "a")))

    child = engine.get(found[0])
    assert child is not None
    assert (found[0], child.payload) == (found[1], {"row": 3, "place": "a"})

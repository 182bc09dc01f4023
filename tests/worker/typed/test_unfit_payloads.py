"""JSON that gives no value of the annotated type: the task fails for good, and the error names the place. [WORKER-6]"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import sagalog
from sagalog import Compensation, Permanent
from sagalog.worker import AsyncWorkContext, Context, UndoContext, WorkContext
from tests.worker.typed.values import Even, Order, Seat, run, told
from tests.worker.worker_processes import story


def test_a_payload_that_does_not_fit_fails_for_good_and_names_the_place(
    worker: sagalog.Worker, engine: sagalog.Engine
) -> None:
    """[WORKER-6] It is tried once, whatever its policy allows, and its handler is not called."""
    called: list[object] = []
    worker.task("order")(record_into(called))

    task = run(worker, engine, "order", {"lines": [{"article": "pen"}, {"article": "ink", "count": "many"}]})

    assert (task.state, task.code, called) == ("failed", "failed", [])
    assert story(engine, task.id) == ["created", "leased", "failed"]
    assert told(task) == (
        "invalid_payload",
        f"its payload does not fit {Order.__module__}.Order: Expected `int`, got `str` - at `$.lines[1].count`",
        "$.lines[1].count",
    )


def record_into(called: list[object]) -> Callable[[WorkContext, Order], None]:
    def take(context: WorkContext, order: Order) -> None:
        called.append(order)

    return take


@pytest.mark.parametrize(
    ("payload", "message", "path"),
    [
        (None, "Expected `object`, got `null`", "$"),
        ([], "Expected `object`, got `array`", "$"),
        ({}, "Object missing required field `number`", "$"),
        ({"number": 3}, "an even number is wanted", "$"),
    ],
)
def test_a_payload_that_a_coroutine_cannot_take_fails_for_good_too(
    payload: Any, message: str, path: str, worker: sagalog.Worker, engine: sagalog.Engine
) -> None:
    """[WORKER-6]"""

    @worker.task("even")
    async def even(context: AsyncWorkContext, even: Even) -> None:
        raise AssertionError("it was called")

    task = run(worker, engine, "even", payload)

    assert (task.state, task.leases) == ("failed", 1)
    assert told(task) == ("invalid_payload", f"its payload does not fit {Even.__module__}.Even: {message}", path)


def test_what_a_task_owes_is_undone_where_its_payload_does_not_fit(
    worker: sagalog.Worker, engine: sagalog.Engine
) -> None:
    """[WORKER-6] [COMP-1] A later version of the handler may ask for more than the payload of a task that has begun."""
    undone: list[object] = []
    worker.task("order")(record_into([]))
    worker.compensation("undo")(lambda _context, params: undone.append(params))

    task = run(worker, engine, "order", {}, compensations=[Compensation("undo", {"n": 1})], waive_compensation=None)

    assert (task.state, task.outcome, undone) == ("compensated", "failed", [{"n": 1}])


def test_a_payload_that_does_not_fit_is_for_a_human_without_an_undo(
    worker: sagalog.Worker, engine: sagalog.Engine
) -> None:
    """[WORKER-6] [COMP-2] It has no waiver either. What does not fit is in the log all the same."""
    worker.task("order")(record_into([]))

    task = run(worker, engine, "order", {}, waive_compensation=None)

    assert (task.state, task.code) == ("quarantined", "compensation_required")
    assert told(task)[0] == "invalid_payload"


@pytest.mark.parametrize("is_coroutine", [False, True])
def test_params_that_do_not_fit_quarantine_the_task_at_once(
    is_coroutine: bool, worker: sagalog.Worker, engine: sagalog.Engine
) -> None:
    """[WORKER-6] [UNDO-3] No attempt at that undo can succeed; those that came before it in the row are done."""
    undone: list[str] = []

    @worker.task("do")
    def do(context: Context, payload: None) -> None:
        raise Permanent("no")

    async def free_later(context: object, seat: Seat) -> None:
        undone.append(seat.place)

    def free(context: UndoContext, seat: Seat) -> None:
        undone.append(seat.place)

    worker.compensation("free")(free_later if is_coroutine else free)
    compensations = [
        Compensation("free", {"row": 1, "place": "a"}, id="a"),
        Compensation("free", {"row": 1, "place": 2}, id="b"),
        Compensation("free", {"row": 1, "place": "c"}, id="c"),
    ]
    task = run(worker, engine, "do", compensations=compensations)

    assert (task.state, task.code, undone) == ("quarantined", "invalid_params", ["c"])
    assert [one.id for one in task.owed] == ["b", "a"]
    assert task.error is not None
    assert task.error.parameters == {"compensation": "b", "type": f"{Seat.__module__}.Seat"}
    assert told(task)[1:] == (
        f"the params of compensation 'b' do not fit {Seat.__module__}.Seat: Expected `str`, got `int` - at `$.place`",
        "$.place",
    )
    assert "compensation_failed" not in story(engine, task.id)

"""Handlers whose payload or params are annotated: what they are given, what does not fit, what they return.

Rule: real workers on a memory store; the annotations of this file are texts, as `from __future__ import annotations`
makes them.
"""

from __future__ import annotations

import datetime
import functools
from collections.abc import Callable, Mapping
from typing import Any, NewType, TypeVar

import pytest

import sagalog
from sagalog import Compensation, InvalidValue, Permanent
from sagalog.worker import AsyncWorkContext, Context, UndoContext, WorkContext
from tests.worker.typed.values import Line, Order, Place, Seat, run

Payload = NewType("Payload", dict[str, Any])
Json = dict[str, "Json"] | list["Json"] | str | int | float | bool | None
F = TypeVar("F", bound=Callable[..., Any])


# --- what a handler is given ------------------------------------------------------------------------------------------


def test_a_function_is_given_the_struct_that_its_payload_is_annotated_with(
    worker: sagalog.Worker, engine: sagalog.Engine
) -> None:
    """[WORKER-6] The payload of its context stays what is on record."""
    given: list[object] = []

    @worker.task("order")
    def order(context: WorkContext, order: Order) -> None:
        given.extend([order, context.payload])

    recorded = {"lines": [{"article": "pen", "count": 3}, {"article": "ink"}], "due": "2026-11-02"}
    task = run(worker, engine, "order", recorded)

    assert given == [Order([Line("pen", 3), Line("ink")], datetime.date(2026, 11, 2)), recorded]
    assert (task.state, task.payload) == ("completed", recorded)


def test_a_coroutine_is_given_the_dataclass_of_its_annotation(worker: sagalog.Worker, engine: sagalog.Engine) -> None:
    """[WORKER-6] The handler's payload is annotated with it."""
    given: list[Seat] = []

    @worker.task("seat")
    async def book(context: AsyncWorkContext, seat: Seat) -> str:
        given.append(seat)
        return seat.place

    assert run(worker, engine, "seat", {"row": 3, "place": "a"}).result == "a"
    assert given == [Seat(3, "a")]


def test_the_handler_of_an_undo_is_given_the_type_of_its_params(worker: sagalog.Worker, engine: sagalog.Engine) -> None:
    """[WORKER-6]"""
    undone: list[object] = []

    @worker.task("do")
    def do(context: Context, payload: None) -> None:
        raise Permanent("no")

    @worker.compensation("free")
    def free(context: UndoContext, seat: Seat) -> None:
        undone.append(seat)

    @worker.compensation("remove")
    def remove(context: UndoContext, place: Place) -> None:
        undone.append(place)

    compensations = [Compensation("free", Seat(3, "a")), Compensation("remove", {"path": "x", "more": 1})]
    assert run(worker, engine, "do", compensations=compensations).state == "compensated"
    assert undone == [{"path": "x"}, Seat(3, "a")]


class Called:
    """An object that is called, and one with a method: both are handlers."""

    def __init__(self, given: list[object]) -> None:
        self.given = given

    def __call__(self, context: Context, line: Line) -> None:
        self.given.append(line)

    def method(self, context: Context, line: Line, times: int = 1) -> None:
        self.given.append((line, times))

    async def coroutine(self, context: object, line: Line) -> None:
        self.given.append(line)


def passed_on(handler: F) -> F:
    @functools.wraps(handler)
    def call(*given: Any) -> Any:
        return handler(*given)

    return call  # type: ignore[return-value]  # it takes what it wraps


def handlers() -> dict[str, Callable[[Called], Any]]:
    def plain(given: list[object], context: Context, line: Line) -> None:
        given.append(line)

    return {
        "object": lambda called: called,
        "method": lambda called: called.method,
        "coroutine": lambda called: called.coroutine,
        "partial of a method": lambda called: functools.partial(called.method, times=1),
        "partial with a place": lambda called: functools.partial(plain, called.given),
        "partial of an object": lambda called: functools.partial(called),
        "decorated": lambda called: passed_on(called.method),
    }


@pytest.mark.parametrize("sort", handlers())
def test_whatever_is_called_as_a_handler_may_be_annotated(
    sort: str, worker: sagalog.Worker, engine: sagalog.Engine
) -> None:
    """[WORKER-6]"""
    given: list[object] = []
    handler = handlers()[sort](Called(given))
    assert worker.task("line")(handler) is handler

    assert run(worker, engine, "line", {"article": "pen"}).state == "completed"
    [found] = given
    assert found in (Line("pen"), (Line("pen"), 1))


def test_a_part_of_an_annotation_may_be_the_type_that_is_made(worker: sagalog.Worker, engine: sagalog.Engine) -> None:
    """[WORKER-6]"""
    given: list[object] = []

    @worker.task("lines")
    def lines(context: Context, lines: list[Line] | None) -> None:
        given.append(lines)

    @worker.task("numbered")
    def numbered(context: Context, by_number: Mapping[int, str]) -> None:
        given.append(by_number)

    run(worker, engine, "lines", [{"article": "pen"}])
    run(worker, engine, "lines")
    run(worker, engine, "numbered", {"7": "pen"})
    assert given == [[Line("pen")], None, {7: "pen"}]


def json_handlers() -> list[Callable[[Any, Any], Any]]:
    def bare(context, payload):  # type: ignore[no-untyped-def]
        return payload

    def anything(context: Context, payload: Any) -> Any:
        return payload

    def an_object(context: Context, payload: object) -> object:
        return payload

    def mapping(context: Context, payload: dict[str, Any]) -> Any:
        return payload

    def values(context: Context, payload: Mapping[str, list[int] | None]) -> Any:
        return payload

    def named(context: Context, payload: Payload) -> Any:
        return payload

    def recursive(context: Context, payload: Json) -> Any:
        return payload

    return [bare, anything, an_object, mapping, values, named, recursive, print]


@pytest.mark.parametrize("handler", json_handlers(), ids=lambda handler: handler.__name__)
def test_a_handler_that_takes_json_is_called_by_nothing_in_between(
    handler: Callable[[Any, Any], Any], worker: sagalog.Worker
) -> None:
    """[WORKER-6] JSON that is annotated as JSON is not even checked, so such a handler costs nothing more."""
    worker.task("do")(handler)

    assert worker._config().handlers["do"] is handler


def test_an_annotation_is_resolved_when_the_handler_is_registered(
    worker: sagalog.Worker, engine: sagalog.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """[WORKER-6] What its name means later does not count, so it is not looked up at each call."""
    given: list[object] = []

    @worker.task("line")
    def take(context: Context, line: Line) -> None:
        given.append(line)

    monkeypatch.setitem(globals(), "Line", None)
    assert run(worker, engine, "line", {"article": "pen"}).state == "completed"
    assert [type(one).__name__ for one in given] == ["Line"]


# --- annotations that are refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("annotation", "why"),
    [
        ("Missing", "name 'Missing' is not defined; define or import what it names at the top of its module"),
        ("datetime.Missing", "module 'datetime' has no attribute 'Missing'"),
        ("1 +", "must be an expression"),
        ("Callable[..., Any]", "no value of collections.abc.Callable can be made of JSON; annotate it with a msgspec"),
        ("list[Called]", "can be made of JSON"),
        ("Order | Seat", "Type unions may not contain more than one dict-like type"),
    ],
)
def test_a_useless_annotation_is_refused_as_the_handler_is_registered(
    annotation: str, why: str, worker: sagalog.Worker
) -> None:
    """[WORKER-6] The refusal names the handler, the parameter and the annotation."""

    def pack(context: Context, content: Any) -> None:
        """Never called."""

    pack.__annotations__["content"] = annotation
    for register, kind in ((worker.task, "task"), (worker.compensation, "compensation")):
        with pytest.raises(InvalidValue) as refused:
            register("pack")(pack)
        assert f"{kind} 'pack': the annotation {annotation} of the parameter 'content'" in refused.value.message
        assert "test_typed_handlers.test_a_useless_annotation" in refused.value.message
        assert why in refused.value.message
        assert refused.value.path == "content"
    # Nothing was registered.
    worker.task("pack")(lambda _context, _content: None)


def test_annotations_beside_that_of_the_payload_do_not_count(worker: sagalog.Worker) -> None:
    """The type of a context is often imported for the type checker alone."""

    def do(context: Any, payload: Any, *, size: Any = None) -> Any:
        return payload

    do.__annotations__.update({"context": "Missing", "size": "Missing", "return": "Missing"})
    worker.task("do")(do)


def test_type_checkers_see_what_a_handler_takes() -> None:
    """Half of this test is run by the type checker: each ignore is one of its own."""
    worker = sagalog.Worker()

    @worker.task("fine")
    def fine(context: WorkContext, order: Order) -> Seat:
        return Seat(len(order.lines), "a")

    @worker.task("fine too")
    async def fine_too(context: AsyncWorkContext, order: list[Order]) -> None:
        await context.step("one", len, order)

    @worker.compensation("undo")
    def undo(context: UndoContext, seat: Seat) -> None:
        """Undo it."""

    seat: Seat = fine(None, Order([]))  # type: ignore[arg-type]  # it is what it was
    assert seat == Seat(0, "a")

    @worker.task("no payload")  # type: ignore[type-var]
    def no_payload(context: WorkContext) -> None:
        """Take too little."""

    @worker.task("an undo's")  # type: ignore[type-var]
    def an_undos(context: UndoContext, order: Order) -> None:
        """Take the context of an undo."""

    @worker.compensation("a task's")  # type: ignore[type-var]
    async def a_tasks(context: AsyncWorkContext, seat: Seat) -> None:
        """Take the context of a task."""

    with pytest.raises(InvalidValue, match="cannot be used"):

        @worker.task("no type")
        def no_type(context: WorkContext, order: "fine") -> None:  # type: ignore[valid-type]  # noqa: UP037
            """Take what no type says."""

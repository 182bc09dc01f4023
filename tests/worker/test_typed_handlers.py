"""Handlers whose payload or params are annotated: what they are given, what does not fit, what they return.

Rule: real workers on a memory store; the annotations of this file are texts, as `from __future__ import annotations`
makes them.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NewType, TypedDict, TypeVar

import msgspec
import pytest

import sagalog
from sagalog import Compensation, InvalidValue, Permanent, Retry
from sagalog.worker import AsyncWorkContext, Context, UndoContext, WorkContext
from tests.worker.crew_of import story

AT_ONCE = Retry(delay_min_ms=0, delay_max_ms=0)
Payload = NewType("Payload", dict[str, Any])
Json = dict[str, "Json"] | list["Json"] | str | int | float | bool | None
F = TypeVar("F", bound=Callable[..., Any])


class Line(msgspec.Struct):
    article: str
    count: int = 1


class Order(msgspec.Struct):
    lines: list[Line]
    due: datetime.date | None = None


class Even(msgspec.Struct):
    number: int

    def __post_init__(self) -> None:
        if self.number % 2:
            raise ValueError("an even number is wanted")


@dataclasses.dataclass
class Seat:
    row: int
    place: str


class Place(TypedDict):
    path: str


@pytest.fixture
def engine() -> Iterator[sagalog.Engine]:
    with sagalog.open("memory:") as engine:
        yield engine


@pytest.fixture
def worker() -> sagalog.Worker:
    return sagalog.Worker(quarantine_unknown=True)


def run(worker: sagalog.Worker, engine: sagalog.Engine, kind: str, payload: Any = None, **create: Any) -> sagalog.Task:
    """What becomes of a task, until the worker finds nothing more to do now."""
    id = engine.create(kind, payload, **{"retry": AT_ONCE, "waive_compensation": "none", **create}).id
    worker.run(engine, until="idle")
    task = engine.get(id)
    assert task is not None
    return task


def told(task: sagalog.Task) -> tuple[str, str, str]:
    """The code, the message and the path of what went wrong."""
    assert task.error is not None
    return task.error.code, task.error.message, task.error.details["path"]


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
    """[WORKER-6] What its name stands for later does not count, so it is not looked up at each call."""
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
        assert "test_typed_handlers.test_an_annotation_that_is_no_use" in refused.value.message
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


# --- what does not fit ------------------------------------------------------------------------------------------------


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
        f"its payload does not fit {__name__}.Order: Expected `int`, got `str` - at `$.lines[1].count`",
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
    assert told(task) == ("invalid_payload", f"its payload does not fit {__name__}.Even: {message}", path)


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
    """[WORKER-6] [COMP-2] It has no waiver either. What does not fit stands in the log all the same."""
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
    assert task.error.parameters == {"compensation": "b", "type": f"{__name__}.Seat"}
    assert told(task)[1:] == (
        f"the params of compensation 'b' do not fit {__name__}.Seat: Expected `str`, got `int` - at `$.place`",
        "$.place",
    )
    assert "compensation_failed" not in story(engine, task.id)


# --- what is recorded -------------------------------------------------------------------------------------------------


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

"""What programs are told of public calls: `typing.get_type_hints` and `inspect` say what a type checker reads."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Coroutine, Iterator
from types import ModuleType
from typing import Any, ParamSpec, TypeVar, get_args, get_origin, get_type_hints

import pytest

import sagalog
import sagalog.aio
import sagalog.store
import sagalog.testing
import sagalog.worker
import sagalog_queue
from sagalog import Batch, Engine, Lease
from sagalog.aio import AsyncBatch, AsyncEngine, AsyncLease
from sagalog.aio.opening import Opening

MODULES = (sagalog, sagalog.aio, sagalog.store, sagalog.testing, sagalog.worker, sagalog_queue)
# Their calls are made of verbs and of one another.
MADE = (Engine, Lease, Batch, AsyncEngine, AsyncLease, AsyncBatch)


def public_calls(module: ModuleType) -> Iterator[tuple[str, Callable[..., Any]]]:
    """The public functions of a module, and the public calls of its public classes, by name."""
    for name in getattr(module, "__all__", [name for name in dir(module) if not name.startswith("_")]):
        found = getattr(module, name)
        if inspect.isfunction(found):
            yield name, found
        elif inspect.isclass(found):
            yield from calls_of(found)


def calls_of(kind: type) -> Iterator[tuple[str, Callable[..., Any]]]:
    for name in dir(kind):
        member = inspect.getattr_static(kind, name)
        call = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
        if inspect.isfunction(call) and not name.startswith("_"):
            yield f"{kind.__name__}.{name}", call


def returned_by_its_types(call: Callable[..., Any]) -> Any:
    """What a type checker takes a call to return: that of the annotation of the function that has made it."""
    made_by, is_made, _ = call.__code__.co_qualname.partition(".<locals>")
    if not is_made or call.__globals__["__name__"] == contextlib.__name__:
        return get_type_hints(call)["return"]
    maker = call.__globals__[made_by]
    returned = get_args(get_type_hints(maker)["return"])[-1]
    if get_origin(returned) is Coroutine:
        returned = get_args(returned)[-1]
    if isinstance(returned, TypeVar):
        made_of = inspect.getclosurevars(call).nonlocals.get("lift", call.__wrapped__)  # type: ignore[attr-defined]
        return returned_by_its_types(made_of)
    return type(None) if returned is None else returned


@pytest.mark.parametrize("module", MODULES, ids=lambda one: str(one.__name__))
def test_every_public_call_tells_the_types_of_arguments_and_result(module: ModuleType) -> None:
    for name, call in public_calls(module):
        hints = get_type_hints(call)
        told = [one.name for one in inspect.signature(call).parameters.values() if one.name not in ("self", "cls")]
        assert sorted(hints) == sorted([*told, "return"]), name


@pytest.mark.parametrize("kind", MADE, ids=lambda one: str(one.__name__))
def test_a_derived_call_tells_the_types_that_a_checker_sees(kind: type) -> None:
    """Such a call is made of another one."""
    for name, call in calls_of(kind):
        if isinstance(inspect.getattr_static(kind, name.partition(".")[2]), property):
            continue
        hints = get_type_hints(call)
        assert hints["return"] == returned_by_its_types(call), name
        assert not [one for one in hints.values() if variables_in(one)], name


@pytest.mark.parametrize("kind", MADE, ids=lambda one: str(one.__name__))
def test_no_signature_shows_a_type_variable(kind: type) -> None:
    for name, call in calls_of(kind):
        signature = inspect.signature(call)
        shown = [signature.return_annotation, *(one.annotation for one in signature.parameters.values())]
        assert not {"P", "R", "S", "T"} & {str(one) for one in shown}, name


def test_what_the_types_say_is_read_from_the_function_that_has_made_a_call() -> None:
    expected: dict[Callable[..., Any], Any] = {
        Engine.get: sagalog.Task | None,
        Engine.create: sagalog.Task,
        Engine.claim: list[Lease],
        Lease.compensation_done: Lease | sagalog.Task,
        Batch.create: str,
        Batch.complete: type(None),
        AsyncEngine.get: sagalog.Task | None,
        AsyncEngine.acquire: AsyncLease,
        AsyncLease.compensation_done: AsyncLease | sagalog.Task,
        AsyncEngine.now_ms: int,
    }
    assert {call: returned_by_its_types(call) for call in expected} == expected
    assert get_type_hints(AsyncBatch.complete)["lease"] is AsyncLease
    assert get_type_hints(sagalog.aio.open)["return"] is Opening


def variables_in(found: Any) -> bool:
    return isinstance(found, TypeVar | ParamSpec) or any(variables_in(one) for one in get_args(found))

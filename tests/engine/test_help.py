"""What `help` says of every public name: a text that fits a screen, one of every method, and nothing of the inside."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import UnionType
from typing import Any

import pytest

import sagalog
import sagalog.aio
import sagalog.testing
from sagalog import Engine

COLUMNS = 100
ROWS_MAX = 24
NAMES = [
    pytest.param(sagalog.open, id="sagalog.open"),  # which a star does not import
    *(
        pytest.param(getattr(module, name), id=f"{module.__name__}.{name}")
        for module in (sagalog, sagalog.aio, sagalog.testing)
        for name in module.__all__
        # The name of a type that is one of several classes, which have their own texts.
        if not isinstance(getattr(module, name), UnionType)
    ),
]


def text_of(named: Any) -> str:
    """The own text of a class or a function, never one that it inherits; empty where it has none."""
    own = vars(named).get("__doc__") if isinstance(named, type) else named.__doc__
    return inspect.cleandoc(own or "")


def rows_of(text: str) -> int:
    """How many rows of a screen the text takes."""
    return sum(max(1, -(-len(line) // COLUMNS)) for line in text.splitlines())


def calls_of(kind: type) -> Iterator[tuple[str, Any]]:
    """The public methods and properties of a class, those that it inherits from ours too."""
    for name in dir(kind):
        found = inspect.getattr_static(kind, name)
        function = found.fget if isinstance(found, property) else getattr(found, "__func__", found)
        if not name.startswith("_") and inspect.isfunction(function):
            yield name, function


def without_text(kind: type) -> list[str]:
    return [name for name, call in calls_of(kind) if not text_of(call)]


def private_in_signature(named: Any) -> list[str]:
    """Parameters of the inside, where its signature can be told."""
    try:
        parameters = inspect.signature(named).parameters
    except ValueError:
        return []
    return [name for name in parameters if name.startswith("_")]


@pytest.mark.parametrize("named", NAMES)
def test_a_public_name_has_a_text_that_fits_a_screen(named: Any) -> None:
    assert 1 <= rows_of(text_of(named)) <= ROWS_MAX


@pytest.mark.parametrize("named", NAMES)
def test_every_public_method_has_a_text(named: Any) -> None:
    assert isinstance(named, type) is False or without_text(named) == []


@pytest.mark.parametrize("named", NAMES)
def test_no_signature_names_a_parameter_of_the_inside(named: Any) -> None:
    assert private_in_signature(named) == []


def test_an_engines_text_says_how_to_open_it_and_the_first_calls() -> None:
    text = text_of(Engine)

    assert "sagalog.open(" in text
    for name in ("create", "get", "find", "claim", "wait", "history"):
        assert f"{name}(" in text
        assert callable(getattr(Engine, name))


def test_what_is_missing_too_long_or_of_the_inside_is_found() -> None:
    class Long:
        __doc__ = "\n".join(["x" * COLUMNS + "y"] * (ROWS_MAX // 2 + 1))

        def __init__(self, _inside: int) -> None: ...

        def call(self) -> None: ...

        @property
        def value(self) -> int:
            return 1

    class Inherits(Long): ...

    assert rows_of(text_of(Long)) == ROWS_MAX + 2
    assert text_of(Inherits) == ""
    assert without_text(Long) == ["call", "value"]
    assert private_in_signature(Long) == ["_inside"]

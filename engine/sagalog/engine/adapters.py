"""The shared part of the adapters that make the calls of `Engine`, `Lease` and `Batch` from verbs.

Rule: a call has the name, the text, the arguments and the defaults of its verb, for people, for type checkers, for
`inspect` and for `typing.get_type_hints`. Knows no verb.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import update_wrapper
from typing import Any, Final, ForwardRef, TypeVar

Call = TypeVar("Call", bound=Callable[..., Any])

_GATHERING: Final = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def call_of(verb: Callable[..., object], filled_in: int, name: str | None = None) -> Callable[[Call], Call]:
    """Decorate the method that an adapter makes of a verb.

    Args:
        verb: the source of the call's text, arguments and defaults.
        filled_in: how many of the verb's first parameters the method fills in itself; its own first ones, such as
            `self`, replace them. Its annotation gives the type that it returns; a type variable there means the type
            that the verb returns.
        name: another name than the verb's.
    """

    def decorate(method: Call) -> Call:
        own, given, module = inspect.signature(method), inspect.signature(verb), method.__module__
        returns_its_own = not isinstance(method.__globals__.get(own.return_annotation), TypeVar)
        first = [one for one in own.parameters.values() if one.kind not in _GATHERING]
        others = list(given.parameters.values())[filled_in:]
        update_wrapper(method, verb)
        method.__name__ = name or verb.__name__
        method.__qualname__ = f"{first[0].annotation}.{method.__name__}"
        method.__signature__ = given.replace(parameters=[*_by_name(first), *others])  # type: ignore[attr-defined]
        method.__annotations__ = {
            **{one.name: _referring(one.annotation, module) for one in first if one.name != "self"},
            **{one.name: _referring(verb.__annotations__[one.name], verb.__module__) for one in others},
            "return": _referring(verb.__annotations__["return"], verb.__module__),
        }
        if returns_its_own:
            say_returned(method, own.return_annotation, module)
        return method

    return decorate


def say_returned(call: Callable[..., object], annotation: str, module: str) -> None:
    """Annotate what a call made of another one returns, by an annotation as it is written in a module."""
    call.__annotations__ = {**call.__annotations__, "return": _referring(annotation, module)}
    signature = inspect.signature(call).replace(return_annotation=annotation)
    call.__signature__ = signature  # type: ignore[attr-defined]  # as `inspect` asks


def _referring(annotation: str | ForwardRef, module: str) -> ForwardRef:
    """Return an annotation with the module in which it is written, where `get_type_hints` looks for its names."""
    return ForwardRef(annotation, module=module) if isinstance(annotation, str) else annotation


def _by_name(first: list[inspect.Parameter]) -> list[inspect.Parameter]:
    """Return the first parameters as those of a method that is written out."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    empty = inspect.Parameter.empty
    return [one.replace(kind=kind, annotation=empty if one.name == "self" else one.annotation) for one in first]

"""From a verb to a call: what the adapters that make the calls of `Engine`, `Lease` and `Batch` have in common.

Rule: a call has the name, the text, the arguments and the defaults of its verb, for people, for type checkers and for
`inspect`. Knows no verb.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import update_wrapper
from typing import Any, Final, TypeVar

Call = TypeVar("Call", bound=Callable[..., Any])

_GATHERING: Final = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def call_of(verb: Callable[..., object], filled_in: int, name: str | None = None) -> Callable[[Call], Call]:
    """Decorate the method that an adapter makes of a verb.

    Args:
        verb: what it is made of.
        filled_in: how many of the verb's first parameters the method gives itself; its own first ones, such as `self`,
            stand in their place, and what it returns is its own.
        name: another name than the verb's.
    """

    def decorate(method: Call) -> Call:
        own, given = inspect.signature(method), inspect.signature(verb)
        first = [one for one in own.parameters.values() if one.kind not in _GATHERING]
        parameters = [*_by_name(first), *list(given.parameters.values())[filled_in:]]
        update_wrapper(method, verb)
        method.__name__ = name or verb.__name__
        method.__qualname__ = f"{first[0].annotation}.{method.__name__}"
        method.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]  # as `inspect` asks
        annotations = {one.name: one.annotation for one in parameters if one.annotation is not inspect.Parameter.empty}
        method.__annotations__ = {**annotations, "return": own.return_annotation}
        return method

    return decorate


def _by_name(first: list[inspect.Parameter]) -> list[inspect.Parameter]:
    """The first parameters as those of a method that was written out."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    empty = inspect.Parameter.empty
    return [one.replace(kind=kind, annotation=empty if one.name == "self" else one.annotation) for one in first]

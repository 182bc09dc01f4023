"""A call as readers see it: its name, its parameters with types and defaults, and what it returns.

Rule: annotations are given as they are written in the source. A default is given where it is plain data, or by the
public name of it.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from enum import Enum
from typing import Any, Final, ForwardRef

_WIDTH: Final = 100
_PLAIN: Final = (bool, int, float, str, bytes, type(None))


def signature_of(call: Callable[..., Any], name: str, names: dict[int, str]) -> str:
    """The signature of a call under a name; `names` are public names by the `id` of what they name."""
    signature = inspect.signature(call)
    parts: list[str] = []
    for one in parameters_of(call):
        if one.kind is one.KEYWORD_ONLY and not any(part.startswith("*") for part in parts):
            parts.append("*")
        parts.append(_parameter(one, names))
    is_awaited = inspect.iscoroutinefunction(call)
    begin = f"{'await ' if is_awaited else ''}{name}("
    end = f") -> {spelled(signature.return_annotation)}"
    line = begin + ", ".join(parts) + end
    if len(line) <= _WIDTH:
        return line
    return "\n".join([begin, *(f"    {part}," if part != "*" else "    *," for part in parts), end])


def parameters_of(call: Callable[..., Any]) -> list[inspect.Parameter]:
    """The parameters that a caller gives."""
    return [one for one in inspect.signature(call).parameters.values() if one.name not in ("self", "cls")]


def spelled(annotation: Any) -> str:
    """An annotation as it is written."""
    if isinstance(annotation, ForwardRef):
        annotation = annotation.__forward_arg__
    if annotation is None:
        return "None"
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))
    return re.sub(r"\s+", " ", text).replace("'", '"')


def default_of(value: Any, names: dict[int, str]) -> str:
    """A default: plain data as it is written, else its public name, else an ellipsis."""
    if isinstance(value, Enum):
        return f"{type(value).__name__}.{value.name}"
    if type(value) is int:
        return f"{value:_}"
    if type(value) is str:
        return '"' + value.replace('"', '\\"') + '"'
    if isinstance(value, _PLAIN) or value in ((), {}, []):
        return repr(value)
    if isinstance(value, frozenset) and all(isinstance(one, str) for one in value):
        return (
            f"frozenset({{{', '.join(default_of(one, names) for one in sorted(value))}}})" if value else "frozenset()"
        )
    return names.get(id(value), "…")


def starred(one: inspect.Parameter) -> str:
    """The name of a parameter, with the stars of one that takes several."""
    if one.kind is one.VAR_POSITIONAL:
        return f"*{one.name}"
    return f"**{one.name}" if one.kind is one.VAR_KEYWORD else one.name


def _parameter(one: inspect.Parameter, names: dict[int, str]) -> str:
    text = f"{starred(one)}: {spelled(one.annotation)}"
    return text if one.default is one.empty else f"{text} = {default_of(one.default, names)}"

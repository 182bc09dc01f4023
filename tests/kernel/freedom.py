"""What is free in an event or a command, found by the types of its fields. [RECORD-5]

Rule: it reads declared types only, so a field that is added later is found by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, NamedTuple, get_args, get_origin

import msgspec

OTHER_TEXT = "other words"
OTHER_JSON = {"other": ["json", 1]}


class Leaf(NamedTuple):
    """A place in a struct that holds no other struct: where, of what type, and whether it is marked as free."""

    path: tuple[str, ...]
    type: Any
    free: bool


def leaves(hint: Any, path: tuple[str, ...] = (), free: bool = False) -> Iterator[Leaf]:
    """All places in a struct, those in structs and containers within it among them."""
    if get_origin(hint) is Annotated:
        yield from leaves(get_args(hint)[0], path, free or _is_free(hint))
    elif isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        for field in msgspec.structs.fields(hint):
            yield from leaves(field.type, (*path, field.name), free)
    elif args := [arg for arg in get_args(hint) if arg not in (type(None), Ellipsis)]:
        for arg in args:
            yield from leaves(arg, path, free)
    else:
        yield Leaf(path, hint, free)


def exchanged(value: Any, hint: Any = None) -> Any:
    """The same value with other content in all that is free; what is absent stays absent."""
    if value is None:
        return None
    if get_origin(hint) is Annotated and _is_free(hint):
        return OTHER_TEXT if get_args(hint)[0] is str else OTHER_JSON
    if isinstance(value, msgspec.Struct):
        types = {field.name: field.type for field in msgspec.structs.fields(value)}
        return msgspec.structs.replace(
            value, **{name: exchanged(getattr(value, name), kind) for name, kind in types.items()}
        )
    inner = [arg for arg in get_args(hint) if arg not in (type(None), Ellipsis)]
    if isinstance(value, tuple) and inner:
        return tuple(exchanged(one, inner[0] if get_origin(hint) is tuple else None) for one in value)
    if isinstance(value, dict) and len(inner) == 2:
        return {name: exchanged(one, inner[1]) for name, one in value.items()}
    return exchanged(value, inner[0]) if len(inner) == 1 and get_origin(hint) not in (tuple, dict) else value


def _is_free(hint: Any) -> bool:
    return any((getattr(meta, "extra_json_schema", None) or {}).get("x-free") for meta in hint.__metadata__)

"""The public calls of a class, and the properties that are told among its attributes.

Rule: in the order of the source. What a class takes over from a public base is told there, and only named here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from tests.reference.signatures import spelled


@dataclass(frozen=True)
class Call:
    """One public call of a class. `owner` is the class in sagalog that has it."""

    name: str
    call: Callable[..., Any]
    owner: type
    is_of_class: bool = False

    @property
    def doc(self) -> str:
        """Its docstring; "": none."""
        return self.call.__doc__ or ""


@dataclass(frozen=True)
class Property:
    """A value that is worked out as it is asked for."""

    name: str
    spelled_type: str
    doc: str
    owner: type[Any]


def calls_of(kind: type) -> list[Call]:
    """The public calls of a class, those of its bases first."""
    found = {}
    for name, member, owner in _members(kind):
        of_class = isinstance(member, classmethod | staticmethod)
        call = member.__func__ if isinstance(member, classmethod | staticmethod) else member
        if inspect.isfunction(call):
            found[name] = Call(name, call, owner, of_class)
    return list(found.values())


def properties_of(kind: type) -> list[Property]:
    """The public properties of a class, those of its bases first."""
    found = {}
    for name, member, owner in _members(kind):
        if isinstance(member, property):
            annotation = inspect.signature(member.fget).return_annotation if member.fget else ""
            found[name] = Property(name, _stood_for(spelled(annotation), kind), member.__doc__ or "", owner)
    return list(found.values())


def _stood_for(annotation: str, kind: type) -> str:
    """The type that a variable in the annotation of a generic base is in this class."""
    for base in getattr(kind, "__orig_bases__", ()):
        parameters = getattr(get_origin(base), "__parameters__", ())
        for variable, argument in zip(parameters, get_args(base), strict=True):
            if annotation == variable.__name__:
                return spelled(argument)
    return annotation


def _members(kind: type) -> list[tuple[str, Any, type]]:
    return [
        (name, member, base)
        for base in reversed(kind.__mro__)
        if base.__module__.startswith("sagalog")
        for name, member in vars(base).items()
        if not name.startswith("_")
    ]

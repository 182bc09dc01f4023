"""Conversion of JSON and TOML to typed values; a refusal names the path of the value that it refuses.

`msgspec` checks types, constraints and names of fields. This module adds what the messages of `msgspec` leave out: the
keys of mappings in paths, the fields that a struct knows, and words in place of regular expressions.

Rule: a refusal describes a value and never quotes it, since a payload may hold what no reader of an error should see.
This module knows no command and no rule.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import Annotated, Any, Final, TypeVar, get_args, get_origin

import msgspec
from msgspec import Meta

from sagalog import InvalidValue

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")

# The pattern of a text begins with a comment, which a refusal tells in place of the pattern.
_MEANING: Final = re.compile(r"`str` matching regex '\(\?#(.*?)\).*'")
_FIELD: Final = re.compile(r"Object (contains unknown|missing required) field `(.*)`", re.DOTALL)

# No word, variable or path of a process can hold NUL, and half of a surrogate pair cannot be written as UTF-8.
Text = Annotated[str, Meta(pattern=r"(?#text without NUL and halves of surrogate pairs)\A[^\0\ud800-\udfff]*\Z")]


def one_of(names: Iterable[str]) -> Meta:
    """Make the constraint of a text that is one of some names."""
    return Meta(pattern=rf"(?#one of {', '.join(names)})\A(?:{'|'.join(map(re.escape, names))})\Z")


class Refused(ValueError):
    """The refusal of what stands at `place` below the value that is converted, as in `.select[2]`."""

    def __init__(self, place: str, message: str) -> None:
        super().__init__(message)
        self.place = place


class Named(dict[K, V]):
    """A mapping from any names; the path of a refused value holds its name."""


class Converter:
    """A conversion to types of which some are read by functions: `readers`, by type.

    A reader takes the converter and what is given; it raises `ValueError`, or `Refused` for a part of what is given.
    """

    def __init__(self, readers: Mapping[Any, Callable[[Converter, Any], Any]] | None = None) -> None:
        self._readers = {} if readers is None else readers

    def read(self, given: Any, kind: type[T], path: str) -> T:
        """Convert a whole document, which errors call `path`.

        Raises:
            InvalidValue: `given` is no such value. Field `path`, as in `payload.words[2]`.
        """
        try:
            found: T = self.part(given, kind)
        except Refused as refused:
            place = path + refused.place
            raise InvalidValue(f"{place}: {refused}", path=place) from refused
        return found

    def part(self, given: Any, kind: Any, *, strict: bool = True) -> Any:
        """Convert a part of a document; not `strict`, a text may stand for a number.

        Raises:
            Refused: `given` is no such value.
        """
        try:
            return msgspec.convert((given,), _holder(kind), strict=strict, dec_hook=self._hook).value
        except msgspec.ValidationError as error:
            raise _refused(error, kind) from error

    def _hook(self, kind: Any, given: Any) -> Any:
        origin = get_origin(kind) or kind
        return self._named(given, *get_args(kind)) if origin is Named else self._readers[origin](self, given)

    def _named(self, given: Any, key_kind: Any, value_kind: Any) -> Named[Any, Any]:
        found: Named[Any, Any] = Named()
        for key, value in self.part(given, dict[Any, Any]).items():
            try:
                found[self.part(key, key_kind, strict=False)] = self.part(value, value_kind)
            except Refused as refused:
                raise Refused(f".{key}{refused.place}", str(refused)) from refused
        return found


@cache
def _holder(kind: Any) -> Any:
    """Make a struct of one value: `msgspec` keeps what it knows of structs, and works out any other type each time."""
    return msgspec.defstruct("Holder", [("value", kind)], array_like=True)


def _refused(error: msgspec.ValidationError, kind: Any) -> Refused:
    message, _, place = str(error).partition(" - at `$[0]")
    place = place.removesuffix("`")
    if isinstance(error.__cause__, Refused):
        return Refused(place + error.__cause__.place, str(error.__cause__))
    if field := _FIELD.fullmatch(message):
        known = ", ".join(_fields(kind, re.findall(r"\.([^.\[]+)", place)))
        fault = f"unknown; known are {known}" if field[1] == "contains unknown" else "missing, and required"
        return Refused(f"{place}.{field[2]}", fault)
    message = _MEANING.sub(r"\1", message)
    return Refused(place, message[:1].lower() + message[1:])


def _fields(kind: Any, names: list[str]) -> list[str]:
    """Give the names of the fields of the struct that a path leads to, from a type that holds one struct."""
    fields = {field.encode_name: field.type for field in msgspec.structs.fields(next(_structs(kind)))}
    return _fields(fields[names[0]], names[1:]) if names else list(fields)


def _structs(kind: Any) -> Iterator[type[msgspec.Struct]]:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        yield kind
    for part in get_args(kind):
        yield from _structs(part)

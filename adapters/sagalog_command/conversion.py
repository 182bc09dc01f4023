"""Conversion of JSON and TOML to typed values; a refusal names the path of the value that it refuses.

`msgspec` checks types, constraints and names of fields. This module adds what the messages of `msgspec` leave out: the
keys of mappings in paths, the fields that a struct knows, and words in place of regular expressions.

Rule: a refusal describes a value and never quotes it, since a payload may hold what no reader of an error should see.
This module knows no command and no rule.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from functools import cache
from typing import Annotated, Any, Final, TypeVar, get_args

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


class Refused(ValueError):
    """The refusal of a part of the value that is converted; `place` leads to the part, as in `.select[2]`."""

    def __init__(self, place: str, message: str) -> None:
        super().__init__(message)
        self.place = place


class Named(dict[K, V]):
    """A mapping from any names; the path of a refused value holds its name."""


class Converter:
    """A conversion of data to typed values.

    readers  functions that read the types that `msgspec` does not know, by type; a reader takes the converter and what
             is given, and raises `ValueError`, or `Refused` for a part of what is given
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
        """Convert a part of a document; unless `strict`, a text may spell a number.

        Raises:
            Refused: `given` is no such value.
        """
        try:
            return msgspec.convert((given,), _holder(kind), strict=strict, dec_hook=self._hook).value
        except msgspec.ValidationError as error:
            raise _refused(error, kind) from error
        except UnicodeEncodeError as error:  # of a name, by `msgspec`, which does not say where
            raise Refused("", "holds half of a surrogate pair; give whole characters") from error

    def _hook(self, kind: Any, given: Any) -> Any:
        reader = self._readers.get(kind)
        return self._named(given, *get_args(kind)) if reader is None else reader(self, given)

    def _named(self, given: Any, key_kind: Any, value_kind: Any) -> Named[Any, Any]:
        found: Named[Any, Any] = Named()
        for key, value in (given if isinstance(given, dict) else self.part(given, dict[Any, Any])).items():
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
    message, _, place = str(error).replace(" - at `key` in `$", " as a key - at `$").rpartition(" - at `$[0]")
    place = place.removesuffix("`")
    if isinstance(error.__cause__, Refused):
        return Refused(place + error.__cause__.place, str(error.__cause__))
    for name in re.findall(r"\.([^.\[]+)", place):
        kind = _fields(kind)[name]
    if field := _FIELD.fullmatch(message):
        is_missing = field[1] == "missing required"
        fault = "missing, and required" if is_missing else f"unknown; known are {', '.join(_fields(kind))}"
        return Refused(f"{place}.{field[2]}", fault)
    if message.startswith("Invalid enum value"):
        message = f"expected one of {', '.join(_choices(kind))}"
    message = _MEANING.sub(r"\1", message)
    return Refused(place, message[:1].lower() + message[1:])


def _fields(kind: Any) -> dict[str, Any]:
    """Give the types of the fields of the struct that a type holds, by name."""
    struct = next(part for part in _parts(kind) if isinstance(part, type) and issubclass(part, msgspec.Struct))
    return {field.encode_name: field.type for field in msgspec.structs.fields(struct)}


def _choices(kind: Any) -> list[str]:
    """Give the texts that the enumeration or the literal in a type allows."""
    parts = [*_parts(kind)]
    enumerations = [part for part in parts if isinstance(part, type) and issubclass(part, StrEnum)]
    return [*(each.value for part in enumerations for each in part), *(part for part in parts if isinstance(part, str))]


def _parts(kind: Any) -> Iterator[Any]:
    yield kind
    for part in get_args(kind):
        yield from _parts(part)

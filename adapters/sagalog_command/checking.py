"""Checks of a command's and a classifier's parts, each of which names the path of what it refuses.

Rule: what is refused is `InvalidValue`, described and never quoted whole, since a payload may hold what no reader
of an error should see. Knows no command and no rule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn

from sagalog import InvalidValue

_NAMES: Final = {
    str: "a text",
    bytes: "bytes",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    list: "a list",
    tuple: "a list",
    dict: "a mapping",
    type(None): "null",
}


def refuse(path: str, wanted: str, value: object) -> NoReturn:
    """Raise `InvalidValue` that says what stands at `path` and what should."""
    found = _NAMES.get(type(value), type(value).__name__)
    raise InvalidValue(f"{path} is {found}; give {wanted}", path=path)


def text(value: object, path: str) -> str:
    """Give a text without NUL, which no word, variable or path of a process can hold."""
    if not isinstance(value, str):
        refuse(path, "a text", value)
    if "\0" in value:
        raise InvalidValue(f"{path} holds a NUL character; leave it out", path=path)
    return whole_characters(value, path)


def whole_characters(value: str, path: str) -> str:
    """Give a text that can be written as UTF-8."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidValue(f"{path} holds half of a surrogate pair; give whole characters", path=path) from None
    return value


def texts(value: object, path: str) -> tuple[str, ...]:
    """Give a list of texts as a tuple."""
    if isinstance(value, str | bytes) or not isinstance(value, Sequence):
        refuse(path, "a list of texts", value)
    return tuple(text(item, f"{path}[{number}]") for number, item in enumerate(value))


def items(value: object, path: str) -> list[Any]:
    """Give a list of anything."""
    if not isinstance(value, list | tuple):
        refuse(path, "a list", value)
    return list(value)


def variable(value: object, path: str) -> str:
    """Give the name of an environment variable."""
    name = text(value, path)
    if not name or "=" in name:
        raise InvalidValue(f"{path} is no name of a variable; give one without `=`", path=path)
    return name


def mapping(value: object, path: str) -> Mapping[str, Any]:
    """Give a mapping whose keys are texts."""
    if not isinstance(value, Mapping):
        refuse(path, "a mapping", value)
    for key in value:
        text(key, f"a key of {path}")
    return value


def known(value: Mapping[str, Any], names: Sequence[str], path: str) -> None:
    """Refuse a key that means nothing: a misspelt one would be passed over in silence."""
    for key in value:
        if key not in names:
            raise InvalidValue(f"{path}.{key} means nothing; known are {', '.join(names)}", path=f"{path}.{key}")


def whole(value: object, path: str, minimum: int, maximum: int) -> int:
    """Give a whole number within bounds."""
    if type(value) is not int:
        refuse(path, "a whole number", value)
    if not minimum <= value <= maximum:
        raise InvalidValue(f"{path} is {value:,}; give {minimum:,} to {maximum:,}", path=path)
    return value

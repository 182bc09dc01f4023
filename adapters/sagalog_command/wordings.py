"""What programs say, by what they mean: families of regular expressions, picked by name.

Rule: a family is data. Those of `classifiers/wordings.toml` are there for every classifier, and one of the same name in
a classifier goes before. Knows no rule and no process.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any, Final

from sagalog import InvalidValue
from sagalog_command import checking

Patterns = tuple[re.Pattern[str], ...]

FLAGS: Final = re.IGNORECASE | re.MULTILINE


@cache
def shipped() -> Mapping[str, Patterns]:
    """Give the families that come with the package."""
    data = resources.files("sagalog_command").joinpath("classifiers", "wordings.toml").read_text(encoding="utf-8")
    return load_families(tomllib.loads(data), "wordings")


def load_families(given: Any, path: str) -> dict[str, Patterns]:
    """Read families from a mapping of names to lists of regular expressions.

    Raises:
        InvalidValue: field `path`, as in `classifier.wordings.quota[2]`.
    """
    return {name: patterns(each, f"{path}.{name}") for name, each in checking.mapping(given, path).items()}


def patterns(given: Any, path: str) -> Patterns:
    """Read one regular expression, or a list of them of which any may be found."""
    if isinstance(given, str):
        return (_pattern(given, path),)
    found = tuple(_pattern(each, f"{path}[{number}]") for number, each in enumerate(checking.texts(given, path)))
    if not found:
        raise InvalidValue(f"{path} is empty; give at least one regular expression", path=path)
    return found


def pick(given: Any, families: Mapping[str, Patterns], path: str) -> Patterns:
    """Give the expressions of one family, or of a list of them, by their names."""
    names = (checking.text(given, path),) if isinstance(given, str) else checking.texts(given, path)
    for number, name in enumerate(names):
        if name not in families:
            place = path if isinstance(given, str) else f"{path}[{number}]"
            raise InvalidValue(f"{place} names no family of wordings; known are {', '.join(families)}", path=place)
    if not names:
        raise InvalidValue(f"{path} is empty; name at least one family of wordings", path=path)
    return tuple(each for name in names for each in families[name])


def _pattern(given: Any, path: str) -> re.Pattern[str]:
    try:
        return re.compile(checking.text(given, path), FLAGS)
    except re.error as error:
        raise InvalidValue(f"{path} is no regular expression: {error}", path=path) from error

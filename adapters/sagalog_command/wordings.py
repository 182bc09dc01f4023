"""Wordings: what programs say, in families of regular expressions by what they mean.

Rule: a family is data. The families of `classifiers/wordings.toml` are there for every classifier, and one of the same
name in a classifier goes before. This module knows no rule and no process.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Annotated, Any, Final

from msgspec import Meta

from sagalog_command.conversion import Converter, Named, Refused

FLAGS: Final = re.IGNORECASE | re.MULTILINE


class Patterns(tuple[re.Pattern[str], ...]):
    """Regular expressions, of which any may be found: given as one, or as a list of them."""


class FamilyPatterns(Patterns):
    """The regular expressions of families: given as the name of one, or as a list of names."""


@cache
def builtin_families() -> Mapping[str, Patterns]:
    """Give the families that come with the package."""
    data = resources.files("sagalog_command").joinpath("classifiers", "wordings.toml").read_text(encoding="utf-8")
    return Converter(READERS).read(tomllib.loads(data), Named[str, Patterns], "wordings")


def read_family_patterns(converter: Converter, given: Any, families: Mapping[str, Patterns]) -> FamilyPatterns:
    """Read the name of a family, or a list of names.

    Raises:
        Refused: a name is that of no family.
    """
    names = _listed(converter, given, str)
    for number, name in enumerate(names):
        if name not in families:
            place = "" if isinstance(given, str) else f"[{number}]"
            raise Refused(place, f"names no family of wordings; known are {', '.join(families)}")
    return FamilyPatterns(each for name in names for each in families[name])


def _read_patterns(converter: Converter, given: Any) -> Patterns:
    return Patterns(_listed(converter, given, re.Pattern[str]))


def _read_pattern(_: Converter, given: Any) -> re.Pattern[str]:
    if not isinstance(given, str):
        raise ValueError("expected a regular expression")
    try:
        return re.compile(given, FLAGS)
    except re.error as error:
        raise ValueError(f"is no regular expression: {error}") from error


def _listed(converter: Converter, given: Any, kind: Any) -> tuple[Any, ...]:
    """Give one item, or the items of a list that is not empty."""
    if isinstance(given, str):
        return (converter.part(given, kind),)
    items: tuple[Any, ...] = converter.part(given, Annotated[tuple[kind, ...], Meta(min_length=1)])
    return items


READERS: Final = {Patterns: _read_patterns, re.Pattern[str]: _read_pattern}

"""Values for tests of validation: JSON drawn by hypothesis, and what Python calls alike and the log would not."""

from __future__ import annotations

import dataclasses
import enum
import math
from collections import namedtuple
from typing import Any, Final

import msgspec
from hypothesis import strategies as st

SURROGATE: Final = "\ud800"
INTEGERS = st.integers(-(2**63), 2**63 - 1)
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | INTEGERS | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXTS, inner, max_size=5),
    max_leaves=30,
)


# What Python calls alike and the log would not: everything that may come near a payload.
ANY_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**65), 2**65)
    | st.floats()
    | st.text(st.characters())
    | st.binary()
    | st.dates()
    | st.decimals(),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text() | st.integers() | st.none(), inner, max_size=5)
    ),
    max_leaves=20,
)


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 1


class Queue(enum.StrEnum):
    AGENTS = "agents"


class Text(str):
    __slots__ = ()


class Number(int):
    pass


class Share(float):
    pass


class Items(list):  # type: ignore[type-arg]
    pass


@dataclasses.dataclass
class Point:
    x: int = 0


class Struct(msgspec.Struct):
    x: int = 0


class Hostile:
    def __repr__(self) -> str:
        raise RuntimeError


class Loud:
    def __repr__(self) -> str:
        return "one\ntwo\x1b[31m\u202e" + SURROGATE


Pair = namedtuple("Pair", "left right")


def same(left: Any, right: Any) -> bool:
    """Equal in content, types, signs of zero and order of keys."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, float):
        return left == right and math.copysign(1, left) == math.copysign(1, right)
    return bool(left == right)


def nested(depth: int, *, inside: object = 0) -> object:
    """`depth` lists and dicts by turns around a value."""
    for level in range(depth):
        inside = {"a": inside} if level % 2 else [inside]
    return inside

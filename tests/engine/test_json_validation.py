"""JSON that a caller gives is stored unchanged, or refused by its path before any state is read."""

from __future__ import annotations

import contextlib
import datetime
import decimal
import math
import pathlib
import tracemalloc
import uuid
from collections import OrderedDict, defaultdict
from types import MappingProxyType
from typing import Final

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sagalog.errors import InvalidValue, Rejected
from sagalog.kernel.bounds import NESTING_MAX, PAYLOAD_BYTES_MAX
from sagalog.validation.json_values import check_json
from tests.engine.odd_values import (
    ANY_VALUES,
    JSON_VALUES,
    SURROGATE,
    Colour,
    Hostile,
    Items,
    Level,
    Number,
    Pair,
    Point,
    Queue,
    Share,
    Struct,
    Text,
    nested,
    same,
)


def refusal(value: object, bytes_max: int = PAYLOAD_BYTES_MAX) -> InvalidValue:
    with pytest.raises(InvalidValue) as caught:
        check_json(value, "payload", bytes_max)
    return caught.value


# --- JSON: what is accepted ---------------------------------------------------------------------------------


@settings(deadline=None)
@given(JSON_VALUES)
def test_accepted_json_comes_back_from_its_encoding_unchanged(value: object) -> None:
    check_json(value, "payload")

    assert same(value, msgspec.json.decode(msgspec.json.encode(value)))


@settings(deadline=None)
@given(ANY_VALUES)
def test_of_all_values_only_those_are_accepted_that_come_back_unchanged(value: object) -> None:
    with contextlib.suppress(InvalidValue):
        check_json(value, "payload")
        assert same(value, msgspec.json.decode(msgspec.json.encode(value)))


@settings(deadline=None)
@given(JSON_VALUES, st.integers(4, 200))
def test_a_value_is_refused_for_its_size_exactly_if_its_encoding_is_longer(value: object, bytes_max: int) -> None:
    size = len(msgspec.json.encode(value))

    if size <= bytes_max:
        check_json(value, "payload", bytes_max)
    else:
        assert "bytes as JSON" in refusal(value, bytes_max).message


@pytest.mark.parametrize(
    "value",
    [
        None,
        -(2**63),
        2**63 - 1,
        -0.0,
        5e-324,
        1.7976931348623157e308,
        "",
        "\\u0000",
        "\\\\u0000",
        {"\\u0000": ["\\u0000"]},
        "\x01\x1f\x7f\u2028\ufffd\U0010ffff",
        [],
        {},
        {"": None},
    ],
)
def test_values_at_the_edge_are_accepted(value: object) -> None:
    check_json(value, "payload")

    assert same(value, msgspec.json.decode(msgspec.json.encode(value)))


@pytest.mark.parametrize("depth", [NESTING_MAX - 1, NESTING_MAX])
def test_nesting_up_to_the_bound_is_accepted(depth: int) -> None:
    check_json(nested(depth), "payload")
    check_json(nested(depth - 1, inside=[]), "payload")


@pytest.mark.parametrize("size", [PAYLOAD_BYTES_MAX - 1, PAYLOAD_BYTES_MAX])
@pytest.mark.parametrize("character", ["a", "é", "\n", "😀"])
def test_sizes_up_to_the_bound_are_accepted(size: int, character: str) -> None:
    value = text_of_size(size, character)

    assert len(msgspec.json.encode(value)) == size
    check_json(value, "payload")


def text_of_size(size: int, character: str) -> str:
    """A text whose JSON takes `size` bytes: as many of the character as fit, and some `a` to fill up."""
    count, rest = divmod(size - 2, len(msgspec.json.encode(character)) - 2)
    return character * count + "a" * rest


def test_nothing_is_changed_by_the_check() -> None:
    value = {"b": [1, {"a": 2}], "a": None}

    check_json(value, "payload")

    assert value == {"b": [1, {"a": 2}], "a": None}
    assert list(value) == ["b", "a"]


# --- JSON: what is refused ----------------------------------------------------------------------------------


FOREIGN: Final[list[tuple[object, str, str]]] = [
    ((1, 2), "tuple", "a list"),
    (Pair(1, 2), "Pair", "a list"),
    ({1}, "set", "a list"),
    (frozenset({1}), "frozenset", "a list"),
    (b"x", "bytes", "base64"),
    (bytearray(b"x"), "bytearray", "base64"),
    (memoryview(b"x"), "memoryview", "base64"),
    (Colour.RED, "Colour", ".value"),
    (Level.HIGH, "Level", ".value"),
    (Queue.AGENTS, "Queue", ".value"),
    (Text("x"), "Text", "exactly str"),
    (Number(1), "Number", "exactly int"),
    (Share(1.0), "Share", "exactly float"),
    (Items(), "Items", "exactly list"),
    (OrderedDict(a=1), "OrderedDict", "exactly dict"),
    (defaultdict(int), "defaultdict", "exactly dict"),
    (MappingProxyType({}), "mappingproxy", "a dict"),
    (Point(), "Point", "dataclasses.asdict"),
    (Struct(), "Struct", "msgspec.to_builtins"),
    (datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), "datetime", ".isoformat()"),
    (datetime.date(2026, 1, 1), "date", "milliseconds since 1970"),
    (datetime.time(12), "time", ".isoformat()"),
    (datetime.timedelta(1), "timedelta", "milliseconds"),
    (decimal.Decimal(1), "Decimal", "str of it"),
    (uuid.UUID(int=0), "UUID", "str of it"),
    (pathlib.Path("x"), "PosixPath", "str of it"),
    (1j, "complex", "give None, bool, int, float, str, list or dict"),
    (object(), "object", "give None, bool, int, float, str, list or dict"),
    (Hostile(), "Hostile", "give None, bool, int, float, str, list or dict"),
]


@pytest.mark.parametrize(("value", "found", "instead"), FOREIGN, ids=[found for _, found, _ in FOREIGN])
def test_a_foreign_type_is_refused_with_its_path_name_and_substitute(value: object, found: str, instead: str) -> None:
    """The substitute is what the caller should give instead."""
    refused = refusal({"items": [0, {"name": value}]})

    assert refused.path == "payload.items[1].name"
    assert refused.message.startswith(f"payload.items[1].name is of type {found}; give ")
    assert instead in refused.message


UNSTORABLE: Final[list[tuple[object, str]]] = [
    (math.nan, "is nan,"),
    (math.inf, "is inf,"),
    (-math.inf, "is -inf,"),
    (2**63, "an int of 64 bits"),
    (-(2**63) - 1, "an int of 64 bits"),
    (10**5000, "an int of 16610 bits"),
    ("ab\0", "a NUL character at index 2"),
    ("a" + SURROGATE, "lone surrogate 0xd800 at index 1"),
    ("\udfff é", "lone surrogate 0xdfff at index 0"),
]


@pytest.mark.parametrize(("value", "found"), UNSTORABLE, ids=[found for _, found in UNSTORABLE])
def test_a_value_that_some_store_would_change_is_refused_with_its_path(value: object, found: str) -> None:
    assert refusal(value).path == "payload"
    assert refusal(["x", value]).path == "payload[1]"

    refused = refusal({"first": 1, "items": [{"name": "x"}, {"name": value}], "last": math.nan})

    assert refused.path == "payload.items[1].name"
    assert refused.message.startswith("payload.items[1].name ")
    assert found in refused.message


@pytest.mark.parametrize(
    ("key", "found"),
    [(1, "1 (int)"), (None, "None (NoneType)"), (("a",), "('a',) (tuple)"), (Queue.AGENTS, "(Queue)")],
)
def test_a_key_that_is_no_str_is_refused_with_the_path_of_its_dict(key: object, found: str) -> None:
    refused = refusal({"items": [{"fine": 1, key: 2}]})

    assert refused.path == "payload.items[0]"
    assert refused.message.startswith("payload.items[0] has the key ")
    assert found in refused.message


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("a\0", 'payload.in["a\\u0000"]'),
        (SURROGATE, 'payload.in["\\ud800"]'),
        ("é" + SURROGATE, 'payload.in["\\u00e9\\ud800"]'),
    ],
)
def test_a_key_that_no_store_could_keep_has_a_printable_path(key: str, path: str) -> None:
    refused = refusal({"in": {key: 1}})

    assert path == refused.path
    assert refused.message.startswith(f"{path} has a key that contains ")
    assert refused.message.isprintable()


@pytest.mark.parametrize(
    ("key", "step"),
    [
        ("name", ".name"),
        ("größe", ".größe"),
        ("odd key", '["odd key"]'),
        ("", '[""]'),
        ("0", '["0"]'),
        ("it's «é»", '["it\'s «é»"]'),
        ('say "x"', '["say \\"x\\""]'),
        ("a\nb", '["a\\nb"]'),
        ("k" * 81, '["' + "k" * 79 + '…"]'),
    ],
)
def test_a_key_is_spelled_in_a_path_as_one_would_write_it(key: str, step: str) -> None:
    assert f"payload{step}[0]" == refusal({key: [math.nan]}).path


def test_one_list_or_dict_too_deep_is_refused_where_it_begins() -> None:
    refused = refusal(nested(NESTING_MAX + 1))

    assert "payload" + path_of_nested(NESTING_MAX + 1) == refused.path
    assert f"inside {NESTING_MAX} lists and dicts" in refused.message


def path_of_nested(depth: int) -> str:
    return "".join(".a" if level % 2 else "[0]" for level in reversed(range(1, depth)))


@pytest.mark.parametrize("kind", ["list", "dict"])
def test_a_hundred_thousand_levels_do_not_exhaust_the_stack(kind: str) -> None:
    """They are refused."""
    value: object = 0
    for _ in range(100_000):
        value = [value] if kind == "list" else {"a": value}

    step = "[0]" if kind == "list" else ".a"
    assert "payload" + step * NESTING_MAX == refusal(value).path
    while value:  # taken apart by hand: Python's own way down may be as deep
        value = (value if isinstance(value, list) else list(value.values())).pop()  # type: ignore[attr-defined]


def test_cycles_end_at_the_bound_of_nesting() -> None:
    ring: dict[str, object] = {}
    ring["self"] = ring
    tree: list[object] = []
    tree.extend([tree, tree])

    assert refusal(ring).path == "payload" + ".self" * NESTING_MAX
    assert refusal(tree).path == "payload" + "[0]" * NESTING_MAX


@pytest.mark.parametrize("character", ["a", "é", "\n", "😀"])
def test_one_byte_over_the_bound_is_refused_with_the_size_and_the_bound(character: str) -> None:
    refused = refusal({"text": [text_of_size(PAYLOAD_BYTES_MAX + 1 - len('{"text":[]}'), character)]})

    assert refused.path == "payload"
    assert f"takes {PAYLOAD_BYTES_MAX + 1:,} bytes as JSON" in refused.message
    assert f"at most {PAYLOAD_BYTES_MAX:,} are kept" in refused.message


def test_a_size_that_is_known_is_named() -> None:
    assert "payload takes 5 bytes as JSON, and at most 4 are kept" in refusal([123], bytes_max=4).message


def test_a_small_value_that_unfolds_beyond_memory_is_refused_at_once() -> None:
    once: list[object] = ["a"]
    for _ in range(NESTING_MAX - 1):
        once = [once] * 10
    long = "a" * 1_000_000
    values: list[object] = [once, [long] * 60, [{long: 1}] * 60, [[long] * 30, [long] * 30], [[]] * 20_000_000]

    for value in values:
        tracemalloc.start()
        refused = refusal(value)
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert refused.path == "payload"
        assert f"more than {PAYLOAD_BYTES_MAX:,} bytes" in refused.message
        assert peak_bytes < 12 * PAYLOAD_BYTES_MAX


def test_a_refusal_of_a_payload_quotes_no_value() -> None:
    assert "secret" not in refusal({"a": (Text("secret"), b"secret")}).message
    assert "secret" not in refusal({"a": "secret\0"}).message


def test_a_refused_value_is_a_request_to_change() -> None:
    assert isinstance(refusal(math.nan), Rejected)

"""Whatever a caller gives is stored unchanged or refused by name, before any state is read."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import decimal
import enum
import math
import pathlib
import subprocess
import sys
import tracemalloc
import uuid
from collections import OrderedDict, defaultdict, namedtuple
from types import MappingProxyType
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sagalog.errors import InvalidValue, Rejected
from sagalog.kernel.bounds import (
    ID_CHARACTERS_MAX,
    NAME_CHARACTERS_MAX,
    NESTING_MAX,
    PAYLOAD_BYTES_MAX,
    TAGS_MAX,
    TIME_MS_MAX,
)
from sagalog.validation import values as door
from sagalog.validation.identities import compensation_id
from sagalog.validation.json_values import canonical, check_json
from sagalog.validation.values import (
    check_id,
    check_integer,
    check_milliseconds,
    check_name,
    check_tags,
    check_text,
    cut_text,
)

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


def refusal(value: object, bytes_max: int = PAYLOAD_BYTES_MAX) -> InvalidValue:
    with pytest.raises(InvalidValue) as caught:
        check_json(value, "payload", bytes_max)
    return caught.value


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
    assert "takes 1,048,577 bytes as JSON" in refused.message
    assert "at most 1,048,576 are kept" in refused.message


def test_a_size_that_is_known_is_named() -> None:
    assert "payload takes 5 bytes as JSON, and at most 4 are kept" in refusal([123], bytes_max=4).message


def test_a_small_value_that_unfolds_beyond_memory_is_refused_at_once() -> None:
    once: list[object] = ["a"]
    for _ in range(NESTING_MAX - 1):
        once = [once] * 10
    long = "a" * 1_000_000
    values: list[object] = [once, [long] * 60, [{long: 1}] * 60, [[long] * 30, [long] * 30], [[]] * 2_000_000]

    for value in values:
        tracemalloc.start()
        refused = refusal(value)
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert refused.path == "payload"
        assert "more than 1,048,576 bytes" in refused.message
        assert peak_bytes < 30_000_000


def test_a_refusal_of_a_payload_quotes_no_value() -> None:
    assert "secret" not in refusal({"a": (Text("secret"), b"secret")}).message
    assert "secret" not in refusal({"a": "secret\0"}).message


def test_a_refused_value_is_a_request_to_change() -> None:
    assert isinstance(refusal(math.nan), Rejected)


# --- Arguments ----------------------------------------------------------------------------------------------

NOT_TEXT: Final = [None, 1, b"x", ["x"], Text("x"), Queue.AGENTS]
NOT_ALLOWED: Final = [
    *("", "a\nb", "a\0", SURROGATE, "\udfff", "\t", "\x1f", "\x7f", "\x80", "\x9f", "\u2028", "\u2029"),
    *("\ufdd0", "\ufdef", "\ufffe", "\uffff", "\U0001fffe", "\U0001ffff", "\U0010fffe", "\U0010ffff"),
]
# Neighbours of those, and what some version of Python calls unprintable: unassigned, private, formats, odd blanks.
ALLOWED: Final = [
    *(" ", "~", "\xa0", "\u2027", "\u202a", "\ud7ff", "\ue000", "\ufdcf", "\ufdf0", "\ufffd", "\U0001fffd"),
    *("\U00010000", "\u200b", "\u202e", "\u3000", "\U0001fae8", "\u0378", "\U0010fffd"),
]


@pytest.mark.parametrize("check", [check_name, check_id])
@pytest.mark.parametrize("value", [*NOT_TEXT, *NOT_ALLOWED, "a" * 201])
def test_a_name_or_id_of_another_form_is_refused(check: Any, value: object) -> None:
    with pytest.raises(InvalidValue, match="expected a str of 1 to 200 characters, none of them a control, ") as caught:
        check(value, "queue")

    assert caught.value.path == "queue"
    assert caught.value.message.isprintable()


def test_a_name_is_judged_by_a_fixed_list_and_not_by_pythons_tables() -> None:
    """[NAME-1] Else a name that a newer Python has stored is refused by an older one."""
    for character in ALLOWED:
        assert check_name(f"a{character}", "queue") == f"a{character}"
        assert check_tags({"a": character}) == {"a": character}
    refused = [chr(code) for code in range(0x110000) if not door._is_allowed(chr(code), 1, 1)]
    assert len(refused) == 32 + 33 + 2 + 2048 + 32 + 34


@pytest.mark.parametrize(("check", "maximum"), [(check_name, NAME_CHARACTERS_MAX), (check_id, ID_CHARACTERS_MAX)])
def test_a_name_or_id_within_its_bound_is_returned_as_it_is(check: Any, maximum: int) -> None:
    for value in ("a", "two words", "größe/ü:1", "a" * (maximum - 1), "a" * maximum):
        assert value == check(value, "queue")


@pytest.mark.parametrize(
    "value", [True, False, 1.0, "1", None, Level.HIGH, 0, 11, pytest.param(10**5000, id="5,000 digits")]
)
def test_an_integer_outside_its_range_or_of_another_type_is_refused(value: object) -> None:
    with pytest.raises(InvalidValue, match="limit: expected an int from 1 to 10, found ") as caught:
        check_integer(value, "limit", 1, 10)

    assert caught.value.path == "limit"


def test_an_integer_at_either_end_of_its_range_is_returned() -> None:
    assert (check_integer(1, "limit", 1, 10), check_integer(10, "limit", 1, 10)) == (1, 10)


@pytest.mark.parametrize("value", [-1, TIME_MS_MAX + 1, 1.5, True, None, datetime.timedelta(1)])
def test_milliseconds_outside_their_range_or_of_another_type_are_refused(value: object) -> None:
    with pytest.raises(InvalidValue, match="ttl_ms: expected whole milliseconds") as caught:
        check_milliseconds(value, "ttl_ms")

    assert caught.value.path == "ttl_ms"


def test_milliseconds_at_either_end_of_their_range_are_returned() -> None:
    assert (check_milliseconds(0, "ttl_ms"), check_milliseconds(TIME_MS_MAX, "ttl_ms")) == (0, TIME_MS_MAX)


@pytest.mark.parametrize("value", NOT_TEXT)
def test_a_text_of_another_type_is_refused(value: object) -> None:
    with pytest.raises(InvalidValue, match="reason: expected text") as caught:
        check_text(value, "reason", 10)

    assert caught.value.path == "reason"


@pytest.mark.parametrize(("value", "found"), [("a\0b", "NUL"), ("é" + SURROGATE, "surrogate")])
def test_a_text_that_no_store_could_keep_is_refused(value: str, found: str) -> None:
    with pytest.raises(InvalidValue, match=found) as caught:
        check_text(value, "reason", 10)

    assert caught.value.path == "reason"


@settings(deadline=None)
@given(TEXTS, st.integers(1, 20))
def test_a_text_is_kept_whole_within_its_bound_and_cut_with_a_mark_beyond(text: str, maximum: int) -> None:
    kept = check_text(text, "reason", maximum)

    assert len(kept) <= maximum
    if len(text) <= maximum:
        assert text == kept
    else:
        assert text[: maximum - 1] + "…" == kept == cut_text(text, maximum)


def test_a_text_keeps_its_line_breaks() -> None:
    assert check_text("one\n\ttwo\r\n", "reason", 100) == "one\n\ttwo\r\n"


def test_tags_are_returned_as_a_new_dict_sorted_by_name() -> None:
    given_tags = {"repository": "a/b", "branch": "", "author": "ü"}

    tags = check_tags(given_tags)

    assert list(tags.items()) == [("author", "ü"), ("branch", ""), ("repository", "a/b")]
    assert tags is not given_tags
    assert tags == check_tags(MappingProxyType(given_tags))
    assert type(check_tags(MappingProxyType(given_tags))) is dict


def test_tags_up_to_their_bound_are_accepted_and_one_more_is_refused() -> None:
    for count in (0, TAGS_MAX - 1, TAGS_MAX):
        assert count == len(check_tags({str(number): "x" for number in range(count)}))
    with pytest.raises(InvalidValue, match="expected at most 32, found 33"):
        check_tags({str(number): "x" for number in range(TAGS_MAX + 1)})


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (None, "tags"),
        ([("a", "b")], "tags"),
        ("ab", "tags"),
        ({1: "x", "a": "x"}, "tags"),
        ({"": "x"}, "tags"),
        ({"a" * 201: "x"}, "tags"),
        ({Queue.AGENTS: "x"}, "tags"),
        ({"fine": "x", "odd name": 1}, 'tags["odd name"]'),
        ({"name": "a\nb"}, "tags.name"),
        ({"name": "a\0"}, "tags.name"),
        ({"name": "a" * 201}, "tags.name"),
        ({"name": None}, "tags.name"),
    ],
)
def test_tags_of_another_form_are_refused_with_the_tag(value: object, path: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        check_tags(value)

    assert path == caught.value.path
    assert caught.value.message.startswith(f"{path}: expected ")


@pytest.mark.parametrize(
    "value",
    [
        Hostile(),
        [Hostile()],
        Loud(),
        pytest.param([10**5000], id="5,000 digits in a list"),
        "\n" * 1000,
        b"\0" * 1000,
        ["x" * 1000] * 1000,
        SURROGATE,
        nested(500),
        pytest.param(10**5000, id="5,000 digits"),
    ],
)
def test_what_was_found_is_shown_in_one_short_printable_line(value: object) -> None:
    with pytest.raises(InvalidValue) as caught:
        check_integer(value, "limit", 0, 1)

    message: str = caught.value.message
    assert message.isprintable()
    shown = message.removeprefix("limit: expected an int from 0 to 1, found ").rpartition(" (")[0]
    assert 0 < len(shown) <= 80


def test_an_integer_too_long_to_be_spelled_is_shown_by_its_length() -> None:
    with pytest.raises(InvalidValue, match=r"found an int of 16,610 bits \(int\)$"):
        check_integer(10**5000, "limit", 0, 1)


# --- Comparing ----------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(JSON_VALUES)
def test_the_canonical_form_does_not_depend_on_the_order_of_keys(value: object) -> None:
    assert canonical(value) == canonical(reversed_keys(value))
    assert msgspec.json.decode(canonical(value)) == value


def reversed_keys(value: object) -> object:
    if isinstance(value, dict):
        return {key: reversed_keys(value[key]) for key in reversed(value)}
    if isinstance(value, list):
        return [reversed_keys(item) for item in value]
    return value


@settings(deadline=None)
@given(JSON_VALUES, JSON_VALUES)
def test_two_values_share_a_canonical_form_exactly_if_they_are_the_same(left: object, right: object) -> None:
    assert (canonical(left) == canonical(right)) == same(sorted_keys(left), sorted_keys(right))


def sorted_keys(value: object) -> object:
    if isinstance(value, dict):
        return {key: sorted_keys(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [sorted_keys(item) for item in value]
    return value


def test_what_python_calls_equal_differs_in_canonical_form() -> None:
    forms = {canonical(value) for value in ([1], [1.0], [True], ["1"], [0], [0.0], [-0.0], [False], [None])}

    assert len(forms) == 9


def test_the_canonical_form_is_pinned() -> None:
    """Ids derived from it stand in logs, so it may never change."""
    value = {"b": [1, 2.5, None, True], "\uffff": "é\n/", "😀": {}, "B": -0.0}

    assert '{"B":-0.0,"b":[1,2.5,null,true],"\uffff":"é\\n/","😀":{}}'.encode() == canonical(value)


def test_the_id_of_a_compensation_is_pinned_and_the_same_in_every_process() -> None:
    """A later attempt, perhaps of a later version, must find the same undo on record. [REPEAT-3]"""
    expected = "remove-worktree:1ef6ac403fcbb6992c7de5c9c4e8ea2e"
    program = (
        "from sagalog.validation.identities import compensation_id\n"
        "print(compensation_id('remove-worktree', {'force': True, 'path': 'wt/168'}))"
    )

    ran = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(pathlib.Path(door.__file__).parents[1]), "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert expected == compensation_id("remove-worktree", {"path": "wt/168", "force": True})
    assert expected == ran.stdout.strip()


def test_compensations_that_differ_in_kind_or_params_have_different_ids() -> None:
    long = "k" * NAME_CHARACTERS_MAX
    asked: list[tuple[str, object]] = [
        ("a", None),
        ("a", 1),
        ("a", 1.0),
        ("a", {}),
        ("b", None),
        (long, None),
        (long[:-1] + "l", None),
    ]

    assert len(asked) == len({compensation_id(kind, params) for kind, params in asked})


@pytest.mark.parametrize("length", [1, 167, 168, 200])
def test_the_id_of_a_compensation_is_always_a_name_that_shows_its_kind(length: int) -> None:
    kind = "k" * length

    given_id = check_name(compensation_id(kind, {"a": 1}), "id")

    assert cut_text(kind, 167) == given_id.rpartition(":")[0]

"""Names, numbers, texts and tags that a caller gives are stored unchanged, or refused by name."""

from __future__ import annotations

import datetime
from types import MappingProxyType
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sagalog.errors import InvalidValue
from sagalog.kernel.bounds import ID_CHARACTERS_MAX, NAME_CHARACTERS_MAX, TAGS_MAX, TIME_MS_MAX
from sagalog.validation import values as door
from sagalog.validation.values import (
    check_id,
    check_integer,
    check_milliseconds,
    check_name,
    check_tags,
    check_text,
    cut_text,
)
from tests.engine.odd_values import SURROGATE, TEXTS, Hostile, Level, Loud, Queue, Text, nested

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
    # What a name may hold is of no help where it holds nothing.
    more = "found '' " if value == "" else "none of them a control, "
    with pytest.raises(InvalidValue, match=f"expected a str of 1 to 200 characters, {more}") as caught:
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

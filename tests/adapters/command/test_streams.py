"""Streams that run by: what is kept, what is cut, and which secrets no reader sees."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagalog_command.frames import LINE_BYTES_MAX, FrameReader
from sagalog_command.output import Excerpt
from sagalog_command.redactor import Redactor


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """Cut a stream into chunks."""
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[begin:end] for begin, end in itertools.pairwise(edges)] or [b""]


def cleaned(values: Mapping[str, str], chunks: list[bytes]) -> bytes:
    redactor = Redactor(values)
    return b"".join([*(redactor.feed(chunk) for chunk in chunks), redactor.end()])


# --- secrets ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", range(1, 12))
def test_a_secret_is_found_wherever_the_stream_is_cut(place: int) -> None:
    assert b"a [secret KEY] b" == cleaned({"KEY": "s3cr3t-1"}, cut(b"a s3cr3t-1 b", [place]))


def test_a_secret_that_comes_byte_by_byte_is_found() -> None:
    assert b"[secret KEY][secret KEY]" == cleaned({"KEY": "abcab"}, [bytes([byte]) for byte in b"abcababcab"])


def test_the_longer_of_two_secrets_that_begin_alike_is_taken_out_whole() -> None:
    for place in range(1, 12):
        assert b"x[secret LONG]x[secret SHORT]" == cleaned(
            {"SHORT": "abc", "LONG": "abcdef"}, cut(b"xabcdefxabc", [place])
        )


def test_a_secret_is_found_as_it_stands_inside_a_text_of_json() -> None:
    value = 'p/"ä\n\\'
    line = json.dumps({"key": value}).encode()
    other = json.dumps({"key": value}, ensure_ascii=False).replace("/", "\\/").encode()

    assert {"key": "[secret KEY]"} == json.loads(cleaned({"KEY": value}, [line]))
    assert {"key": "[secret KEY]"} == json.loads(cleaned({"KEY": value}, [other]))


def test_no_more_is_held_back_than_could_be_the_beginning_of_a_secret() -> None:
    redactor = Redactor({"KEY": "abcdef"})

    assert b"a line " == redactor.feed(b"a line abc")
    assert b"abcx\n" == redactor.feed(b"x\n")


def test_what_only_begins_like_a_secret_comes_through_at_the_end() -> None:
    assert b"abcde abcd" == cleaned({"KEY": "abcdef"}, [b"abcde ", b"abcd"])


def test_a_stream_without_secrets_comes_through_at_once() -> None:
    assert b"abc" == Redactor({}).feed(b"abc")


@given(
    data=st.lists(st.sampled_from([b"ab", b"abab", b"a", b"ba", b"c", b"abc"]), max_size=20).map(b"".join),
    places=st.lists(st.integers(0, 80), max_size=8),
)
def test_a_stream_is_cleaned_alike_however_it_is_cut(data: bytes, places: list[int]) -> None:
    values = {"ONE": "abab", "TWO": "abc"}

    found = cleaned(values, cut(data, places))

    assert cleaned(values, [data]) == found
    assert not any(value.encode() in found for value in values.values())


# --- what is kept ----------------------------------------------------------------------------------------------


def kept(bytes_max: int, *chunks: bytes) -> Excerpt:
    stream = Excerpt(bytes_max)
    for chunk in chunks:
        stream.feed(chunk)
    return stream


def test_what_fits_is_kept_whole() -> None:
    assert b"abcdefghij" == kept(10, b"abcd", b"efg", b"hij").read()
    assert not kept(10, b"abcdefghij").is_cut


def test_head_and_tail_are_kept_of_what_does_not_fit() -> None:
    """A line between them counts the bytes that were left out."""
    stream = kept(10, b"abcdefgh", b"0" * 100, b"qrstuvwxyz")

    assert b"abcde\n[... 108 bytes left out ...]\nvwxyz" == stream.read()
    assert (True, 118) == (stream.is_cut, stream.bytes_seen)


def test_nothing_can_be_kept_too() -> None:
    assert b"\n[... 3 bytes left out ...]\n" == kept(0, b"abc").read()
    assert b"a\n[... 2 bytes left out ...]\n" == kept(1, b"abc").read()


def test_no_character_is_cut_in_two() -> None:
    stream = kept(7, "ääää".encode(), "öööö".encode())

    assert "ää\n[... 10 bytes left out ...]\nö" == stream.read().decode()


@given(
    data=st.binary(max_size=200),
    places=st.lists(st.integers(0, 200), max_size=5),
    bytes_max=st.integers(0, 60),
)
def test_what_is_kept_does_not_depend_on_how_it_came(data: bytes, places: list[int], bytes_max: int) -> None:
    stream = kept(bytes_max, *cut(data, places))

    assert kept(bytes_max, data).read() == stream.read()
    assert len(data) == stream.bytes_seen
    assert len(stream.read()) <= bytes_max + 64


def test_the_last_words_are_a_text_whatever_came() -> None:
    stream = kept(4, b"x" * 100_000, b"\xff\x00 the end")

    assert stream.tail().endswith("x\ufffd\ufffd the end")
    assert 8_192 == len(stream.tail())


# --- JSON objects -------------------------------------------------------------------------------------------


def frames(*chunks: bytes) -> list[Any]:
    found: list[Any] = []
    reader = FrameReader(found.append)
    for chunk in chunks:
        reader.feed(chunk)
    reader.end()
    return found


@pytest.mark.parametrize("place", range(20))
def test_frames_are_found_wherever_the_stream_is_cut(place: int) -> None:
    assert [{"a": 1}, {"b": 2}] == frames(*cut(b'{"a": 1}\r\n\n{"b": 2}', [place]))


def test_what_is_no_mapping_of_json_is_no_frame() -> None:
    deep = b'{"a":' * 100_000
    assert [{"a": 1}] == frames(b'[1]\n"a"\n{"a": \nnull\n\xff\n{"\xff": 1}\n' + deep + b'\n{"a": 1}\n')


def test_a_line_without_end_is_passed_over_and_what_follows_is_read() -> None:
    assert [{"a": 1}] == frames(b'{"b": "', *[b"x" * 65_536] * (LINE_BYTES_MAX // 65_536 + 1), b'"}\n{"a": 1}\n')


SESSION = [
    {"type": "system", "tools": []},
    {"type": "user", "text": 'a "b" \\ {[}'},
    {"type": "result", "n": [1, {"a": {}}]},
]
FORMS = {
    "lines": "\n".join(map(json.dumps, SESSION)),
    "array": json.dumps(SESSION),
    "spaced array": f"  [ {json.dumps(SESSION)[1:]}",
    "spread array": json.dumps(SESSION, indent=2),
    "array of lines": "[\n" + ",\n".join(map(json.dumps, SESSION)) + "\n]",
    "spread mappings": "\n".join(json.dumps(frame, indent=2) for frame in SESSION),
    "mapping a line, then spread": json.dumps(SESSION[0]) + "\n" + json.dumps(SESSION[1:], indent=4),
}


@pytest.mark.parametrize("form", FORMS)
@given(places=st.lists(st.integers(0, 600), max_size=12))
def test_one_session_gives_the_same_frames_in_every_form_of_output(form: str, places: list[int]) -> None:
    data = f"a warning\n{FORMS[form]}\nand so on\n".encode()

    assert SESSION == frames(*cut(data, places))


def test_an_array_may_be_longer_than_any_of_its_mappings_may_be() -> None:
    long = {"text": "x" * (LINE_BYTES_MAX // 2)}
    too_long = {"text": "x" * LINE_BYTES_MAX}
    data = json.dumps([long, long, too_long, {"type": "result"}]).encode()

    assert [long, long, {"type": "result"}] == frames(*(data[at : at + 65_536] for at in range(0, len(data), 65_536)))


@pytest.mark.parametrize(
    "noise",
    [
        "[",
        "{",
        "[{",
        "[{debug",
        '[{"a": "b',
        '{\n  "a": [1',
        "[info] it began",
        "[\nit began",
        '[{"a": 1}, 2, it',
        "[]",
        "[1, 2]",
    ],
)
def test_what_only_looks_like_json_swallows_nothing_that_follows(noise: str) -> None:
    found = frames(f'{noise}\n{{"type": "result"}}\n{{"type": "end"}}\n'.encode())

    assert [{"type": "result"}, {"type": "end"}] == found[-2:]

"""Frames of each route: those that wait, those that fail, and how the end of a stream is seen, however it is cut."""

from __future__ import annotations

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagalog_ollama.dialects import DIALECTS, NDJSON, Dialect, StreamEnd, WholeFrames, dialect_of, error_of

# A whole stream of each route, as its target sends it.
STREAMS = {
    "/api/chat": b'{"message": {"content": "\xc3\xa9"}, "done": false}\n{"done": true, "load_duration": 12000000}\n',
    "/api/generate": b'{"response": "a", "done": false}\n{"response": "", "done": true}\n',
    "/v1/chat/completions": b'data: {"choices": []}\n\ndata: [DONE]\n\n',
    "/v1/completions": b'data: {"choices": []}\n\ndata: [DONE]\n\n',
    "/v1/responses": b'event: response.created\ndata: {}\n\nevent: response.completed\ndata: {"response": {}}\n\n',
    "/v1/messages": b'event: message_start\ndata: {}\n\nevent: message_stop\ndata: {"type": "message_stop"}\n\n',
    "/v1/audio/transcriptions": b'data: {"type": "transcript.text.delta"}\n\ndata: [DONE]\n\n',
}

dialects = pytest.mark.parametrize("dialect", list(DIALECTS.values()), ids=list(DIALECTS))


def pieces(stream: bytes, cuts: list[int]) -> list[bytes]:
    at = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    return [stream[begin:end] for begin, end in itertools.pairwise(at)]


def ending(dialect: Dialect, parts: list[bytes]) -> StreamEnd:
    end = StreamEnd(dialect)
    for part in parts:
        end.take(part)
    end.close()
    return end


def test_every_route_that_waits_has_a_stream_here() -> None:
    assert set(DIALECTS) == set(STREAMS)


@dialects
@given(cuts=st.lists(st.integers(0, 10_000), max_size=8))
def test_the_end_of_a_stream_is_seen_wherever_it_is_cut(dialect: Dialect, cuts: list[int]) -> None:
    found = ending(dialect, pieces(STREAMS[dialect.path], cuts))

    assert (True, None) == (found.is_over, found.error)


@dialects
@given(cuts=st.lists(st.integers(0, 10_000), max_size=8))
def test_whole_frames_are_the_same_bytes_wherever_they_are_cut(dialect: Dialect, cuts: list[int]) -> None:
    frames, separator = WholeFrames(dialect), b"\n" if dialect.media_type == NDJSON else b"\n\n"

    taken = [frames.take(part) for part in pieces(STREAMS[dialect.path], cuts)]

    assert STREAMS[dialect.path] == b"".join([*taken, frames.rest()])
    assert all(part == b"" or part.endswith(separator) for part in taken)


@dialects
def test_a_stream_without_its_last_frame_is_not_over(dialect: Dialect) -> None:
    separator = b"\n" if dialect.media_type == NDJSON else b"\n\n"
    cut = STREAMS[dialect.path].split(separator)[0] + separator

    assert not ending(dialect, [cut]).is_over


@dialects
def test_an_error_frame_ends_a_stream_and_says_why(dialect: Dialect) -> None:
    found = ending(dialect, [dialect.error_frame(500, "the runner died")])

    assert (True, "the runner died") == (found.is_over, found.error)


@dialects
def test_a_frame_that_waits_is_neither_end_nor_error(dialect: Dialect) -> None:
    found = ending(dialect, [dialect.waiting("tiny", "2026-01-01T00:00:00Z")])

    assert (False, None) == (found.is_over, found.error)


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate"])
def test_a_frame_that_waits_for_ollama_is_one_line_of_json(path: str) -> None:
    frame = DIALECTS[path].waiting("tiny", "2026-01-01T00:00:00Z")

    assert frame.endswith(b"}\n")
    assert {"model": "tiny", "done": False}.items() <= msgspec.json.decode(frame).items()


@pytest.mark.parametrize(
    ("path", "stream"),
    [
        ("/v1/chat/completions", b"data:[DONE]\n\n"),
        ("/v1/responses", b'data: {"type":"response.completed","response":{}}\n\n'),
        ("/v1/audio/transcriptions", b'data: {"type":"transcript.text.done","text":"x"}\n\n'),
        ("/v1/messages", b'data: {"type":"message_stop"}\n\n'),
    ],
)
def test_the_last_frame_is_known_in_other_spellings(path: str, stream: bytes) -> None:
    assert ending(DIALECTS[path], [stream]).is_over


def test_words_of_a_model_are_no_last_frame() -> None:
    spoken = b'data: {"type":"response.output_text.delta","delta":"response.completed"}\n\n'

    assert not ending(DIALECTS["/v1/responses"], [spoken]).is_over


def test_how_long_a_model_was_loaded_is_read_of_the_last_frame() -> None:
    assert 12 == ending(DIALECTS["/api/chat"], [STREAMS["/api/chat"]]).load_ms


def test_words_of_a_model_are_no_error_of_its_target() -> None:
    spoken = b'{"message": {"content": "{\\"error\\": \\"none\\"}"}, "done": false}\n{"done": true}\n'

    assert ending(DIALECTS["/api/chat"], [spoken]).error is None


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"error": "busy"}', "busy"),
        (b'{"error": {"message": "busy", "type": "api_error"}}', "busy"),
        (b'{"type": "error", "error": {"type": "api_error", "message": "busy"}}', "busy"),
        (b'{"error": null}', None),
        (b'{"answer": 1}', None),
        (b'"error"', None),
        (b'{"error": ', None),
    ],
)
def test_the_text_of_an_error_is_read_in_each_form(body: bytes, text: str | None) -> None:
    assert text == error_of(body)


@dialects
def test_an_error_of_the_target_passes_as_a_frame_if_it_is_json(dialect: Dialect) -> None:
    frame = dialect.upstream_frame(503, b'{"error": "busy", "more": 1}')

    assert b'{"error":"busy","more":1}' in frame


@dialects
def test_an_error_of_the_target_that_is_html_is_told_in_the_dialect(dialect: Dialect) -> None:
    found = ending(dialect, [dialect.upstream_frame(502, b"<html>bad\n gateway</html>")])

    assert "<html>bad gateway</html>" == found.error


def test_a_route_that_does_not_wait_has_the_form_of_its_clients() -> None:
    assert b'{"error":"x"}' == dialect_of("/api/embed").error_body(404, "x")
    assert "not_found_error" == msgspec.json.decode(dialect_of("/v1/embeddings").error_body(404, "x"))["error"]["type"]

"""Streams: flushed frame by frame, kept alive, ended with a reason, and never kept for a reader that is slow."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import httpx
import pytest

import sagalog
from sagalog_http import Call, Frame, Problem, Route, Stream, ndjson, public, scope, server_sent_events
from tests.adapters.http.served import Served, lines, numbers, serving

OPEN: Final[dict[str, threading.Event]] = {"closed": threading.Event(), "begun": threading.Event()}


async def endless(call: Call) -> Stream:
    """Frames of 64 KiB as fast as they are taken; it says when it is closed."""

    async def frames() -> AsyncIterator[Frame]:
        try:
            number = 0
            while True:
                number += 1
                yield Frame(b"x" * 65_536, cursor=str(number))
                await asyncio.sleep(0)
        finally:
            OPEN["closed"].set()

    return ndjson(frames())


async def silent(call: Call) -> Stream:
    """Nothing but what keeps it alive; it says when it begins and when it is closed."""

    async def frames() -> AsyncIterator[Any]:
        OPEN["begun"].set()
        try:
            await asyncio.sleep(60)
            yield b""
        finally:
            OPEN["closed"].set()

    return ndjson(frames(), keep_alive=lambda: b"\n", keep_alive_ms=300)


async def sleepy(call: Call) -> Stream:
    """A frame at once and then none; no keep-alive."""

    async def frames() -> AsyncIterator[Any]:
        yield {"n": 1}
        await asyncio.sleep(60)

    return ndjson(frames())


def failing(at_once: bool) -> Any:
    async def handle(call: Call) -> Stream:
        async def frames() -> AsyncIterator[Any]:
            if at_once:
                raise sagalog.NotFound("there is no such job; look at its id")
            yield {"n": 1}
            raise ValueError("a-canary-of-a-body")

        return ndjson(frames())

    return handle


async def own_words(call: Call) -> Stream:
    async def frames() -> AsyncIterator[Any]:
        yield b"data: 1\n\n"
        raise sagalog.Unavailable("x")

    def failed(problem: Problem) -> bytes:
        return f"data: {problem.code}\n\n".encode()

    return server_sent_events(frames(), failed=failed, is_raw=True)


ROUTES: Final = (
    Route("GET", "/numbers", numbers(), public()),
    Route("GET", "/three", numbers(3), scope("read")),
    Route("GET", "/lines", lines({"a": 1}, b'{"b":2}\n', Frame([3])), public()),
    Route("GET", "/endless", endless, public()),
    Route("GET", "/silent", silent, public()),
    Route("GET", "/sleepy", sleepy, scope("read")),
    Route("GET", "/fails-at-once", failing(True), public()),
    Route("GET", "/fails-later", failing(False), public()),
    Route("GET", "/own-words", own_words, public()),
)


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving(ROUTES, send_ms=500, streams_max=20, streams_per_token_max=2) as one:
        yield one


@pytest.fixture(autouse=True)
def fresh() -> None:
    for one in OPEN.values():
        one.clear()


def test_lines_of_json_are_sent_as_they_are_given(served: Served) -> None:
    answer = served.ask("GET", "/lines")
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.text == '{"a":1}\n{"b":2}\n[3]\n'


def test_an_event_has_its_cursor_as_its_id_and_a_reader_resumes_behind_it(served: Served) -> None:
    """[HTTP-8]"""
    with served.client.stream("GET", "/numbers", headers={"last-event-id": "41"}) as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        found = [line for line, _ in zip(answer.iter_lines(), range(6), strict=False)]
    assert found == ["id: 42", "data: 42", "", "id: 43", "data: 43", ""]


def test_a_frame_is_sent_when_it_is_there(served: Served) -> None:
    """[HTTP-8] While the next one stays away."""
    with served.client.stream("GET", "/sleepy", headers=served.bearer("read", name="early")) as answer:
        assert next(answer.iter_lines()) == '{"n":1}'


def test_what_fails_before_the_first_frame_has_a_status_of_its_own(served: Served) -> None:
    answer = served.ask("GET", "/fails-at-once")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_what_fails_later_is_told_within_the_stream(served: Served) -> None:
    """[HTTP-4] A defect by its id alone."""
    answer = served.ask("GET", "/fails-later")
    first, last = answer.text.splitlines()
    assert first == '{"n":1}'
    assert json.loads(last)["error"]["code"] == "internal"
    assert "canary" not in answer.text


def test_a_route_tells_of_a_failure_in_its_own_words(served: Served) -> None:
    assert served.ask("GET", "/own-words").text == "data: 1\n\ndata: unavailable\n\n"


def test_a_pause_is_filled_with_what_keeps_the_stream_alive(served: Served) -> None:
    with served.client.stream("GET", "/silent") as answer:
        begun = time.monotonic()
        assert [line for line, _ in zip(answer.iter_lines(), range(2), strict=False)] == ["", ""]
        assert time.monotonic() - begun < 3.0


def test_a_client_that_hangs_up_closes_the_iterator(served: Served) -> None:
    with served.client.stream("GET", "/silent") as answer:
        assert OPEN["begun"].wait(10)
        answer.close()
    assert OPEN["closed"].wait(2)


def test_a_reader_that_does_not_read_is_cut_off_and_nothing_is_kept(served: Served) -> None:
    """[HTTP-8] The frames stop where the sockets are full."""
    with served.connection() as connection:
        connection.sendall(b"GET /endless HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert OPEN["closed"].wait(10)
        until = time.monotonic() + 5
        while served.server.application.streams:
            assert time.monotonic() < until
            time.sleep(0.01)


def test_a_stream_ends_within_a_second_of_its_token(served: Served) -> None:
    """[TOKEN-4] With a reason."""
    with served.client.stream("GET", "/sleepy", headers=served.bearer("read", name="mid")) as answer:
        found = answer.iter_lines()
        next(found)
        begun = time.monotonic()
        served.tokens.revoke("mid")
        assert json.loads(next(found))["error"]["code"] == "unauthenticated"
        assert time.monotonic() - begun < 1.0
        assert list(found) == []


def test_streams_of_a_token_and_of_all_are_counted(served: Served) -> None:
    """[HTTP-6] One that has ended counts no more."""
    headers = served.bearer("read", name="busy")
    with served.client.stream("GET", "/three", headers=headers) as first:
        held = [first.iter_lines()]
        next(held[0])
        with served.client.stream("GET", "/three", headers=headers) as second:
            # An iterator that is dropped would close its stream.
            held.append(second.iter_lines())
            next(held[1])
            # A stream that was taken would not end, and a test that reads it neither.
            with served.client.stream("GET", "/three", headers=headers) as third:
                assert third.status_code == 429
                assert json.loads(third.read())["code"] == "too_many_requests"
    until = time.monotonic() + 5
    while served.server.application.streams:
        assert time.monotonic() < until
        time.sleep(0.01)
    with served.client.stream("GET", "/three", headers=headers) as again:
        assert again.status_code == 200


def test_more_streams_than_allowed_are_503() -> None:
    """[HTTP-6]"""
    with serving(ROUTES, streams_max=1) as served, served.client.stream("GET", "/silent") as first:
        held = first.iter_lines()
        next(held)
        with httpx.Client(base_url=served.url) as other, other.stream("GET", "/silent") as second:
            assert second.status_code == 503


def test_a_server_that_stops_ends_a_stream_with_a_hint() -> None:
    """[HTTP-10] At once, whatever time requests have."""
    with (
        serving(ROUTES, stop_requests_ms=60_000) as served,
        served.client.stream("GET", "/numbers", headers={"last-event-id": "0"}) as answer,
    ):
        found = answer.iter_lines()
        next(found)
        threading.Thread(target=served.server.stop).start()
        told = [line for line in found if "shutting_down" in line]
    assert len(told) == 1
    assert json.loads(told[0].removeprefix("data: "))["code"] == "shutting_down"


def test_a_line_break_in_a_cursor_or_a_type_begins_no_field(served: Served) -> None:
    stream = server_sent_events(aiter_of())
    assert (
        stream.encode(Frame("x", cursor="1\ndata: y", event="a\r\nid: 2"))
        == b'event: aid: 2\nid: 1data: y\ndata: "x"\n\n'
    )


async def aiter_of() -> AsyncIterator[Any]:
    return
    yield

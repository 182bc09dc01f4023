"""What no honest client sends: giant, endless and slow requests, and such as two parsers would read in two ways."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import httpx
import pytest
from starlette.responses import Response

from sagalog_http import Call, Route, public
from sagalog_http.errors import BadRequest
from sagalog_http.origins import Origins
from tests.adapters.http.served import PATIENCE_S, ROUTES, Served, received, serving

HOST = b"host: localhost\r\n"


def status_of(answer: bytes) -> int:
    assert answer.startswith(b"HTTP/1.1 "), answer[:200]
    return int(answer.split(b" ", 2)[1])


def asked(connection: socket.socket) -> bytes:
    """The whole answer to a request on a connection that stays open."""
    connection.sendall(b"GET /page HTTP/1.1\r\n" + HOST + b"\r\n")
    found = b""
    while not found.endswith(b"}"):
        found += connection.recv(65_536)
    return found


# --- framing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "head",
    [
        b"content-length: 3\r\ntransfer-encoding: chunked\r\n",
        b"content-length: 3\r\ncontent-length: 4\r\n",
        b"content-length: -3\r\n",
        b"content-length: 0x3\r\n",
        b"content-length: 3e0\r\n",
        b"transfer-encoding: chunked, identity\r\n",
        b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
        b"transfer-encoding : chunked\r\n",
        b"host: other\r\n",
        b"authorization: a\r\nauthorization: b\r\n",
        b"content-type: a/b\r\ncontent-type: c/d\r\n",
        b"x: a\0b\r\n",
        b"x y: z\r\n",
        b": z\r\n",
        b"no colon\r\n",
    ],
)
def test_a_request_of_two_meanings_is_refused_and_closed(served: Served, head: bytes) -> None:
    """[HTTP-5] What is behind it is not taken for a second request."""
    smuggled = b"0\r\n\r\nGET /page HTTP/1.1\r\n" + HOST + b"\r\n"
    answer = served.send(b"POST /echo HTTP/1.1\r\n" + HOST + head + b"\r\n" + smuggled)
    assert status_of(answer) in (400, 501), answer
    assert answer.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize(
    "line",
    [
        b"GET /page HTTP/9.9",
        b"GET  /page HTTP/1.1",
        b"GET /pa ge HTTP/1.1",
        b"G\xffT /page HTTP/1.1",
        b"\x16\x03\x01\x02\x00",
        b"GET",
    ],
)
def test_what_is_no_request_is_told_and_closed(served: Served, line: bytes) -> None:
    answer = served.send(line + b"\r\n" + HOST + b"\r\n")
    assert status_of(answer) in (400, 505)
    assert b"problem+json" in answer


def test_a_request_without_a_host_is_refused(served: Served) -> None:
    """[HTTP-2]"""
    assert status_of(served.send(b"GET /page HTTP/1.1\r\n\r\n")) == 400
    assert status_of(served.send(b"GET /page HTTP/1.0\r\n\r\n")) == 400


# --- size -----------------------------------------------------------------------------------------------------------


def test_a_host_or_an_origin_that_is_given_twice_is_refused() -> None:
    """[HTTP-2] Also where the parser of HTTP let it pass."""
    origins = Origins((), ("*",))
    for given in ([], ["localhost", "localhost"]):
        with pytest.raises(BadRequest, match="one header Host"):
            origins.check_host(given)
    with pytest.raises(BadRequest, match="one header Origin"):
        origins.check_origin(["http://a", "http://a"], "localhost")


def test_headers_that_are_too_many_or_too_large_are_431(served: Served) -> None:
    """[HTTP-5]"""
    many = b"".join(b"x%d: y\r\n" % number for number in range(200))
    for head in (many, b"x: " + b"y" * 17_000 + b"\r\n", b"x: " + b"y" * 400_000):
        assert status_of(served.send(b"GET /page HTTP/1.1\r\n" + HOST + head + b"\r\n")) == 431
    assert served.ask("GET", "/" + "x" * 12_000).status_code == 404


def test_a_body_that_says_it_is_too_large_is_413_before_it_comes(served: Served) -> None:
    """[HTTP-5]"""
    answer = served.send(
        b"POST /echo HTTP/1.1\r\n" + HOST + b"expect: 100-continue\r\ncontent-length: 99999999999\r\n\r\n"
    )
    assert status_of(answer) == 413
    assert b"100 Continue" not in answer


def test_a_body_without_an_end_is_413_at_the_bound(served: Served) -> None:
    """[HTTP-5] Read whole or as it arrives."""

    def endless() -> Iterator[bytes]:
        for _ in range(100_000):
            yield b"x" * 10_000

    for method, path in (("POST", "/echo"), ("PUT", "/count")):
        # The connection may be closed before all was sent.
        with suppress(httpx.WriteError, httpx.ReadError), httpx.Client(base_url=served.url) as client:
            assert client.request(method, path, content=endless()).status_code == 413


def test_a_body_up_to_the_bound_is_taken(served: Served) -> None:
    for method, path in (("POST", "/echo"), ("PUT", "/count")):
        assert served.ask(method, path, content=b"x" * 100_000).json() == {"bytes": 100_000}
        answer = served.ask(method, path, content=b"x" * 100_001)
        assert (answer.status_code, answer.json()["fields"]) == (413, {"maximum": 100_000})


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "identity, gzip", "x"])
def test_an_encoded_body_is_refused(served: Served, encoding: str) -> None:
    """[HTTP-5]"""
    answer = served.ask("POST", "/echo", content=b"x", headers={"content-encoding": encoding})
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


# --- time -----------------------------------------------------------------------------------------------------------


def test_headers_that_stay_away_end_the_connection() -> None:
    """[HTTP-5] Nothing, half a line, or a byte now and then; on a fresh connection or a used one."""
    with serving(ROUTES, headers_ms=300) as served:
        used = b"GET /page HTTP/1.1\r\n" + HOST + b"\r\n"
        for first in (b"", b"GET /page HTTP/1.1\r\n", used + b"GET /pa"):
            begun = time.monotonic()
            with served.connection() as connection:
                connection.sendall(first)
                received(connection)
            assert 0.2 < time.monotonic() - begun < 5.0
        with served.connection() as connection:
            connection.sendall(b"GET /page HTTP/1.1\r\n")
            with pytest.raises((BrokenPipeError, ConnectionResetError)):  # noqa: PT012  it is closed in the middle of this
                for _ in range(200):
                    connection.sendall(b"x")
                    time.sleep(0.05)


def test_a_body_that_stays_away_is_408() -> None:
    """[HTTP-5] Of a rule that lets it be read."""
    with serving(ROUTES, body_ms=300) as served:
        for path in (b"POST /echo", b"PUT /count"):
            answer = served.send(path + b" HTTP/1.1\r\n" + HOST + b"content-length: 10\r\n\r\nx")
            assert status_of(answer) == 408
            assert b"body_too_slow" in answer


def test_a_slow_body_that_is_fast_enough_is_taken() -> None:
    with serving(ROUTES, body_ms=300, body_bytes_per_second_min=10) as served, served.connection() as connection:
        connection.sendall(b"POST /echo HTTP/1.1\r\n" + HOST + b"connection: close\r\ncontent-length: 20\r\n\r\n")
        for _ in range(4):
            connection.sendall(b"xxxxx")
            time.sleep(0.15)
        assert status_of(received(connection)) == 200


def test_an_idle_connection_is_closed_after_its_time() -> None:
    """[HTTP-5]"""
    with serving(ROUTES, keep_alive_ms=1_000) as served, served.connection() as connection:
        assert status_of(asked(connection)) == 200
        assert received(connection) == b""


def test_a_client_that_takes_no_answer_is_cut_off() -> None:
    """[HTTP-5] A whole answer, which is larger than what the sockets hold."""

    async def large(call: Call) -> Response:
        return Response(b"x" * 50_000_000)

    with serving([Route("GET", "/large", large, public())], send_ms=300) as served, served.connection() as connection:
        connection.sendall(b"GET /large HTTP/1.1\r\n" + HOST + b"connection: close\r\n\r\n")
        open_ones = served.server._server.server_state.connections
        for wanted in (True, False):
            until = time.monotonic() + PATIENCE_S
            while bool(open_ones) != wanted:
                assert time.monotonic() < until
                time.sleep(0.01)


def test_more_connections_than_allowed_are_503() -> None:
    """[HTTP-5] Those that are open go on."""
    with serving(ROUTES, connections_max=3) as served:
        opened = [socket.create_connection(served.server.address, timeout=PATIENCE_S) for _ in range(3)]
        for one in opened:
            assert status_of(asked(one)) == 200
        answer = served.send(b"GET /page HTTP/1.1\r\n" + HOST + b"\r\n")
        assert status_of(answer) == 503
        assert b"retry-after: 1" in answer
        for one in opened:
            assert status_of(asked(one)) == 200
            one.close()


def test_callers_that_guess_keep_no_known_token_from_its_answer(served: Served, admin: dict[str, str]) -> None:
    """[HTTP-6] Four guess without a pause, from the address of the caller that has a token."""
    is_over = threading.Event()

    def guess() -> None:
        with httpx.Client(base_url=served.url, timeout=PATIENCE_S) as client:
            while not is_over.is_set():
                client.get("/who", headers={"authorization": f"Bearer sagalog_{'y' * 43}"})

    guessing = [threading.Thread(target=guess) for _ in range(4)]
    for one in guessing:
        one.start()
    try:
        for _ in range(20):
            assert served.ask("GET", "/who", headers=admin).status_code == 200
    finally:
        is_over.set()
        for one in guessing:
            one.join()

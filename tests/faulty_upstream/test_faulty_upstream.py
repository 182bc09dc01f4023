"""The upstream does exactly what its script says, and knows what came in."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.faulty_upstream import FaultyUpstream, Gate, Script, flapping
from tests.ollama_server.examples import EXAMPLES

FRAME = EXAMPLES["chat stream"].frames[0]


@pytest.fixture
def upstream() -> Iterator[FaultyUpstream]:
    with FaultyUpstream() as upstream:
        yield upstream


def test_a_frame_is_split_at_every_byte(upstream: FaultyUpstream) -> None:
    upstream.next("/api/chat", Script().head().send(FRAME, split=range(1, len(FRAME))).end())
    with httpx.stream("POST", f"{upstream.url}/api/chat", content=b"body") as answered:
        pieces = list(answered.iter_raw())

    assert [len(piece) for piece in pieces] == [1] * len(FRAME)
    assert b"".join(pieces) == FRAME


@pytest.mark.parametrize("framing", ["chunked", "length", "until close"])
def test_an_answer_is_framed_in_each_way(upstream: FaultyUpstream, framing: str) -> None:
    example = EXAMPLES["chat stream"]
    upstream.next("/api/chat", Script.example(example, framing=framing))  # type: ignore[arg-type]  # one of the three
    answered = httpx.post(f"{upstream.url}/api/chat")

    assert answered.content == example.body
    assert ("content-length" in answered.headers) == (framing == "length")
    assert (answered.headers.get("transfer-encoding") == "chunked") == (framing == "chunked")


def test_a_gate_holds_an_answer_until_the_test_opens_it(upstream: FaultyUpstream) -> None:
    before_headers, in_the_midst = Gate(), Gate()
    script = Script().wait(before_headers).head().send(b"one\n").wait(in_the_midst).send(b"two\n").end()
    upstream.next("/api/chat", script)
    with ThreadPoolExecutor() as threads:
        asked = threads.submit(httpx.post, f"{upstream.url}/api/chat")
        before_headers.wait_reached()
        with pytest.raises(TimeoutError):
            asked.result(timeout=0.05)
        before_headers.open()
        in_the_midst.wait_reached()
        with pytest.raises(TimeoutError):
            asked.result(timeout=0.05)
        in_the_midst.open()
        assert asked.result().text == "one\ntwo\n"


@pytest.mark.parametrize("end", ["close", "reset"])
def test_an_answer_dies_in_the_midst_of_a_frame(upstream: FaultyUpstream, end: str) -> None:
    script = Script().head().send(FRAME[:9])
    upstream.next("/api/chat", script.close() if end == "close" else script.reset())

    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        httpx.post(f"{upstream.url}/api/chat")
    assert not upstream.wait_for("/api/chat").client_left


def test_a_script_that_only_ends_hangs_until_the_client_leaves(upstream: FaultyUpstream) -> None:
    upstream.next("/api/chat", Script(), Script().head().send(FRAME))
    for _ in range(2):
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{upstream.url}/api/chat", timeout=0.05)

    for number in (1, 2):
        upstream.wait_left(upstream.wait_for("/api/chat", number))


def test_a_flapping_target_fails_so_often_and_then_works(upstream: FaultyUpstream) -> None:
    works = Script.example(EXAMPLES["chat"])
    upstream.next("/api/chat", *flapping(2, lambda: Script().reset(), works))

    for _ in range(2):
        with pytest.raises(httpx.TransportError):
            httpx.post(f"{upstream.url}/api/chat")
    assert httpx.post(f"{upstream.url}/api/chat").json()["done"] is True


def test_an_upstream_refuses_and_comes_back_at_its_address(upstream: FaultyUpstream) -> None:
    with httpx.Client(base_url=upstream.url) as client:
        upstream.have_models("a:latest")
        assert client.get("/api/tags").json()["models"][0]["name"] == "a:latest"
        with upstream.refusing(), pytest.raises(httpx.ConnectError):
            client.get("/api/tags")
        assert client.get("/api/tags").status_code == 200


def test_every_request_is_remembered_with_its_bytes(upstream: FaultyUpstream) -> None:
    def pieces() -> Iterator[bytes]:
        yield from (b'{"model":', b' "a"}')

    upstream.always("*", Script.answer(b"x"))
    with httpx.Client(base_url=upstream.url) as client:
        client.post("/api/chat?ts=5", content=b'{"model" : "a"}', headers={"X-One": "two"})
        client.post("/api/pull", content=pieces())
    first, second = upstream.calls

    assert (first.method, first.path, first.query, first.body) == ("POST", "/api/chat", "ts=5", b'{"model" : "a"}')
    assert (first.header("x-one"), second.body) == ("two", b'{"model": "a"}')
    assert first.connection == second.connection
    assert first.at_s <= second.at_s


def test_a_connection_that_was_closed_after_an_answer_is_not_used(upstream: FaultyUpstream) -> None:
    upstream.always("/api/chat", Script.answer(b"x").close())
    with httpx.Client(base_url=upstream.url) as client:
        for number in (1, 2):
            assert client.post("/api/chat").text == "x"
            upstream.wait_closed(upstream.wait_for("/api/chat", number))
    assert [call.connection for call in upstream.calls] == [1, 2]


def test_a_kept_connection_can_die_at_its_next_request(upstream: FaultyUpstream) -> None:
    """A client that keeps connections meets this: the upstream closed while the request was on its way."""
    upstream.next("/api/chat", Script.answer(b"x"), Script().reset())
    with httpx.Client(base_url=upstream.url) as client:
        assert client.post("/api/chat").text == "x"
        with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
            client.post("/api/chat")
    assert [call.connection for call in upstream.calls] == [1, 1]


def test_a_request_without_a_script_fails_the_test() -> None:
    with pytest.raises(AssertionError, match="requests without a script"), FaultyUpstream() as upstream:
        assert httpx.get(f"{upstream.url}/api/unheard").status_code == 500


def test_a_line_of_ten_megabytes_arrives_whole(upstream: FaultyUpstream) -> None:
    line = b'{"message":"' + b"x" * 10_000_000 + b'"}\n'
    upstream.next("/api/chat", Script().head().send(line).end())
    assert httpx.post(f"{upstream.url}/api/chat").content == line


def test_what_is_no_http_at_all_is_sent_as_it_is(upstream: FaultyUpstream) -> None:
    upstream.next("/api/chat", Script().raw(b"SSH-2.0-OpenSSH_9.2\r\n").close())
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.post(f"{upstream.url}/api/chat")


def test_a_hundred_hang_at_once_in_one_thread(upstream: FaultyUpstream) -> None:
    gate = Gate()
    upstream.always("/api/chat", Script().wait(gate).head().send(FRAME).end())

    async def ask() -> list[bytes]:
        async with httpx.AsyncClient(limits=httpx.Limits(), timeout=30) as client:
            asked = [asyncio.create_task(client.post(f"{upstream.url}/api/chat")) for _ in range(100)]
            await asyncio.to_thread(upstream.wait_for, "/api/chat", 100)
            gate.open()
            return [(await one).content for one in asked]

    assert asyncio.run(ask()) == [FRAME] * 100

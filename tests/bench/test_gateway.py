"""The suite `gateway`: it counts what a server gives, sees what a gateway adds, and refuses half an answer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from bench.__main__ import main
from bench.chats import Order, first_token_ms, run, tokens_per_second
from tests.faulty_upstream import FaultyUpstream, Gate, Script
from tests.ollama_server import OllamaServer, Settings
from tests.ollama_server.examples import EXAMPLES

STREAM = EXAMPLES["chat stream, nothing to say yet"]
ORDER = Order("a", tokens=2, chats=1)


@pytest.fixture
def upstream() -> Iterator[FaultyUpstream]:
    with FaultyUpstream() as upstream:
        yield upstream


def test_chats_count_the_tokens_of_a_server_at_its_pace() -> None:
    with OllamaServer(Settings(tokens_per_second=100)) as server:
        chats = run(server.url, Order("a", tokens=5, chats=4, clients=2))
        requests = server.record.history.of("/api/chat")

    assert [chat.tokens for chat in chats] == [request.tokens for request in requests] == [5] * 4
    assert 0 < tokens_per_second(chats) <= 125
    assert all(chat.asked_s < chat.first_s < chat.ended_s for chat in chats)


def test_a_frame_without_content_is_not_the_first_token(upstream: FaultyUpstream) -> None:
    gate = Gate()
    said_nothing, *others = STREAM.frames
    script = Script().head().send(said_nothing).wait(gate)
    for frame in others:
        script.send(frame)
    upstream.next("/api/chat", script.end())
    with ThreadPoolExecutor() as threads:
        asked = threads.submit(run, upstream.url, ORDER)
        gate.wait_reached()
        with pytest.raises(TimeoutError):
            asked.result(timeout=0.1)
        opened_s = time.monotonic()
        gate.open()
        [chat] = asked.result()

    assert opened_s < chat.first_s <= chat.ended_s
    assert first_token_ms([chat]) == pytest.approx((chat.first_s - chat.asked_s) * 1_000)


@pytest.mark.parametrize("name", ["chat stream, without its end", "error busy"])
def test_half_an_answer_and_a_refusal_are_not_counted(upstream: FaultyUpstream, name: str) -> None:
    upstream.next("/api/chat", Script.example(EXAMPLES[name]))
    with pytest.raises(RuntimeError, match=r"without its last frame|503"):
        run(upstream.url, ORDER)


def test_the_suite_compares_a_server_with_what_is_before_it(capsys: pytest.CaptureFixture[str]) -> None:
    with OllamaServer(Settings(tokens_per_second=500)) as gateway:
        assert main(["gateway", "--tiny", "--gateway", gateway.url]) == 0
        asked = len(gateway.record.history.of("/api/chat"))
    printed = capsys.readouterr().out

    assert asked == 1 + 2 * 3 + 2 * 3
    assert "first token: the gateway, above the server" in printed
    assert "tokens: the gateway, of the server" in printed

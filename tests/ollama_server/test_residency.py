"""Which model the server has loaded: one for chats, as long as its last request says, and loads in order."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.ollama_server import OllamaServer, Settings

Serve = Callable[..., OllamaServer]
A, B = "a:latest", "b:latest"
# So slow that a test is over before the answer is.
SLOW = 0.05


@pytest.fixture
def serve() -> Iterator[Serve]:
    opened: list[OllamaServer] = []

    def open_(**settings: Any) -> OllamaServer:
        opened.append(OllamaServer(Settings(answer_tokens=4, **settings)).__enter__())
        return opened[-1]

    yield open_
    for server in opened:
        server.__exit__(None, None, None)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def chat(server: OllamaServer, model: str = "a", **more: Any) -> dict[str, Any]:
    body = {"model": model, "stream": False, "messages": [{"role": "user", "content": "the sky"}], **more}
    answered = httpx.post(f"{server.url}/api/chat", json=body, timeout=30)
    assert answered.status_code == 200, answered.text
    given: dict[str, Any] = answered.json()
    return given


def running(server: OllamaServer) -> list[str]:
    return [one["name"] for one in httpx.get(f"{server.url}/api/ps").json()["models"]]


class Streaming:
    """A chat whose client takes the first frame, and then leaves when the test says so."""

    def __init__(self, server: OllamaServer, threads: ThreadPoolExecutor, model: str = "a") -> None:
        self._begun = threading.Event()
        self._leave = threading.Event()
        self._done: Future[None] = threads.submit(self._run, server, model)
        assert self._begun.wait(30)

    def leave(self) -> None:
        self._leave.set()
        self._done.result()

    def _run(self, server: OllamaServer, model: str) -> None:
        body = {"model": model, "messages": [{"role": "user", "content": "the sky"}]}
        with httpx.stream("POST", f"{server.url}/api/chat", json=body, timeout=60) as answered:
            # Without the name the iterator would end here, and with it the connection.
            lines = answered.iter_lines()
            next(lines)
            self._begun.set()
            self._leave.wait(30)


def test_two_interleaved_models_load_at_every_change(serve: Serve) -> None:
    server = serve()
    loads = [chat(server, model)["load_duration"] for model in ("a", "b", "b", "a:latest", "A")]
    history = server.record.history

    assert (history.loaded(), history.swaps) == ([A, B, A], 2)
    assert [one.replaced for one in history.loads] == [None, A, B]
    assert all(duration > 0 for duration in loads)
    assert running(server) == [A]


def test_another_runner_option_loads_the_model_again(serve: Serve) -> None:
    server = serve()
    chat(server, options={"num_ctx": 256})
    chat(server, options={"num_ctx": 256, "temperature": 0.5, "seed": 3})
    chat(server)
    history = server.record.history

    assert [one.options for one in history.loads] == [{"num_ctx": 256}, {}]
    assert ([one.reason for one in history.unloads], history.swaps) == (["options changed"], 0)


def test_an_embedding_model_stays_beside_the_chat_model(serve: Serve) -> None:
    server = serve()
    chat(server)
    httpx.post(f"{server.url}/api/embed", json={"model": "embed", "input": "x"})
    chat(server)

    assert server.record.history.loaded() == [A, "embed:latest"]
    assert running(server) == ["embed:latest", A]


def test_a_load_takes_as_long_as_the_test_says(serve: Serve) -> None:
    assert chat(serve(load_ms=120))["load_duration"] >= 120_000_000


@pytest.mark.parametrize("keep_alive", [0, "0s", "1ms"])
def test_an_idle_model_leaves_when_its_time_is_over(serve: Serve, keep_alive: Any) -> None:
    server = serve()
    chat(server, keep_alive=keep_alive)

    history = server.record.wait_until(lambda history: len(history.unloads) == 1)
    assert history.unloads[0].reason == ("kept long enough" if keep_alive == "1ms" else "asked to")
    assert running(server) == []


def test_a_negative_time_keeps_a_model_for_ever(serve: Serve) -> None:
    server = serve(keep_alive_ms=1)
    chat(server, keep_alive=-1)

    [one] = httpx.get(f"{server.url}/api/ps").json()["models"]
    assert one["expires_at"] > "2300"


def test_an_empty_chat_loads_or_unloads_and_says_nothing(serve: Serve) -> None:
    server = serve()
    frames = [chat(server, messages=[], **more) for more in ({"keep_alive": "10m"}, {"keep_alive": 0})]
    server.record.wait_until(lambda history: len(history.unloads) == 1)

    assert [one["done_reason"] for one in frames] == ["load", "unload"]
    assert server.record.history.loaded() == [A]


def test_a_wrong_keep_alive_is_refused_before_any_load(serve: Serve) -> None:
    server = serve()
    wrongs: tuple[Any, ...] = ("soon", True, [])
    for wrong in wrongs:
        body = {"model": "a", "messages": [], "keep_alive": wrong}
        assert httpx.post(f"{server.url}/api/chat", json=body).status_code == 400
    assert server.record.history.loads == []


def test_another_model_waits_until_the_loaded_one_is_unused(serve: Serve, threads: ThreadPoolExecutor) -> None:
    server = serve(tokens_per_second=SLOW)
    first = Streaming(server, threads)
    second = threads.submit(Streaming, server, threads, "b")
    server.record.wait_until(lambda history: history.pending == 1)
    assert running(server) == [A]

    first.leave()
    second.result().leave()
    assert server.record.history.loaded() == [A, B]


def test_a_request_for_the_loaded_model_overtakes_one_for_another(serve: Serve, threads: ThreadPoolExecutor) -> None:
    """As in Ollama: under constant load for one model another never gets its turn."""
    server = serve(tokens_per_second=SLOW, parallel=2)
    first = Streaming(server, threads)
    other = threads.submit(Streaming, server, threads, "b")
    server.record.wait_until(lambda history: history.pending == 1)
    second = Streaming(server, threads)
    first.leave()
    server.record.wait_until(lambda history: sum(one.ended_s > 0 for one in history.requests) == 1)

    assert (server.record.history.pending, running(server)) == (1, [A])
    second.leave()
    other.result().leave()


def test_one_request_too_many_waiting_for_a_load_gets_503(serve: Serve, threads: ThreadPoolExecutor) -> None:
    server = serve(tokens_per_second=SLOW, pending_max=1)
    first = Streaming(server, threads)
    second = threads.submit(Streaming, server, threads, "b")
    server.record.wait_until(lambda history: history.pending == 1)

    refused = httpx.post(f"{server.url}/api/generate", json={"model": "b", "prompt": "x"})
    assert (refused.status_code, refused.json()["error"].startswith("server busy")) == (503, True)
    first.leave()
    second.result().leave()


def test_a_client_that_leaves_frees_the_model_at_once(serve: Serve, threads: ThreadPoolExecutor) -> None:
    server = serve(tokens_per_second=SLOW)
    Streaming(server, threads).leave()

    history = server.record.wait_until(lambda history: history.requests[0].ended_s > 0)
    assert (history.requests[0].outcome, history.requests[0].tokens) == ("client left", 1)
    Streaming(server, threads).leave()


def test_a_client_that_leaves_while_it_waits_causes_no_load(serve: Serve, threads: ThreadPoolExecutor) -> None:
    server = serve(tokens_per_second=SLOW)
    first = Streaming(server, threads)
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{server.url}/api/generate", json={"model": "b", "prompt": "x"}, timeout=0.05)
    history = server.record.wait_until(lambda history: history.requests[-1].ended_s > 0)
    assert (history.requests[-1].status, history.requests[-1].outcome) == (499, "client left")
    first.leave()

    Streaming(server, threads).leave()
    assert server.record.history.loaded() == [A]


def test_answers_of_one_model_are_given_one_after_another(serve: Serve, threads: ThreadPoolExecutor) -> None:
    server = serve(tokens_per_second=SLOW)
    first = Streaming(server, threads)
    second = threads.submit(Streaming, server, threads)
    server.record.wait_until(lambda history: history.most_at_once("/api/chat") == 2)
    with pytest.raises(TimeoutError):
        second.result(timeout=0.05)

    left_s = time.monotonic()
    first.leave()
    second.result().leave()
    assert server.record.history.requests[1].first_s > left_s


def test_an_answer_takes_as_long_as_its_pace_says(serve: Serve) -> None:
    server = serve(tokens_per_second=20)
    chat(server, messages=[])
    chat(server)
    paced = server.record.history.requests[-1]

    assert (paced.tokens, paced.ended_s - paced.began_s >= 3 / 20) == (4, True)

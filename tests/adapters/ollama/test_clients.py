"""The official clients, unchanged, against a gateway in front of a server with real models."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from sagalog_http.tokens import Tokens
from tests.adapters.ollama.gateways import Gateway, gateway
from tests.clients import CLIENTS, Client, ClientFailure, NodeClient, connected, ollama_client, openai_client
from tests.ollama_server import OllamaServer, Settings

TOKENS = 5


@pytest.fixture(scope="module")
def server() -> Iterator[OllamaServer]:
    with OllamaServer(Settings(models=("a", "b"), answer_tokens=TOKENS)) as server:
        yield server


@pytest.fixture(scope="module")
def before(server: OllamaServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with gateway(tmp_path_factory.mktemp("store"), server.url) as running:
        yield running


@pytest.fixture(scope="module", params=CLIENTS)
def client(request: pytest.FixtureRequest, before: Gateway) -> Iterator[Client]:
    with connected(request.param, before.url) as client:
        yield client


def test_a_client_gets_what_it_gets_of_the_server_itself(client: Client) -> None:
    frames = list(client.chat_stream("a", "the sky"))

    assert TOKENS + 1 == len(frames)
    assert "".join(frames) == client.chat("a", "the sky") != ""


def test_a_client_embeds_and_lists(client: Client) -> None:
    vectors = client.embed("embed", ["the sky", "by day"])

    assert [32, 32] == [len(vector) for vector in vectors]
    assert ["a:latest", "b:latest", "embed:latest"] == sorted(client.models())


def test_a_client_learns_of_an_unknown_model_streamed_or_not(client: Client) -> None:
    with pytest.raises(ClientFailure, match="not found") as single:
        client.chat("c", "the sky")
    with pytest.raises(ClientFailure, match="not found") as streamed:
        list(client.chat_stream("c", "the sky"))

    assert (404, 404) == (single.value.status, streamed.value.status)


def test_clients_that_ask_at_once_are_all_answered(client: Client) -> None:
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda number: client.chat("ab"[number % 2], "the sky"), range(8)))

    assert 2 == len(set(answers[:2]) | set(answers))


def test_the_python_client_generates_shows_and_sees_what_runs(before: Gateway) -> None:
    with ollama_client(before.url) as client:
        whole = client.generate(model="a", prompt="by day")
        frames = list(client.generate(model="a", prompt="by day", stream=True))
        shown = client.show("a")
        client.ps()

    assert whole.response == "".join(frame.response or "" for frame in frames)
    assert ["completion"] == shown.capabilities


def test_the_openai_client_completes_responds_and_transcribes(before: Gateway) -> None:
    with openai_client(before.url) as client:
        completed = client.completions.create(model="a", prompt="by day", max_tokens=2)
        responded = client.responses.create(model="a", input="by day")
        events = list(client.responses.create(model="a", input="by day", stream=True))
        heard = client.audio.transcriptions.create(model="a", file=b"sound")

    assert completed.usage is not None
    assert 2 == completed.usage.completion_tokens
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert ("response.completed", True) == (events[-1].type, responded.output_text != "")
    assert heard.text


def test_the_javascript_client_streams(before: Gateway) -> None:
    with NodeClient(before.url) as client:
        frames = list(client.stream("generate", model="a", prompt="by day"))

    assert frames[-1]["done"]


@pytest.mark.parametrize("name", CLIENTS)
def test_a_client_sends_its_token(name: str, server: OllamaServer, tmp_path_factory: pytest.TempPathFactory) -> None:
    with gateway(tmp_path_factory.mktemp("store"), server.url) as running:
        _, secret = Tokens(running.engine).create("ann", ("read", "produce"))
        running.wait_until(lambda: running.client.get("/api/tags").status_code == 401)

        with connected(name, running.url, {"Authorization": f"Bearer {secret}"}) as known:
            assert known.chat("a", "the sky")
        with connected(name, running.url) as stranger, pytest.raises(ClientFailure) as refused:
            stranger.chat("a", "the sky")

    assert 401 == refused.value.status

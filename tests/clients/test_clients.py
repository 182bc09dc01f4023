"""The real clients work with the server alone; so what fails before a gateway is the gateway's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clients import CLIENTS, Client, ClientFailure, NodeClient, connected, ollama_client, openai_client
from tests.ollama_server import OllamaServer, Settings

TOKENS = 5


@pytest.fixture(scope="module")
def server() -> Iterator[OllamaServer]:
    with OllamaServer(Settings(models=("a",), answer_tokens=TOKENS)) as server:
        yield server


@pytest.fixture(scope="module", params=CLIENTS)
def client(request: pytest.FixtureRequest, server: OllamaServer) -> Iterator[Client]:
    with connected(request.param, server.url) as client:
        yield client


def test_a_chat_and_its_stream_have_the_same_text(client: Client) -> None:
    frames = list(client.chat_stream("a", "the sky"))

    assert len(frames) == TOKENS + 1
    assert client.chat("a", "the sky") == "".join(frames) != ""
    assert client.chat("a", "the sky", tokens=2) == "".join(frames[:2])


def test_texts_have_vectors_and_models_have_names(client: Client) -> None:
    vectors = client.embed("embed", ["the sky", "by day"])

    assert [len(vector) for vector in vectors] == [32, 32]
    assert vectors[0] != vectors[1]
    assert client.models() == ["embed:latest", "a:latest"]


def test_an_unknown_model_is_a_404_whether_streamed_or_not(client: Client) -> None:
    with pytest.raises(ClientFailure, match="model 'c' not found") as single:
        client.chat("c", "the sky")
    with pytest.raises(ClientFailure, match="model 'c' not found") as streamed:
        list(client.chat_stream("c", "the sky"))

    assert (single.value.status, streamed.value.status) == (404, 404)


def test_the_python_client_generates_shows_and_sees_what_runs(server: OllamaServer) -> None:
    with ollama_client(server.url) as client:
        whole = client.generate(model="a", prompt="by day")
        frames = list(client.generate(model="a", prompt="by day", stream=True))
        shown, running = client.show("a"), client.ps()

    assert whole.response == "".join(frame.response or "" for frame in frames)
    assert (whole.done_reason, whole.eval_count, frames[-1].eval_count) == ("length", TOKENS, TOKENS)
    assert shown.capabilities == ["completion"]
    assert "a:latest" in [one.name for one in running.models]


def test_the_openai_client_completes_responds_and_transcribes(server: OllamaServer) -> None:
    with openai_client(server.url) as client:
        completed = client.completions.create(model="a", prompt="by day", max_tokens=2)
        responded = client.responses.create(model="a", input="by day")
        events = list(client.responses.create(model="a", input="by day", stream=True))
        heard = client.audio.transcriptions.create(model="a", file=b"sound")

    assert completed.usage is not None
    assert completed.usage.completion_tokens == 2
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert (events[-1].type, responded.output_text != "") == ("response.completed", True)
    assert heard.text


def test_the_javascript_client_generates_shows_and_sees_what_runs(server: OllamaServer) -> None:
    with NodeClient(server.url) as client:
        frames = list(client.stream("generate", model="a", prompt="by day"))
        whole = client.call("generate", model="a", prompt="by day")
        shown, running = client.call("show", model="a"), client.call("ps")

    assert whole["response"] == "".join(frame["response"] for frame in frames)
    assert shown["capabilities"] == ["completion"]
    assert "a:latest" in [one["name"] for one in running["models"]]


@pytest.mark.parametrize("name", CLIENTS)
def test_every_client_can_carry_a_token(name: str) -> None:
    with OllamaServer(Settings(models=("a",), token="canary")) as server:  # noqa: S106  # a made-up one
        with connected(name, server.url, {"Authorization": "Bearer canary"}) as client:
            assert client.models() == ["embed:latest", "a:latest"]
        with connected(name, server.url) as client, pytest.raises(ClientFailure) as caught:
            client.models()
    assert caught.value.status == 401

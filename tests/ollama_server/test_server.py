"""What surrounds the answers: other routes, the token, the record, and the server as a process."""

from __future__ import annotations

import hashlib
import signal
from collections.abc import Iterator

import httpx
import msgspec
import pytest

from tests import warm_processes
from tests.ollama_server import History, OllamaServer, Settings


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with OllamaServer(Settings(answer_tokens=3, pullable=("far",))) as server, httpx.Client(base_url=server.url) as it:
        yield it


def test_the_server_is_alive_and_knows_no_other_route(client: httpx.Client) -> None:
    assert client.get("/").text == "Ollama is running"
    assert (client.head("/").status_code, client.head("/api/tags").status_code) == (200, 200)
    assert (client.get("/api/nothing").status_code, client.get("/api/chat").status_code) == (404, 405)


def test_models_are_pulled_created_copied_and_deleted(client: httpx.Client) -> None:
    def names() -> set[str]:
        return {one["name"] for one in client.get("/api/tags").json()["models"]} - {"a:latest", "b:latest"}

    assert client.post("/api/pull", json={"model": "nowhere"}).status_code == 500
    assert client.post("/api/pull", json={"model": "far", "stream": False}).json() == {"status": "success"}
    assert client.post("/api/create", json={"model": "new", "from": "a"}).text.endswith('{"status":"success"}\n')
    assert client.post("/api/copy", json={"source": "a", "destination": "old"}).status_code == 200
    assert names() == {"embed:latest", "far:latest", "new:latest", "old:latest"}

    for name in ("far", "new", "old"):
        assert client.request("DELETE", "/api/delete", json={"model": name}).status_code == 200
    assert client.request("DELETE", "/api/delete", json={"model": "old"}).status_code == 404
    assert names() == {"embed:latest"}


def test_a_blob_is_kept_under_its_digest(client: httpx.Client) -> None:
    path = f"/api/blobs/sha256:{hashlib.sha256(b'x').hexdigest()}"

    assert client.head(path).status_code == 404
    assert client.post(path, content=b"y").status_code == 400
    assert client.post(path, content=b"x").status_code == 201
    assert client.head(path).status_code == 200


def test_an_account_is_not_signed_in(client: httpx.Client) -> None:
    assert client.post("/api/me").status_code == 401
    assert client.post("/api/signout").status_code == 200


def test_a_model_that_only_embeds_refuses_a_chat(client: httpx.Client) -> None:
    body = {"model": "embed", "messages": [{"role": "user", "content": "x"}]}
    refused = client.post("/api/chat", json=body)

    assert (refused.status_code, refused.json()) == (400, {"error": '"embed" does not support chat'})


@pytest.mark.parametrize("body", [b"", b"{", b'{"model": 5}', b'"x"', b"\xff"])
def test_a_bad_body_is_refused_with_a_sentence(client: httpx.Client, body: bytes) -> None:
    refused = client.post("/api/generate", content=body)

    assert refused.status_code == 400
    assert refused.json()["error"]


def test_messages_of_anthropic_end_with_the_events_of_an_end(client: httpx.Client) -> None:
    body = {"model": "a", "max_tokens": 2, "stream": True, "messages": [{"role": "user", "content": "the sky"}]}
    streamed = client.post("/v1/messages", json=body)
    names = [line.removeprefix("event: ") for line in streamed.text.splitlines() if line.startswith("event: ")]
    single = client.post("/v1/messages", json={**body, "stream": False}).json()

    begun, ended = ["message_start", "content_block_start"], ["content_block_stop", "message_delta", "message_stop"]
    assert names == [*begun, *["content_block_delta"] * 2, *ended]
    assert (single["stop_reason"], single["usage"]["output_tokens"]) == ("max_tokens", 2)


@pytest.mark.parametrize("headers", [{"Host": "evil.example"}, {"Origin": "https://evil.example"}])
def test_a_foreign_host_or_origin_is_refused(client: httpx.Client, headers: dict[str, str]) -> None:
    assert client.get("/api/tags", headers=headers).status_code == 403
    local = {name: "http://localhost:3000" if name == "Origin" else "localhost" for name in headers}
    assert client.get("/api/tags", headers=local).status_code == 200


def test_a_server_with_a_token_lets_in_only_those_who_carry_it() -> None:
    with OllamaServer(Settings(token="canary")) as server:  # noqa: S106  # a made-up one
        assert httpx.get(f"{server.url}/api/tags").status_code == 401
        assert httpx.get(f"{server.url}/api/tags", headers={"Authorization": "Bearer canary"}).status_code == 200


def test_the_server_is_a_process_that_tells_its_address_and_history() -> None:
    words = ("--models", "a", "--answer-tokens", "2", "--tokens-per-second", "1000")
    process = warm_processes.start("tests.ollama_server", *words)
    try:
        url = process.stdout.readline().strip()
        httpx.post(f"{url}/api/generate", json={"model": "a", "prompt": "x"}).raise_for_status()
        history = msgspec.json.decode(httpx.get(f"{url}/test/record").content, type=History)
        httpx.delete(f"{url}/test/record")

        assert ([one.tokens for one in history.requests], history.loaded()) == ([2], ["a:latest"])
        assert httpx.get(f"{url}/test/record").json()["requests"] == []
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == -signal.SIGTERM
    finally:
        process.kill()
        process.wait(30)
        process.stdin.close()
        process.stdout.close()

"""The examples of `tests/data/ollama`: as the Python client reads them, and as the server writes them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import ollama
import pytest

from tests.ollama_server import OllamaServer, Settings
from tests.ollama_server.examples import EXAMPLES, Example


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with OllamaServer(Settings(answer_tokens=2)) as server:
        yield server.url


@pytest.mark.parametrize("example", [pytest.param(one, id=one.name) for one in EXAMPLES.values() if one.shape])
def test_the_python_client_reads_every_field_of_an_example(example: Example) -> None:
    shape = getattr(ollama, example.shape or "")
    for line in example.lines:
        read = shape(**line).model_dump()
        # It leaves out what it has no use for.
        assert fields(line) - fields(read) <= {"index", "id", "name"}


def fields(value: Any) -> set[str]:
    """The names of all fields, at any depth."""
    if isinstance(value, list):
        return set().union(*map(fields, value))
    if not isinstance(value, dict):
        return set()
    return {*value}.union(*map(fields, value.values()))


CHAT = {"model": "a", "messages": [{"role": "user", "content": "the sky"}]}
GENERATE = {"model": "a", "prompt": "the sky"}
ASKED: dict[str, tuple[str, str, dict[str, Any] | None]] = {
    "chat": ("POST", "/api/chat", {**CHAT, "stream": False}),
    "chat stream": ("POST", "/api/chat", CHAT),
    "chat, load only": ("POST", "/api/chat", {"model": "a", "messages": []}),
    "chat, unload only": ("POST", "/api/chat", {"model": "a", "messages": [], "keep_alive": 0}),
    "generate": ("POST", "/api/generate", {**GENERATE, "stream": False}),
    "generate stream": ("POST", "/api/generate", GENERATE),
    "generate, load only": ("POST", "/api/generate", {"model": "a"}),
    "generate, unload only": ("POST", "/api/generate", {"model": "a", "keep_alive": "0s"}),
    "embed": ("POST", "/api/embed", {"model": "embed", "input": ["the", "sky"]}),
    "embeddings": ("POST", "/api/embeddings", {"model": "embed", "prompt": "the"}),
    "embeddings of nothing": ("POST", "/api/embeddings", {"model": "embed", "prompt": ""}),
    "tags": ("GET", "/api/tags", None),
    "ps": ("GET", "/api/ps", None),
    "version": ("GET", "/api/version", None),
    "pull stream": ("POST", "/api/pull", {"model": "a"}),
    "error no model": ("POST", "/api/chat", {"messages": []}),
    "error no body": ("POST", "/api/chat", None),
    "openai error": ("POST", "/v1/chat/completions", {"model": "nothing", "messages": [{"role": "user"}]}),
    "error unknown model": ("POST", "/api/chat", {**CHAT, "model": "nothing"}),
    "error model not pulled": ("POST", "/api/embed", {"model": "nothing", "input": "x"}),
}


@pytest.mark.parametrize("name", ASKED)
def test_the_server_writes_the_fields_of_an_example_in_its_order(name: str, url: str) -> None:
    method, path, body = ASKED[name]
    httpx.post(f"{url}/api/embed", json={"model": "embed", "input": "x"})
    answered = httpx.request(method, url + path, json=body)
    example = EXAMPLES[name]

    assert (answered.status_code, answered.headers["content-type"]) == (example.status, example.content_type)
    ours = [json.loads(line) for line in answered.text.splitlines()]
    assert shapes(ours) == shapes(example.lines)


def shapes(value: Any) -> Any:
    """The fields in their order, with the kinds of their values; equal items of a list once."""
    if isinstance(value, dict):
        return [(name, shapes(one)) for name, one in value.items()]
    if isinstance(value, list):
        kinds = [shapes(one) for one in value]
        return [kind for place, kind in enumerate(kinds) if kind not in kinds[:place]]
    return type(value)

"""Four things that a user does with every client: chat, stream a chat, embed, and list the models.

Rule: an exception that a client raises for an answer of the server becomes a `ClientFailure` with the status that the
client tells; any other goes on as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Protocol

import ollama
import openai

from tests.clients.node import NodeClient, NodeFailure

_NO_TOKEN: Final = "none"  # noqa: S105  # the client of OpenAI insists on one


class ClientFailure(Exception):
    """A client says that the server has refused; `status` is what it tells, -1 or 0 in the midst of a stream."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class Client(Protocol):
    """What each of them can do; `tokens` is how many an answer has, at most."""

    def chat(self, model: str, text: str, tokens: int | None = None) -> str:
        """Return the whole answer."""
        ...

    def chat_stream(self, model: str, text: str, tokens: int | None = None) -> Iterator[str]:
        """Yield the answer, frame by frame."""
        ...

    def embed(self, model: str, texts: list[str]) -> list[list[float]]:
        """Return a vector of each text."""
        ...

    def models(self) -> list[str]:
        """Return the names of all models."""
        ...


class PythonOllama:
    """The package `ollama` of Python."""

    def __init__(self, client: ollama.Client) -> None:
        self.client = client

    def chat(self, model: str, text: str, tokens: int | None = None) -> str:
        """Return the whole answer."""
        with _told():
            answered = self.client.chat(model=model, messages=_messages(text), options=_options(tokens))
        return answered.message.content or ""

    def chat_stream(self, model: str, text: str, tokens: int | None = None) -> Iterator[str]:
        """Yield the answer, frame by frame."""
        with _told():
            for one in self.client.chat(model=model, messages=_messages(text), options=_options(tokens), stream=True):
                yield one.message.content or ""

    def embed(self, model: str, texts: list[str]) -> list[list[float]]:
        """Return a vector of each text."""
        with _told():
            return [list(one) for one in self.client.embed(model=model, input=texts).embeddings]

    def models(self) -> list[str]:
        """Return the names of all models."""
        with _told():
            return [one.model or "" for one in self.client.list().models]


class PythonOpenai:
    """The package `openai` of Python, below `/v1`."""

    def __init__(self, client: openai.OpenAI) -> None:
        self.client = client

    def chat(self, model: str, text: str, tokens: int | None = None) -> str:
        """Return the whole answer."""
        with _told():
            answered = self.client.chat.completions.create(
                model=model, messages=[{"role": "user", "content": text}], max_tokens=tokens
            )
        return answered.choices[0].message.content or ""

    def chat_stream(self, model: str, text: str, tokens: int | None = None) -> Iterator[str]:
        """Yield the answer, frame by frame."""
        with _told():
            for one in self.client.chat.completions.create(
                model=model, messages=[{"role": "user", "content": text}], max_tokens=tokens, stream=True
            ):
                yield one.choices[0].delta.content or ""

    def embed(self, model: str, texts: list[str]) -> list[list[float]]:
        """Return a vector of each text."""
        with _told():
            return [one.embedding for one in self.client.embeddings.create(model=model, input=texts).data]

    def models(self) -> list[str]:
        """Return the names of all models."""
        with _told():
            return [one.id for one in self.client.models.list()]


class JavascriptOllama:
    """The package `ollama` of npm, in node."""

    def __init__(self, client: NodeClient) -> None:
        self.client = client

    def chat(self, model: str, text: str, tokens: int | None = None) -> str:
        """Return the whole answer."""
        with _told():
            answered = self.client.call("chat", model=model, messages=_messages(text), options=_options(tokens))
        return str(answered["message"]["content"])

    def chat_stream(self, model: str, text: str, tokens: int | None = None) -> Iterator[str]:
        """Yield the answer, frame by frame."""
        with _told():
            for one in self.client.stream("chat", model=model, messages=_messages(text), options=_options(tokens)):
                yield str(one["message"]["content"])

    def embed(self, model: str, texts: list[str]) -> list[list[float]]:
        """Return a vector of each text."""
        with _told():
            vectors: list[list[float]] = self.client.call("embed", model=model, input=texts)["embeddings"]
        return vectors

    def models(self) -> list[str]:
        """Return the names of all models."""
        with _told():
            return [str(one["name"]) for one in self.client.call("list")["models"]]


CLIENTS: Final = ("ollama of Python", "openai of Python", "ollama of JavaScript")


@contextmanager
def connected(name: str, url: str, headers: Mapping[str, str] | None = None) -> Iterator[Client]:
    """Give one of `CLIENTS` for the server at an address, with headers that it sends with every request."""
    if name == "ollama of Python":
        with ollama_client(url, headers) as client:
            yield PythonOllama(client)
    elif name == "openai of Python":
        with openai_client(url, headers) as client:
            yield PythonOpenai(client)
    else:
        with NodeClient(url, headers) as client:
            yield JavascriptOllama(client)


@contextmanager
def ollama_client(url: str, headers: Mapping[str, str] | None = None) -> Iterator[ollama.Client]:
    """Give the client of the package `ollama` for the server at an address; its connections end with the block."""
    with ollama.Client(host=url, headers=dict(headers or {})) as client:
        yield client


@contextmanager
def openai_client(url: str, headers: Mapping[str, str] | None = None) -> Iterator[openai.OpenAI]:
    """Give the client of the package `openai` likewise; it repeats nothing, and its token is that of the headers."""
    token = dict(headers or {}).get("Authorization", f"Bearer {_NO_TOKEN}").removeprefix("Bearer ")
    with openai.OpenAI(base_url=f"{url}/v1", api_key=token, max_retries=0, default_headers=headers) as client:
        yield client


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except ollama.ResponseError as error:
        raise ClientFailure(error.status_code, error.error) from error
    except openai.APIStatusError as error:
        raise ClientFailure(error.status_code, error.message) from error
    except openai.APIError as error:
        raise ClientFailure(0, error.message) from error
    except NodeFailure as error:
        raise ClientFailure(error.status, error.text) from error


def _messages(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def _options(tokens: int | None) -> dict[str, Any]:
    return {} if tokens is None else {"num_predict": tokens}

"""Routes in the form of OpenAI's API, as Ollama has them: chats, completions, embeddings, models, transcriptions.

Rule: they load models and answer as the native ones do; only the form differs.
"""

from __future__ import annotations

import base64
import re
import struct
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, Final

import msgspec
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route

from tests.ollama_server.answers import End, Order, Server, answer, embed, whole
from tests.ollama_server.exchange import EVENTS, event, in_frames, in_one
from tests.ollama_server.failures import Refused, unknown
from tests.ollama_server.native_routes import chat_prompt, read

_DONE: Final = b"data: [DONE]\n\n"
_PRINT: Final = "fp_ollama"


class StreamOptions(msgspec.Struct):
    """What a stream shall hold besides its text."""

    include_usage: bool = False


class Asked(msgspec.Struct, kw_only=True):
    """What the bodies share."""

    model: str = ""
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None

    def order(self, prompt: str) -> Order:
        """Return what it wants of the model."""
        options = {
            "num_predict": self.max_tokens,
            "temperature": self.temperature,
            "seed": self.seed,
            "stop": self.stop,
        }
        return Order(model=self.model, prompt=prompt, options={k: v for k, v in options.items() if v is not None})


class ChatAsked(Asked, kw_only=True):
    """The body of a chat; `content` is a text or a list of parts."""

    messages: list[dict[str, Any]] = []


class CompletionAsked(Asked, kw_only=True):
    """The body of a completion."""

    prompt: str = ""


class EmbeddingsAsked(Asked, kw_only=True):
    """The body of a request for vectors; the client of Python asks for them in base64."""

    input: str | list[str] = ""
    encoding_format: str = "float"


def routes(server: Server) -> list[Route]:
    """Return the routes of a server."""

    async def chat(request: HttpRequest) -> Response:
        asked = await read(request, ChatAsked)
        find(server, request, asked.model)
        if not asked.messages:
            raise Refused(400, "[] is too short - 'messages'")
        prompt = chat_prompt([(one.get("role", ""), text_of(one.get("content"))) for one in asked.messages])
        return await _answered(server, request, asked, prompt, is_chat=True)

    async def complete(request: HttpRequest) -> Response:
        asked = await read(request, CompletionAsked)
        find(server, request, asked.model)
        return await _answered(server, request, asked, asked.prompt, is_chat=False)

    async def embeddings(request: HttpRequest) -> Response:
        asked = await read(request, EmbeddingsAsked)
        find(server, request, asked.model)
        texts = [asked.input] if isinstance(asked.input, str) else asked.input
        vectors, tokens, _ = await embed(server, asked.order(""), texts)
        in_base64 = asked.encoding_format == "base64"
        items = [
            {"object": "embedding", "embedding": _base64(one) if in_base64 else one, "index": index}
            for index, one in enumerate(vectors)
        ]
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return in_one({"object": "list", "data": items, "model": asked.model, "usage": usage})

    async def models(_: HttpRequest) -> Response:
        return in_one({"object": "list", "data": [_model(one.name) for one in server.inventory.tags()]})

    async def model(request: HttpRequest) -> Response:
        name = request.path_params["model"]
        if name not in server.inventory:
            raise unknown(name)
        return in_one(_model(name))

    async def transcribe(request: HttpRequest) -> Response:
        """Answer with the words of the model for the file's size: nothing here hears."""
        body = await request.body()
        field = re.search(rb'name="model"\r\n(?:[^\r\n]+\r\n)*\r\n([^\r\n]*)\r\n', body)
        name = field[1].decode() if field else ""
        find(server, request, name)
        order = Order(model=name, prompt=f"heard {len(body)} bytes:", options={})
        text, _ = await whole(answer(server, request.scope["entry"], order))
        return in_one({"text": text})

    return [
        Route("/v1/chat/completions", chat, methods=["POST"]),
        Route("/v1/completions", complete, methods=["POST"]),
        Route("/v1/embeddings", embeddings, methods=["POST"]),
        Route("/v1/models", models, methods=["GET"]),
        Route("/v1/models/{model:path}", model, methods=["GET"]),
        Route("/v1/audio/transcriptions", transcribe, methods=["POST"]),
    ]


def find(server: Server, request: HttpRequest, model: str) -> None:
    """Note the model of a request.

    Raises:
        Refused: none is named, or the server does not have it.
    """
    if not model:
        raise Refused(400, "model is required")
    server.record.note(request.scope["entry"], model=model)
    if model not in server.inventory:
        raise unknown(model)


def text_of(content: Any) -> str:
    """Return the text of a message, which may come in parts."""
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content)
    return content if isinstance(content, str) else ""


async def _answered(server: Server, request: HttpRequest, asked: Asked, prompt: str, *, is_chat: bool) -> Response:
    answered = answer(server, request.scope["entry"], asked.order(prompt))
    number = request.scope["entry"].number
    head = {
        "id": f"{'chatcmpl' if is_chat else 'cmpl'}-{number}",
        "object": "chat.completion" if is_chat else "text_completion",
        "created": int(time.monotonic()),
        "model": asked.model,
        "system_fingerprint": _PRINT,
    }
    if not asked.stream:
        text, end = await whole(answered)
        said = {"message": {"role": "assistant", "content": text}} if is_chat else {"text": text}
        choice = {"index": 0, **said, "finish_reason": end.completion.reason}
        return in_one({**head, "choices": [choice], "usage": _usage(end)})
    if is_chat:
        head["object"] = "chat.completion.chunk"
    with_usage = asked.stream_options is not None and asked.stream_options.include_usage
    return await in_frames(_events(answered, head, is_chat=is_chat, with_usage=with_usage), EVENTS)


async def _events(
    answered: AsyncGenerator[str | End], head: Mapping[str, Any], *, is_chat: bool, with_usage: bool
) -> AsyncGenerator[bytes]:
    def chunk(text: str, reason: str | None) -> bytes:
        said = {"delta": {"role": "assistant", "content": text}} if is_chat else {"text": text}
        return event({**head, "choices": [{"index": 0, **said, "finish_reason": reason}]})

    async with aclosing(answered):
        async for one in answered:
            if not isinstance(one, End):
                yield chunk(one, None)
                continue
            yield chunk("", one.completion.reason)
            if with_usage:
                yield event({**head, "choices": [], "usage": _usage(one)})
    yield _DONE


def _usage(end: End) -> dict[str, int]:
    prompt, tokens = end.completion.prompt_tokens, end.completion.tokens
    return {"prompt_tokens": prompt, "completion_tokens": tokens, "total_tokens": prompt + tokens}


def _model(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "library"}


def _base64(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()

"""Ollama's own routes that need a model: chat, generate, and two that embed."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route

from tests.ollama_server.answers import End, Order, Server, answer, embed, keep_seconds, whole
from tests.ollama_server.exchange import NDJSON, in_frames, in_one, line
from tests.ollama_server.failures import Refused, not_pulled, unknown
from tests.ollama_server.frames import (
    Asked,
    ChatAsked,
    ChatFrame,
    EmbedAsked,
    Embedded,
    EmbeddingsAsked,
    GenerateAsked,
    GenerateFrame,
    Message,
    OneEmbedded,
    timestamp,
)

T = TypeVar("T", bound=msgspec.Struct)
A = TypeVar("A", bound=Asked)

# A text and an end -> a frame; the end is there in the last one.
_ToFrame = Callable[[str, End | None], msgspec.Struct]


def routes(server: Server) -> list[Route]:
    """Return the routes of a server."""

    async def chat(request: HttpRequest) -> Response:
        asked = await read(request, ChatAsked)
        _find(server, request, asked)
        _refuse_embedding(server, asked.model, "chat")
        if not asked.messages:
            return await _only_load(server, asked, lambda reason: _chat_frame(asked.model, "", reason))
        prompt = chat_prompt([(one.role, one.content) for one in asked.messages])
        return await _answered(server, request, asked, prompt, lambda text, end: _chat(asked.model, text, end))

    async def generate(request: HttpRequest) -> Response:
        asked = await read(request, GenerateAsked)
        _find(server, request, asked)
        _refuse_embedding(server, asked.model, "generate")
        if not asked.prompt:
            return await _only_load(server, asked, lambda reason: _generate_frame(asked.model, "", reason))
        prompt = f"{asked.system}\n{asked.prompt}" if asked.system else asked.prompt
        return await _answered(server, request, asked, prompt, lambda text, end: _generate(asked.model, text, end))

    async def embed_texts(request: HttpRequest) -> Response:
        began_ns = time.monotonic_ns()
        asked = await read(request, EmbedAsked)
        _find(server, request, asked, not_pulled)
        texts = [asked.input] if isinstance(asked.input, str) else asked.input or []
        vectors, tokens, load_ns = await embed(server, _order(asked, ""), texts) if texts else ([], 0, 0)
        total_ns = time.monotonic_ns() - began_ns
        return in_one(
            Embedded(
                model=asked.model,
                embeddings=vectors,
                total_duration=total_ns,
                load_duration=load_ns,
                prompt_eval_count=tokens,
            )
        )

    async def embed_prompt(request: HttpRequest) -> Response:
        asked = await read(request, EmbeddingsAsked)
        _find(server, request, asked, not_pulled)
        if not asked.prompt:
            return in_one(OneEmbedded(embedding=[]))
        [vector], _, _ = await embed(server, _order(asked, ""), [asked.prompt])
        return in_one(OneEmbedded(embedding=vector))

    return [
        Route("/api/chat", chat, methods=["POST"]),
        Route("/api/generate", generate, methods=["POST"]),
        Route("/api/embed", embed_texts, methods=["POST"]),
        Route("/api/embeddings", embed_prompt, methods=["POST"]),
    ]


async def read(request: HttpRequest, shape: type[T]) -> T:
    """Return the body of a request.

    Raises:
        Refused: it is missing, no JSON, or of another shape.
    """
    body = await request.body()
    if not body:
        raise Refused(400, "missing request body")
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.MsgspecError as error:
        raise Refused(400, str(error)) from error


def chat_prompt(messages: list[tuple[str, str]]) -> str:
    """Return the prompt of a chat, as the template of the models has it."""
    return "".join(f"{role}: {content}\n" for role, content in messages) + "assistant:"


def _find(server: Server, request: HttpRequest, asked: Asked, refusal: Callable[[str], Refused] = unknown) -> None:
    if not asked.model:
        raise Refused(400, "model is required")
    server.record.note(request.scope["entry"], model=asked.model)
    if asked.model not in server.inventory:
        raise refusal(asked.model)


def _refuse_embedding(server: Server, model: str, what: str) -> None:
    if server.inventory.only_embeds(model):
        raise Refused(400, f'"{model}" does not support {what}')


def _order(asked: Asked, prompt: str) -> Order:
    return Order(model=asked.model, prompt=prompt, options=asked.options or {}, keep_s=keep_seconds(asked.keep_alive))


async def _only_load(server: Server, asked: A, frame: Callable[[str], msgspec.Struct]) -> Response:
    """Load a model, or unload it, without an answer: what an empty prompt is for."""
    order = _order(asked, "")
    source = server.inventory.source(asked.model)
    if order.keep_s == 0:
        server.residency.expire(source)
        return in_one(frame("unload"))
    async with server.residency.using(source, order.options, order.keep_s):
        return in_one(frame("load"))


async def _answered(server: Server, request: HttpRequest, asked: Asked, prompt: str, frame: _ToFrame) -> Response:
    answered = answer(server, request.scope["entry"], _order(asked, prompt))
    if asked.stream is False:
        return in_one(frame(*await whole(answered)))
    return await in_frames(_lines(answered, frame), NDJSON)


async def _lines(answered: AsyncGenerator[str | End], frame: _ToFrame) -> AsyncGenerator[bytes]:
    async with aclosing(answered):
        async for one in answered:
            yield line(frame("", one) if isinstance(one, End) else frame(one, None))


def _chat(model: str, text: str, end: End | None) -> ChatFrame:
    message = Message(role="assistant", content=text)
    return ChatFrame(model=model, created_at=timestamp(), message=message, done=end is not None, **_usage(end))


def _chat_frame(model: str, text: str, reason: str) -> ChatFrame:
    message = Message(role="assistant", content=text)
    return ChatFrame(model=model, created_at=timestamp(), message=message, done=True, done_reason=reason)


def _generate(model: str, text: str, end: End | None) -> GenerateFrame:
    return GenerateFrame(model=model, created_at=timestamp(), response=text, done=end is not None, **_usage(end))


def _generate_frame(model: str, text: str, reason: str) -> GenerateFrame:
    return GenerateFrame(model=model, created_at=timestamp(), response=text, done=True, done_reason=reason)


def _usage(end: End | None) -> dict[str, Any]:
    if end is None:
        return {}
    return {
        "done_reason": end.completion.reason,
        "total_duration": end.total_ns,
        "load_duration": end.load_ns,
        "prompt_eval_count": end.completion.prompt_tokens,
        "prompt_eval_duration": end.completion.prompt_ns,
        "eval_count": end.completion.tokens,
        "eval_duration": end.completion.tokens_ns,
    }

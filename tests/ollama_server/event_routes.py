"""Routes whose streams are events of several names: OpenAI's responses, and the messages of Anthropic's API.

Rule: as for the other forms, only the form differs.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

import msgspec
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route

from tests.ollama_server.answers import End, Order, Server, answer, whole
from tests.ollama_server.exchange import EVENTS, event, in_frames, in_one
from tests.ollama_server.native_routes import chat_prompt, read
from tests.ollama_server.openai_routes import find, text_of


class ResponseAsked(msgspec.Struct, kw_only=True):
    """The body of `/v1/responses`."""

    model: str = ""
    input: str | list[dict[str, Any]] = ""
    stream: bool = False
    max_output_tokens: int | None = None


class MessageAsked(msgspec.Struct, kw_only=True):
    """The body of `/v1/messages`."""

    model: str = ""
    messages: list[dict[str, Any]] = []
    stream: bool = False
    max_tokens: int | None = None


def routes(server: Server) -> list[Route]:
    """Return the routes of a server."""

    async def respond(request: HttpRequest) -> Response:
        asked = await read(request, ResponseAsked)
        find(server, request, asked.model)
        messages = [{"role": "user", "content": asked.input}] if isinstance(asked.input, str) else asked.input
        order = _order(asked.model, messages, asked.max_output_tokens)
        entry = request.scope["entry"]
        answered = answer(server, entry, order)
        head = {
            "id": f"resp_{entry.number}",
            "object": "response",
            "created_at": int(time.monotonic()),
            "model": asked.model,
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
        }
        if not asked.stream:
            text, end = await whole(answered)
            return in_one(_responded(head, text, end))
        return await in_frames(_response_events(answered, head), EVENTS)

    async def messages(request: HttpRequest) -> Response:
        asked = await read(request, MessageAsked)
        find(server, request, asked.model)
        entry = request.scope["entry"]
        answered = answer(server, entry, _order(asked.model, asked.messages, asked.max_tokens))
        head = {"id": f"msg_{entry.number}", "type": "message", "role": "assistant", "model": asked.model}
        if not asked.stream:
            text, end = await whole(answered)
            content = [{"type": "text", "text": text}]
            return in_one({**head, "content": content, **_stopped(end), "usage": _usage(end)})
        return await in_frames(_message_events(answered, head), EVENTS)

    return [
        Route("/v1/responses", respond, methods=["POST"]),
        Route("/v1/messages", messages, methods=["POST"]),
    ]


def _order(model: str, messages: list[dict[str, Any]], tokens: int | None) -> Order:
    prompt = chat_prompt([(one.get("role", ""), text_of(one.get("content"))) for one in messages])
    return Order(model=model, prompt=prompt, options={} if tokens is None else {"num_predict": tokens})


async def _response_events(answered: AsyncGenerator[str | End], head: Mapping[str, Any]) -> AsyncGenerator[bytes]:
    number = 0

    def made(name: str, **fields: object) -> bytes:
        nonlocal number
        number += 1
        return event({"type": name, **fields, "sequence_number": number - 1}, name)

    item_id = f"msg_{head['id']}"
    at = {"item_id": item_id, "output_index": 0, "content_index": 0}
    text = ""
    async with aclosing(answered):
        async for one in answered:
            if isinstance(one, End):
                whole_item = _item(item_id, text, "completed")
                yield made("response.output_text.done", **at, text=text, logprobs=[])
                yield made("response.content_part.done", **at, part=_part(text))
                yield made("response.output_item.done", output_index=0, item=whole_item)
                yield made("response.completed", response=_responded(head, text, one))
                continue
            if not text:
                begun = {**head, "status": "in_progress", "output": []}
                yield made("response.created", response=begun)
                yield made("response.in_progress", response=begun)
                item = {**_item(item_id, "", "in_progress"), "content": []}
                yield made("response.output_item.added", output_index=0, item=item)
                yield made("response.content_part.added", **at, part=_part(""))
            text += one
            yield made("response.output_text.delta", **at, delta=one, logprobs=[])


async def _message_events(answered: AsyncGenerator[str | End], head: Mapping[str, Any]) -> AsyncGenerator[bytes]:
    def made(name: str, **fields: object) -> bytes:
        return event({"type": name, **fields}, name)

    is_begun = False
    async with aclosing(answered):
        async for one in answered:
            if not is_begun:
                is_begun = True
                usage = {"input_tokens": 0, "output_tokens": 0}
                begun = {**head, "content": [], "stop_reason": None, "stop_sequence": None, "usage": usage}
                yield made("message_start", message=begun)
                yield made("content_block_start", index=0, content_block={"type": "text", "text": ""})
            if isinstance(one, End):
                yield made("content_block_stop", index=0)
                yield made("message_delta", delta=_stopped(one), usage=_usage(one))
                yield made("message_stop")
            else:
                yield made("content_block_delta", index=0, delta={"type": "text_delta", "text": one})


def _part(text: str) -> dict[str, object]:
    return {"type": "output_text", "text": text, "annotations": []}


def _item(id: str, text: str, status: str) -> dict[str, object]:
    return {"id": id, "type": "message", "status": status, "role": "assistant", "content": [_part(text)]}


def _responded(head: Mapping[str, Any], text: str, end: End) -> dict[str, object]:
    usage = {**_usage(end), "total_tokens": end.completion.prompt_tokens + end.completion.tokens}
    details = {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
    output = [_item(f"msg_{head['id']}", text, "completed")]
    return {**head, "status": "completed", "output": output, "usage": {**usage, **details}}


def _stopped(end: End) -> dict[str, object]:
    reason = "max_tokens" if end.completion.reason == "length" else "end_turn"
    return {"stop_reason": reason, "stop_sequence": None}


def _usage(end: End) -> dict[str, int]:
    return {"input_tokens": end.completion.prompt_tokens, "output_tokens": end.completion.tokens}

"""Chats that stream through an address: when the first token was there, and how many came.

Rule: a chat is asked for as the clients of Ollama ask, and counts only if its last frame says that it is done. It must
not know what answers behind the address.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import httpx

_PATIENCE_S: Final = 600.0


@dataclass(frozen=True)
class Chat:
    """One chat: seconds of the monotonic clock, and its tokens."""

    asked_s: float
    first_s: float
    ended_s: float
    tokens: int


@dataclass(frozen=True)
class Order:
    """What to ask of an address: chats of so many tokens with one model, from so many clients at once."""

    model: str
    tokens: int
    chats: int
    clients: int = 1
    headers: Mapping[str, str] | None = None


def run(url: str, order: Order) -> list[Chat]:
    """Return all chats in the order in which they were asked for; a client asks again when its answer has ended.

    Raises:
        RuntimeError: an answer was refused, or ended without its last frame.
    """
    with (
        httpx.Client(base_url=url, timeout=_PATIENCE_S, headers=order.headers) as client,
        ThreadPoolExecutor(order.clients) as threads,
    ):
        return list(threads.map(lambda number: _chat(client, order, number), range(order.chats)))


def first_token_ms(chats: Sequence[Chat]) -> float:
    """Return the median of the milliseconds until the first token."""
    return statistics.median((chat.first_s - chat.asked_s) * 1_000 for chat in chats)


def tokens_per_second(chats: Sequence[Chat]) -> float:
    """Return the tokens of all chats by the time from the first request to the last end."""
    seconds = max(chat.ended_s for chat in chats) - min(chat.asked_s for chat in chats)
    return sum(chat.tokens for chat in chats) / seconds


def _chat(client: httpx.Client, order: Order, number: int) -> Chat:
    body = {
        "model": order.model,
        "messages": [{"role": "user", "content": f"the sky, {number}"}],
        "options": {"num_predict": order.tokens},
        "stream": True,
    }
    asked_s = time.monotonic()
    first_s = 0.0
    with client.stream("POST", "/api/chat", json=body) as answered:
        if answered.status_code != httpx.codes.OK:
            raise RuntimeError(f"{answered.status_code}: {answered.read()!r}")
        for line in answered.iter_lines():
            frame = json.loads(line)
            # Frames without content keep a connection alive, and are no tokens.
            if not first_s and frame.get("message", {}).get("content"):
                first_s = time.monotonic()
            if frame.get("done"):
                return Chat(asked_s, first_s, time.monotonic(), frame["eval_count"])
    raise RuntimeError("an answer ended without its last frame")

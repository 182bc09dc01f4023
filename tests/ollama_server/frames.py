"""What Ollama's own routes take and answer, in the order of fields in which Ollama writes them.

Rule: a field that Ollama leaves out when it is empty is left out here. `tests/data/ollama` holds an example of each.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

# --- requests ---------------------------------------------------------------------------------------------------------


class Asked(msgspec.Struct, kw_only=True):
    """What all requests for a model share; unknown fields are ignored, and an absent `stream` means true."""

    model: str = ""
    stream: bool | None = None
    keep_alive: Any = None
    options: dict[str, Any] | None = None


class AskedMessage(msgspec.Struct):
    """A message that a request carries."""

    role: str = ""
    content: str = ""


class ChatAsked(Asked, kw_only=True):
    """The body of `/api/chat`."""

    messages: list[AskedMessage] | None = None


class GenerateAsked(Asked, kw_only=True):
    """The body of `/api/generate`."""

    prompt: str = ""
    system: str = ""


class EmbedAsked(Asked, kw_only=True):
    """The body of `/api/embed`."""

    input: str | list[str] | None = None


class EmbeddingsAsked(Asked, kw_only=True):
    """The body of `/api/embeddings`."""

    prompt: str = ""


# --- answers ----------------------------------------------------------------------------------------------------------


class Message(msgspec.Struct, omit_defaults=True, kw_only=True):
    """The message of an answer."""

    role: str
    content: str
    thinking: str = ""
    tool_calls: list[Any] | None = None


class ChatFrame(msgspec.Struct, omit_defaults=True, kw_only=True):
    """One frame of `/api/chat`; what follows `done` is in the last one, with durations in nanoseconds."""

    model: str
    created_at: str
    message: Message
    done: bool
    done_reason: str = ""
    total_duration: int = 0
    load_duration: int = 0
    prompt_eval_count: int = 0
    prompt_eval_duration: int = 0
    eval_count: int = 0
    eval_duration: int = 0


class GenerateFrame(msgspec.Struct, omit_defaults=True, kw_only=True):
    """One frame of `/api/generate`; the rest is as in that of a chat."""

    model: str
    created_at: str
    response: str
    done: bool
    done_reason: str = ""
    context: list[int] | None = None
    total_duration: int = 0
    load_duration: int = 0
    prompt_eval_count: int = 0
    prompt_eval_duration: int = 0
    eval_count: int = 0
    eval_duration: int = 0


class Embedded(msgspec.Struct, omit_defaults=True, kw_only=True):
    """The answer of `/api/embed`."""

    model: str
    embeddings: list[list[float]]
    total_duration: int = 0
    load_duration: int = 0
    prompt_eval_count: int = 0


class OneEmbedded(msgspec.Struct, kw_only=True):
    """The answer of `/api/embeddings`."""

    embedding: list[float]


class Details(msgspec.Struct, kw_only=True):
    """What kind of file a model is."""

    parent_model: str
    format: str
    family: str
    families: list[str]
    parameter_size: str
    quantization_level: str


class Tag(msgspec.Struct, kw_only=True):
    """A model of `/api/tags`."""

    name: str
    model: str
    modified_at: str
    size: int
    digest: str
    details: Details


class Running(msgspec.Struct, kw_only=True):
    """A model of `/api/ps`."""

    name: str
    model: str
    size: int
    digest: str
    details: Details
    expires_at: str
    size_vram: int
    context_length: int


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def timestamp(seconds_from_now: float = 0) -> str:
    """Return a time as Ollama writes it: RFC 3339 in UTC, with nanoseconds."""
    at_ns = time.time_ns() + int(seconds_from_now * 1e9)
    at = _EPOCH + timedelta(seconds=at_ns // 1_000_000_000)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at_ns % 1_000_000_000:09d}Z"

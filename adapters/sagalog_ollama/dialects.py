"""The dialects that clients speak: how each route's streams say that they wait, that they fail, and that they are over.

Rule: one record a route, and only these know the forms of frames. A frame that waits must do nothing to the clients of
its route: a blank line ends the official Python client of Ollama, an empty content does not.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

NDJSON: Final = "application/x-ndjson"
EVENTS: Final = "text/event-stream"
JSON: Final = "application/json; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Dialect:
    """The form of the answers of one route.

    path         the route
    streams      whether an answer comes in parts where the body does not say
    media_type   of a stream
    waiting      model, RFC 3339 time -> a frame that says nothing
    failure      status, text -> the error as JSON, for an answer and for a frame
    last         whether a line of a stream is its last one
    """

    path: str
    streams: bool
    media_type: str
    waiting: Callable[[str, str], bytes]
    failure: Callable[[int, str], dict[str, Any]]
    last: Callable[[bytes], bool]

    def error_body(self, status: int, text: str) -> bytes:
        """Return an error as the body of an answer."""
        return msgspec.json.encode(self.failure(status, text))

    def error_frame(self, status: int, text: str) -> bytes:
        """Return an error as a frame of a stream that was begun."""
        return self._framed(self.error_body(status, text))

    def upstream_frame(self, status: int, body: bytes) -> bytes:
        """Return an error of the target, as it is if it is one JSON object, as a frame of a stream that was begun."""
        try:
            given = msgspec.json.decode(body, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return self.error_frame(status, text_of(body) or f"the target answered {status}")
        return self._framed(msgspec.json.encode(given))

    def _framed(self, body: bytes) -> bytes:
        if self.media_type == NDJSON:
            return body + b"\n"
        named = b"event: error\n" if self.path == "/v1/messages" else b""
        return named + b"data: " + body + b"\n\n"


# A frame beyond that is passed on in pieces; the target's own client reads no longer lines.
_FRAME_BYTES_MAX: Final = 8 * 1_048_576


@dataclass(slots=True)
class WholeFrames:
    """The bytes of a stream up to the end of a frame, whichever way they come: another frame may follow there."""

    dialect: Dialect
    _rest: bytearray = field(default_factory=bytearray)

    def take(self, chunk: bytes) -> bytes:
        """Return what is complete with these bytes."""
        self._rest += chunk
        ends = (b"\n",) if self.dialect.media_type == NDJSON else (b"\n\n", b"\n\r\n")
        since = max(len(self._rest) - len(chunk) - 2, 0)
        cut = max((at + len(end) for end in ends if (at := self._rest.rfind(end, since)) >= 0), default=0)
        if len(self._rest) > _FRAME_BYTES_MAX:
            cut = len(self._rest)
        whole, self._rest = bytes(self._rest[:cut]), self._rest[cut:]
        return whole

    def rest(self) -> bytes:
        """Return what is left where nothing more comes."""
        left, self._rest = bytes(self._rest), bytearray()
        return left


@dataclass(slots=True)
class StreamEnd:
    """What the bytes of a stream say of its end, whichever way they are cut.

    is_over   whether the last frame has come
    error     the text of an error frame; None: there was none
    load_ms   how long the target says that it has loaded the model for it; None: it does not say
    """

    dialect: Dialect
    is_over: bool = False
    error: str | None = None
    load_ms: int | None = None
    _rest: bytearray = field(default_factory=bytearray)

    def take(self, chunk: bytes) -> None:
        """Look at more bytes."""
        head, newline, tail = chunk.rpartition(b"\n")
        if newline:
            lines = (bytes(self._rest) + head).split(b"\n")
            self._rest = bytearray(tail)
            for line in lines:
                self._look(line)
        elif len(self._rest) <= _FRAME_BYTES_MAX:
            self._rest += chunk

    def close(self) -> None:
        """Look at what no line end follows: the bytes are at their end."""
        self._look(bytes(self._rest))
        self._rest.clear()

    def _look(self, line: bytes) -> None:
        if self.dialect.last(line):
            self.is_over = True
            self.load_ms = load_ms_of(line)
        found = error_of(line.removeprefix(b"data:"))
        if found is not None:
            self.is_over, self.error = True, found


class _OllamaFrame(msgspec.Struct):
    done: bool = False
    load_duration: int | None = None


class _TypedFrame(msgspec.Struct):
    type: str = ""


class _ErrorFrame(msgspec.Struct):
    error: Any = None
    message: str | None = None


def error_of(body: bytes) -> str | None:
    """Return the text of an error as the target writes it, in any dialect; None: it is none."""
    if b'"error"' not in body:
        return None
    try:
        found = msgspec.json.decode(body, type=_ErrorFrame)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if isinstance(found.error, dict):
        return str(found.error.get("message") or found.error)
    return None if found.error is None else str(found.error)


def text_of(body: bytes) -> str:
    """Return the text of an error's body, of whatever form, cut where it is long."""
    return error_of(body) or re.sub(r"\s+", " ", body[:2_000].decode("utf-8", "replace")).strip()


def _ollama_failure(_status: int, text: str) -> dict[str, Any]:
    return {"error": text}


def _openai_failure(status: int, text: str) -> dict[str, Any]:
    kind = {400: "invalid_request_error", 404: "not_found_error"}.get(status, "api_error")
    return {"error": {"message": text, "type": kind, "param": None, "code": None}}


_ANTHROPIC_KINDS: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}


def _anthropic_failure(status: int, text: str) -> dict[str, Any]:
    kind = _ANTHROPIC_KINDS.get(status, "api_error")
    return {"type": "error", "error": {"type": kind, "message": text}}


def _waiting_chat(model: str, now: str) -> bytes:
    message = {"role": "assistant", "content": ""}
    return msgspec.json.encode({"model": model, "created_at": now, "message": message, "done": False}) + b"\n"


def _waiting_generate(model: str, now: str) -> bytes:
    return msgspec.json.encode({"model": model, "created_at": now, "response": "", "done": False}) + b"\n"


def _comment(_model: str, _now: str) -> bytes:
    return b": waiting\n\n"


def _ping(_model: str, _now: str) -> bytes:
    return b'event: ping\ndata: {"type": "ping"}\n\n'


def load_ms_of(frame: bytes) -> int | None:
    """Return how long the target says that it has loaded the model, in its last frame or its whole answer."""
    found = _ollama_frame(frame) if b'"load_duration"' in frame else None
    return None if found is None or found.load_duration is None else found.load_duration // 1_000_000


def _ollama_frame(line: bytes) -> _OllamaFrame | None:
    try:
        return msgspec.json.decode(line, type=_OllamaFrame)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _is_done(line: bytes) -> bool:
    found = _ollama_frame(line) if b'"done"' in line else None
    return found is not None and found.done


def _is_done_mark(line: bytes) -> bool:
    return line.startswith(b"data:") and line[5:].strip() == b"[DONE]"


def _ending(*types: str) -> Callable[[bytes], bool]:
    """Return what knows the last frame of a stream by the type of its event, named before the data or in it."""
    marks = tuple(name.encode() for name in types)

    def is_last(line: bytes) -> bool:
        if not any(mark in line for mark in marks):
            return _is_done_mark(line)
        if line.startswith(b"event:"):
            return line[6:].strip() in marks
        try:
            return msgspec.json.decode(line.removeprefix(b"data:"), type=_TypedFrame).type in types
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return False

    return is_last


_ends_message: Final = _ending("message_stop")
_ends_response: Final = _ending("response.completed", "response.incomplete", "response.failed")
_ends_transcription: Final = _ending("transcript.text.done")


DIALECTS: Final = {
    one.path: one
    for one in (
        Dialect("/api/chat", True, NDJSON, _waiting_chat, _ollama_failure, _is_done),
        Dialect("/api/generate", True, NDJSON, _waiting_generate, _ollama_failure, _is_done),
        Dialect("/v1/chat/completions", False, EVENTS, _comment, _openai_failure, _is_done_mark),
        Dialect("/v1/completions", False, EVENTS, _comment, _openai_failure, _is_done_mark),
        Dialect("/v1/responses", False, EVENTS, _comment, _openai_failure, _ends_response),
        Dialect("/v1/messages", False, EVENTS, _ping, _anthropic_failure, _ends_message),
        Dialect("/v1/audio/transcriptions", False, EVENTS, _comment, _openai_failure, _ends_transcription),
    )
}


def dialect_of(path: str) -> Dialect:
    """Return the dialect of a route, also of those that do not wait."""
    if path in DIALECTS:
        return DIALECTS[path]
    return DIALECTS["/v1/chat/completions" if path.startswith("/v1/") else "/api/chat"]

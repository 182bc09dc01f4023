"""Streams: answers that go on, as lines of JSON or as server-sent events, frame by frame.

Rule: a frame is sent when it is there, and nothing is kept for a reader that does not read: the kit ends its stream,
and it resumes behind the cursor of the last frame that it has. [HTTP-8] It must not know what frames mean.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from sagalog_http.problems import Problem

KEEP_ALIVE_MS: Final = 15_000


class Frame(msgspec.Struct, frozen=True):
    """One frame of a stream.

    data     bytes are sent as they are in NDJSON, and as the data of an event; anything else is encoded as JSON
    cursor   names its place, so that a reader can resume behind it; the `id` of an event
    event    the type of an event; None: a plain message
    """

    data: Any
    cursor: str | None = None
    event: str | None = None


@dataclass(frozen=True)
class Stream:
    """An answer that goes on: frames, and what is sent beside them.

    frames            gives bytes, or a Frame; it is closed when the client hangs up
    encode            a frame -> the bytes to send
    content_type      the type of the answer
    failed            a problem -> the bytes that tell of it once the answer has begun; None: nothing is sent
    keep_alive        gives the bytes to send when nothing was sent for `keep_alive_ms`; None of them: not now
    keep_alive_ms     how long nothing is sent before that, in milliseconds
    status, headers   of the answer
    is_begun_at_once  the answer begins before the first frame; else with the first frame or keep-alive, and what fails
                      before is answered with its own status
    """

    frames: AsyncIterator[Any]
    encode: Callable[[Frame], bytes]
    content_type: str
    failed: Callable[[Problem], bytes | None]
    keep_alive: Callable[[], bytes | None] | None = None
    keep_alive_ms: int = KEEP_ALIVE_MS
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    is_begun_at_once: bool = False

    async def close(self) -> None:
        """Close the iterator, so that what it holds is given back; a second call does nothing."""
        close = getattr(self.frames, "aclose", None)
        if close is not None:
            await close()


def ndjson(
    frames: AsyncIterator[Any],
    *,
    keep_alive: Callable[[], bytes | None] | None = None,
    keep_alive_ms: int = KEEP_ALIVE_MS,
    failed: Callable[[Problem], bytes | None] | None = None,
    content_type: str = "application/x-ndjson",
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    is_begun_at_once: bool = False,
) -> Stream:
    """Answer with lines of JSON; bytes are sent as they are, with whatever line breaks they have.

    Args:
        frames: gives bytes, a Frame, or any value for JSON, which gets a line.
        keep_alive: gives what is sent after a pause; None: nothing is.
        keep_alive_ms: how long that pause is, in milliseconds.
        failed: a problem -> what is sent of it; None: a line `{"error": {...}}`.
        content_type: the type of the answer.
        status: the status of the answer.
        headers: headers besides.
        is_begun_at_once: begin before the first frame.
    """
    return Stream(
        frames,
        _as_line,
        content_type,
        failed or _error_line,
        keep_alive,
        keep_alive_ms,
        status,
        headers or {},
        is_begun_at_once,
    )


def server_sent_events(
    frames: AsyncIterator[Any],
    *,
    keep_alive: Callable[[], bytes | None] | None = None,
    keep_alive_ms: int = KEEP_ALIVE_MS,
    failed: Callable[[Problem], bytes | None] | None = None,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    is_begun_at_once: bool = True,
    is_raw: bool = False,
) -> Stream:
    """Answer with server-sent events; the cursor of a frame is the id of its event.

    Args:
        frames: gives a Frame, or any value for JSON, which is the data of an event.
        keep_alive: gives what is sent after a pause; None: a comment.
        keep_alive_ms: how long that pause is, in milliseconds.
        failed: a problem -> what is sent of it; None: an event `error`.
        status: the status of the answer.
        headers: headers besides.
        is_begun_at_once: begin before the first event.
        is_raw: bytes are whole events already, and sent as they are.
    """
    return Stream(
        frames,
        _as_raw_event if is_raw else _as_event,
        "text/event-stream",
        failed or _error_event,
        keep_alive or _comment,
        keep_alive_ms,
        status,
        headers or {},
        is_begun_at_once,
    )


def as_frame(given: Any) -> Frame:
    """Return what an iterator gave as a frame."""
    return given if isinstance(given, Frame) else Frame(given)


def _as_line(frame: Frame) -> bytes:
    if isinstance(frame.data, bytes | bytearray | memoryview):
        return bytes(frame.data)
    return msgspec.json.encode(frame.data) + b"\n"


def _as_event(frame: Frame) -> bytes:
    data = frame.data
    text = bytes(data) if isinstance(data, bytes | bytearray | memoryview) else msgspec.json.encode(data)
    lines = []
    if frame.event is not None:
        lines.append(b"event: " + _on_one_line(frame.event))
    if frame.cursor is not None:
        lines.append(b"id: " + _on_one_line(frame.cursor))
    lines += [b"data: " + line for line in text.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")]
    return b"\n".join(lines) + b"\n\n"


def _as_raw_event(frame: Frame) -> bytes:
    return bytes(frame.data) if isinstance(frame.data, bytes | bytearray | memoryview) else _as_event(frame)


def _on_one_line(text: str) -> bytes:
    return "".join(character for character in text if character not in "\r\n\0").encode()


def _error_line(problem: Problem) -> bytes:
    return msgspec.json.encode({"error": problem.document()}) + b"\n"


def _error_event(problem: Problem) -> bytes:
    return _as_event(Frame(problem.document(), event="error"))


def _comment() -> bytes:
    return b": keep-alive\n\n"

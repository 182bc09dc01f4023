"""One request and its answer: what comes in whole, what goes out frame by frame, and a client that leaves.

Rule: a client that leaves cancels the work for it at once, as an open connection that ends does in Ollama; the record
says how each request ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, MutableMapping
from contextlib import aclosing
from typing import Any, Final

import msgspec
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tests.ollama_server.failures import JSON, Failed, Refused
from tests.ollama_server.record import Outcome, Record

NDJSON: Final = "application/x-ndjson"
EVENTS: Final = "text/event-stream"
CLIENT_LEFT: Final = 499


class Exchanges:
    """The outermost layer of the application."""

    def __init__(self, app: ASGIApp, record: Record, hidden: str) -> None:
        self._app = app
        self._record = record
        self._hidden = hidden

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["path"].startswith(self._hidden):
            await self._app(scope, receive, send)
            return
        entry = self._record.begin(scope["method"], scope["path"])
        scope["entry"] = entry
        body = await _body(receive)
        work = asyncio.current_task()
        assert work is not None
        is_over = has_left = False

        async def watch() -> None:
            nonlocal has_left
            while (await receive())["type"] != "http.disconnect":
                pass
            if not is_over:
                has_left = True
                work.cancel()

        async def note_and_send(message: MutableMapping[str, Any]) -> None:
            nonlocal is_over
            if message["type"] == "http.response.start":
                self._record.note(entry, status=message["status"])
            is_over = message["type"] == "http.response.body" and not message.get("more_body")
            await send(message)

        given: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def give() -> Message:
            if not given:
                # `watch` hears of the end.
                await asyncio.Event().wait()
            return given.pop()

        watching = asyncio.create_task(watch())
        try:
            await self._app(scope, give, note_and_send)
        except (asyncio.CancelledError, OSError):
            if not has_left:
                raise
            work.uncancel()
        finally:
            watching.cancel()
            changes = {"status": entry.status or CLIENT_LEFT} if has_left else {}
            outcome: Outcome = "client left" if has_left else "answered"
            self._record.end(entry, outcome, **changes)


class Frames(Response):
    """An answer in frames, each sent as soon as it is there.

    The first frame is asked for before the status is sent: what is refused until then has a status of its own. What
    fails later becomes the last frame.
    """

    def __init__(self, frames: AsyncGenerator[bytes], first: bytes, media_type: str) -> None:
        super().__init__(media_type=media_type)
        del self.headers["content-length"]
        self._first = first
        self._frames = frames

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send them."""
        async with aclosing(self._frames):
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            frame = self._first
            while True:
                await send({"type": "http.response.body", "body": frame, "more_body": True})
                try:
                    frame = await anext(self._frames)
                except StopAsyncIteration:
                    break
                except Refused as error:
                    await send({"type": "http.response.body", "body": _last(error), "more_body": True})
                    break
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def in_frames(frames: AsyncGenerator[bytes], media_type: str) -> Response:
    """Return an answer in frames, of which the first is there."""
    return Frames(frames, await anext(frames), media_type)


def in_one(answered: object, status: int = 200) -> Response:
    """Return an answer that is one JSON value."""
    return Response(_json(answered), status, media_type=JSON)


def line(frame: object) -> bytes:
    """Return a frame as a line of its own."""
    return _json(frame) + b"\n"


def event(data: object, name: str | None = None) -> bytes:
    """Return a frame as a server-sent event."""
    head = b"" if name is None else f"event: {name}\n".encode()
    return head + b"data: " + _json(data) + b"\n\n"


def _json(value: object) -> bytes:
    encoded: bytes = msgspec.json.encode(value)
    return encoded


def _last(error: Refused) -> bytes:
    return line(Failed(error=error.text))


async def _body(receive: Receive) -> bytes:
    pieces: list[bytes] = []
    is_more = True
    while is_more:
        message = await receive()
        pieces.append(message.get("body", b""))
        is_more = message.get("more_body", False)
    return b"".join(pieces)

"""An exchange: one request under way and its answer, from the first header to the last byte.

Rule: an answer is begun once and ended once: by its handler, by the client, by the end of a token, or by a server that
stops. It must not know routes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any, Final

from starlette.responses import Response

from sagalog_http.access import PUBLIC, Access
from sagalog_http.bodies import Body, Message
from sagalog_http.logs import LOG, log_defect
from sagalog_http.problems import Problem, Render, problem_of
from sagalog_http.streams import Stream, as_frame

Send = Callable[[Message], Awaitable[None]]

# On every answer. [HTTP-3]
_ALWAYS: Final = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))
# How long a reader gets for the last words of a stream.
_LAST_WORDS_S: Final = 1.0


class Exchange:
    """One request and its answer.

    Args:
        scope: what the server says of the request.
        send: sends a part of the answer.
        id: the id of the request in the log.
        render: renders its problems, until its route is known.
        send_ms: how long a reader of a stream may take for what was sent.
    """

    def __init__(self, scope: MutableMapping[str, Any], send: Send, id: str, render: Render, send_ms: int) -> None:
        self.id = id
        self.method: str = scope["method"]
        self.render = render
        self.template: str | None = None
        self.access: Access = PUBLIC
        self.cors: tuple[tuple[bytes, bytes], ...] = ()
        self.body: Body | None = None
        self.work: asyncio.Task[Any] | None = None
        self.status: int | None = None
        self.is_over = False
        # Until its headers are in order, nothing behind this request is taken for another one.
        self.is_last = True
        self.ending: BaseException | None = None
        self.stream: Stream | None = None
        self.cursor: str | None = None
        self._send_now = send
        self._send_s = send_ms / 1_000
        self._connection = scope.get("state", {}).get("connection")
        self._loop = asyncio.get_running_loop()
        self.started_s = self._loop.time()
        self._sending_since_s: float | None = None
        self._sent_s = self.started_s
        self._sending = asyncio.Lock()
        self._keeping_alive: asyncio.Task[None] | None = None

    def end(self, error: BaseException) -> None:
        """Have the work end now, with this error as its answer."""
        if self.ending is None and self.work is not None and not self.work.done():
            self.ending = error
            self.work.cancel()

    def tick(self, now_s: float) -> None:
        """Look at a stream: end it if its reader does not read, and keep it alive if nothing was sent for long."""
        stream = self.stream
        if stream is None or self.is_over:
            return
        since_s = self._sending_since_s
        if since_s is not None:
            if now_s - since_s > self._send_s:
                self._drop()
        elif (
            stream.keep_alive is not None
            and now_s - self._sent_s >= stream.keep_alive_ms / 1_000
            and (self._keeping_alive is None or self._keeping_alive.done())
        ):
            self._keeping_alive = asyncio.ensure_future(self._keep_alive(stream))

    async def answer(self, response: Response) -> None:
        """Send a whole answer, and read away what is left of the body, so that its sender can read this."""
        is_left = self._is_body_left()
        headers = [(name, value) for name, value in response.raw_headers if name not in (b"cache-control",)]
        await self._begin(response.status_code, headers, is_left or self.is_last)
        data = bytes(response.body)
        if is_left and self.body is not None:
            await self._put(data, more=True)
            await self.body.discard()
            data = b""
        await self._put(data, more=False)
        self.is_over = True

    async def answer_stream(self, stream: Stream) -> None:
        """Send a stream, frame by frame."""
        self.stream, self._sent_s = stream, self._loop.time()
        if stream.is_begun_at_once:
            await self._send(stream, b"")
        async for given in stream.frames:
            frame = as_frame(given)
            await self._send(stream, stream.encode(frame))
            if frame.cursor is not None:
                self.cursor = frame.cursor
            # An iterator that never waits, to a client that has hung up or reads fast, would keep all others waiting.
            await asyncio.sleep(0)
        await self._send(stream, b"", more=False)
        self.is_over = True

    async def refuse(self, error: BaseException) -> None:
        """Answer with the problem of an error: by a status, or within the stream once that is begun."""
        if self.is_over:
            return
        problem = problem_of(error, self.id)
        if problem.id is not None:
            log_defect(error, self.id, self.template)
        elif problem.status >= 500:
            LOG.warning("request %s of %s: %s", self.id, self.template, problem.code, extra={"code": problem.code})
        if self.status is None:
            self.stream = None
            await self.answer(self.render(problem))
        elif self.stream is not None:
            await self._last_words(self.stream, problem)

    # --- inside -------------------------------------------------------------------------------------------------

    def _is_body_left(self) -> bool:
        return self.body is not None and not self.body.is_complete

    async def _begin(self, status: int, headers: list[tuple[bytes, bytes]], is_last: bool) -> None:
        self.status = status
        last = ((b"connection", b"close"),) if is_last else ()
        sent = [*headers, *_ALWAYS, *self.cors, *last]
        await self._send_now({"type": "http.response.start", "status": status, "headers": sent})

    async def _put(self, data: bytes, more: bool) -> None:
        await self._send_now({"type": "http.response.body", "body": data, "more_body": more})

    async def _send(self, stream: Stream, data: bytes, more: bool = True) -> None:
        """Send a part of a stream; it waits while the reader has not read what was sent before."""
        async with self._sending:
            self._sending_since_s = self._loop.time()
            try:
                if self.status is None:
                    given = [(name.lower().encode(), value.encode()) for name, value in stream.headers.items()]
                    kind = (b"content-type", stream.content_type.encode())
                    await self._begin(
                        stream.status, [kind, (b"x-accel-buffering", b"no"), *given], self._is_body_left()
                    )
                if data or not more:
                    await self._put(data, more)
            finally:
                self._sending_since_s = None
                self._sent_s = self._loop.time()

    async def _keep_alive(self, stream: Stream) -> None:
        assert stream.keep_alive is not None
        data = stream.keep_alive()
        # Nothing to send now: look again after the same pause.
        self._sent_s = self._loop.time()
        if data and not self.is_over:
            await self._send(stream, data)

    async def _last_words(self, stream: Stream, problem: Problem) -> None:
        """Tell of an error within the stream and end it; a reader that does not read is cut off."""
        if self._keeping_alive is not None:
            self._keeping_alive.cancel()
        try:
            async with asyncio.timeout(_LAST_WORDS_S):
                data = stream.failed(problem)
                if data:
                    await self._send(stream, data)
                await self._send(stream, b"", more=False)
        except TimeoutError:
            self._abort()
        self.is_over = True

    def _drop(self) -> None:
        LOG.warning(
            "request %s of %s: its reader does not read; it may resume at cursor %s",
            self.id,
            self.template,
            self.cursor,
            extra={"code": "slow_reader", "cursor": self.cursor},
        )
        self.is_over = True
        self._abort()
        if self.work is not None:
            self.work.cancel()

    def _abort(self) -> None:
        if self._connection is not None:
            with suppress(RuntimeError):
                self._connection.abort()

"""Requests that wait for nothing: they go to the target as they come, and so do its answers.

Rule: bytes pass in both directions while they arrive, and nothing of them is kept. [GATEWAY-8]
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from typing import Any

from sagalog_http import Call, Frame, Problem, Stream
from sagalog_ollama.dialects import Dialect, dialect_of
from sagalog_ollama.errors import TargetUnreachable
from sagalog_ollama.upstream import Unreachable, Upstream, chunks, returned_headers, sent_headers


class Proxy:
    """The way to the target past the queue."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def pass_through(self, call: Call) -> Stream:
        """Send a request to the target as it comes, and answer what the target does.

        Raises:
            TargetUnreachable: it cannot be asked.
        """
        request = call.request
        sent = sent_headers(request.headers)
        body: AsyncIterator[bytes] | None = None
        if request.method not in ("GET", "HEAD", "DELETE") or request.headers.get("content-length", "0") != "0":
            body = call.chunks()
            if "content-length" in request.headers:
                sent["content-length"] = request.headers["content-length"]
        exchange = AsyncExitStack()
        try:
            path = _target_path(request)
            response = await exchange.enter_async_context(self._upstream.stream(request.method, path, sent, body))
        except Unreachable as error:
            raise TargetUnreachable(f"the target could not be asked: {error}; wait and send it again") from error
        dialect = dialect_of(request.url.path)
        parts = _parts(exchange, response, dialect)
        return passed(parts, dialect, response.status_code, returned_headers(response))


def passed(
    parts: AsyncIterator[bytes], dialect: Dialect, status: int, headers: Mapping[str, str], later: str = ""
) -> Stream:
    """Return an answer whose bytes pass as they are; a stream that has to end tells its clients why, and of `later`."""
    others = dict(headers)
    media_type = others.pop("content-type", "application/octet-stream")

    def failed(problem: Problem) -> bytes | None:
        is_stream = media_type.startswith(dialect.media_type)
        text = f"{problem.detail}; {later}" if later else problem.detail
        return dialect.error_frame(problem.status, text) if is_stream else None

    return Stream(parts, _as_it_is, media_type, failed, status=status, headers=others, is_begun_at_once=True)


def _as_it_is(frame: Frame) -> bytes:
    return bytes(frame.data)


async def _parts(exchange: AsyncExitStack, response: Any, dialect: Dialect) -> AsyncIterator[bytes]:
    """Give the bytes of an answer; one that breaks off ends with an error that its clients see."""
    try:
        async with exchange:
            async for chunk in chunks(response):
                yield chunk
    except Unreachable as error:
        if response.headers.get("content-type", "").startswith(dialect.media_type):
            yield dialect.error_frame(502, f"the answer of the target broke off: {error}")
            return
        raise TargetUnreachable(f"the answer of the target broke off: {error}") from error


def _target_path(request: Any) -> str:
    """Return path and query as the client sent them, without what the target's own clients sign with."""
    path = request.scope["raw_path"].decode("ascii", "replace").partition("?")[0]
    given = request.scope["query_string"].decode("ascii", "replace").split("&")
    query = "&".join(one for one in given if one and one.partition("=")[0] != "ts")
    return f"{path}?{query}" if query else path

"""The connection of one client: h11 as uvicorn drives it, with bounds for what comes before there is a request.

Rule: uvicorn waits for headers for ever, and for a reader that does not read; this does not. [HTTP-5] It must not know
routes. h11 is chosen for its strictness: it refuses what two parsers may read in two ways.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any, Final

import h11
import msgspec
from uvicorn.protocols.http.h11_impl import H11Protocol

from sagalog_http.errors import BadRequest, HeadersTooLarge, Overloaded
from sagalog_http.problems import problem_of
from sagalog_http.settings import Settings

_TITLES: Final = {400: b"Bad Request", 431: b"Request Header Fields Too Large", 503: b"Service Unavailable"}


class Connection(H11Protocol):
    """One connection, with the settings of the application that it serves."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        # uvicorn's own line would hold the query, and it looks at the handlers of the process to decide. [HTTP-9]
        self.access_log = False
        self._settings: Settings = self.config.app.settings  # type: ignore[union-attr]
        self._connections_max: int = self.config.app.connections_max  # type: ignore[union-attr]
        self._waiting_for_headers: asyncio.TimerHandle | None = None
        # An exchange finds its connection by it.
        self.app_state = {**self.app_state, "connection": self}

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for headers; refuse the connection if there are too many."""
        super().connection_made(transport)
        if len(self.connections) > self._connections_max:
            error = Overloaded("too many connections are open; wait and repeat it", retry_after_ms=1_000)
            self._refuse(error)
            return
        self._wait_for_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on; what is not yet a request has to become one in time."""
        super().data_received(data)
        self._look_for_headers()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  what was wrong is in h11's own error
        """Refuse what is no request, with the status that h11 has for it."""
        error = sys.exc_info()[1]
        if isinstance(error, h11.RemoteProtocolError) and error.error_status_hint == 431:
            self._refuse(HeadersTooLarge("the headers are too large; send fewer"))
        else:
            self._refuse(BadRequest("this is no request of HTTP/1.1; look at the client"))

    def on_response_complete(self) -> None:
        """Go on with the next request, or see the connection closed."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._watch_closing()
        else:
            self._look_for_headers()

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that was idle for long, or whose client does not read."""
        super().timeout_keep_alive_handler()
        self._watch_closing()

    def abort(self) -> None:
        """Cut the connection, and throw away what was not sent yet."""
        self.transport.abort()

    # --- inside -------------------------------------------------------------------------------------------------

    def _look_for_headers(self) -> None:
        """Wait for the rest of a request that has begun; between two requests uvicorn waits for the next one."""
        is_idle = self.cycle is None or self.cycle.response_complete
        if is_idle and not self.transport.is_closing() and (self.cycle is None or self.conn.trailing_data[0]):
            if self._waiting_for_headers is None:
                self._wait_for_headers()
        else:
            self._stop_waiting()

    def _wait_for_headers(self) -> None:
        self._waiting_for_headers = self.loop.call_later(self._settings.headers_ms / 1_000, self.abort)

    def _stop_waiting(self) -> None:
        if self._waiting_for_headers is not None:
            self._waiting_for_headers.cancel()
            self._waiting_for_headers = None

    def _watch_closing(self) -> None:
        """Cut the connection if its client takes nothing of what is left to send."""
        self.loop.call_later(self._settings.send_ms / 1_000, self._abort_if_stuck, self._left())

    def _abort_if_stuck(self, before: int) -> None:
        left = self._left()
        if left and left < before:
            self._watch_closing()
        elif left:
            self.abort()

    def _left(self) -> int:
        return self.transport.get_write_buffer_size()

    def _refuse(self, error: BadRequest | HeadersTooLarge | Overloaded) -> None:
        """Answer without an application, and close the connection."""
        self._stop_waiting()
        problem = problem_of(error, "")
        body = msgspec.json.encode(problem.document())
        if self.cycle is None or not self.cycle.response_started or self.cycle.response_complete:
            lines = [
                b"HTTP/1.1 %d %s" % (problem.status, _TITLES[problem.status]),
                b"content-type: application/problem+json",
                b"content-length: %d" % len(body),
                b"cache-control: no-store",
                b"x-content-type-options: nosniff",
                b"connection: close",
            ]
            lines += [f"{name}: {value}".encode() for name, value in problem.headers.items()]
            self.transport.write(b"\r\n".join(lines) + b"\r\n\r\n" + body)
        self.transport.close()
        self._watch_closing()

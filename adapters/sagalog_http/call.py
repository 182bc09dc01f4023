"""A call: what the handler of a route gets of one request.

Rule: by the time there is a call, its host, origin, rates and rule are in order, and its body is what the route takes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from sagalog.aio import AsyncEngine
from sagalog_http.access import Access
from sagalog_http.bodies import Body


@dataclass(frozen=True)
class Call:
    """One request, as its handler gets it.

    request    method, URL, headers; the body is in `body`
    template   the path of its route, as in `/jobs/{id}`
    path       the parameters of the path, by name
    query      the parameters behind the `?`, as the route takes them
    body       what the route takes: a value, bytes, or None
    access     what the caller may do
    engine     the engine, whose calls have the threads of the route's capacity
    stopping   set once the server stops: a handler that waits is cancelled soon after
    id         the id of the request in the log of the server
    """

    request: Request
    template: str
    path: Mapping[str, Any]
    query: Any
    body: Any
    access: Access
    engine: AsyncEngine
    stopping: asyncio.Event
    id: str
    _body: Body

    @property
    def actor(self) -> str | None:
        """The actor of what the caller does: `token:` and the name of its token; None without one."""
        return self.access.actor

    def header(self, name: str) -> str | None:
        """Return a header of the request; None: it has none, or more than one.

        Args:
            name: its name, in any case.
        """
        values = self.request.headers.getlist(name)
        return values[0] if len(values) == 1 else None

    def take_body(self) -> Any:
        """Return the body and forget it, so that a handler that waits holds it no longer than it needs."""
        body = self.body
        object.__setattr__(self, "body", None)
        return body

    def chunks(self) -> AsyncIterator[bytes]:
        """Give the body of a route that takes STREAMED, as it arrives.

        Raises:
            Rejected: it is larger than the route takes. Unavailable: it stays away.
        """
        return self._body.chunks()

"""A server of some routes in a thread of this process, on a port of loopback, and what asks it.

Rule: nothing here checks. Sockets are real; what is waited for is an answer, a line of a stream, or the end of a
connection.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import httpx
import msgspec

import sagalog
from sagalog import Engine
from sagalog_http import (
    RAW,
    SETTLE,
    STREAMED,
    Application,
    Call,
    Frame,
    Route,
    Server,
    Settings,
    Stream,
    Tokens,
    ndjson,
    public,
    scope,
    server_sent_events,
)

PATIENCE_S: Final = 10.0


class NewTask(msgspec.Struct, forbid_unknown_fields=True):
    """What creates a task."""

    kind: str
    priority: int = 0


class Page(msgspec.Struct, forbid_unknown_fields=True):
    """Which page is read."""

    limit: int = 10


async def create(call: Call) -> dict[str, Any]:
    task = await call.engine.create(call.body.kind, priority=call.body.priority, actor=call.actor)
    return {"id": task.id}


async def who(call: Call) -> dict[str, Any]:
    return {"token": call.access.token, "may": [call.access.may_queue("q"), call.access.may_kind("k")]}


async def page(call: Call) -> dict[str, Any]:
    return {"limit": call.query.limit}


async def wait(call: Call) -> dict[str, Any]:
    task = await call.engine.wait(call.path["id"], 60_000)
    return {"state": task.state}


async def heartbeat(call: Call) -> dict[str, Any]:
    lease = await call.engine.reattach(call.path["id"], int(call.path["fence"]))
    renewed = await lease.heartbeat()
    return {"fence": renewed.fence}


async def echo(call: Call) -> dict[str, Any]:
    return {"bytes": len(call.body)}


async def count(call: Call) -> dict[str, Any]:
    size = 0
    async for chunk in call.chunks():
        size += len(chunk)
    return {"bytes": size}


async def fails(call: Call) -> None:
    raise KeyError("a-canary-of-a-body")


async def refuses(call: Call) -> None:
    raise sagalog.Unavailable("the file /secret/place is locked")


async def nothing(call: Call) -> None:
    return None


ROUTES: Final = (
    Route("POST", "/tasks", create, scope("produce"), takes=NewTask),
    Route("GET", "/who", who, scope("read")),
    Route("GET", "/page", page, public(), query=Page),
    Route("GET", "/tasks/{id}/end", wait, scope("read")),
    Route("POST", "/leases/{id}/{fence}", heartbeat, scope("work"), capacity=SETTLE),
    Route("POST", "/echo", echo, public(), takes=RAW, body_bytes_max=100_000),
    Route("PUT", "/count", count, public(), takes=STREAMED, body_bytes_max=100_000),
    Route("GET", "/fails", fails, public()),
    Route("GET", "/refuses", refuses, public()),
    Route("DELETE", "/nothing", nothing, scope("operate")),
)


def numbers(upto: int | None = None) -> Callable[[Call], Any]:
    """A route of server-sent events that counts, at most so far, and then waits for ever."""

    async def handle(call: Call) -> Stream:
        return server_sent_events(counting(int(call.header("last-event-id") or 0), upto))

    return handle


async def counting(after: int, upto: int | None) -> AsyncIterator[Frame]:
    import asyncio

    number = after
    while True:
        if number == upto:
            await asyncio.sleep(PATIENCE_S)
        number += 1
        yield Frame(number, cursor=str(number))


def lines(*given: Any) -> Callable[[Call], Any]:
    """A route of lines of JSON; an exception among them is raised."""

    async def frames() -> AsyncIterator[Any]:
        for one in given:
            if isinstance(one, Exception):
                raise one
            yield one

    async def handle(call: Call) -> Stream:
        return ndjson(frames())

    return handle


class Served:
    """A server that runs, its engine and its tokens."""

    def __init__(self, server: Server, engine: Engine) -> None:
        self.server = server
        self.engine = engine
        self.tokens = Tokens(engine)
        self.url = server.url
        self.client = httpx.Client(base_url=server.url, timeout=PATIENCE_S)

    def bearer(self, *scopes: Any, name: str = "ann", **settings: Any) -> dict[str, str]:
        """The headers of a new token."""
        asked: list[Any] = list(scopes) or ["admin"]
        _, secret = self.tokens.create(name, asked, **settings)
        return {"authorization": f"Bearer {secret}"}

    def ask(self, method: str, path: str, **settings: Any) -> httpx.Response:
        """One request."""
        return self.client.request(method, path, **settings)

    @contextmanager
    def connection(self) -> Iterator[socket.socket]:
        """A bare connection."""
        with socket.create_connection(self.server.address, timeout=PATIENCE_S) as connection:
            yield connection

    def send(self, *parts: bytes) -> bytes:
        """Send bytes over a bare connection, and return all that comes back until it is closed."""
        with self.connection() as connection:
            for part in parts:
                connection.sendall(part)
            return received(connection)


def received(connection: socket.socket) -> bytes:
    """All that comes over a connection until it is closed."""
    found = b""
    while True:
        try:
            part = connection.recv(65_536)
        except ConnectionResetError:
            return found
        if not part:
            return found
        found += part


@contextmanager
def serving(routes: Iterable[Route], engine: Engine | None = None, **settings: Any) -> Iterator[Served]:
    """Serve these routes on an engine, by default on one in memory."""
    with engine or sagalog.open("memory:") as opened:
        application = Application(routes, opened, settings=Settings(**settings))
        server = Server(application, port=0)
        server.start_in_thread()
        served = Served(server, opened)
        try:
            yield served
        finally:
            served.client.close()
            server.stop_thread()

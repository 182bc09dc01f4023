"""The application: from a request to its answer, in the one order in which checks are made.

Rule: headers, host, origin, route, rates, the rule, then the body. [HTTP-1] [HTTP-2] So a caller without a right costs
a few comparisons, and nothing that it sends is read. It must not know sockets.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from sagalog import Engine, SagalogError
from sagalog.aio import AsyncEngine
from sagalog_http.access import Access
from sagalog_http.authenticator import FRESH_S, Authenticator
from sagalog_http.bodies import Body, Gone, Receive, decode_query
from sagalog_http.call import Call
from sagalog_http.capacities import CAPACITIES, Capacities, Capacity
from sagalog_http.errors import BadRequest, HeadersTooLarge, Overloaded, ShuttingDown, TooManyRequests, Unauthenticated
from sagalog_http.exchange import Exchange, Send
from sagalog_http.logs import LOG, log_access
from sagalog_http.origins import Origins
from sagalog_http.problems import Render, as_problem_json
from sagalog_http.rates import Buckets
from sagalog_http.routes import RAW, STREAMED, Route, RouteTable, Taken, match
from sagalog_http.rules import Asked
from sagalog_http.settings import Settings
from sagalog_http.streams import Stream

Scope = MutableMapping[str, Any]
Lifespan = Callable[["Application"], AbstractAsyncContextManager[Any]]

# How often streams and waiting requests are looked at; with what the authenticator remembers, less than a second.
_TICK_S: Final = 0.2
_ONCE: Final = ("authorization", "content-type", "content-length", "transfer-encoding")


@asynccontextmanager
async def _nothing(_: Application) -> AsyncIterator[None]:
    yield


class Application:
    """The routes of one server over one engine, as an ASGI application; `Server` serves it.

    Args:
        routes: what it answers.
        engine: the engine whose store it serves; it stays open when the application ends.
        settings: what it allows.
        capacities: the capacities that routes name, beside or instead of "general" and "settle".
        lifespan: is entered before the first request and left after the last one, on the event loop.
        render: renders the problems of routes that render none themselves.

    settings          what it allows
    table             its routes
    engine            the engine whose store it serves
    stopping          set once it stops
    failure           what its lifespan raised; None: nothing
    authenticator     finds the access of a token
    connections_max   how many connections may be open

    Raises:
        ValueError: two routes answer the same, a route names no capacity, or a host or origin has no form.
    """

    def __init__(
        self,
        routes: Iterable[Route],
        engine: Engine | AsyncEngine,
        *,
        settings: Settings | None = None,
        capacities: Mapping[str, Capacity] | None = None,
        lifespan: Lifespan | None = None,
        render: Render = as_problem_json,
    ) -> None:
        self.settings: Settings = settings or Settings()
        self.table: RouteTable = RouteTable(routes)
        self.engine: Engine = engine.plain if isinstance(engine, AsyncEngine) else engine
        self.stopping: asyncio.Event = asyncio.Event()
        # Where a server says how many it has descriptors for.
        self.connections_max: int = self.settings.connections_max or 1_000
        self.failure: BaseException | None = None
        self._capacities = Capacities(self.engine, {**CAPACITIES, **(capacities or {})})
        for route in self.table.routes:
            if route.capacity not in self._capacities:
                raise ValueError(f"{route.path}: there is no capacity {route.capacity!r}")
        self._origins = Origins(self.settings.hosts, self.settings.origins)
        self._render = render
        self._lifespan = lifespan or _nothing
        self._addresses = Buckets(self.settings.address_rate, _now_s)
        self._tokens = Buckets(self.settings.token_rate, _now_s)
        strangers = Buckets(self.settings.stranger_rate, _now_s)
        self.authenticator: Authenticator = Authenticator(
            self.engine, self.settings.open_while_no_tokens, strangers, _now_s
        )
        self._open: set[Exchange] = set()
        self._streams: Counter[str | None] = Counter()
        self._watch: asyncio.Task[None] | None = None
        self._stops_s: float | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or begin and end, as ASGI has it."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._exchange(scope, receive, send)

    def begin_stop(self) -> None:
        """End streams with a hint at once, and requests that wait after a moment; call it on the event loop."""
        if self._stops_s is None:
            self._stops_s = _now_s()
            self.stopping.set()
            self._look(self._stops_s)

    @property
    def streams(self) -> int:
        """How many streams are open."""
        return self._streams.total()

    @property
    def requests(self) -> int:
        """How many requests are under way, streams included."""
        return len(self._open)

    # --- one request ----------------------------------------------------------------------------------------------

    async def _exchange(self, scope: Scope, receive: Receive, send: Send) -> None:
        id = secrets.token_hex(8)
        exchange = Exchange(scope, send, id, self._render, self.settings.send_ms)
        self._open.add(exchange)
        if self._watch is None or self._watch.done():
            self._watch = asyncio.ensure_future(self._watch_all())
        try:
            try:
                await self._answer(exchange, scope, receive)
            except Gone:
                exchange.is_over = True
            except Exception as error:  # noqa: BLE001  the last place that can answer it
                await exchange.refuse(error)
        finally:
            self._open.discard(exchange)
            duration_ms = (_now_s() - exchange.started_s) * 1_000
            log_access(exchange.method, exchange.template, exchange.status, duration_ms, exchange.access.token, id)

    async def _answer(self, exchange: Exchange, scope: Scope, receive: Receive) -> None:
        found = self.table.at(scope["path"])
        if found:
            exchange.template = found[0][0].path
            exchange.render = found[0][0].render or self._render
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        exchange.body = Body(receive, headers, self.settings.body_bytes_max, self.settings)
        if scope["http_version"] not in ("1.0", "1.1"):
            raise BadRequest("this server speaks HTTP/1.1; look at the client")
        self._check_headers(scope["headers"], headers)
        host = self._origins.check_host(_values(headers, "host"))
        origin = self._origins.check_origin(_values(headers, "origin"), host)
        if origin is not None:
            exchange.cors = _cors(origin)
        if self.stopping.is_set():
            raise ShuttingDown("the server stops; repeat the request in a moment", retry_after_ms=1_000)
        if scope["method"] == "OPTIONS" and origin is not None and _values(headers, "access-control-request-method"):
            await exchange.answer(_preflight(found, headers))
            return
        route, values = match(found, scope["method"])
        exchange.template, exchange.render = route.path, route.render or self._render
        exchange.body = Body(receive, headers, route.body_bytes_max or self.settings.body_bytes_max, self.settings)
        exchange.body.check_headers()
        exchange.is_last = False
        address = scope["client"][0] if scope.get("client") else None
        self._addresses.take(address or "")
        data = await exchange.body.read() if route.rule.needs_body else None
        exchange.access = await route.rule.admit(
            Asked(scope["method"], scope["path"], headers, data, address, self.authenticator)
        )
        if exchange.access.digest is not None:
            self._tokens.take(exchange.access.digest)
            self.authenticator.note_use(exchange.access.digest)
        with self._capacities.used(route.capacity):
            call = await self._call(exchange, Request(scope), route, values, data)
            await self._work(exchange, route, call, receive)

    async def _call(
        self, exchange: Exchange, request: Request, route: Route, values: Mapping[str, Any], data: bytes | None
    ) -> Call:
        """Read and decode what the route takes."""
        assert exchange.body is not None
        query = None if route.query is RAW else decode_query(request.query_params.multi_items(), route.query)
        body: Any = None
        if route.takes is not STREAMED:
            data = await exchange.body.read() if data is None else data
            if route.takes is None:
                if data:
                    raise BadRequest("this route takes no body; send none")
            else:
                body = data if route.takes is RAW else exchange.body.decode(data, route.takes)
        engine = self._capacities.engine(route.capacity)
        return Call(
            request, route.path, values, query, body, exchange.access, engine, self.stopping, exchange.id, exchange.body
        )

    async def _work(self, exchange: Exchange, route: Route, call: Call, receive: Receive) -> None:
        """Run the handler until it has answered, its client hangs up, or it is ended."""
        work = exchange.work = asyncio.ensure_future(self._handle(exchange, route, call))
        gone = asyncio.ensure_future(_hung_up(call._body, receive))
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            is_gone = not work.done()
            for one in (work, gone):
                one.cancel()
            await asyncio.wait({work, gone})
        if work.cancelled():
            if exchange.ending is None:
                raise Gone
            raise exchange.ending
        failure = work.exception()
        if failure is not None:
            raise Gone if is_gone and not isinstance(failure, SagalogError) else failure
        response = work.result()
        if response is not None:
            await exchange.answer(response)

    async def _handle(self, exchange: Exchange, route: Route, call: Call) -> Response | None:
        """Return what the handler answers; None: it was a stream, and has been sent."""
        value = await route.handler(call)
        if not isinstance(value, Stream):
            return _response(route, value)
        try:
            with self._streaming(exchange.access.digest):
                await exchange.answer_stream(value)
        finally:
            await value.close()
        return None

    @contextmanager
    def _streaming(self, digest: str | None) -> Iterator[None]:
        """Count a stream as open. [HTTP-6]

        Raises:
            Overloaded: too many are. TooManyRequests: too many of this token are.
        """
        if self._streams.total() >= self.settings.streams_max:
            raise Overloaded(f"{self.settings.streams_max:,} streams are open; wait and repeat", retry_after_ms=1_000)
        if digest is not None and self._streams[digest] >= self.settings.streams_per_token_max:
            most = self.settings.streams_per_token_max
            raise TooManyRequests(f"{most:,} streams of this token are open; end one first", retry_after_ms=1_000)
        self._streams[digest] += 1
        try:
            yield
        finally:
            self._streams[digest] -= 1
            if not self._streams[digest]:
                del self._streams[digest]

    def _check_headers(self, raw: Sequence[tuple[bytes, bytes]], headers: Sequence[tuple[str, str]]) -> None:
        size = sum(len(name) + len(value) + 4 for name, value in raw)
        if len(raw) > self.settings.headers_max or size > self.settings.header_bytes_max:
            raise HeadersTooLarge(
                f"{len(raw)} headers of {size:,} bytes, and {self.settings.headers_max} of "
                f"{self.settings.header_bytes_max:,} are taken; send fewer"
            )
        for name in _ONCE:
            if len(_values(headers, name)) > 1:
                raise BadRequest(f"the header {name.title()} is given twice; give it once")

    # --- all requests ---------------------------------------------------------------------------------------------

    async def _watch_all(self) -> None:
        """Look at what is open, as long as anything is."""
        while self._open:
            await asyncio.sleep(_TICK_S)
            now_s = _now_s()
            self._look(now_s)
            held: dict[Access, list[Exchange]] = {}
            for exchange in list(self._open):
                if exchange.work is not None and now_s - exchange.started_s >= FRESH_S:
                    held.setdefault(exchange.access, []).append(exchange)
            await asyncio.gather(*(self._look_again(access, several) for access, several in held.items()))

    def _look(self, now_s: float) -> None:
        for exchange in list(self._open):
            exchange.tick(now_s)
            if self._stops_s is not None:
                is_late = now_s - self._stops_s >= self.settings.stop_requests_ms / 1_000
                if exchange.stream is not None or is_late:
                    exchange.end(ShuttingDown("the server stops; go on in a moment", retry_after_ms=1_000))

    async def _look_again(self, access: Access, several: list[Exchange]) -> None:
        """End what goes on by a token that has died since. [TOKEN-4]"""
        try:
            if await self.authenticator.is_alive(access):
                return
        except SagalogError as error:
            LOG.warning("tokens cannot be looked up: %s", error.code, extra={"code": error.code})
            return
        for exchange in several:
            exchange.end(Unauthenticated("the token has expired or was revoked meanwhile; ask for another one"))

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        failed = "lifespan.startup.failed"
        try:
            async with self._lifespan(self):
                await send({"type": "lifespan.startup.complete"})
                failed = "lifespan.shutdown.failed"
                await receive()
        except Exception as error:  # noqa: BLE001  the server raises it where it was started
            self.failure = error
            await send({"type": failed, "message": type(error).__name__})
            return
        finally:
            if self._watch is not None:
                self._watch.cancel()
            await self._capacities.close()
            self.authenticator.close()
        await send({"type": "lifespan.shutdown.complete"})


def _now_s() -> float:
    return asyncio.get_running_loop().time()


async def _hung_up(body: Body, receive: Receive) -> None:
    """Return once the client has hung up; while its body is read, the reader finds out."""
    await body.completed()
    while (await receive())["type"] != "http.disconnect":
        pass


def _response(route: Route, value: Any) -> Response:
    if isinstance(value, Response):
        return value
    if value is None:
        return Response(status_code=204)
    return Response(msgspec.json.encode(value), route.status, media_type="application/json")


def _values(headers: Sequence[tuple[str, str]], name: str) -> list[str]:
    return [value for key, value in headers if key == name]


def _cors(origin: str) -> tuple[tuple[bytes, bytes], ...]:
    return (
        (b"access-control-allow-origin", origin.encode("latin-1")),
        (b"access-control-expose-headers", b"*"),
        (b"vary", b"Origin"),
    )


def _preflight(found: list[tuple[Route, dict[str, Any]]], headers: Sequence[tuple[str, str]]) -> Response:
    """Answer a browser that asks what a page of an allowed origin may send."""
    methods = sorted({name for route, _ in found for name in route.methods})
    asked = _values(headers, "access-control-request-headers")
    given = {"access-control-allow-methods": ", ".join(methods), "access-control-max-age": "600"}
    if asked:
        given["access-control-allow-headers"] = asked[0]
    return Response(status_code=204, headers=given)


__all__ = ["Application", "Lifespan", "Scope", "Taken"]

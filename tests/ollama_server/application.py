"""The application: all routes of the server, and how its refusals are answered.

Rule: a refusal has the form of its route: Ollama's, OpenAI's below `/v1`.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.ollama_server import event_routes, model_routes, native_routes, openai_routes
from tests.ollama_server.answers import Server
from tests.ollama_server.exchange import Exchanges, in_one
from tests.ollama_server.failures import Failed, Refused
from tests.ollama_server.inventory import Inventory
from tests.ollama_server.record import Record
from tests.ollama_server.residency import Residency
from tests.ollama_server.settings import Settings

RECORD_PATH: Final = "/test/record"
_LOCAL_HOSTS: Final = ("localhost", "127.0.0.1", "0.0.0.0", "::1")  # noqa: S104  # compared, and not bound
_LOCAL_ENDS: Final = (".localhost", ".local", ".internal")
_TYPES: Final = {400: "invalid_request_error", 404: "not_found_error"}


def make(settings: Settings, record: Record) -> tuple[ASGIApp, Residency]:
    """Return the application of a new server, and its models to close at the end."""
    server = Server(settings, record, Inventory(settings), Residency(settings, record))
    routes = [
        *model_routes.routes(server),
        *model_routes.record_routes(server, RECORD_PATH),
        *native_routes.routes(server),
        *openai_routes.routes(server),
        *event_routes.routes(server),
    ]
    app = Starlette(routes=routes, exception_handlers={Refused: _refused, 404: _no_route})
    return Exchanges(_Guard(app, settings.token), record, RECORD_PATH), server.residency


class _Guard:
    """Refuses what a server on the loopback refuses: a foreign host or origin, and a request without the token."""

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        app = self._app
        if not _is_local(headers.get(b"host", "")) or not _is_allowed(headers.get(b"origin")):
            app = Response(status_code=403)
        elif self._token is not None and headers.get(b"authorization") != f"Bearer {self._token}":
            app = in_one(Failed(error="unauthorized"), 401)
        await app(scope, receive, send)


def _is_local(host: str) -> bool:
    name = urlsplit(f"//{host}").hostname or ""
    return name in _LOCAL_HOSTS or name.endswith(_LOCAL_ENDS)


def _is_allowed(origin: str | None) -> bool:
    return origin is None or (urlsplit(origin).hostname or "") in _LOCAL_HOSTS


async def _refused(request: HttpRequest, error: Exception) -> Response:
    assert isinstance(error, Refused)
    if not request.url.path.startswith("/v1/"):
        return in_one(Failed(error=error.text), error.status)
    kind = _TYPES.get(error.status, "api_error")
    return in_one({"error": {"message": error.text, "type": kind, "param": None, "code": None}}, error.status)


async def _no_route(_request: HttpRequest, _error: Exception) -> Response:
    return PlainTextResponse("404 page not found", 404)

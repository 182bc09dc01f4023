"""The routes of the gateway: one table of what waits, what passes through, and what clients ask about their jobs.

Rule: each route is here, with who may call it. What can load a chat model waits in the queue unless an operator takes
it out; what changes the target's models needs the scope "operate"; what is in no row is no route.
"""

from __future__ import annotations

from typing import Any, Final

from starlette.responses import Response

from sagalog_http import RAW, STREAMED, Access, Asked, Call, Problem, Route, Rule, public
from sagalog_http.errors import Forbidden
from sagalog_http.tokens import Scope
from sagalog_ollama.dialects import JSON, dialect_of
from sagalog_ollama.execution import KIND
from sagalog_ollama.gateway import Gateway
from sagalog_ollama.job_routes import job_routes
from sagalog_ollama.settings import QUEUE_PATHS

_EMBEDDINGS: Final = ("/api/embed", "/api/embeddings", "/v1/embeddings")
_READ: Final = (
    ("POST", "/api/show"),
    (("GET", "HEAD"), "/api/version"),
    ("GET", "/api/status"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/{model:path}"),
    ("POST", "/api/experimental/web_search"),
    ("POST", "/api/experimental/web_fetch"),
    ("GET", "/api/experimental/model-recommendations"),
)
_OPERATE: Final = (
    ("POST", "/api/pull"),
    ("POST", "/api/push"),
    ("POST", "/api/create"),
    ("POST", "/api/copy"),
    ("DELETE", "/api/delete"),
    (("POST", "HEAD"), "/api/blobs/{digest}"),
    ("POST", "/api/me"),
    ("POST", "/api/signout"),
)
# A model file has many gigabytes.
_FILE_BYTES_MAX: Final = 1 << 50


class QueueRule:
    """A caller whose token has one of some scopes, and may use the queue of the target."""

    needs_body = False

    def __init__(self, queue: str, scopes: tuple[Scope, ...]) -> None:
        self.name = f"scope {' or '.join(scopes)}"
        self._queue = queue
        self._scopes = scopes

    async def admit(self, asked: Asked) -> Access:
        """Return the access of the caller; raises Unauthenticated or Forbidden."""
        access = await asked.authenticator.admit(asked.header("authorization"), asked.address)
        if not access.may_queue(self._queue) or not access.may_kind(KIND):
            raise Forbidden(f"the token may not use the queue {self._queue!r}; use another token")
        if not any(access.has(one) for one in self._scopes):
            access.require(self._scopes[0])
        return access


def routes_of(gateway: Gateway) -> list[Route]:
    """Return the route table of a gateway."""
    settings = gateway.settings

    def of(*scopes: Scope) -> Rule:
        return QueueRule(settings.queue, scopes)

    def passing(methods: Any, path: str, rule: Any, body_bytes_max: int) -> Route:
        return Route(
            methods,
            path,
            gateway.proxy.pass_through,
            rule,
            takes=STREAMED,
            query=RAW,
            body_bytes_max=body_bytes_max,
            render=_rendering(path),
        )

    queued = [path for path in QUEUE_PATHS if path in settings.queue_paths]
    beside = [path for path in QUEUE_PATHS if path not in settings.queue_paths]
    return [
        Route(("GET", "HEAD"), "/", _is_running, public(), query=RAW),
        Route("GET", "/healthz", gateway.health, public()),
        *(
            Route(
                "POST",
                path,
                gateway.generate,
                of("produce"),
                takes=RAW,
                query=RAW,
                body_bytes_max=settings.body_bytes_max,
                render=_rendering(path),
            )
            for path in queued
        ),
        *(passing("POST", path, of("produce"), settings.body_bytes_max) for path in (*beside, *_EMBEDDINGS)),
        Route(("GET", "HEAD"), "/api/tags", gateway.tags, of("read"), query=RAW, render=_rendering("/api/tags")),
        Route("GET", "/api/ps", gateway.ps, of("read"), query=RAW, render=_rendering("/api/ps")),
        *(passing(methods, path, of("read"), settings.body_bytes_max) for methods, path in _READ),
        *(passing(methods, path, of("operate"), _FILE_BYTES_MAX) for methods, path in _OPERATE),
        *job_routes(gateway, of),
    ]


async def _is_running(_: Call) -> Response:
    """Answer what Ollama's own clients ask first; requests wait here also while the target is away."""
    return Response("Ollama is running", media_type="text/plain")


def _rendering(path: str) -> Any:
    """Return how errors of a route are answered: in the form that its clients read."""
    dialect = dialect_of(path)

    def render(problem: Problem) -> Response:
        body = dialect.error_body(problem.status, problem.detail)
        return Response(body, problem.status, {**problem.headers, "content-type": JSON})

    return render

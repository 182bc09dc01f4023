"""Routes about the server and its models: liveness, inventory, and small honest answers of the rest."""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncGenerator
from typing import Any

import msgspec
from starlette.requests import Request as HttpRequest
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from tests.ollama_server.answers import Server
from tests.ollama_server.exchange import NDJSON, in_frames, in_one, line
from tests.ollama_server.failures import Refused, unknown
from tests.ollama_server.frames import timestamp
from tests.ollama_server.model_file import ARCHITECTURE, CONTEXT_TOKENS, parameters
from tests.ollama_server.native_routes import read
from tests.ollama_server.settings import VERSION, normal


class Named(msgspec.Struct):
    """A body that names a model; older clients say `name`."""

    model: str = ""
    name: str = ""
    stream: bool | None = None
    source: str = ""
    destination: str = ""
    from_: str = msgspec.field(default="", name="from")

    @property
    def wanted(self) -> str:
        """The name of the model.

        Raises:
            Refused: there is none.
        """
        if not (name := self.model or self.name):
            raise Refused(400, "model is required")
        return name


def routes(server: Server) -> list[Route]:
    """Return the routes of a server."""
    inventory = server.inventory
    blobs: dict[str, bytes] = {}

    def known(name: str) -> str:
        if name not in inventory:
            raise unknown(name)
        return name

    async def root(_: HttpRequest) -> Response:
        return PlainTextResponse("Ollama is running")

    async def version(_: HttpRequest) -> Response:
        return in_one({"version": VERSION})

    async def tags(_: HttpRequest) -> Response:
        return in_one({"models": inventory.tags()})

    async def running(_: HttpRequest) -> Response:
        now_s = time.monotonic()
        return in_one({"models": [inventory.running(one, now_s) for one in server.residency.residents]})

    async def show(request: HttpRequest) -> Response:
        name = known((await read(request, Named)).wanted)
        return in_one(
            {
                "modelfile": f"FROM {normal(name)}",
                "parameters": "",
                "template": "{{ .Prompt }}",
                "details": inventory.details(),
                "model_info": {
                    "general.architecture": ARCHITECTURE,
                    "general.parameter_count": parameters(),
                    f"{ARCHITECTURE}.context_length": CONTEXT_TOKENS,
                },
                "capabilities": ["embedding"] if inventory.only_embeds(name) else ["completion"],
                "modified_at": timestamp(),
            }
        )

    async def pull(request: HttpRequest) -> Response:
        asked = await read(request, Named)
        if asked.wanted not in inventory:
            if normal(asked.wanted) not in map(normal, server.settings.pullable):
                raise Refused(500, "pull model manifest: file does not exist")
            inventory.add(asked.wanted)
        return await _progress(asked, "pulling manifest", "verifying sha256 digest", "writing manifest")

    async def push(request: HttpRequest) -> Response:
        asked = await read(request, Named)
        known(asked.wanted)
        return await _progress(asked, "retrieving manifest", "pushing manifest")

    async def create(request: HttpRequest) -> Response:
        asked = await read(request, Named)
        if not asked.from_:
            raise Refused(400, "neither 'from' or 'files' was specified")
        inventory.add(asked.wanted, known(asked.from_))
        return await _progress(asked, "writing manifest")

    async def copy(request: HttpRequest) -> Response:
        asked = await read(request, Named)
        if asked.source not in inventory:
            raise Refused(404, f'model "{asked.source}" not found')
        inventory.add(asked.destination, asked.source)
        return Response()

    async def delete(request: HttpRequest) -> Response:
        name = known((await read(request, Named)).wanted)
        server.residency.expire(inventory.source(name), "deleted")
        inventory.remove(name)
        return Response()

    async def blob(request: HttpRequest) -> Response:
        digest = request.path_params["digest"]
        if request.method == "HEAD":
            return Response(status_code=200 if digest in blobs else 404)
        body = await request.body()
        if digest != f"sha256:{hashlib.sha256(body).hexdigest()}":
            raise Refused(400, "digest mismatch")
        blobs[digest] = body
        return Response(status_code=201)

    async def me(_: HttpRequest) -> Response:
        return in_one({"error": "unauthorized", "signin_url": "https://ollama.com/connect"}, 401)

    async def sign_out(_: HttpRequest) -> Response:
        return in_one(None)

    return [
        Route("/", root, methods=["GET"]),
        Route("/api/version", version, methods=["GET"]),
        Route("/api/tags", tags, methods=["GET"]),
        Route("/api/ps", running, methods=["GET"]),
        Route("/api/show", show, methods=["POST"]),
        Route("/api/pull", pull, methods=["POST"]),
        Route("/api/push", push, methods=["POST"]),
        Route("/api/create", create, methods=["POST"]),
        Route("/api/copy", copy, methods=["POST"]),
        Route("/api/delete", delete, methods=["DELETE"]),
        Route("/api/blobs/{digest}", blob, methods=["POST", "HEAD"]),
        Route("/api/me", me, methods=["POST"]),
        Route("/api/signout", sign_out, methods=["POST"]),
    ]


async def _progress(asked: Named, *steps: str) -> Response:
    if asked.stream is False:
        return in_one({"status": "success"})

    async def lines() -> AsyncGenerator[bytes]:
        for status in (*steps, "success"):
            yield line({"status": status})

    return await in_frames(lines(), NDJSON)


def record_routes(server: Server, path: str) -> list[Route]:
    """Return the routes for tests: `GET` answers the record as JSON, `DELETE` forgets it."""

    async def record(request: HttpRequest) -> Response:
        history: Any = server.record.history
        if request.method == "DELETE":
            server.record.clear()
        return in_one(history)

    return [Route(path, record, methods=["GET", "DELETE"])]

"""A server in a thread of the test, or as the one thing that a process does.

Rule: it listens on the loopback only, and its socket listens before anyone knows its port.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from types import TracebackType
from typing import Final, Self

import uvicorn

from tests.ollama_server.application import make
from tests.ollama_server.record import PATIENCE_S, Record
from tests.ollama_server.settings import Settings

HOST: Final = "127.0.0.1"
_BACKLOG: Final = 512
_GRACE_S: Final = 1


class OllamaServer:
    """A server in a thread of its own, from `with` to its end.

    `url` is its address, `record` what has happened in it. Another one can follow on its `port` once it has ended.
    """

    def __init__(self, settings: Settings | None = None, port: int = 0) -> None:
        self.record = Record()
        self._settings = settings or Settings()
        self._socket = listen(port)
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://{HOST}:{self.port}"
        self._thread = threading.Thread(target=self._run, name="ollama-server", daemon=True)
        self._server: uvicorn.Server | None = None
        self._is_ready = threading.Event()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._is_ready.wait(PATIENCE_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.should_exit = True
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        async def serve() -> None:
            app, residency = make(self._settings, self.record)
            self._server = server(app)
            self._is_ready.set()
            try:
                await self._server.serve([self._socket])
            finally:
                await residency.close()

        asyncio.run(serve())


def listen(port: int) -> socket.socket:
    """Return a socket of the loopback that listens, on a free port for 0."""
    # asyncio sends small pieces at once only on a socket that names its protocol; others wait 40 ms for the client.
    listening = socket.socket(proto=socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((HOST, port))
    listening.listen(_BACKLOG)
    return listening


def server(app: object) -> uvicorn.Server:
    """Return uvicorn for an application, which logs only what goes wrong."""
    config = uvicorn.Config(
        app,  # type: ignore[arg-type]  # an ASGI application, of the form of Starlette's types
        log_config=None,
        log_level="error",
        lifespan="off",
        access_log=False,
        timeout_graceful_shutdown=_GRACE_S,
        http="h11",
        loop="asyncio",
        ws="none",
    )
    return uvicorn.Server(config)

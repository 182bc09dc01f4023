"""The gateway as a server: its routes on an address, with what the operator allows.

Rule: everything is checked before the address is taken, and what was begun is ended before the process is.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

try:
    # What is imported below needs them, and would name another extra.
    import httpx  # noqa: F401
    import starlette  # noqa: F401
    import uvicorn  # noqa: F401
except ImportError as error:
    raise ImportError(
        'sagalog_ollama.serving needs httpx, uvicorn and starlette: pip install "sagalog[ollama]"'
    ) from error

from sagalog import Engine
from sagalog.aio import AsyncEngine
from sagalog_http import Application, Capacity, Server
from sagalog_http import Settings as HttpSettings
from sagalog_http.server import BindRefused
from sagalog_ollama.gateway import Gateway
from sagalog_ollama.routes import routes_of
from sagalog_ollama.settings import Settings, address_of

# How many clients may wait at a time; each has a socket, and none a thread.
_CLIENTS_MAX: Final = 4_000
_THREADS: Final = 16


def server_of(engine: Engine, settings: Settings) -> Server:
    """Make the server of a gateway; it is not begun.

    Args:
        engine: the engine on the store, which stays open when the server ends.
        settings: those of the operator.

    Raises:
        BindRefused: the address would give others access without a token, or show tokens to the network.
        Unavailable: the address is in use, or not of this machine.
    """
    host, port = address_of(settings.bind)
    gateway = Gateway(AsyncEngine(engine, _THREADS, shares=True), settings)

    @asynccontextmanager
    async def living(application: Application) -> AsyncIterator[None]:
        await gateway.start(application.stopping)
        try:
            yield
        finally:
            await gateway.stop()
            await gateway.engine.close()

    application = Application(
        routes_of(gateway),
        engine,
        settings=HttpSettings(
            open_while_no_tokens=True,
            hosts=settings.hosts,
            origins=(*_LOOPBACK_ORIGINS, *settings.origins),
            body_bytes_max=settings.body_bytes_max,
            streams_max=_CLIENTS_MAX,
            streams_per_token_max=_CLIENTS_MAX,
        ),
        capacities={"general": Capacity(_THREADS, _CLIENTS_MAX)},
        lifespan=living,
    )
    try:
        return Server(application, host, port, without_tls=settings.insecure_bind)
    except BindRefused as error:
        if not application.authenticator.tokens.exist():
            raise
        raise BindRefused(
            f"{host!r} is no address of loopback, and without TLS the network could read every token; set "
            "SAGALOG_OLLAMA_INSECURE_BIND=true where a proxy in front ends TLS, or the network is your own",
            host=host,
        ) from error


# Pages of this machine may ask, as they may ask Ollama itself.
_LOOPBACK_ORIGINS: Final = tuple(
    f"{scheme}://{host}{port}"
    for scheme in ("http", "https")
    for host in ("localhost", "127.0.0.1")
    for port in ("", ":*")
)

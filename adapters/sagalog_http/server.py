"""The server: an application on an address, from the first connection to a graceful end.

Rule: it listens on loopback unless it is told otherwise; on any other address only if tokens exist, and without TLS
only if that is said. [HTTP-10] SIGTERM ends streams with a hint and lets requests end; a second one ends the process.
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from typing import Final

try:
    import uvicorn
except ImportError as error:
    raise ImportError('sagalog_http.server needs uvicorn and starlette: pip install "sagalog[http]"') from error

from sagalog import Rejected, Unavailable
from sagalog_http.application import Application
from sagalog_http.logs import LOG
from sagalog_http.protocol import Connection

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_CONNECTIONS_MAX: Final = 4_000
# Descriptors that the process needs for anything else.
_RESERVED: Final = 128
_BACKLOG: Final = 2_048


class BindRefused(Rejected):
    """The address would give others access without a token, or show tokens to the network. Field: `host`."""

    code = "bind_refused"


class _Uvicorn(uvicorn.Server):
    """uvicorn without its handling of signals, which would end the process by the signal."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Server:
    """One application on one address.

    Args:
        application: what it serves.
        host: the address, or a name of one; loopback by default.
        port: the port; 0: one that is free, which `address` then tells.
        tls: the certificates to serve HTTPS with; None: plain HTTP.
        without_tls: serve plain HTTP on an address that is not of loopback, behind a proxy that ends TLS.

    Raises:
        Rejected: the address is not of loopback, and no token exists, or there is no TLS: the code `bind_refused`.
        Unavailable: the address is in use, or not of this machine.
    """

    def __init__(
        self,
        application: Application,
        host: str = "127.0.0.1",
        port: int = 8_080,
        *,
        tls: ssl.SSLContext | None = None,
        without_tls: bool = False,
    ) -> None:
        self.application = application
        family, where = _resolved(host, port)
        is_loopback = ip_address(where[0].partition("%")[0]).is_loopback
        if not is_loopback:
            _require_safe(application, host, tls is not None or without_tls)
        application.authenticator.is_loopback = is_loopback
        application.connections_max = application.settings.connections_max or _connections_max()
        self._tls = tls
        self._socket = _listening(family, where, host)
        bound = self._socket.getsockname()
        self._address = (str(bound[0]), int(bound[1]))
        self._server = self._uvicorn()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._is_stopping = False
        self._signal: int | None = None

    @property
    def address(self) -> tuple[str, int]:
        """The address and the port on which it listens."""
        return self._address

    @property
    def url(self) -> str:
        """Its URL, as in `http://127.0.0.1:8080`."""
        host, port = self.address
        scheme = "http" if self._tls is None else "https"
        return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"

    @property
    def signal(self) -> int | None:
        """The number of the signal that has told it to stop; None: none has."""
        return self._signal

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT; return 0 after a graceful end. Call it in the main thread."""
        asyncio.run(self.serve(handle_signals=True))
        return 0

    async def serve(self, *, handle_signals: bool = False) -> None:
        """Serve on this event loop until `stop`.

        Args:
            handle_signals: end gracefully at SIGTERM and SIGINT, and at once at the second.

        Raises:
            Exception: what the lifespan of the application raised at its begin.
        """
        self._loop = asyncio.get_running_loop()
        if handle_signals:
            for number in _SIGNALS:
                self._loop.add_signal_handler(number, self._on_signal, number)
        try:
            LOG.info("serving at %s", self.url)
            await self._server.serve(sockets=[self._socket])
        except SystemExit:
            if self.application.failure is None:
                raise
        finally:
            self._socket.close()
            if handle_signals:
                for number in _SIGNALS:
                    self._loop.remove_signal_handler(number)
        if self.application.failure is not None:
            raise self.application.failure
        LOG.info("ended")

    def stop(self) -> None:
        """Stop gracefully, from any thread: no more connections, a hint to streams, a moment for requests."""
        self._is_stopping = True
        loop = self._loop
        if loop is not None:
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self._stop)

    def start_in_thread(self) -> None:
        """Serve in a thread of its own, and return once connections are taken; `stop_thread` ends it."""
        self._thread = threading.Thread(target=asyncio.run, args=(self.serve(),), name="sagalog-http", daemon=True)
        self._thread.start()
        started = threading.Event()
        while not self._server.started and self._thread.is_alive():
            started.wait(0.005)
        if not self._server.started:
            raise Unavailable("the server could not start; its log says why")

    def stop_thread(self) -> None:
        """Stop gracefully and wait for the end of the thread."""
        self.stop()
        if self._thread is not None:
            self._thread.join()

    # --- inside -------------------------------------------------------------------------------------------------

    def _on_signal(self, number: int) -> None:
        if self._is_stopping:
            LOG.warning("ended at once by a second signal")
            # Threads may be in the middle of a call; the store takes a killed process.
            os._exit(128 + number)
        self._is_stopping = True
        self._signal = number
        LOG.info("stopping by signal %d; a second one ends it at once", number)
        self._stop()

    def _stop(self) -> None:
        self.application.begin_stop()
        self._server.should_exit = True

    def _uvicorn(self) -> _Uvicorn:
        settings = self.application.settings
        config = uvicorn.Config(
            self.application,
            http=Connection,
            ws="none",
            loop="asyncio",
            lifespan="on",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=max(1, settings.keep_alive_ms // 1_000),
            timeout_graceful_shutdown=max(1, settings.stop_ms // 1_000),
            h11_max_incomplete_event_size=settings.header_bytes_max,
            backlog=_BACKLOG,
        )
        config.load()
        config.ssl = self._tls
        return _Uvicorn(config)


def serve(
    application: Application,
    host: str = "127.0.0.1",
    port: int = 8_080,
    *,
    tls: ssl.SSLContext | None = None,
    without_tls: bool = False,
) -> int:
    """Serve an application until SIGTERM or SIGINT, in the main thread; return 0 after a graceful end.

    Args:
        application: what to serve.
        host: the address, or a name of one; loopback by default.
        port: the port.
        tls: the certificates to serve HTTPS with; None: plain HTTP.
        without_tls: serve plain HTTP on an address that is not of loopback, behind a proxy that ends TLS.

    Raises:
        Rejected: the address is not of loopback, and no token exists, or there is no TLS: the code `bind_refused`.
        Unavailable: the address is in use, or not of this machine.
    """
    return Server(application, host, port, tls=tls, without_tls=without_tls).run()


def _require_safe(application: Application, host: str, is_private: bool) -> None:
    if not application.authenticator.tokens.exist():
        raise BindRefused(
            f"{host!r} is no address of loopback, and no token exists, so that any machine could call this server; "
            "make one by `sagalog token create`, or listen on 127.0.0.1",
            host=host,
        )
    if not is_private:
        raise BindRefused(
            f"{host!r} is no address of loopback, and without TLS the network could read every token; give a "
            "certificate, or say without_tls where a proxy on this machine or in this container network ends TLS",
            host=host,
        )


def _resolved(host: str, port: int) -> tuple[socket.AddressFamily, tuple[str, int]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise Unavailable(f"{host!r} is no address of this machine: {error}; give one, as 127.0.0.1") from error
    family, _, _, _, where = min(found, key=lambda one: one[0] != socket.AF_INET)
    return family, (str(where[0]), int(where[1]))


def _listening(family: socket.AddressFamily, where: tuple[str, int], host: str) -> socket.socket:
    # asyncio turns Nagle's algorithm off only where the protocol is named; else each answer waits for an ACK.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(where)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        text = (
            f"the server cannot listen on {host!r}, port {where[1]}: {error.strerror}; stop what does, or take another"
        )
        raise Unavailable(text, host=host, port=where[1]) from error
    listener.setblocking(False)
    return listener


def _connections_max() -> int:
    """Return how many connections the descriptors of this process are enough for."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _CONNECTIONS_MAX if soft == resource.RLIM_INFINITY else max(16, min(_CONNECTIONS_MAX, soft - _RESERVED))

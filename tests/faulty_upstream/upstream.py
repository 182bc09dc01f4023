"""The upstream: it takes connections, gives each request its script, and remembers what came in.

Rule: what no script was given for is answered 500 and counts as a failure of the test. The thread of the upstream
writes, the test reads.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Final, Self

from tests.faulty_upstream.script import PATIENCE_S, Script, Sender
from tests.ollama_server.settings import VERSION

_HOST: Final = "127.0.0.1"
_HEAD_BYTES_MAX: Final = 1 << 20


class Call:
    """One request as it came in, with the number of its connection.

    `client_left` is whether the client closed before the answer was complete, `is_over` whether nothing more is sent,
    `is_closed` whether its connection has ended.
    """

    def __init__(self, number: int, connection: int, method: str, target: str, headers: list[tuple[str, str]]) -> None:
        self.number = number
        self.connection = connection
        self.method = method
        self.path, _, self.query = target.partition("?")
        self.headers = headers
        self.body = b""
        self.at_s = time.monotonic()
        self.client_left = False
        self.is_over = False
        self.is_closed = False

    def header(self, name: str) -> str | None:
        """Return the value of a header, if there is one."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def __repr__(self) -> str:
        return f"<{self.number}: {self.method} {self.path} {self.body[:80]!r}>"


class FaultyUpstream:
    """An upstream in a thread of its own, from `with` to its end.

    `url` is its address, which stays the same while it refuses.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._calls: list[Call] = []
        self._scripts: dict[str, deque[Script]] = {}
        self._standing: dict[str, Script] = {}
        self._connections = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="faulty-upstream", daemon=True)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._port = 0
        self.unscripted: list[Call] = []
        self.always("/", Script.answer("Ollama is running", content_type="text/plain; charset=utf-8"))
        self.always("/api/version", Script.answer({"version": VERSION}))
        self.have_models()
        self.have_running()

    # --- what it shall do ---------------------------------------------------------------------------------------------

    def next(self, path: str, *scripts: Script) -> None:
        """Answer the next requests of a path by these scripts, one each, before what it always does."""
        with self._changed:
            self._scripts.setdefault(path, deque()).extend(scripts)

    def always(self, path: str, script: Script) -> None:
        """Answer every request of a path by this script, unless one is next; a script for `*` is for all paths."""
        with self._changed:
            self._standing[path] = script

    def have_models(self, *names: str) -> None:
        """Answer `/api/tags` with models of these names."""
        models = [{**_model(name), "modified_at": "2026-02-03T04:05:06.070809010Z"} for name in names]
        self.always("/api/tags", Script.answer({"models": models}))

    def have_running(self, *names: str, expires_at: str = "2318-05-06T07:08:09.010203040Z") -> None:
        """Answer `/api/ps` with loaded models of these names."""
        more = {"expires_at": expires_at, "size_vram": 128_544, "context_length": 2_048}
        self.always("/api/ps", Script.answer({"models": [{**_model(name), **more} for name in names]}))

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Refuse connections while the block runs; open ones are closed first."""
        self._call_in_loop(self._stop_listening)
        try:
            yield
        finally:
            self._call_in_loop(self._listen)

    # --- what came in -------------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://{_HOST}:{self._port}"

    @property
    def calls(self) -> list[Call]:
        """All requests so far."""
        with self._changed:
            return list(self._calls)

    def of(self, *paths: str) -> list[Call]:
        """Return the requests of these paths so far."""
        return [call for call in self.calls if call.path in paths]

    def wait_until(self, holds: Callable[[list[Call]], bool], timeout_s: float = PATIENCE_S) -> list[Call]:
        """Wait until something holds of the requests; return them.

        Raises:
            AssertionError: it did not hold in time; the message shows them.
        """
        with self._changed:
            assert self._changed.wait_for(lambda: holds(self._calls), timeout_s), f"got only {self._calls}"
            return list(self._calls)

    def wait_for(self, path: str, count: int = 1, timeout_s: float = PATIENCE_S) -> Call:
        """Wait until so many requests of a path have come in; return the last of those."""
        calls = self.wait_until(lambda calls: _count(calls, path) >= count, timeout_s)
        return [call for call in calls if call.path == path][count - 1]

    def wait_left(self, call: Call, timeout_s: float = PATIENCE_S) -> None:
        """Wait until the client of a request has left before its answer was complete."""
        self.wait_until(lambda _: call.client_left, timeout_s)

    def wait_closed(self, call: Call, timeout_s: float = PATIENCE_S) -> None:
        """Wait until the connection of a request has ended."""
        self.wait_until(lambda _: call.is_closed, timeout_s)

    def __enter__(self) -> Self:
        self._thread.start()
        self._call_in_loop(self._listen)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._call_in_loop(self._stop_listening)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_S)
        self._loop.close()
        if error is None:
            assert self.unscripted == [], f"requests without a script: {self.unscripted}"

    # --- in its thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _call_in_loop(self, function: Callable[[], object]) -> None:
        async def call() -> None:
            result = function()
            if asyncio.iscoroutine(result):
                await result

        asyncio.run_coroutine_threadsafe(call(), self._loop).result(PATIENCE_S)

    async def _listen(self) -> None:
        listening = socket.socket(proto=socket.IPPROTO_TCP)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((_HOST, self._port))
        self._port = listening.getsockname()[1]
        self._server = await self._loop.create_server(self._protocol, sock=listening)

    async def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in [*self._tasks]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _protocol(self) -> asyncio.Protocol:
        self._connections += 1
        number = self._connections
        reader = asyncio.StreamReader(_HEAD_BYTES_MAX, self._loop)

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = self._loop.create_task(self._serve(number, reader, writer, protocol.left))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        protocol = _Watched(reader, connected, self._loop)
        return protocol

    async def _serve(
        self, connection: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left: asyncio.Event
    ) -> None:
        sender = Sender(writer)
        try:
            while sender.is_open:
                if (call := await self._read(connection, reader)) is None:
                    return
                sender.is_complete = False
                await self._answer(call, sender, left)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
            with self._changed:
                for call in self._calls:
                    call.is_closed |= call.connection == connection
                self._changed.notify_all()

    async def _read(self, connection: int, reader: asyncio.StreamReader) -> Call | None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except asyncio.IncompleteReadError:
            return None
        first, *lines = head.rstrip("\r\n").split("\r\n")
        method, target, _ = first.split(" ", 2)
        headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        call = Call(len(self._calls) + 1, connection, method, target, headers)
        if (call.header("transfer-encoding") or "").lower() == "chunked":
            call.body = await _read_chunks(reader)
        else:
            call.body = await reader.readexactly(int(call.header("content-length") or 0))
        with self._changed:
            self._calls.append(call)
            self._changed.notify_all()
        return call

    async def _answer(self, call: Call, sender: Sender, left: asyncio.Event) -> None:
        script = self._loop.create_task(self._script_of(call).run(sender))
        leaving = self._loop.create_task(left.wait())
        try:
            await asyncio.wait({script, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if sender.is_open and not sender.is_complete and not leaving.done():
                # The script is at its end, the answer is not: silence.
                await leaving
            # A script that closes or resets makes the connection end too.
            call.client_left = leaving.done() and sender.is_open and not sender.is_complete
        finally:
            script.cancel()
            leaving.cancel()
            with suppress(asyncio.CancelledError, ConnectionError):
                await script
            with self._changed:
                call.is_over = True
                self._changed.notify_all()

    def _script_of(self, call: Call) -> Script:
        with self._changed:
            for path in (call.path, "*"):
                if self._scripts.get(path):
                    return self._scripts[path].popleft()
            for path in (call.path, "*"):
                if path in self._standing:
                    return self._standing[path]
            self.unscripted.append(call)
        return Script.error(500, f"no script for {call.path}")


class _Watched(asyncio.StreamReaderProtocol):
    """Tells that the client has left, whatever waits in the connection's buffer."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        connected: Callable[[asyncio.StreamReader, asyncio.StreamWriter], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(reader, connected, loop)
        self.left = asyncio.Event()

    def eof_received(self) -> bool:
        self.left.set()
        return bool(super().eof_received())

    def connection_lost(self, exc: Exception | None) -> None:
        self.left.set()
        super().connection_lost(exc)


def flapping(failures: int, failure: Callable[[], Script], success: Script) -> Sequence[Script]:
    """Return scripts that fail so often, then work."""
    return [*(failure() for _ in range(failures)), success]


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int((await reader.readline()).split(b";")[0], 16):
        body += await reader.readexactly(size)
        await reader.readline()
    await reader.readline()
    return body


def _count(calls: Sequence[Call], path: str) -> int:
    return sum(1 for call in calls if call.path == path)


def _model(name: str) -> dict[str, object]:
    details = {"parent_model": "", "format": "gguf", "family": "llama", "families": ["llama"]}
    details |= {"parameter_size": "30.0K", "quantization_level": "F32"}
    return {"name": name, "model": name, "size": 128_544, "digest": "0" * 64, "details": details}

"""What one answer does, step by step.

Rule: a script says everything, down to the bytes; where it ends without `end`, `close` or `reset`, the connection stays
open and silent until the client leaves.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import Future
from typing import Final, Literal, Self

from tests.ollama_server.examples import Example
from tests.ollama_server.exchange import NDJSON
from tests.ollama_server.failures import JSON

PATIENCE_S: Final = 30.0
_REASONS: Final = {200: "OK", 400: "Bad Request", 404: "Not Found", 429: "Too Many Requests", 503: "Busy"}
# Close at once, and throw away what was not sent: the other side sees a reset.
_LINGER: Final = struct.pack("ii", 1, 0)

Framing = Literal["chunked", "length", "until close"]


class Gate:
    """A place in a script where it waits for the test."""

    def __init__(self) -> None:
        self._reached = threading.Event()
        self._opened: Future[None] = Future()

    def open(self) -> None:
        """Let the script go on, now or when it comes here."""
        if not self._opened.done():
            self._opened.set_result(None)

    def wait_reached(self, timeout_s: float = PATIENCE_S) -> None:
        """Wait until a script is here.

        Raises:
            AssertionError: it did not come in time.
        """
        assert self._reached.wait(timeout_s), "no script has reached the gate"

    async def pass_through(self) -> None:
        """Wait for the test, in the upstream's loop."""
        self._reached.set()
        await asyncio.wrap_future(self._opened)


class Sender:
    """The upstream's end of a connection while one answer goes out."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self.framing: Framing = "length"
        self.is_open = True
        self.is_complete = False

    async def send(self, data: bytes) -> None:
        """Send bytes as they are, in one write."""
        self._writer.write(data)
        await self._writer.drain()

    async def close(self) -> None:
        """End the connection in order, after all that was sent."""
        self.is_open = False
        self._writer.close()

    async def reset(self) -> None:
        """End it with a reset; what the other side has not taken from the network by then may be lost."""
        self.is_open = False
        raw: socket.socket = self._writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
        self._writer.transport.abort()


_Step = Callable[[Sender], Awaitable[None]]


class Script:
    """The steps of one answer, added in order; each method returns the script.

    `Script().head().send(frame).wait(gate).reset()` answers 200, sends one frame, waits for the test, and dies.
    """

    def __init__(self) -> None:
        self._steps: list[_Step] = []

    # --- whole answers ------------------------------------------------------------------------------------------------

    @classmethod
    def answer(
        cls,
        body: bytes | str | dict[str, object] = b"",
        status: int = 200,
        content_type: str = JSON,
        *,
        framing: Framing = "length",
        headers: Iterable[tuple[str, str]] = (),
    ) -> Self:
        """Answer in one body, and keep the connection unless the framing needs its end."""
        data = json.dumps(body).encode() if isinstance(body, dict) else body.encode() if isinstance(body, str) else body
        script = cls().head(status, content_type, framing=framing, length=len(data), headers=headers)
        return (script.send(data) if data else script).end()

    @classmethod
    def error(cls, status: int, text: str = "made up") -> Self:
        """Answer an error as Ollama does."""
        return cls.answer({"error": text}, status)

    @classmethod
    def example(cls, example: Example, *, framing: Framing | None = None) -> Self:
        """Send an example of `tests/data/ollama`, each frame as a chunk of its own."""
        chosen = framing or ("chunked" if example.content_type == NDJSON else "length")
        script = cls().head(example.status, example.content_type, framing=chosen, length=len(example.body))
        for frame in example.frames:
            script.send(frame)
        return script.end()

    # --- steps --------------------------------------------------------------------------------------------------------

    def head(
        self,
        status: int = 200,
        content_type: str = NDJSON,
        *,
        framing: Framing = "chunked",
        length: int = 0,
        headers: Iterable[tuple[str, str]] = (),
    ) -> Self:
        """Send the status and the headers; `length` is that of the body, true or not, for the framing by length."""
        lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Made Up')}", f"Content-Type: {content_type}"]
        lines += {
            "chunked": ["Transfer-Encoding: chunked"],
            "length": [f"Content-Length: {length}"],
            "until close": ["Connection: close"],
        }[framing]
        lines += [f"{name}: {value}" for name, value in headers]

        async def step(sender: Sender) -> None:
            sender.framing = framing
            await sender.send("\r\n".join([*lines, "", ""]).encode("latin-1"))

        return self._add(step)

    def send(self, data: bytes, split: Sequence[int] = ()) -> Self:
        """Send a piece of the body; `split` cuts it at these bytes into chunks and writes of their own."""
        cuts = [0, *split, len(data)]
        pieces = [data[begin:end] for begin, end in itertools.pairwise(cuts) if begin < end]

        async def step(sender: Sender) -> None:
            for piece in pieces:
                is_chunked = sender.framing == "chunked"
                await sender.send(b"%x\r\n%s\r\n" % (len(piece), piece) if is_chunked else piece)

        return self._add(step)

    def raw(self, data: bytes) -> Self:
        """Send bytes without any framing: a head of one's own, half a chunk, or what is no HTTP at all."""
        return self._add(lambda sender: sender.send(data))

    def wait(self, gate: Gate) -> Self:
        """Wait until the test opens the gate."""
        return self._add(lambda _: gate.pass_through())

    def end(self) -> Self:
        """Complete the answer as its framing asks; the connection can then serve another request."""

        async def step(sender: Sender) -> None:
            if sender.framing == "chunked":
                await sender.send(b"0\r\n\r\n")
            elif sender.framing == "until close":
                await sender.close()
            sender.is_complete = True

        return self._add(step)

    def close(self) -> Self:
        """Close the connection in order, whether the answer is complete or not."""
        return self._add(lambda sender: sender.close())

    def reset(self) -> Self:
        """Reset the connection."""
        return self._add(lambda sender: sender.reset())

    async def run(self, sender: Sender) -> None:
        """Take the steps, in the upstream's loop."""
        for step in self._steps:
            await step(sender)

    def _add(self, step: _Step) -> Self:
        self._steps.append(step)
        return self

"""Bodies of requests: read within bounds of size and time, and decoded into what a route takes.

Rule: a body is as large as its route allows, whatever its headers say, and no body may stay away for ever. [HTTP-5] An
encoded one is refused: what a few bytes inflate to has no bound. It must not know routes.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from typing import Any, Final

import msgspec

from sagalog_http.errors import BadRequest, BodyTooLarge, BodyTooSlow, InvalidBody, UnsupportedMediaType
from sagalog_http.settings import Settings

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]

# How much of a body that is not wanted is read away, and for how long, so that its sender reads the answer.
_LEFT_BYTES_MAX: Final = 4 * 1_048_576
_LEFT_S: Final = 1.0


class Gone(Exception):
    """The client has hung up in the middle of its request."""


class Body:
    """The body of one request, to be read once.

    Args:
        receive: gives the messages of the server.
        headers: the headers of the request, names in lower case.
        maximum: how many bytes are taken.
        settings: how long it may take.
    """

    def __init__(self, receive: Receive, headers: Sequence[tuple[str, str]], maximum: int, settings: Settings) -> None:
        self._receive = receive
        self._headers = headers
        self._maximum = maximum
        self._settings = settings
        self._size = 0
        self._completed = asyncio.Event()
        if not self._values("transfer-encoding") and set(self._values("content-length")) <= {"0"}:
            self._completed.set()

    @property
    def is_complete(self) -> bool:
        """Whether all of it was read."""
        return self._completed.is_set()

    async def completed(self) -> None:
        """Return once all of it was read."""
        await self._completed.wait()

    def check_headers(self) -> None:
        """Refuse by its headers a body that is encoded, framed twice, or too large, before anything is read.

        Raises:
            BadRequest, UnsupportedMediaType, BodyTooLarge: as said.
        """
        lengths = self._values("content-length")
        if lengths and self._values("transfer-encoding"):
            raise BadRequest("a body has one length: send Content-Length or Transfer-Encoding, not both")
        if any(value.strip().lower() != "identity" for value in self._values("content-encoding")):
            raise UnsupportedMediaType("send the body as it is, without Content-Encoding")
        if lengths and lengths[0].isdecimal() and int(lengths[0]) > self._maximum:
            raise self._too_large()

    async def read(self) -> bytes:
        """Read all of it.

        Raises:
            BodyTooLarge: it is larger than the route takes. BodyTooSlow: it stays away. Gone: so does its sender.
        """
        return b"".join([chunk async for chunk in self.chunks()])

    async def chunks(self) -> AsyncIterator[bytes]:
        """Give it as it arrives; raises as `read`."""
        loop = asyncio.get_running_loop()
        since_s = loop.time()
        while not self.is_complete:
            until_s = since_s + self._settings.body_ms / 1_000 + self._size / self._settings.body_bytes_per_second_min
            try:
                async with asyncio.timeout_at(until_s):
                    message = await self._receive()
            except TimeoutError:
                raise BodyTooSlow(
                    f"{self._size:,} bytes of the body have arrived and its time is over; send it faster, or less"
                ) from None
            if message["type"] != "http.request":
                raise Gone
            chunk: bytes = message.get("body", b"")
            if not message.get("more_body", False):
                self._completed.set()
            self._size += len(chunk)
            if self._size > self._maximum:
                raise self._too_large()
            if chunk:
                yield chunk

    async def discard(self) -> None:
        """Read away what is left, for a short time, so that its sender gets to read the answer."""
        left = _LEFT_BYTES_MAX
        try:
            async with asyncio.timeout(_LEFT_S):
                while not self.is_complete and left > 0:
                    message = await self._receive()
                    left -= len(message.get("body", b""))
                    if message["type"] != "http.request" or not message.get("more_body", False):
                        self._completed.set()
        except TimeoutError:
            return

    def decode(self, data: bytes, takes: Any) -> Any:
        """Return a body of JSON as what a route takes.

        Raises:
            UnsupportedMediaType: it says that it is something else. InvalidBody: it is not what the route takes.
        """
        types = self._values("content-type")
        essence = types[0].partition(";")[0].strip().lower() if types else ""
        if len(types) != 1 or not (essence == "application/json" or essence.endswith("+json")):
            raise UnsupportedMediaType("send the body as JSON, with the header `Content-Type: application/json`")
        try:
            json.loads(data, object_pairs_hook=_once)
            return msgspec.json.decode(data, type=takes)
        except msgspec.ValidationError as error:
            _, _, path = str(error).partition(" - at ")
            raise InvalidBody(f"the body: {error}", path=path.strip("`") or "$") from None
        except (ValueError, RecursionError, msgspec.MsgspecError) as error:
            what = "it is nested too deeply" if isinstance(error, RecursionError) else _fault(error)
            raise InvalidBody(f"the body is no JSON: {what}", path="$") from None

    def _values(self, name: str) -> list[str]:
        return [value for key, value in self._headers if key == name]

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(f"this route takes bodies of {self._maximum:,} bytes; send less", maximum=self._maximum)


def decode_query(pairs: Sequence[tuple[str, str]], takes: Any) -> Any:
    """Return the parameters of a query as the struct that a route takes; each may be given once.

    Raises:
        InvalidBody: one is unknown, given twice, or of another kind.
    """
    given: dict[str, str] = {}
    for name, value in pairs:
        if name in given:
            raise InvalidBody(f"the parameter {name!r} is given twice; give it once", path=name)
        given[name] = value
    if takes is None:
        if given:
            raise InvalidBody("this route takes no parameters; leave out what follows the `?`", path=next(iter(given)))
        return None
    try:
        return msgspec.convert(given, takes, strict=False)
    except msgspec.ValidationError as error:
        _, _, path = str(error).partition(" - at ")
        raise InvalidBody(f"the query: {error}", path=path.strip("`") or "$") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object has one name twice")
    return found


def _fault(error: Exception) -> str:
    """Return what is wrong with a text, without the text."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at byte {error.pos}"
    if isinstance(error, UnicodeDecodeError):
        return f"it is no UTF-8 at byte {error.start}"
    return str(error) if isinstance(error, ValueError) else "it cannot be read"

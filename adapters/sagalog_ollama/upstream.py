"""The target: what is sent to it and what comes back, byte for byte.

Rule: one client for all of a gateway, and only this module speaks to the target. It sends no header that belongs to one
connection, to the gateway or to a browser, follows no redirect, asks for no compression and knows no task.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Final

import httpx

from sagalog_ollama.settings import Settings

_CONNECT_S: Final = 10.0
_POLL_BYTES_MAX: Final = 16_777_216
# The least that a request of ours without a body of a client may take: a poll must not hang behind a load.
_POLL_S: Final = 10.0
# The headers that pass; all others are of one connection, of the gateway or of a browser.
_SENT: Final = ("content-type", "accept", "range")
_RETURNED: Final = ("content-type", "content-length", "content-range", "accept-ranges", "retry-after")


class Unreachable(Exception):
    """The target could not be asked, or its answer broke off; trying again may help."""


class Upstream:
    """The connections to the target.

    Args:
        settings: its address, its token, and how long it may send nothing.
    """

    def __init__(self, settings: Settings) -> None:
        token = settings.target_token
        self._client = httpx.AsyncClient(
            base_url=settings.target,
            headers={
                "accept-encoding": "identity",
                "user-agent": "sagalog-ollama",
                **({} if token is None else {"authorization": f"Bearer {token}"}),
            },
            timeout=httpx.Timeout(settings.silence_ms / 1_000, connect=_CONNECT_S, pool=None),
            # The number of requests is bounded where they come in.
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=32),
            # A cookie of the target would cross from one client to another.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            follow_redirects=False,
            trust_env=False,
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | AsyncIterator[bytes] | None = None,
    ) -> AsyncIterator[httpx.Response]:
        """Send a request and give its answer for the block, whose bytes `chunks` reads.

        Raises:
            Unreachable: the target could not be asked, or its answer broke off, also within the block.
        """
        try:
            request = self._client.build_request(method, path, headers=dict(headers), content=body)
            response = await self._client.send(request, stream=True)
            try:
                yield response
            finally:
                await response.aclose()
        except (httpx.RequestError, httpx.InvalidURL) as error:
            raise Unreachable(f"{type(error).__name__}: {error}".removesuffix(": ")) from error

    async def get(self, path: str) -> bytes:
        """Read a small answer.

        Raises:
            Unreachable: the target could not be asked, has refused, or its answer took too long or has no end.
        """
        body = bytearray()
        try:
            async with asyncio.timeout(_POLL_S), self.stream("GET", path, {}) as response:
                async for chunk in chunks(response):
                    body += chunk
                    if response.status_code != 200 or len(body) > _POLL_BYTES_MAX:
                        raise Unreachable(
                            f"{path} is answered {response.status_code} with {len(body):,} bytes and more"
                        )
        except TimeoutError:
            raise Unreachable(f"{path} is not answered within {_POLL_S:.0f} s") from None
        return bytes(body)

    async def load(self, path: str, body: bytes) -> int:
        """Send a request whose answer does not matter, and give its status.

        Raises:
            Unreachable: the target could not be asked, or its answer broke off.
        """
        async with self.stream("POST", path, {"content-type": "application/json"}, body) as response:
            async for _ in chunks(response):
                pass
            return response.status_code


async def chunks(response: httpx.Response) -> AsyncIterator[bytes]:
    """Give the bytes of an answer as they come."""
    async for chunk in response.aiter_raw():
        if chunk:
            yield chunk


def sent_headers(given: Mapping[str, str]) -> dict[str, str]:
    """Return the headers of a client that the target gets."""
    return {name: given[name] for name in _SENT if name in given and given[name].isascii()}


def returned_headers(response: httpx.Response) -> dict[str, str]:
    """Return the headers of the target that a client gets."""
    found = {name: response.headers[name] for name in _RETURNED if name in response.headers}
    return {name: value for name, value in found.items() if value.isascii() and value.isprintable()}

"""The target: what is sent to it and what comes back, byte for byte.

Rule: one client for all of a gateway, and only this module speaks to the target. It sends no header that belongs to one
connection, to the gateway or to a browser, follows no redirect, asks for no compression and knows no task.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

import httpx

from sagalog_ollama.settings import Settings

_CONNECT_S: Final = 10.0
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
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise Unreachable(f"{type(error).__name__}: {error}".removesuffix(": ")) from error

    async def get(self, path: str) -> bytes | None:
        """Read a small answer; None where it is not 200.

        Raises:
            Unreachable: the target could not be asked, or did not answer in time.
        """
        try:
            response = await self._client.get(path, timeout=_POLL_S)
        except httpx.TransportError as error:
            raise Unreachable(f"{type(error).__name__}: {error}".removesuffix(": ")) from error
        return response.content if response.status_code == 200 else None

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
    return {name: given[name] for name in _SENT if name in given}


def returned_headers(response: httpx.Response) -> dict[str, str]:
    """Return the headers of the target that a client gets."""
    return {name: response.headers[name] for name in _RETURNED if name in response.headers}

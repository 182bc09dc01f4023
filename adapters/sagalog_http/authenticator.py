"""The authenticator: from the header `Authorization` to an access, with a memory of less than a second.

Rule: what the authenticator remembers is never older than `FRESH_S`, so a token that was revoked is dead within a
second in every process. [TOKEN-4] It asks the store in threads of its own: however busy the others are, it answers.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, TypeVar

from sagalog import Engine, SagalogError
from sagalog_http.access import EVERYTHING, Access, access_of
from sagalog_http.errors import BadRequest, Unauthenticated
from sagalog_http.rates import Buckets
from sagalog_http.tokens import USED_MS, Token, Tokens, digest_of, is_secret

R = TypeVar("R")

FRESH_S: Final = 0.4
_THREADS: Final = 2
# How many tokens the authenticator remembers; a server with more asks the store more often.
_REMEMBERED_MAX: Final = 10_000

_log: Final = logging.getLogger("sagalog_http")


class _Remembered:
    """A token as it was last read."""

    __slots__ = ("noted_ms", "read_s", "token")

    def __init__(self, token: Token, read_s: float) -> None:
        self.token = token
        self.read_s = read_s
        # When its use was last put on record, as far as this process knows.
        self.noted_ms: int | None = None


class Authenticator:
    """The authenticator of one server.

    Args:
        engine: the engine on the store with the tokens.
        open_while_no_tokens: need no token on a loopback address while none is on record.
        strangers: the rates of addresses that send unknown tokens.
        now_s: a clock in seconds that never steps back.
    """

    def __init__(
        self, engine: Engine, open_while_no_tokens: bool, strangers: Buckets, now_s: Callable[[], float]
    ) -> None:
        self.tokens = Tokens(engine)
        # Set once the address is known to be one of loopback; the address of a peer never counts. [TOKEN-6]
        self.is_loopback = False
        self._may_be_open = open_while_no_tokens
        self._now_ms = engine.now_ms
        self._now_s = now_s
        self._strangers = strangers
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="sagalog-http-tokens")
        self._known: dict[str, _Remembered] = {}
        self._reading: dict[str, asyncio.Future[Token | None]] = {}
        self._exist: tuple[bool, float] | None = None

    async def admit(self, authorizations: list[str], address: str | None) -> Access:
        """Return the access of a request by its `Authorization` headers.

        Raises:
            Unauthenticated: it has no live token and needs one.
            BadRequest: it has two such headers.
            TooManyRequests: its address has sent too many unknown tokens.
            Unavailable: the store does not answer; without it no token is known to live.
        """
        if len(authorizations) > 1:
            raise BadRequest("there are two headers Authorization; send one")
        if await self.is_open():
            return EVERYTHING
        if not authorizations:
            raise Unauthenticated("send the header `Authorization: Bearer <token>`; `sagalog token create` makes one")
        scheme, _, secret = authorizations[0].partition(" ")
        if scheme.lower() != "bearer" or not is_secret(secret):
            self._strangers.take(address or "")
            raise Unauthenticated("the header Authorization is not `Bearer` and a token of sagalog; look at both")
        digest = digest_of(secret)
        if digest not in self._known:
            self._strangers.require(address or "")
        token = await self.token(digest)
        if token is None:
            self._strangers.take(address or "")
            raise Unauthenticated("the token is unknown, has expired or was revoked; ask for another one")
        return access_of(token, digest)

    async def is_open(self) -> bool:
        """Tell whether no token is needed now. [TOKEN-6]"""
        if not (self._may_be_open and self.is_loopback):
            return False
        now_s = self._now_s()
        if self._exist is None or now_s - self._exist[1] >= FRESH_S:
            self._exist = (await self._ask(self.tokens.exist), now_s)
        return not self._exist[0]

    async def token(self, digest: str) -> Token | None:
        """Return the live token of a digest, as it was `FRESH_S` ago at most; None: there is none."""
        found = self._known.get(digest)
        if found is None or self._now_s() - found.read_s >= FRESH_S:
            if await self._read(digest) is None:
                return None
            found = self._known.get(digest)
        if found is None or found.token.state(self._now_ms()) != "live":
            return None
        return found.token

    async def is_alive(self, access: Access) -> bool:
        """Tell whether what an access was given for still holds. [TOKEN-4]"""
        if access.digest is not None:
            return await self.token(access.digest) is not None
        return access is not EVERYTHING or await self.is_open()

    def note_use(self, digest: str) -> None:
        """Have the use of a token put on record, at most once a minute; a failure is logged. [TOKEN-5]"""
        found, now_ms = self._known.get(digest), self._now_ms()
        if found is None or (found.noted_ms is not None and abs(now_ms - found.noted_ms) < USED_MS):
            return
        found.noted_ms = now_ms
        self._threads.submit(self._write_use, digest)

    def close(self) -> None:
        """End the threads after what they do."""
        self._threads.shutdown(wait=True)

    # --- inside -------------------------------------------------------------------------------------------------

    async def _read(self, digest: str) -> Token | None:
        """Read a token, once for all requests that need it now."""
        reading = self._reading.get(digest)
        if reading is None:
            reading = asyncio.ensure_future(self._read_now(digest))
            self._reading[digest] = reading
            reading.add_done_callback(partial(self._end_reading, digest))
        return await asyncio.shield(reading)

    async def _read_now(self, digest: str) -> Token | None:
        # Take the time before the look: what is read may be as old as that.
        read_s = self._now_s()
        token = await self._ask(partial(self.tokens.find_by_digest, digest))
        before = self._known.pop(digest, None)
        if token is not None:
            now = _Remembered(token, read_s)
            now.noted_ms = None if before is None else before.noted_ms
            self._known[digest] = now
            if len(self._known) > _REMEMBERED_MAX:
                del self._known[next(iter(self._known))]
        return token

    def _end_reading(self, digest: str, reading: asyncio.Future[Token | None]) -> None:
        self._reading.pop(digest, None)
        if not reading.cancelled():
            reading.exception()  # otherwise asyncio logs that no caller has looked at it

    async def _ask(self, question: Callable[[], R]) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._threads, question)

    def _write_use(self, digest: str) -> None:
        try:
            self.tokens.used(digest)
        except SagalogError as error:
            _log.warning("the last use of a token could not be written: %s", error.code)

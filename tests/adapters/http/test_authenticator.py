"""The authenticator: what a bad token costs, and what is remembered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import pytest

from sagalog import Engine, Rate
from sagalog.testing import ManualClock
from sagalog_http import authenticator as module
from sagalog_http import rates
from sagalog_http.access import EVERYTHING, PUBLIC
from sagalog_http.authenticator import FRESH_S, Authenticator
from sagalog_http.errors import TooManyRequests, Unauthenticated
from sagalog_http.rates import Buckets
from sagalog_http.tokens import Token, Tokens

GUESSES: Final = 10_000


class CountingTokens(Tokens):
    """Tokens that count how often the store is asked."""

    asked = 0

    def find_by_digest(self, digest: str) -> Token | None:
        self.asked += 1
        return super().find_by_digest(digest)


@contextmanager
def authenticating(
    engine: Engine, now_s: Callable[[], float], stranger_rate: Rate, is_open: bool = False
) -> Iterator[tuple[Authenticator, CountingTokens, Buckets]]:
    strangers = Buckets(stranger_rate, now_s)
    one = Authenticator(engine, open_while_no_tokens=is_open, strangers=strangers, now_s=now_s)
    one.tokens = tokens = CountingTokens(engine)
    try:
        yield one, tokens, strangers
    finally:
        one.close()


def guess(number: int) -> list[str]:
    """A header with a token of the right form that no store has."""
    return [f"Bearer sagalog_{number:043d}"]


def test_ten_thousand_bad_tokens_ask_the_store_a_hundred_times(engine: Engine) -> None:
    """[HTTP-6] The burst of their address; the rest cost a comparison, none is remembered, and a known token passes."""
    with authenticating(engine, lambda: 5.0, Rate(20, 1_000, 100)) as (one, tokens, strangers):
        _, secret = tokens.create("ann", ["read"])

        async def ask() -> list[type[Exception]]:
            found: list[type[Exception]] = []
            assert (await one.admit([f"Bearer {secret}"], "192.0.2.1")).actor == "token:ann"
            for number in range(GUESSES):
                with pytest.raises((Unauthenticated, TooManyRequests)) as refused:
                    await one.admit(guess(number), "192.0.2.1")
                found.append(refused.type)
            assert (await one.admit([f"Bearer {secret}"], "192.0.2.1")).actor == "token:ann"
            return found

        found = asyncio.run(ask())
        assert found == [Unauthenticated] * 100 + [TooManyRequests] * (GUESSES - 100)
        assert tokens.asked == 1 + 100
        assert (len(one._known), len(one._reading), len(strangers._left)) == (1, 0, 1)


def test_guesses_from_many_addresses_are_remembered_up_to_a_bound(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """[HTTP-6] Neither a token nor an address costs memory for ever."""
    monkeypatch.setattr(rates, "_BUCKETS_MAX", 50)
    monkeypatch.setattr(module, "_REMEMBERED_MAX", 3)
    with authenticating(engine, lambda: 5.0, Rate(20, 1_000, 100)) as (one, tokens, strangers):
        secrets = [tokens.create(f"t{number}", ["read"])[1] for number in range(5)]

        async def ask() -> None:
            for number in range(200):
                with pytest.raises(Unauthenticated):
                    await one.admit(guess(number), f"192.0.2.{number}")
            for secret in secrets:
                await one.admit([f"Bearer {secret}"], "192.0.2.1")

        asyncio.run(ask())
        assert (len(strangers._left), len(one._known)) == (50, 3)


def test_a_text_without_the_form_of_a_token_asks_no_store_and_counts(engine: Engine) -> None:
    """[HTTP-6] [TOKEN-3]"""
    with authenticating(engine, lambda: 5.0, Rate(1, 1_000, 2)) as (one, tokens, _):

        async def ask() -> None:
            for header in ("Basic x", "Bearer short"):
                with pytest.raises(Unauthenticated):
                    await one.admit([header], "192.0.2.1")
            with pytest.raises(TooManyRequests):
                await one.admit(["Bearer short"], "192.0.2.1")

        asyncio.run(ask())
        assert tokens.asked == 0


def test_what_is_remembered_of_a_token_is_never_older_than_said(engine: Engine) -> None:
    """[TOKEN-4] To the moment; and in between the store is not asked again."""
    now = [0.0]
    with authenticating(engine, lambda: now[0], Rate(20, 1_000, 100)) as (one, tokens, _):
        _, secret = tokens.create("ann", ["read"])

        async def ask() -> None:
            header = [f"Bearer {secret}"]
            await one.admit(header, None)
            tokens.revoke("ann")
            now[0] = FRESH_S - 0.001
            await one.admit(header, None)
            assert tokens.asked == 1
            now[0] = FRESH_S
            with pytest.raises(Unauthenticated):
                await one.admit(header, None)

        asyncio.run(ask())
    assert FRESH_S < 1.0


def test_a_remembered_token_expires_to_the_moment(engine: Engine, clock: ManualClock) -> None:
    """[TOKEN-4] Without another look into the store."""
    with authenticating(engine, lambda: 5.0, Rate(20, 1_000, 100)) as (one, tokens, _):
        _, secret = tokens.create("ann", ["read"], ttl_ms=1_000)

        async def ask() -> None:
            await one.admit([f"Bearer {secret}"], None)
            clock.advance(1_000)
            with pytest.raises(Unauthenticated):
                await one.admit([f"Bearer {secret}"], None)
            assert tokens.asked == 1

        asyncio.run(ask())


def test_what_an_open_server_has_begun_ends_once_there_is_a_token(engine: Engine) -> None:
    """[TOKEN-6] A stream is no way around it; what is public goes on."""
    now = [0.0]
    with authenticating(engine, lambda: now[0], Rate(20, 1_000, 100), is_open=True) as (one, tokens, _):
        one.is_loopback = True

        async def ask() -> None:
            access = await one.admit([], None)
            assert access is EVERYTHING
            assert await one.is_alive(access)
            tokens.create("ann", ["read"])
            now[0] = FRESH_S
            assert not await one.is_alive(access)
            assert await one.is_alive(PUBLIC)

        asyncio.run(ask())

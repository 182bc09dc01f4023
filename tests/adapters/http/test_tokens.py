"""Tokens: made, found by their hash, revoked, used, removed, and never to be found in a file."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import pytest

import sagalog
from sagalog import Engine, InvalidValue, NotFound, Rejected
from sagalog.testing import ManualClock
from sagalog_http.tokens import SCOPES, TokenExists, Tokens, digest_of, is_secret
from tests.conftest import OpenEngine


def test_a_secret_has_256_random_bits_behind_a_prefix(engine: Engine) -> None:
    """[TOKEN-1]"""
    drawn: list[int] = []

    def draw(count: int) -> bytes:
        drawn.append(count)
        return bytes(range(count))

    token, secret = Tokens(engine, draw).create("ann", ["read"], actor="bob")

    assert drawn == [32]
    assert secret == "sagalog_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"  # noqa: S105  drawn above
    assert is_secret(secret)
    assert (token.name, token.scopes, token.created_by, token.created_ms) == (
        "ann",
        ("read",),
        "user:bob",
        engine.now_ms(),
    )


def test_two_secrets_differ(engine: Engine) -> None:
    tokens = Tokens(engine)
    assert tokens.create("a", ["read"])[1] != tokens.create("b", ["read"])[1]


def test_the_store_holds_the_hash_and_never_the_secret(tmp_path: Path) -> None:
    """[TOKEN-1] Not in the file, nor in its WAL, nor after the engine has closed."""
    path = tmp_path / "store.db"
    with sagalog.open(f"sqlite:///{path}") as engine:
        _, secret = Tokens(engine).create("ann", ["read"])
        assert Tokens(engine).find(secret) is not None
        Tokens(engine).used(digest_of(secret))
        held = b"".join(one.read_bytes() for one in tmp_path.iterdir())
    held += b"".join(one.read_bytes() for one in tmp_path.iterdir())

    assert hashlib.sha256(secret.encode()).hexdigest().encode() in held
    assert secret.removeprefix("sagalog_").encode() not in held


@pytest.mark.parametrize("change", [str.upper, str.lower, lambda one: one[:-1], lambda one: one + " ", lambda _: ""])
def test_a_secret_that_differs_in_anything_is_unknown(engine: Engine, change: object) -> None:
    """[TOKEN-3]"""
    assert callable(change)
    _, secret = Tokens(engine).create("ann", ["read"])

    assert Tokens(engine).find(secret) is not None
    assert Tokens(engine).find(change(secret)) is None


def test_a_name_has_one_live_token_and_is_free_once_that_has_ended(engine: Engine) -> None:
    """[TOKEN-2]"""
    tokens = Tokens(engine)
    _, first = tokens.create("ann", ["read"])
    with pytest.raises(TokenExists, match="revoke it first"):
        tokens.create("ann", ["work"])
    tokens.revoke("ann")
    _, second = tokens.create("ann", ["work"])

    assert tokens.find(first) is None
    found = tokens.find(second)
    assert found is not None
    assert found.scopes == ("work",)
    assert [one.state(engine.now_ms()) for one in tokens.list()] == ["revoked", "live"]


def test_of_two_creations_of_a_name_at_once_one_succeeds(open_engine: OpenEngine) -> None:
    """[TOKEN-2]"""
    engine = open_engine()
    made: list[str] = []
    refused: list[TokenExists] = []

    def create() -> None:
        try:
            made.append(Tokens(engine).create("ann", ["read"])[1])
        except TokenExists as error:
            refused.append(error)

    threads = [threading.Thread(target=create) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()

    assert (len(made), len(refused)) == (1, 7)
    assert [one.name for one in Tokens(engine).list()] == ["ann"]
    assert Tokens(engine).find(made[0]) is not None


def test_a_creation_between_the_look_and_the_write_of_another_wins(engine: Engine) -> None:
    """[TOKEN-2] The other one is refused, and leaves nothing."""
    won: list[str] = []

    class Slow(Tokens):
        looks = 0

        def _require_free(self, name: str) -> None:
            super()._require_free(name)
            self.looks += 1
            if self.looks == 2:
                won.append(Tokens(engine).create("ann", ["read"])[1])

    with pytest.raises(TokenExists):
        Slow(engine).create("ann", ["work"])
    assert Tokens(engine).find(won[0]) is not None
    assert len(engine.kept_in("tokens", "", 10)) == 1


def test_a_creation_under_a_live_name_draws_and_writes_nothing(engine: Engine) -> None:
    """[TOKEN-2]"""
    Tokens(engine).create("ann", ["read"])

    def draw(count: int) -> bytes:
        raise AssertionError(count)

    with pytest.raises(TokenExists):
        Tokens(engine, draw).create("ann", ["read"])


def test_a_text_that_no_hash_can_be_made_of_is_no_secret(engine: Engine) -> None:
    """[TOKEN-3]"""
    assert Tokens(engine).find("sagalog_\ud800") is None


def test_what_a_killed_creation_has_left_is_no_token(engine: Engine) -> None:
    """[TOKEN-2] It has written the row of the token, and its name points to none."""
    tokens = Tokens(engine)
    _, secret = tokens.create("ann", ["read"])
    digest = digest_of(secret)
    assert engine.keep("token_names", "ann", engine.kept("token_names", "ann"), None)

    assert tokens.find_by_digest(digest) is None
    assert tokens.list() == []


def test_a_token_expires_by_the_clock_of_the_engine(engine: Engine, clock: ManualClock) -> None:
    """[TOKEN-4]"""
    _, secret = Tokens(engine).create("ann", ["read"], ttl_ms=1_000)
    clock.advance(999)
    assert Tokens(engine).find(secret) is not None
    clock.advance(1)

    assert Tokens(engine).find(secret) is None
    assert [one.state(engine.now_ms()) for one in Tokens(engine).list()] == ["expired"]


def test_a_revoked_token_says_who_has_revoked_it_and_stays_so(engine: Engine, clock: ManualClock) -> None:
    _, secret = Tokens(engine).create("ann", ["read"])
    first = Tokens(engine).revoke("ann", "bob")
    clock.advance(10)

    assert (first.revoked_by, first.revoked_ms) == ("user:bob", engine.now_ms() - 10)
    assert Tokens(engine).revoke("ann", "eve") == first
    assert Tokens(engine).find(secret) is None


def test_the_last_use_is_written_once_a_minute(engine: Engine, clock: ManualClock) -> None:
    """[TOKEN-5]"""
    tokens = Tokens(engine)
    _, secret = tokens.create("ann", ["read"])
    assert tokens.list()[0].used_ms is None
    first_ms = engine.now_ms()
    for _ in range(3):
        tokens.used(digest_of(secret))
        clock.advance(20_000)
    assert tokens.list()[0].used_ms == first_ms
    tokens.used(digest_of(secret))

    assert tokens.list()[0].used_ms == first_ms + 60_000


def test_a_token_that_has_ended_exists_until_it_is_removed(engine: Engine) -> None:
    """[TOKEN-6]"""
    tokens = Tokens(engine)
    assert not tokens.exist()
    tokens.create("ann", ["read"])
    with pytest.raises(Rejected, match="is live"):
        tokens.remove("ann")
    tokens.revoke("ann")
    assert tokens.exist()

    assert tokens.remove("ann") == 1
    assert not tokens.exist()
    assert tokens.list() == []


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 201, 7])
def test_a_name_that_is_none_is_refused(engine: Engine, name: str) -> None:
    with pytest.raises(InvalidValue):
        Tokens(engine).create(name, ["read"])
    assert not Tokens(engine).exist()


@pytest.mark.parametrize("scopes", [[], ["root"], "read"])
def test_scopes_that_are_none_are_refused_by_their_names(engine: Engine, scopes: list[str]) -> None:
    with pytest.raises(InvalidValue, match="read, produce, work, operate, admin"):
        Tokens(engine).create("ann", scopes)  # type: ignore[arg-type]
    assert SCOPES == ("read", "produce", "work", "operate", "admin")


def test_a_token_that_is_not_there_is_told_with_those_that_are(engine: Engine) -> None:
    Tokens(engine).create("ann", ["read"])
    for call in (Tokens(engine).revoke, Tokens(engine).remove):
        with pytest.raises(NotFound, match="the tokens are 'ann'"):
            call("bob")

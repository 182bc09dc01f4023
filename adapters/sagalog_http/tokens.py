"""Tokens of callers: created, found by their hash, revoked, and when they were last used.

Rule: the store holds the SHA-256 of a secret and never the secret, which is shown once. [TOKEN-1] A token lives while
the row of its name points to its hash, so of two creations at once one wins. It must not know HTTP.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Literal, get_args

import msgspec

from sagalog import Corrupt, Engine, InvalidValue, NotFound, Rejected
from sagalog.actors import check_actor, optional_actor
from sagalog.kernel.bounds import TIME_MS_MAX
from sagalog.validation.values import check_integer, check_name, shown

Scope = Literal["read", "produce", "work", "operate", "admin"]
TokenState = Literal["live", "expired", "revoked"]

SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
# Scanners of source code find a secret by these first characters.
PREFIX: Final = "sagalog_"
SECRET_BYTES: Final = 32
# [TOKEN-5] How often the last use of a token is written at most.
USED_MS: Final = 60_000

_SECRET: Final = re.compile(re.escape(PREFIX) + r"[A-Za-z0-9_-]{43}")
# The spaces of their rows: hash -> token, name -> hash, hash -> when it was last used.
_TOKENS: Final = "tokens"
_NAMES: Final = "token_names"
_USES: Final = "token_uses"
_PAGE: Final = 1_000


class TokenExists(Rejected):
    """A live token has this name: revoke it first, or choose another name. [TOKEN-2] Field: `token`, the name."""

    code = "token_exists"


class Token(msgspec.Struct, frozen=True):
    """A token as it is on record, without its secret.

    name         unique among the live ones; the actor of what it does is `token:` and this name
    scopes       what its holder may do: "read", "produce", "work", "operate", or "admin", which includes all
    queues       the queues that it may touch; empty: all
    kinds        the kinds of tasks that it may touch; empty: all
    created_ms   when it was created, in milliseconds since 1970
    created_by   the actor who has created it; None: no actor was named
    expires_ms   from when on it is refused; None: never
    revoked_ms   when it was revoked; None: it was not
    revoked_by   the actor who has revoked it
    used_ms      when it was last used, to the minute; None: never, or not read
    """

    name: str
    scopes: tuple[Scope, ...]
    queues: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    created_ms: int = 0
    created_by: str | None = None
    expires_ms: int | None = None
    revoked_ms: int | None = None
    revoked_by: str | None = None
    used_ms: int | None = None

    def state(self, now_ms: int) -> TokenState:
        """Tell whether it is "live", "expired" or "revoked" at this time.

        Args:
            now_ms: the time, in milliseconds since 1970.
        """
        if self.revoked_ms is not None:
            return "revoked"
        return "expired" if self.expires_ms is not None and self.expires_ms <= now_ms else "live"


class Tokens:
    """The tokens of one store, for the calls of any thread.

    Args:
        engine: the engine on the store that keeps them; its clock says when a token expires.
        draw: gives so many random bytes that no other program can guess.
    """

    def __init__(self, engine: Engine, draw: Callable[[int], bytes] = secrets.token_bytes) -> None:
        self._engine = engine
        self._draw = draw

    def create(
        self,
        name: str,
        scopes: Iterable[Scope],
        *,
        queues: Iterable[str] = (),
        kinds: Iterable[str] = (),
        ttl_ms: int | None = None,
        actor: str | None = None,
    ) -> tuple[Token, str]:
        """Create a token, and give it with its secret, which no later call can show. [TOKEN-1]

        Args:
            name: unique among the live tokens. [TOKEN-2]
            scopes: one or more of `SCOPES`.
            queues: the queues that it may touch; none: all.
            kinds: the kinds that it may touch; none: all.
            ttl_ms: how long it lives, in milliseconds; None: until it is revoked.
            actor: who creates it, for the record.

        Raises:
            InvalidValue: an argument is none of its kind; the field `path` names it.
            Rejected: a live token has this name, with the code `token_exists`.
            OverBound: the names of queues and kinds take more than a row holds.
            Corrupt: the random bytes were drawn before.
        """
        now_ms = self._engine.now_ms()
        if ttl_ms is not None:
            check_integer(ttl_ms, "ttl_ms", 1, TIME_MS_MAX)
        token = Token(
            name=_actor_name(name),
            scopes=_scopes(scopes),
            queues=_names(queues, "queues"),
            kinds=_names(kinds, "kinds"),
            created_ms=now_ms,
            created_by=optional_actor(actor, "actor"),
            expires_ms=None if ttl_ms is None else now_ms + ttl_ms,
        )
        self._require_free(token.name)
        secret = PREFIX + urlsafe_b64encode(self._draw(SECRET_BYTES)).decode().rstrip("=")
        digest = digest_of(secret)
        if not self._engine.keep(_TOKENS, digest, None, _row(token)):
            raise Corrupt(
                "the random bytes of a new token were drawn before: stop and look at the source of randomness"
            )
        self._take_name(token.name, digest)
        return token, secret

    def find(self, secret: str) -> Token | None:
        """Find the live token that has this secret; None: there is none, or it has expired or was revoked.

        The secret is looked up by its hash, so the time that this takes says nothing about other secrets. [TOKEN-3]

        Args:
            secret: what the caller has sent.
        """
        return self.find_by_digest(digest_of(secret)) if is_secret(secret) else None

    def find_by_digest(self, digest: str) -> Token | None:
        """Find the live token whose secret has this digest, as `find`.

        Args:
            digest: the SHA-256 of the secret, in hexadecimal digits.
        """
        token = self._token(digest)
        if token is None or token.state(self._engine.now_ms()) != "live":
            return None
        named = self._digest_of_name(token.name)
        return token if named is not None and hmac.compare_digest(named, digest) else None

    def list(self) -> list[Token]:
        """List the tokens by name, those that have ended too, each with its last use."""
        return sorted(
            (msgspec.structs.replace(token, used_ms=self._used_ms(digest)) for digest, token in self._named()),
            # Of two of one millisecond the live one is the later.
            key=lambda token: (token.name, token.created_ms, token.revoked_ms is None),
        )

    def exist(self) -> bool:
        """Tell whether any token is on record, live or not: what has ended counts until it is removed. [TOKEN-6]"""
        return bool(self._engine.kept_in(_TOKENS, "", 1))

    def revoke(self, name: str, actor: str | None = None) -> Token:
        """Revoke the live token of a name: every process refuses it within a second. [TOKEN-4]

        A token that has ended already is given as it is.

        Args:
            name: the name of the token.
            actor: who revokes it, for the record.

        Raises:
            NotFound: no token has this name.
        """
        revoker = optional_actor(actor, "actor")
        while True:
            digest, token = self._newest(name)
            now_ms = self._engine.now_ms()
            if token.state(now_ms) != "live":
                return token
            revoked = msgspec.structs.replace(token, revoked_ms=now_ms, revoked_by=revoker)
            if self._engine.keep(_TOKENS, digest, _row(token), _row(revoked)):
                return revoked

    def remove(self, name: str) -> int:
        """Remove the tokens of a name that have ended from the record, and give their number. [TOKEN-6]

        Args:
            name: the name of the tokens.

        Raises:
            NotFound: no token has this name.
            Rejected: its token is live; revoke it first.
        """
        _, newest = self._newest(name)
        now_ms = self._engine.now_ms()
        if newest.state(now_ms) == "live":
            raise Rejected(f"the token {name!r} is live; revoke it before you remove it", token=name)
        count = 0
        for digest, token in list(self._rows()):
            if token.name == name and token.state(now_ms) != "live":
                self._engine.keep(_TOKENS, digest, _row(token), None)
                self._engine.keep(_USES, digest, self._engine.kept(_USES, digest), None)
                count += 1
        pointed = self._digest_of_name(name)
        if pointed is not None and self._token(pointed) is None:
            self._engine.keep(_NAMES, name, _text(pointed), None)
        return count

    def used(self, digest: str) -> None:
        """Put on record that the token of this digest is used now, at most once a minute. [TOKEN-5]

        Args:
            digest: the SHA-256 of its secret, in hexadecimal digits.
        """
        before, now_ms = self._engine.kept(_USES, digest), self._engine.now_ms()
        known_ms = None if before is None else _integer(before)
        if known_ms is None or abs(now_ms - known_ms) >= USED_MS:
            # If another process was first, it has written nearly the same.
            self._engine.keep(_USES, digest, before, str(now_ms))

    # --- inside -------------------------------------------------------------------------------------------------

    def _rows(self) -> Iterator[tuple[str, Token]]:
        after = ""
        while page := self._engine.kept_in(_TOKENS, after, _PAGE):
            for digest, row in page:
                token = _token_in(row)
                if token is not None:
                    yield digest, token
            after = page[-1][0]

    def _named(self) -> Iterator[tuple[str, Token]]:
        """Give the tokens that have ended, and those that have their name: not what a killed creation has left."""
        now_ms = self._engine.now_ms()
        for digest, token in self._rows():
            if token.state(now_ms) != "live" or self._digest_of_name(token.name) == digest:
                yield digest, token

    def _newest(self, name: str) -> tuple[str, Token]:
        digest = self._digest_of_name(check_name(name, "name"))
        token = None if digest is None else self._token(digest)
        if digest is None or token is None:
            known = sorted({token.name for _, token in self._named()})
            named = f"the tokens are {', '.join(map(repr, known[:20]))}" if known else "there are no tokens"
            raise NotFound(f"there is no token {name!r}; {named}", token=name)
        return digest, token

    def _require_free(self, name: str) -> None:
        digest = self._digest_of_name(name)
        token = None if digest is None else self._token(digest)
        if token is not None and token.state(self._engine.now_ms()) == "live":
            text = f"a live token has the name {name!r}; revoke it first, or choose another name"
            raise TokenExists(text, token=name)

    def _take_name(self, name: str, digest: str) -> None:
        """Point the name to the new token, unless another creation was first."""
        while True:
            before = self._engine.kept(_NAMES, name)
            try:
                self._require_free(name)
            except TokenExists:
                self._engine.keep(_TOKENS, digest, self._engine.kept(_TOKENS, digest), None)
                raise
            if self._engine.keep(_NAMES, name, before, _text(digest)):
                return

    def _token(self, digest: str) -> Token | None:
        row = self._engine.kept(_TOKENS, digest)
        return None if row is None else _token_in(row)

    def _digest_of_name(self, name: str) -> str | None:
        row = self._engine.kept(_NAMES, name)
        try:
            return None if row is None else msgspec.json.decode(row, type=str)
        except msgspec.MsgspecError:
            return None

    def _used_ms(self, digest: str) -> int | None:
        row = self._engine.kept(_USES, digest)
        return None if row is None else _integer(row)


def is_secret(text: str) -> bool:
    """Tell whether a text has the form of a secret, whichever token it may be of."""
    return _SECRET.fullmatch(text) is not None


def digest_of(secret: str) -> str:
    """Return the SHA-256 of a secret, in hexadecimal digits: the name under which the store keeps its token."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _actor_name(name: object) -> str:
    checked = check_name(name, "name")
    check_actor(f"token:{checked}", "name")
    return checked


def _scopes(given: Iterable[str]) -> tuple[Scope, ...]:
    if isinstance(given, str):
        raise InvalidValue(f"scopes: expected several of {', '.join(SCOPES)}, found {shown(given)}", path="scopes")
    asked = list(given)
    for one in asked:
        if one not in SCOPES:
            raise InvalidValue(f"scopes: expected some of {', '.join(SCOPES)}, found {shown(one)}", path="scopes")
    if not asked:
        raise InvalidValue(f"scopes: expected at least one of {', '.join(SCOPES)}, found none", path="scopes")
    return tuple(scope for scope in SCOPES if scope in asked)


def _names(given: Iterable[str], path: str) -> tuple[str, ...]:
    if isinstance(given, str):
        raise InvalidValue(f"{path}: expected several names, found {shown(given)}", path=path)
    return tuple(sorted({check_name(one, path) for one in given}))


def _row(token: Token) -> str:
    return msgspec.json.encode(msgspec.structs.replace(token, used_ms=None)).decode()


def _token_in(row: str) -> Token | None:
    """Return the token of a row; None: a newer version has written it in a form that this one does not know."""
    try:
        return msgspec.json.decode(row, type=Token)
    except msgspec.MsgspecError:
        return None


def _text(digest: str) -> str:
    return msgspec.json.encode(digest).decode()


def _integer(row: str) -> int | None:
    try:
        return msgspec.json.decode(row, type=int)
    except msgspec.MsgspecError:
        return None

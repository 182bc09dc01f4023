"""Rules of routes: which callers a route answers.

Rule: a route has no rule by default, so its author has to choose one. [HTTP-1] A rule is asked before the body is read,
unless it says that it needs the body, as the signature of a webhook does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from sagalog_http.access import PUBLIC, Access
from sagalog_http.authenticator import Authenticator
from sagalog_http.tokens import SCOPES, Scope


class Asked(msgspec.Struct, frozen=True):
    """The part of a request that a rule may look at.

    method          the method of the request
    path            its path
    headers         its headers, names in lower case, in the order in which they came
    body            the body, if the rule needs it
    address         the address of the peer, for rates only: a proxy has one for all its callers
    authenticator   finds the access of a token
    """

    method: str
    path: str
    headers: Sequence[tuple[str, str]]
    body: bytes | None
    address: str | None
    authenticator: Authenticator

    def header(self, name: str) -> list[str]:
        """Return the values of a header.

        Args:
            name: its name, in lower case.
        """
        return [value for key, value in self.headers if key == name]


class Rule(Protocol):
    """The answer of a route's author to who may call it.

    name         what it asks for, for people
    needs_body   whether it is asked with the whole body
    """

    @property
    def name(self) -> str:
        """What it asks for, for people."""
        ...

    @property
    def needs_body(self) -> bool:
        """Whether it is asked with the whole body."""
        ...

    async def admit(self, asked: Asked) -> Access:
        """Return the access of the caller, or raise the refusal that it gets.

        Args:
            asked: the request, as far as a rule may look at it.
        """
        ...


class _Public:
    """Any caller."""

    name = "public"
    needs_body = False

    async def admit(self, asked: Asked) -> Access:  # noqa: ARG002  it looks at nothing
        return PUBLIC


class _Scoped:
    """A caller whose token has a scope."""

    needs_body = False

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.name = f"scope {scope}"

    async def admit(self, asked: Asked) -> Access:
        access = await asked.authenticator.admit(asked.header("authorization"), asked.address)
        access.require(self.scope)
        return access


def public() -> Rule:
    """Answer any caller; Host, Origin and rates are looked at all the same."""
    return _Public()


def scope(name: Scope) -> Rule:
    """Answer a caller whose token has this scope, or "admin".

    Args:
        name: one of "read", "produce", "work", "operate", "admin".

    Raises:
        ValueError: there is no such scope.
    """
    if name not in SCOPES:
        raise ValueError(f"a scope is one of {', '.join(SCOPES)}, not {name!r}")
    return _Scoped(name)

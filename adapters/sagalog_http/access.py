"""The access of a caller: which token it has, and what that may do.

Rule: it is decided once, before the body of a request is read, and a handler asks it for queues and kinds.
"""

from __future__ import annotations

from typing import Final

import msgspec

from sagalog_http.errors import Forbidden
from sagalog_http.tokens import SCOPES, Scope, Token


class Access(msgspec.Struct, frozen=True):
    """The rights of the caller of one request.

    token     the name of its token; None: it needs none
    scopes    what it may do; "admin" is in it only by name
    queues    the queues that it may touch; empty: all
    kinds     the kinds that it may touch; empty: all
    digest    the digest of its secret, by which the token is looked up again; None: it needs none
    """

    token: str | None = None
    scopes: tuple[Scope, ...] = ()
    queues: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    digest: str | None = None

    @property
    def actor(self) -> str | None:
        """The actor of what the caller does: `token:` and the name; None without a token."""
        return None if self.token is None else f"token:{self.token}"

    def has(self, scope: Scope) -> bool:
        """Tell whether it has a scope; "admin" includes all.

        Args:
            scope: one of "read", "produce", "work", "operate", "admin".
        """
        return scope in self.scopes or "admin" in self.scopes

    def may_queue(self, queue: str) -> bool:
        """Tell whether it may touch a queue.

        Args:
            queue: its name.
        """
        return not self.queues or queue in self.queues

    def may_kind(self, kind: str) -> bool:
        """Tell whether it may touch tasks of a kind.

        Args:
            kind: its name.
        """
        return not self.kinds or kind in self.kinds

    def require(self, scope: Scope) -> None:
        """Refuse what needs a scope that it has not.

        Args:
            scope: the scope that is needed.

        Raises:
            Rejected: it has not this scope, with the code `forbidden`.
        """
        if not self.has(scope):
            has = ", ".join(self.scopes) or "no scope"
            text = f"this needs the scope {scope!r} and the token {self.token!r} has {has}; use another token"
            raise Forbidden(text, scope=scope)


# A route that is open to all, and a server that needs no token.
PUBLIC: Final = Access()
EVERYTHING: Final = Access(scopes=SCOPES)


def access_of(token: Token, digest: str) -> Access:
    """Return the access that a live token gives."""
    return Access(token.name, token.scopes, token.queues, token.kinds, digest)

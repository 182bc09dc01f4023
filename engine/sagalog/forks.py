"""Forks: what was made before one is the parent's, and what a child inherits begins anew.

Rule: forks are counted, so an object that notes the count when it is made can tell for ever whether it is used by the
process that made it. [FORK-2] Knows no engine and no store.
"""

from __future__ import annotations

import os
import time
import weakref
from typing import Final, Protocol

from sagalog.errors import Closed

# How long a fork waits for what is to stand still; the store on SQLite waits as long.
WAIT_S: Final = 2.0


class Heir(Protocol):
    """Something that a forked child may go on using, once it has put away what belongs to the parent's threads."""

    def begin_anew(self) -> None:
        """In the child, before anything else runs: locks, threads and waiters of the parent do not exist here."""
        ...


class Still(Heir, Protocol):
    """Something that must not be in the middle of a change when it is copied."""

    def hold(self, timeout_s: float) -> bool:
        """Let no thread change it until `let_go`; whether that was had in time."""
        ...

    def let_go(self) -> None:
        """Let others change it again."""
        ...


_heirs: Final[weakref.WeakSet[Heir]] = weakref.WeakSet()
_still: Final[weakref.WeakSet[Still]] = weakref.WeakSet()
_held: Final[list[Still]] = []
_generation = 0


def generation() -> int:
    """How many forks lie between this process and the first one that imported this module."""
    return _generation


def begins_anew_in_children(heir: Heir) -> None:
    """Have its `begin_anew` called in every child that this process forks, as long as it lives."""
    _heirs.add(heir)


def stands_still_in_forks(one: Still) -> None:
    """Have it held during every fork, and begin anew in the child."""
    _still.add(one)
    _heirs.add(one)


def require_own(made: int, what: str) -> None:
    """Refuse what the parent has made; `made` is what `generation` was then, `what` names it. [FORK-2]

    Raises:
        Closed: it was made before this process was forked.
    """
    if made != _generation:
        raise Closed(
            f"{what} was made before this process was forked and is its parent's: "
            "make another one in the child; the engine that was open can be used there"
        )


def _before() -> None:
    until_s = time.monotonic() + WAIT_S
    for one in list(_still):
        if one.hold(max(0.0, until_s - time.monotonic())):
            _held.append(one)


def _after_in_parent() -> None:
    while _held:
        _held.pop().let_go()


def _after_in_child() -> None:
    global _generation
    _generation += 1
    _held.clear()
    for heir in list(_heirs):
        heir.begin_anew()


if hasattr(os, "register_at_fork"):  # absent where nothing can fork
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)

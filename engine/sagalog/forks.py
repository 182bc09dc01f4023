"""The handling of forks: an object made before a fork belongs to the parent; what a child inherits begins anew.

Rule: it counts forks, so an object that keeps the count of its creation always knows whether the process that uses it
has made it. [FORK-2] Knows no engine and no store.
"""

from __future__ import annotations

import os
import time
import weakref
from typing import Final, Protocol

from sagalog.errors import Closed

# How long a fork waits for objects to finish their changes; the store on SQLite waits as long.
WAIT_S: Final = 2.0


class ForkAware(Protocol):
    """An object that a forked child may go on using, once it has discarded what belongs to the parent's threads."""

    def begin_anew(self) -> None:
        """Begin anew in the child, before other code runs: the parent's threads and their locks do not exist here."""
        ...


class ForkGuarded(ForkAware, Protocol):
    """An object that must not be in the middle of a change when a fork copies it."""

    def hold(self, timeout_s: float) -> bool:
        """Let no thread change it until `let_go`; return whether that succeeded in time."""
        ...

    def let_go(self) -> None:
        """Let threads change it again."""
        ...


_aware: Final[weakref.WeakSet[ForkAware]] = weakref.WeakSet()
_guarded: Final[weakref.WeakSet[ForkGuarded]] = weakref.WeakSet()
_held: Final[list[ForkGuarded]] = []
_generation = 0


def generation() -> int:
    """Count the forks between this process and the first one that imported this module."""
    return _generation


def reset_in_children(one: ForkAware) -> None:
    """Call its `begin_anew` in every child that this process forks, as long as the object lives."""
    _aware.add(one)


def hold_during_forks(one: ForkGuarded) -> None:
    """Hold it during every fork, and let it begin anew in the child."""
    _guarded.add(one)
    _aware.add(one)


def require_own(made: int, what: str) -> None:
    """Refuse an object that the parent has made; `made` is the `generation` of then, `what` names it. [FORK-2]

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
    for one in list(_guarded):
        if one.hold(max(0.0, until_s - time.monotonic())):
            _held.append(one)


def _after_in_parent() -> None:
    while _held:
        _held.pop().let_go()


def _after_in_child() -> None:
    global _generation
    _generation += 1
    _held.clear()
    for one in list(_aware):
        one.begin_anew()


if hasattr(os, "register_at_fork"):  # absent where nothing can fork
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)

"""The descriptors that a forked child must close: it closes each unread before it opens anything.

Rule: a child neither reads nor unlocks them, because parent and child share what is behind them: a lock, or news that
only one of them can read. The close of the child's own copies changes nothing for the parent. Standard library only.
"""

from __future__ import annotations

import os
import weakref
from typing import Final, Protocol


class Holder(Protocol):
    """An object that holds such descriptors."""

    def close_unread(self) -> None:
        """Close them in the child, and use them no more. Take no lock: its holder may not exist in the child."""
        ...


_holders: Final[weakref.WeakSet[Holder]] = weakref.WeakSet()


def close_in_children(holder: Holder) -> None:
    """Have `close_unread` called in every child that this process forks, as long as the holder lives."""
    _holders.add(holder)


def _close_all() -> None:
    for holder in list(_holders):
        holder.close_unread()


# Hooks run in order of registration, so every module that opens something in a child imports this one first.
os.register_at_fork(after_in_child=_close_all)

"""Descriptors that mean nothing in a forked child: each is closed there, unread, before anything is opened.

Its one rule: they share what they stand for with the parent's (a lock, news that are read once), so the child neither
reads nor unlocks them; closing its own copies changes nothing for the parent. Standard library only.
"""

from __future__ import annotations

import os
import weakref
from typing import Final, Protocol


class Holder(Protocol):
    """Something that holds such descriptors."""

    def close_unread(self) -> None:
        """In the child: close them, and use them no more. Takes no lock: who had it may not exist here."""
        ...


_holders: Final[weakref.WeakSet[Holder]] = weakref.WeakSet()


def closes_in_children(holder: Holder) -> None:
    """Have its `close_unread` called in every child that this process forks, as long as it lives."""
    _holders.add(holder)


def _close_all() -> None:
    for holder in list(_holders):
        holder.close_unread()


# Hooks run in the order in which they were registered: whatever opens something in a child imports this module first.
os.register_at_fork(after_in_child=_close_all)

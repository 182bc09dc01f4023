"""The hooks of a fork: it carries no connection into a child, and a child uses no file whose locks it does not have.

Rule: SQLite keeps its records of locks per process and inode, and a child inherits the records without the locks. So a
child may use a file only if this process had no connection to it at the moment of the fork. [FORK-1] A fork shuts the
barrier, waits for the threads within a transaction or a snapshot, and closes every connection; parent and child open
others when they need them. It must not know what a store does with its connections.
"""

from __future__ import annotations

# Imported for its hook alone: before a fork that takes a lock that no thread can take twice. Hooks run in reverse order
# of registration, so it has to come before ours. Otherwise a signal's handler that forks while ours waits would hang.
import concurrent.futures.thread  # noqa: F401
import os
import weakref
from contextlib import suppress
from typing import Final, Protocol

from sagalog.errors import Unavailable
from sagalog_sqlite import file_locks
from sagalog_sqlite.creation import UNFINISHED
from sagalog_sqlite.file_identity import Identity, identity_of
from sagalog_sqlite.file_locks import is_connected
from sagalog_sqlite.fork_barrier import BARRIER

# How long a fork waits for the transactions and snapshots of this process's other threads.
WAIT_S: Final = 2.0


class Member(Protocol):
    """A store, as far as a fork knows it."""

    path: str

    @property
    def identity(self) -> Identity:
        """Return which file the store has open."""
        ...

    def disconnect(self) -> bool:
        """Close every connection while no thread uses one; tell whether all are closed."""
        ...

    def begin_anew(self, refusal: str | None) -> None:
        """Forget the parent's threads and connections in the child; with a `refusal`, refuse every call from now on."""
        ...


_members: Final[weakref.WeakSet[Member]] = weakref.WeakSet()
# The files that are still in use, between the hooks of one fork.
_busy: Final[set[str]] = set()
# The files that this process must never use, if it is a forked child.
_lost_paths: Final[set[str]] = set()
_lost_files: Final[set[Identity]] = set()
# How many forks a signal's handler has begun in a thread that had shut the barrier already.
_nested = 0


def register(member: Member) -> None:
    """Have a store disconnect before every fork, and begin anew in the child."""
    _members.add(member)


def unregister(member: Member) -> None:
    """Forget a closed store: it has no connection and gets none."""
    _members.discard(member)


def refuse_lost(path: str) -> None:
    """Refuse a file that was in use when this process was forked. [FORK-1]

    Raises:
        Unavailable: with what to do instead.
    """
    if _lost_paths and (path in _lost_paths or identity_of(path) in _lost_files):
        raise Unavailable(refusal_of(path), path=path)


def refusal_of(path: str) -> str:
    """Return the text for a child that must not use a file."""
    return (
        f"{path} was in use when this process was forked (by another thread, in a transaction or a snapshot, or by a "
        "connection that no store has opened), so this child has SQLite's records of locks and not the locks: start "
        "processes by spawn or forkserver, or fork while nothing uses the store"
    )


def renew(identity: Identity, wait_s: float = WAIT_S) -> bool:
    """Close every connection that this process has to a file, so that the next ones take their locks anew.

    Returns:
        Whether none is left. False where a thread uses one for longer than `wait_s`, or has opened one without a store.
    """
    was_mine = BARRIER.is_mine()
    try:
        BARRIER.shut()
        sharing = [member for member in _all_members() if member.identity == identity]
        if BARRIER.occupied(wait_s) & {member.path for member in sharing}:
            return False
        closed = [member.disconnect() for member in sharing]
        return all(closed) and not any(is_connected(member.path, identity) for member in sharing)
    finally:
        # Not by the answer of `shut`: an interrupt may come before the assignment.
        if not was_mine:
            BARRIER.open()


def _before() -> None:
    global _nested
    if not BARRIER.shut():
        # No record says how many connections the interrupted hook has closed.
        _nested += 1
        _busy.update(member.path for member in _all_members())
        return
    members = _all_members()
    # If an interrupt comes, every file counts as in use that is not certainly closed.
    _busy.clear()
    _busy.update(member.path for member in members)
    occupied = BARRIER.occupied(WAIT_S)
    files = {member.identity for member in members if member.path in occupied}
    disconnected = {
        member.path
        for member in members
        if member.path not in occupied and member.identity not in files and member.disconnect()
    }
    disconnected -= {member.path for member in members if is_connected(member.path, member.identity)}
    _busy.update(occupied)
    _busy.difference_update(disconnected)


def _after_in_parent() -> None:
    global _nested
    if _nested:
        _nested -= 1
        return
    _busy.clear()
    BARRIER.open()


def _after_in_child() -> None:
    global _nested
    _nested = 0
    file_locks.begin_anew()
    members = _all_members()
    # A fork outside Python runs no hook before it: then no store has disconnected.
    lost = set(_busy) if BARRIER.is_mine() else {member.path for member in members}
    _busy.clear()
    BARRIER.begin_anew()
    _lost_paths.update(lost)
    _lost_files.update(member.identity for member in members if member.path in lost)
    for path in lost:
        # An unfinished file still has its other name, or has just got this one.
        _lost_files.update(one for one in map(identity_of, (path + UNFINISHED, path)) if one is not None)
    for member in members:
        member.begin_anew(refusal_of(member.path) if member.path in lost else None)


def _all_members() -> list[Member]:
    while True:
        # A thread that opens a store meanwhile ends the iteration with an error.
        with suppress(RuntimeError):
            return list(_members)


os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)

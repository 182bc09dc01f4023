"""The opening of a store by its URL: paths, the file's creation, and all checks before the first write.

Rule: it refuses, with a reason, a file that is not certainly a store that this version can write, and leaves the file
as it is. It makes an absent file; an empty one is no new store. It must not know what callers do with the store.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

import apsw

from sagalog.errors import Corrupt, Unavailable
from sagalog.store import Clock
from sagalog_sqlite import creation, fork_hooks, migration
from sagalog_sqlite.connection import BUSY_TIMEOUT_MS, SYNCHRONOUS, connect, require_safe_sqlite, sqlite_version
from sagalog_sqlite.failures import store_error, system_error
from sagalog_sqlite.fork_barrier import BARRIER
from sagalog_sqlite.store import SqliteStore
from sagalog_sqlite.ticket_lock import TicketLock, TurnTimeout

_SCHEME: Final = "sqlite:///"
# The endings of the files beside a store, which no other file may use.
_TAKEN: Final = ("-wal", "-shm", "-journal", ".turn", ".next", creation.UNFINISHED)


def open_store(
    url: str, *, create: bool, clock: Clock, durability: str, turn_timeout_ms: int = BUSY_TIMEOUT_MS
) -> SqliteStore:
    """Open the store that `url` names; make an absent file if `create`.

    Args:
        url: `sqlite:///relative.db` or `sqlite:////absolute.db`; the rest is the path as it is, without escapes.
        create: make an absent file, mode 0600.
        clock: time for everything in the store.
        durability: "full" (an acknowledged commit survives power loss) or "normal" (it may not; nothing is damaged).
        turn_timeout_ms: how long a write waits for its turn, and for another program that locks the file.

    Raises:
        ValueError: the URL or the durability has another form.
        Unavailable: the file is absent and `create` is False, or the file cannot be opened for writing.
        Corrupt: the file is empty, foreign, damaged or of a newer version.
    """
    path = path_of(url)
    if durability not in SYNCHRONOUS:
        raise ValueError(f"durability is 'full' or 'normal', not {durability!r}")
    require_safe_sqlite(sqlite_version())
    with BARRIER.place(path):
        fork_hooks.refuse_lost(path)
        return _open(path, create, clock, durability, turn_timeout_ms)


def _open(path: str, create: bool, clock: Clock, durability: str, turn_timeout_ms: int) -> SqliteStore:
    _look_at(path, create)
    # Look at the file before any file is made beside it: it may be no store at all.
    ready = os.path.exists(path) and not _pending(path, durability, turn_timeout_ms)
    try:
        ticket_lock = TicketLock(path)
    except OSError as error:
        raise system_error(error, path) from error
    try:
        if not ready:
            _bring_up(path, ticket_lock, clock, durability, turn_timeout_ms)
        return SqliteStore(path, ticket_lock, clock, durability, turn_timeout_ms)
    except BaseException:
        ticket_lock.close()
        raise


def path_of(url: str) -> str:
    """Return the file that a URL names, with links resolved: its lock files and its WAL lie beside the real one.

    Raises:
        ValueError: the URL has another form.
    """
    name = url.removeprefix(_SCHEME)
    if name == url or not name or name.endswith("/") or set(name) & set("?#\0") or name == ":memory:":
        raise ValueError(f"{url!r} names no SQLite file: use 'sqlite:///relative.db' or 'sqlite:////absolute.db'")
    if name.endswith(_TAKEN):
        raise ValueError(f"{url!r} names a file beside a store: SQLite or sagalog writes there, choose another ending")
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{url!r} names no file that SQLite can open: it is not valid Unicode") from error
    return os.path.realpath(name)


def _look_at(path: str, create: bool) -> None:
    """Refuse what the outside shows. Do not open the file itself: closing it would drop SQLite's locks."""
    folder = os.path.dirname(path)
    if os.path.isdir(path):
        raise Unavailable(f"cannot open {path}: it is a folder, name a file", path=path)
    if not os.path.isdir(folder):
        raise Unavailable(f"cannot open {path}: there is no folder {folder}; make it first", path=path)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise Unavailable(f"cannot open {path}: the folder {folder} cannot be written; see to its rights", path=path)
    if os.path.exists(path):
        _look_at_file(path)
    elif not create:
        text = f"there is no store at {path}; check the path, or have it made (create=True, `sagalog init`)"
        raise Unavailable(text, path=path)


def _look_at_file(path: str) -> None:
    if not os.access(path, os.R_OK | os.W_OK):
        raise Unavailable(f"cannot open {path}: it cannot be read and written; see to its rights", path=path)
    if not os.path.isfile(path):
        raise Unavailable(f"cannot open {path}: it is no regular file", path=path)
    if (links := os.stat(path).st_nlink) > 1:
        raise Unavailable(
            f"cannot open {path}: it has {links} names (hard links), and who opens it by another one uses another -wal "
            "and loses commits; find them with `find -samefile`, and leave one",
            path=path,
        )
    if os.path.getsize(path) == 0:
        raise Corrupt(
            f"{path} is empty, and an empty file is not a new store: another program has cut or touched it; "
            "restore a backup, or remove it to have a new one made",
            path=path,
        )


def _bring_up(path: str, ticket_lock: TicketLock, clock: Clock, durability: str, turn_timeout_ms: int) -> None:
    """Make the file, or bring it to this version's tables, in a turn of its own."""
    try:
        ticket_lock.acquire(turn_timeout_ms)
        if os.path.exists(path):
            # Another process may have done all of it while this one waited.
            _look_at_file(path)
            _migrate(path, durability, turn_timeout_ms, clock.now_ms())
        else:
            creation.create(path, clock.now_ms())
    except TurnTimeout as error:
        raise Unavailable(
            f"{path}: no turn to make or migrate it within {error.waited_ms} ms (holder: process {error.holder_pid}); "
            "see what that process is doing, then open it again",
            path=path,
            holder_pid=error.holder_pid,
        ) from error
    except OSError as error:
        raise system_error(error, path) from error
    finally:
        ticket_lock.release()


def _pending(path: str, durability: str, turn_timeout_ms: int) -> Sequence[migration.Migration]:
    connection = connect(path, durability, turn_timeout_ms, writing=False)
    try:
        _refuse_cut(connection, path)
        return migration.pending(connection, path)
    except apsw.Error as error:
        raise store_error(error, path) from error
    finally:
        connection.close()


def _refuse_cut(connection: apsw.Connection, path: str) -> None:
    """Refuse a file that ends within a page and has no WAL that would mend it: SQLite would read zeros there."""
    wal = path + "-wal"
    mended = os.path.exists(wal) and os.path.getsize(wal) > 0
    if not mended and os.path.getsize(path) % int(connection.pragma("page_size")):
        raise Corrupt(f"{path} ends within a page: it was cut; stop, keep it, and restore a backup", path=path)


def _migrate(path: str, durability: str, turn_timeout_ms: int, now_ms: int) -> None:
    connection = connect(path, durability, turn_timeout_ms, writing=True)
    try:
        migration.apply(connection, migration.pending(connection, path), now_ms)
    except apsw.Error as error:
        raise store_error(error, path) from error
    finally:
        connection.close()

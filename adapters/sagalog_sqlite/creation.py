"""The making of a new file: complete under another name, then renamed, so that no process ever sees half of it.

Rule: the file that appears under the store's path is whole, on the disk, and mode 0600 whatever the umask. The caller
has the turn. It must not know what the tables mean.
"""

from __future__ import annotations

import fcntl
import os
import sys
from contextlib import suppress
from typing import Final

import apsw

from sagalog.errors import Corrupt, SagalogError
from sagalog.store import reach
from sagalog_sqlite import migration
from sagalog_sqlite.connection import APPLICATION_ID, syncing
from sagalog_sqlite.failures import store_error, system_error

PAGE_SIZE: Final = 2048

# The ending of an unfinished file. No other program uses it, so a process may remove what a killed maker left.
UNFINISHED: Final = ".sagalog-new"

_SIDE_FILES: Final = ("", "-wal", "-shm", "-journal")


def create(path: str, now_ms: int) -> None:
    """Make the store's file at `path`, which must be free.

    Raises:
        Unavailable: the system or SQLite refuses.
        Corrupt: a WAL exists without its file: it may hold acknowledged commits, and the new file would take them.
    """
    _refuse_orphaned_wal(path)
    clear_leftovers(path)
    unfinished = path + UNFINISHED
    renamed = False
    try:
        _make_empty(unfinished)
        reach("create.after_file")
        _fill(unfinished, now_ms)
        reach("create.after_schema")
        _sync(unfinished)
        reach("create.before_rename")
        renamed = True
        os.rename(unfinished, path)
        reach("create.after_rename")
        _sync(os.path.dirname(path))
    except BaseException as error:
        if renamed:
            # After a power cut the folder may not hold the name. No process has written yet: this one has the turn.
            with suppress(OSError):
                os.unlink(path)
        with suppress(SagalogError):
            clear_leftovers(path)
        if isinstance(error, OSError):
            raise system_error(error, path) from error
        if isinstance(error, apsw.Error):
            raise store_error(error, path) from error
        raise


def clear_leftovers(path: str) -> None:
    """Remove what a process left that was killed while it made a file; raises Unavailable."""
    for side in _SIDE_FILES:
        try:
            with suppress(FileNotFoundError):
                os.unlink(f"{path}{UNFINISHED}{side}")
        except OSError as error:
            raise system_error(error, path) from error


def _refuse_orphaned_wal(path: str) -> None:
    wal = path + "-wal"
    if os.path.exists(wal) and os.path.getsize(wal) > 0:
        raise Corrupt(
            f"there is {wal} without {path}: it may hold commits of a store that was removed or renamed; "
            "bring the file back, or move the -wal away",
            path=path,
        )


def _make_empty(path: str) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)


def _fill(path: str, now_ms: int) -> None:
    connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_EXRESCODE)
    try:
        # SQLite does not report a failure of the checkpoint at close, so nothing may be left for it.
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        connection.pragma("page_size", PAGE_SIZE)
        connection.pragma("application_id", APPLICATION_ID)
        connection.pragma("journal_mode", "wal")
        for name, value in syncing("full").items():
            connection.pragma(name, value)
        migration.apply(connection, migration.known(), now_ms)
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        # All is in the file, so the last connection may remove the empty WAL.
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0)
    finally:
        connection.close()


def _sync(path: str) -> None:
    """Sync a file or a folder: SQLite does not report when the sync of a folder fails."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if sys.platform == "darwin":
            # On macOS `fsync` leaves the bytes in the drive's own cache.
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
        else:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Connections to one file: the check of SQLite's version, and the settings, each read back.

Rule: the store uses no connection whose library or settings could lose an acknowledged commit. It must not know what
the tables mean.
"""

from __future__ import annotations

from typing import Final

import apsw

from sagalog.errors import Corrupt, Unavailable
from sagalog_sqlite.checkpoints import KEPT_BYTES
from sagalog_sqlite.failures import store_error
from sagalog_sqlite.file_locks import note_path, opening

# Marks the files of sagalog; in ASCII it reads SAGA.
APPLICATION_ID: Final = 0x53414741

# `synchronous` as SQLite numbers it. Off (0) is no choice: a power loss would corrupt the file.
SYNCHRONOUS: Final = {"full": 2, "normal": 1}
BUSY_TIMEOUT_MS: Final = 30_000

_STATEMENTS_KEPT: Final = 200
_ON_DISK: Final = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_EXRESCODE


def require_safe_sqlite(version: tuple[int, int, int]) -> None:
    """Refuse a SQLite that can lose commits when one connection writes while another restarts the WAL.

    Versions 3.7.0 to 3.51.2 can, except in the two older release series that got the fix; 3.52.0 was withdrawn.

    Raises:
        Unavailable: naming the version found and what to install.
    """
    fixed = version >= (3, 51, 3) and version != (3, 52, 0)
    fixed_in_older_line = (3, 50, 7) <= version < (3, 51, 0) or (3, 44, 6) <= version < (3, 45, 0)
    if fixed or fixed_in_older_line:
        return
    found = ".".join(map(str, version))
    raise Unavailable(
        f"this apsw brings SQLite {found}, which can lose commits; 3.51.3 and later are safe (but for 3.52.0): "
        "run `pip install --upgrade apsw`, and use its own wheel instead of a system library",
        found=found,
    )


def sqlite_version() -> tuple[int, int, int]:
    """Return the version of the library in this process, as integers: as text 3.9 would come after 3.51."""
    major, minor, patch = (int(part) for part in apsw.sqlite_lib_version().split("."))
    return major, minor, patch


def connect(path: str, durability: str, busy_timeout_ms: int, writing: bool) -> apsw.Connection:
    """Open a connection to an existing file in WAL mode, and read every setting back.

    Raises:
        Unavailable: SQLite cannot open the file, cannot write it though it should, or does not keep a setting.
        Corrupt: the file is damaged, or no store of sagalog; it is left as it is.
    """
    try:
        with opening():
            connection = apsw.Connection(path, flags=_ON_DISK, statementcachesize=_STATEMENTS_KEPT)
            note_path(connection, path)
        try:
            _configure(connection, path, durability, busy_timeout_ms, writing)
        except BaseException:
            connection.close()
            raise
    except apsw.Error as error:
        raise store_error(error, path) from error
    return connection


def syncing(durability: str) -> dict[str, int]:
    """Return the settings that say how SQLite syncs.

    On macOS a plain sync leaves the bytes in the drive's cache; a full one does not. There a checkpoint needs a full
    sync at any durability, or a power loss could damage the file. Other systems keep the settings and do nothing else.
    """
    return {
        "synchronous": SYNCHRONOUS[durability],
        "fullfsync": int(durability == "full"),
        "checkpoint_fullfsync": 1,
    }


def _configure(connection: apsw.Connection, path: str, durability: str, busy_timeout_ms: int, writing: bool) -> None:
    connection.set_busy_timeout(busy_timeout_ms)
    # Otherwise SQLite checkpoints by itself at close, and does not report a failure.
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    # Plans depend on the statement alone; else SQLite prepares most anew for each set of values, at 5 times the cost.
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
    if connection.pragma("application_id") != APPLICATION_ID:
        raise Corrupt(f"{path} is an SQLite file but no sagalog store: check the path", path=path)
    if connection.readonly("main"):
        raise Unavailable(f"cannot write {path}: see to the rights of the file and of its folder", path=path)
    for name, value in _settings(durability, busy_timeout_ms, writing).items():
        connection.pragma(name, value)
        found = connection.pragma(name)
        if found != value:
            raise Unavailable(f"{path}: SQLite was asked for {name}={value} and keeps {found}", path=path)


def _settings(durability: str, busy_timeout_ms: int, writing: bool) -> dict[str, str | int]:
    return {
        "busy_timeout": busy_timeout_ms,
        "journal_mode": "wal",
        **syncing(durability),
        "journal_size_limit": KEPT_BYTES,
        "wal_autocheckpoint": 0,  # the store checkpoints itself, in its turn, and looks at the result
        "foreign_keys": 1,
        "recursive_triggers": 1,  # otherwise REPLACE deletes without asking the triggers
        "trusted_schema": 0,
        "cell_size_check": 1,
        "mmap_size": 0,
        "temp_store": 2,  # no files beside those of the store
        "query_only": 0 if writing else 1,
    }

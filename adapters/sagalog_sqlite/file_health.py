"""The health of a store's file and its disk, seen from outside.

Rule: it opens no descriptor of the database or its WAL, because closing one would drop SQLite's locks; it asks the
system by name. It must not know what the store holds.
"""

from __future__ import annotations

import os
from contextlib import suppress

from sagalog.errors import Unavailable
from sagalog.store import FileHealth
from sagalog_sqlite.checkpoints import Checkpoints


def file_health(path: str, durability: str, checkpoints: Checkpoints) -> FileHealth:
    """Ask the system about the file now, and report what this process's checkpoints have met.

    Raises:
        Unavailable: the file, or its disk, does not answer: a program has moved it or taken it away.
    """
    try:
        file = os.stat(path)
        disk = os.statvfs(os.path.dirname(path))
        wal_bytes = 0
        with suppress(FileNotFoundError):
            wal_bytes = os.stat(f"{path}-wal").st_size
    except OSError as error:
        raise Unavailable(
            f"the file of the store does not answer ({os.strerror(error.errno or 0)}): {error.filename or path}; was "
            "it moved or taken away?",
            path=path,
        ) from error
    met = checkpoints.error
    return FileHealth(
        path=path,
        durability=durability,
        wal_bytes=wal_bytes,
        checkpointed_ms=file.st_mtime_ns // 1_000_000,
        checkpoint_error=None if met is None else met.message,
        links=file.st_nlink,
        free_bytes=disk.f_bavail * disk.f_frsize,
    )

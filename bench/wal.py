"""The content of a WAL file: how many frames it has, and so how many bytes were written to it.

Rule: it counts the frames of the WAL's present run, by their salts. So it counts neither allocated space behind them
nor frames of an earlier run. It reads the file beside SQLite, and only while no process writes.
"""

from __future__ import annotations

import struct
from contextlib import closing
from pathlib import Path
from typing import Final

import apsw

_HEADER: Final = struct.Struct(">8I")
_FRAME: Final = struct.Struct(">6I")


def empty(path: Path) -> None:
    """Move everything into the file and start the WAL anew."""
    with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)) as connection:
        connection.set_busy_timeout(5_000)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def written_bytes(path: Path) -> int:
    """Return the bytes of all frames of the present run, with their headers."""
    content = path.with_name(path.name + "-wal").read_bytes()
    if len(content) < _HEADER.size:
        return 0
    _, _, page_size, _, *salts, _, _ = _HEADER.unpack_from(content)
    size, count = _FRAME.size + int(page_size), 0
    for offset in range(_HEADER.size, len(content) - size + 1, size):
        _, _, *found, _, _ = _FRAME.unpack_from(content, offset)
        if found != salts:
            break
        count += 1
    return count * size

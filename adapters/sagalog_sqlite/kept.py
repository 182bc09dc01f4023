"""What is kept beside the log: a text a name, in spaces.

Rule: a value changes by compare-and-set, or with a commit, always within the caller's transaction. [KEEP-1] No event
records it, so only a checksum beside it shows that another program has changed it. It must not know what the texts
mean, nor how a transaction begins and ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from zlib import crc32

from sagalog.errors import Corrupt
from sagalog.store import Kept
from sagalog_sqlite.rows import Execute
from sagalog_sqlite.transaction import Transaction

OF_NAME: Final = "SELECT space, name, value, checksum FROM kept WHERE space = ? AND name = ?"
PAGE: Final = "SELECT space, name, value, checksum FROM kept WHERE space = ? AND name > ? ORDER BY name LIMIT ?"
ALL: Final = "SELECT space, name, value, checksum FROM kept ORDER BY space, name"
PUT: Final = (
    "INSERT INTO kept(space, name, value, checksum) VALUES (?, ?, ?, ?) "
    "ON CONFLICT(space, name) DO UPDATE SET value = excluded.value, checksum = excluded.checksum"
)
REMOVE: Final = "DELETE FROM kept WHERE space = ? AND name = ?"


def value_of(execute: Execute, space: str, name: str) -> str | None:
    """Return what is kept under a name, or None.

    Raises:
        Corrupt: another program has changed it since it was kept.
    """
    for row in execute(OF_NAME, (space, name)):
        if not _is_sound(row):
            raise Corrupt(
                f"what is kept under {name!r} of {space!r} was changed since it was written: see what `verify` says, "
                "and go on under another name",
                space=space,
                name=name,
            )
        return str(row[2])
    return None


def page(execute: Execute, space: str, after: str, limit: int) -> list[tuple[str, str]]:
    """Return names beyond `after` and their values, in order, without those that another program has changed."""
    return [(row[1], row[2]) for row in execute(PAGE, (space, after, limit)) if _is_sound(row)]


def changed(execute: Execute) -> list[str]:
    """Return a sentence for each value that is not as it was kept."""
    found = [row[:2] for row in execute(ALL) if not _is_sound(row)]
    return [f"what is kept under {name!r} of {space!r} was changed since it was written" for space, name in found]


def exchange(transaction: Transaction, expected: str | None, one: Kept) -> bool:
    """Keep the value if `expected` is there now; tell whether it was. Raises as `value_of`."""
    if value_of(transaction.execute, one.space, one.name) != expected:
        return False
    if one.value != expected:
        transaction.wrote = True
        write(transaction.execute, {(one.space, one.name): one.value})
    return True


def write(execute: Execute, kept: Mapping[tuple[str, str], str | None]) -> None:
    """Write what is to be kept, in the order of names."""
    for (space, name), value in sorted(kept.items(), key=lambda item: item[0]):
        if value is None:
            execute(REMOVE, (space, name))
        else:
            execute(PUT, (space, name, value, _checksum(space, name, value)))


def _is_sound(row: tuple[Any, ...]) -> bool:
    *texts, checksum = row
    return all(isinstance(text, str) for text in texts) and bool(checksum == _checksum(*texts))


def _checksum(space: str, name: str, value: str) -> int:
    return crc32("\0".join((space, name, value)).encode())

"""The checkpoints of subscriptions: a row a name.

Rule: a checkpoint moves by compare-and-set, within the caller's transaction. [SUBSCRIBE-3] No event records it, so only
a checksum beside it shows that another program has changed it. It must not know what a subscription reads, nor how a
transaction begins and ends.
"""

from __future__ import annotations

from typing import Any, Final
from zlib import crc32

from sagalog.errors import Corrupt
from sagalog_sqlite.rows import Execute
from sagalog_sqlite.transaction import Transaction

OF_NAME: Final = "SELECT name, position, checksum FROM checkpoints WHERE name = ?"
ALL: Final = "SELECT name, position, checksum FROM checkpoints ORDER BY name"
PUT: Final = (
    "INSERT INTO checkpoints(name, position, checksum) VALUES (?, ?, ?) "
    "ON CONFLICT(name) DO UPDATE SET position = excluded.position, checksum = excluded.checksum"
)


def checkpoint(execute: Execute, name: str) -> int | None:
    """Return the position that is on record for a name, or None.

    Raises:
        Corrupt: another program has changed it since it was saved.
    """
    for row in execute(OF_NAME, (name,)):
        if not _is_sound(row):
            raise Corrupt(
                f"the checkpoint of the subscription {name!r} was changed since it was saved: read on under another "
                "name from the last position that you know",
                subscription=name,
            )
        return int(row[1])
    return None


def all_sound(execute: Execute) -> dict[str, int]:
    """Return every checkpoint that is as it was saved, by name."""
    return {row[0]: row[1] for row in execute(ALL) if _is_sound(row)}


def changed(execute: Execute) -> list[str]:
    """Return a sentence for each of the others that says what is wrong."""
    found = [row[0] for row in execute(ALL) if not _is_sound(row)]
    return [f"the checkpoint of the subscription {name!r} was changed since it was saved" for name in found]


def save(transaction: Transaction, name: str, expected: int | None, position: int) -> bool:
    """Save `position` if `expected` is on record now; tell whether it was. Raises as `checkpoint`."""
    if checkpoint(transaction.execute, name) != expected:
        return False
    transaction.execute(PUT, (name, position, _checksum(name, position)))
    transaction.wrote = True
    return True


def _is_sound(row: tuple[Any, ...]) -> bool:
    name, position, checksum = row
    return bool(checksum == _checksum(name, position))


def _checksum(name: str, position: int) -> int:
    return crc32(f"{position}:{name}".encode())

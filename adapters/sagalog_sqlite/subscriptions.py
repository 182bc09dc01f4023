"""Where the checkpoints of subscriptions are kept: a row a name.

Its one rule: a checkpoint moves by compare-and-set, within a transaction that its caller holds. [SUBSCRIBE-3] No event
tells of it, so only a checksum beside it can tell that it was changed. It must not know what is read up to there, nor
how a transaction begins and ends.
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
    """The position that is on record for a name, or None.

    Raises:
        Corrupt: it was changed since it was saved.
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
    """Every checkpoint that is as it was saved, by name."""
    return {row[0]: row[1] for row in execute(ALL) if _is_sound(row)}


def changed(execute: Execute) -> list[str]:
    """What is wrong with the others, in words."""
    found = [row[0] for row in execute(ALL) if not _is_sound(row)]
    return [f"the checkpoint of the subscription {name!r} was changed since it was saved" for name in found]


def save(transaction: Transaction, name: str, expected: int | None, position: int) -> bool:
    """Put `position` on record, if `expected` is what stands there now; whether it was. Raises as `checkpoint`."""
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

"""Where the checkpoints of subscriptions are kept: a row a name.

Its one rule: a checkpoint moves by compare-and-set, within a transaction that its caller holds. [SUBSCRIBE-3] It must
not know what is read up to there, nor how a transaction begins and ends.
"""

from __future__ import annotations

from typing import Final

from sagalog_sqlite.rows import Execute
from sagalog_sqlite.view import Transaction

OF_NAME: Final = "SELECT position FROM checkpoints WHERE name = ?"
ALL: Final = "SELECT name, position FROM checkpoints ORDER BY name"
PUT: Final = (
    "INSERT INTO checkpoints(name, position) VALUES (?, ?) ON CONFLICT(name) DO UPDATE SET position = excluded.position"
)


def checkpoint(execute: Execute, name: str) -> int | None:
    """The position that is on record for a name, or None."""
    for (position,) in execute(OF_NAME, (name,)):
        return int(position)
    return None


def save(transaction: Transaction, name: str, expected: int | None, position: int) -> bool:
    """Put `position` on record, if `expected` is what stands there now; whether it was."""
    if checkpoint(transaction.execute, name) != expected:
        return False
    transaction.execute(PUT, (name, position))
    transaction.wrote = True
    return True

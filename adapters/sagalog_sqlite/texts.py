"""The reading of rows whose text is no UTF-8: a disk fault may damage any text, and SQLite never looks at it.

Rule: such a text is read in a form that can be shown and differs from what was written: a backslash and a number for
each such byte. So a caller that compares it with a digest, a checksum or an id finds the change. All other rows are as
they are. This way is slow, so the store takes it only after the driver has refused a row. It must not know what the
rows mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

import apsw

from sagalog_sqlite.rows import Execute

_READS: Final = ("SELECT", "WITH")


def key_of(raw: bytes) -> str:
    """Turn text that was read as bytes into a form that gives the bytes back, so that the next page starts after it."""
    return raw.decode(errors="surrogateescape")


def bytes_of(key: str) -> bytes:
    """Return the bytes of `key_of`, for a statement that casts them to text."""
    return key.encode(errors="surrogateescape")


def is_beyond(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    """Tell whether a page that ended at `one` continues from `other`, both in bytes as SQLite orders text.

    If a disk fault has put the table out of order, a page may lead back; the integrity check reports that.
    """
    try:
        return one > other
    except TypeError:
        return False


class Rows:
    """The rows of one statement, with as much of a cursor as the store uses here."""

    def __init__(self, rows: list[tuple[Any, ...]]) -> None:
        self._rows = iter(rows)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return self._rows

    def fetchone(self) -> tuple[Any, ...] | None:
        """Return the next row, or None."""
        return next(self._rows, None)

    def fetchall(self) -> list[tuple[Any, ...]]:
        """Return all rows that are left."""
        return list(self._rows)


def forgiving(connection: apsw.Connection) -> Execute:
    """Return a connection's `execute` that reads any text. Statements that do not read pass through."""

    def execute(statement: str, values: tuple[Any, ...] = ()) -> Any:
        if not statement.startswith(_READS):
            return connection.execute(statement, values)
        found = connection.execute(_as_bytes(statement, _width(connection, statement, values)), values).fetchall()
        return Rows([_shown(row) for row in found])

    return execute


def _width(connection: apsw.Connection, statement: str, values: tuple[Any, ...]) -> int:
    """Return how many columns a statement gives; SQLite prepares it and does not run it."""
    width = 0

    def look(cursor: apsw.Cursor, _: str, __: Any) -> bool:
        nonlocal width
        width = len(cursor.get_description())
        return False

    cursor = connection.cursor()
    cursor.exec_trace = look
    with suppress(apsw.ExecTraceAbort):
        cursor.execute(statement, values)
    return width


def _as_bytes(statement: str, width: int) -> str:
    """Return the statement with text as bytes, each value before its type; a subquery keeps the order of rows."""
    names = [f"c{number}" for number in range(width)]
    values = ", ".join(f"CASE typeof({c}) WHEN 'text' THEN CAST({c} AS BLOB) ELSE {c} END, typeof({c})" for c in names)
    return f"WITH found({', '.join(names)}) AS ({statement}) SELECT {values} FROM found"  # noqa: S608


def _shown(row: tuple[Any, ...]) -> tuple[Any, ...]:
    pairs = zip(row[::2], row[1::2], strict=True)
    return tuple(value.decode(errors="backslashreplace") if type == "text" else value for value, type in pairs)

"""Reading rows whose text is no UTF-8: what a disk may make of any text, and SQLite never looks at.

Its one rule: such a text is given in a form that can be shown and is not what was written (a backslash and a number for
each such byte), so that a caller that compares it with a digest, a checksum or an id finds it changed; the other rows
are as they are. It is slow, so it is for a caller that the driver has refused. It must not know what the rows mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

import apsw

from sagalog_sqlite.rows import Execute

_READS: Final = ("SELECT", "WITH")


def key_of(raw: bytes) -> str:
    """A text that was read as bytes, in a form that gives them back: a page goes on behind it, whatever it holds."""
    return raw.decode(errors="surrogateescape")


def bytes_of(key: str) -> bytes:
    """The bytes of `key_of`, to be bound where a statement casts them to text."""
    return key.encode(errors="surrogateescape")


def is_beyond(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    """Whether a page that ended at `one` goes on from `other`, both in bytes as SQLite orders text.

    In a table that a disk has put out of order, which the integrity check tells, a page may lead back.
    """
    try:
        return one > other
    except TypeError:
        return False


class Rows:
    """The rows of one statement, with as much of a cursor as is used here."""

    def __init__(self, rows: list[tuple[Any, ...]]) -> None:
        self._rows = iter(rows)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return self._rows

    def fetchone(self) -> tuple[Any, ...] | None:
        """The next row, or None."""
        return next(self._rows, None)

    def fetchall(self) -> list[tuple[Any, ...]]:
        """All that are left."""
        return list(self._rows)


def forgiving(connection: apsw.Connection) -> Execute:
    """A connection's `execute` that no text can stop. What does not read passes through."""

    def execute(statement: str, values: tuple[Any, ...] = ()) -> Any:
        if not statement.startswith(_READS):
            return connection.execute(statement, values)
        found = connection.execute(_as_bytes(statement, _width(connection, statement, values)), values).fetchall()
        return Rows([_shown(row) for row in found])

    return execute


def _width(connection: apsw.Connection, statement: str, values: tuple[Any, ...]) -> int:
    """How many columns a statement gives; it is prepared and not run."""
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
    """The statement with text as bytes, each value before its type; a subquery alone keeps the order of its rows."""
    names = [f"c{number}" for number in range(width)]
    values = ", ".join(f"CASE typeof({c}) WHEN 'text' THEN CAST({c} AS BLOB) ELSE {c} END, typeof({c})" for c in names)
    return f"WITH found({', '.join(names)}) AS ({statement}) SELECT {values} FROM found"  # noqa: S608


def _shown(row: tuple[Any, ...]) -> tuple[Any, ...]:
    pairs = zip(row[::2], row[1::2], strict=True)
    return tuple(value.decode(errors="backslashreplace") if type == "text" else value for value, type in pairs)

"""Migrations: numbered SQL files, each applied once, in one transaction, and recorded in the store's file.

Rule: a file is at one number or at the next, never between; the store refuses a number that this version does not know.
The caller has the turn. It must not know what the tables mean.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Final, NamedTuple

import apsw

from sagalog.errors import SchemaMismatch
from sagalog.store import reach

# The last commit that reads stores of the schema before `second_edition`; no release ever wrote one.
_FIRST_EDITION: Final = "86e543f"
_FOLDER: Final = os.path.join(os.path.dirname(__file__), "migrations")


class Migration(NamedTuple):
    """One step: its number, its name, and the file that holds its statements."""

    number: int
    name: str
    path: str


@cache
def known() -> tuple[Migration, ...]:
    """Return all migrations of this version, in order."""
    found = []
    for file in sorted(os.listdir(_FOLDER)):
        number, _, rest = file.partition("_")
        if file.endswith(".sql"):
            found.append(Migration(int(number), rest.removesuffix(".sql"), os.path.join(_FOLDER, file)))
    return tuple(found)


@cache
def schema() -> dict[str, str | None]:
    """Return the schema of this version: the statement of every table, index and trigger, by name.

    An index that SQLite makes for a key has none.
    """
    connection = apsw.Connection(":memory:")
    try:
        for migration in known():
            for statement in _statements(migration):
                connection.execute(statement)
        return dict(connection.execute("SELECT name, sql FROM sqlite_schema"))
    finally:
        connection.close()


def pending(connection: apsw.Connection, path: str) -> Sequence[Migration]:
    """Return the migrations that an existing file still needs.

    Raises:
        SchemaMismatch: a newer version has migrated the file, or another first migration began it.
    """
    applied = connection.execute("SELECT max(number) FROM migrations").get
    newest = known()[-1].number
    if applied is None or applied > newest:
        raise SchemaMismatch(
            f"{path} was migrated to {applied} and this version of sagalog knows up to {newest}: upgrade sagalog",
            found=applied,
            supported=newest,
            path=path,
        )
    # As bytes: the store compares the name, and never decodes it.
    first = connection.execute("SELECT CAST(name AS BLOB) FROM migrations WHERE number = 1").get
    if first != known()[0].name.encode():
        raise SchemaMismatch(
            f"{path} was begun by another first migration than {known()[0].name!r}: this version of sagalog cannot "
            f"read it. The last one that can is commit {_FIRST_EDITION} of the sagalog repository: read it with that, "
            "and have a new store made under another name",
            found=None if first is None else str(bytes(first), "utf-8", "replace"),
            supported=known()[0].name,
            path=path,
        )
    return [migration for migration in known() if migration.number > applied]


def apply(connection: apsw.Connection, migrations: Sequence[Migration], now_ms: int) -> None:
    """Apply migrations in order, each with its record in a transaction of its own."""
    for migration in migrations:
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in _statements(migration):
                connection.execute(statement)
                reach("migrate.after_statement")
            connection.execute(
                "INSERT INTO migrations(number, name, at_ms) VALUES (?, ?, ?)",
                (migration.number, migration.name, now_ms),
            )
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def _statements(migration: Migration) -> Iterator[str]:
    """Yield the file's statements one by one; SQLite itself says where one ends, since triggers hold semicolons."""
    statement = ""
    with open(migration.path, encoding="utf-8") as lines:
        for line in lines:
            statement += line
            if apsw.complete(statement):
                yield statement
                statement = ""

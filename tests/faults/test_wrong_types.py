"""A value of another type in any column, as a damaged page gives it: whatever is asked is answered or refused.

Rule: SQLite keeps types where tables are strict, and a disk keeps nothing. No error but sagalog's own may leave a call.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, cycle
from pathlib import Path
from typing import Any

import apsw
import pytest

import sagalog
from sagalog.testing import ManualClock
from tests.adapters.sqlite.stores import START_MS, raw, url_of
from tests.faults.test_bit_flips import REFUSED, SEARCHED, TTL_MS, answer, everything, fill, use, wrong

SLOW = pytest.mark.slow
VALUES: dict[str, Any] = {"null": None, "bytes": b"\xff\x00", "text": "x", "number": 2**53 + 1}

# Told to people and read by no program; and a row's own number, by which nothing names it.
UNCOMPARED = {("migrations", "at_ms"), ("blobs", "number")}
# [LOG-4] No digest is over it: an audit tells of a gap.
UNDIGESTED = {("events", "position")}


def columns(path: Path) -> Iterator[tuple[str, str]]:
    connection = raw(path)
    tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
    for table in map(str, chain.from_iterable(tables.fetchall())):
        for _, column, *_ in connection.execute(f"PRAGMA table_info({table})").fetchall():
            yield table, str(column)
    connection.close()


def put(path: Path, table: str, column: str, value: Any) -> bool:
    """Write the value in place of the column's greatest one, as if the table took any; whether it could be."""
    connection = raw(path)
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 0)
    connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 0)
    connection.execute("PRAGMA writable_schema = ON; PRAGMA ignore_check_constraints = ON; PRAGMA foreign_keys = OFF")
    sql = str(connection.execute("SELECT sql FROM sqlite_schema WHERE name = ?", (table,)).get)
    loose = sql.replace("NOT NULL", "").replace("STRICT,", "").replace(", STRICT", "").replace("STRICT", "")
    edit = "UPDATE sqlite_schema SET sql = ? WHERE name = ?"
    try:
        connection.execute(edit, (loose, table))
        connection.execute("PRAGMA writable_schema = RESET")
        greatest = f"SELECT {column} FROM {table} ORDER BY 1 DESC LIMIT 1"  # noqa: S608  # names of the schema
        change = f"UPDATE {table} SET {column} = ?1 WHERE {column} IS ({greatest}) AND {column} IS NOT ?1"  # noqa: S608
        connection.execute(change, (value,))
        return connection.changes() > 0
    except (apsw.ConstraintError, apsw.MismatchError):
        return False
    finally:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(edit, (sql, table))
        connection.close()


@pytest.mark.parametrize(
    "kinds", [pytest.param(list(VALUES), id="in turn"), *(pytest.param([kind], id=kind, marks=SLOW) for kind in VALUES)]
)
def test_a_store_with_values_of_wrong_types_answers_or_refuses(tmp_path: Path, kinds: list[str]) -> None:
    """[LOG-4] [LOG-5] The test asks every question. Each column gets one of the kinds, and all get it in turn."""
    path = tmp_path / "store.db"
    fill(path)
    content = path.read_bytes()
    with sagalog.open(url_of(path), clock=ManualClock(START_MS + TTL_MS), durability="normal") as engine:
        sound = everything(engine)
    tried = 0
    for (table, column), kind in zip(columns(path), cycle(kinds), strict=False):
        for ending in ("", "-wal", "-shm"):
            path.with_name(path.name + ending).unlink(missing_ok=True)
        path.write_bytes(content)
        if not put(path, table, column, VALUES[kind]):
            continue
        tried += 1
        try:
            engine = sagalog.open(url_of(path), clock=ManualClock(START_MS + TTL_MS), durability="normal")
        except sagalog.SagalogError:
            continue
        with engine:
            report, found = answer(engine.verify), everything(engine)
            is_named = report is REFUSED or not report.ok
            assert is_named or (table, column) in UNCOMPARED, f"{table}.{column} was changed and verify names nothing"
            hidden = [name for name in wrong(sound, found) if name not in SEARCHED and found[name] is not None]
            assert not hidden or (table, column) in UNDIGESTED, f"{table}.{column}: wrong content of {hidden}"
            use(engine)
    assert tried > 10

"""Rows of tasks in a file: read, changed or planted behind the store's back, and what a commit runs for them."""

from __future__ import annotations

from typing import Any

import apsw
import msgspec

from sagalog.codec import digest_of, enclose
from sagalog.engine.operations import maintaining
from sagalog.kernel import events as e
from sagalog.store import Append, Due, Operation, Result
from sagalog_sqlite.store import SqliteStore
from tests.adapters.sqlite.stores import START_MS, TTL_MS, engine_on


def change(connection: apsw.Connection, id: str, **values: Any) -> None:
    """Change columns of one task's row."""
    for name, value in values.items():
        connection.execute(
            f"UPDATE tasks SET {name} = ? WHERE stream = (SELECT number FROM streams WHERE id = ?)",  # noqa: S608
            (value, id),
        )


def plant(connection: apsw.Connection, id: str) -> None:
    """Append an event of a newer version to a task's stream, as that version's log would hold it."""
    number, version = connection.execute(
        "SELECT stream, max(version) + 1 FROM events WHERE stream = (SELECT number FROM streams WHERE id = ?)", (id,)
    ).get
    one = msgspec.structs.replace(enclose(f"task/{id}", version, START_MS, e.Noted("later")), type="praised")
    connection.execute(
        "INSERT INTO events(stream, version, at_ms, type, schema, body, digest) VALUES (?, ?, ?, 'praised', 1, ?, ?)",
        (number, version, START_MS, one.body, digest_of(one)),
    )


def row(store: SqliteStore, id: str) -> dict[str, Any]:
    """A task's row as it is in the file."""
    assert store._connections.writer is not None
    cursor = store._connections.writer.execute(
        "SELECT t.* FROM tasks t JOIN streams s ON s.number = t.stream WHERE s.id = ?", (id,)
    )
    names = [description[0] for description in cursor.description]
    return dict(zip(names, next(cursor), strict=True))


def blindly(append: Append) -> Operation:
    """An operation that appends without having read anything."""
    return Operation(lambda view: Result(view.now_ms, (append,)), (append.stream,))


def steps_of(store: SqliteStore, *operations: Any) -> list[str]:
    """The statements that a commit of these operations runs."""
    statements: list[str] = []

    def trace(_: apsw.Cursor, statement: str, __: object) -> bool:
        statements.append(statement)
        return True

    assert store._connections.writer is not None
    store._connections.writer.exec_trace = trace
    store.commit(operations)
    store._connections.writer.exec_trace = None
    return statements


def maintained(store: SqliteStore, due: Due) -> list[str]:
    """The tasks on which maintenance finds something due, and does it."""
    [upkept] = store.commit([maintaining(due)])
    return [one.task for one in upkept.maintained]


def claimed(store: SqliteStore, **how: Any) -> list[str]:
    """The tasks that an engine's claim leases."""
    return [lease.task.id for lease in engine_on(store).claim("q", owner="ann", ttl_ms=TTL_MS, **how)]

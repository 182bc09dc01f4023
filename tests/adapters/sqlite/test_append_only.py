"""The log is append-only: whichever program opens the file, no statement changes, deletes or replaces what is in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from sagalog.store import Append, Blob, Operation, Result, View
from sagalog.testing import ManualClock
from sagalog_sqlite.store import SqliteStore
from tests.adapters.sqlite.stores import START_MS, appended, created, new, open_at, raw, versions

EVENT = (
    "SELECT {}, at_ms, type, schema, actor, cause, idempotency_key, data_key, '{{}}', zeroblob(32) FROM events LIMIT 1"
)
STATEMENTS = {
    "an event changed": "UPDATE events SET body = '{}' WHERE position = 1",
    "an event moved": "UPDATE events SET position = 9",
    "an event moved onto another": "UPDATE OR REPLACE events SET version = 1",
    "an event deleted": "DELETE FROM events",
    "an event replaced by position": "INSERT OR REPLACE INTO events " + EVENT.format("position, stream, 7"),
    "an event replaced by version": "INSERT OR REPLACE INTO events " + EVENT.format("77, stream, version"),
    "an event replaced by version and a drawn position": (
        "INSERT OR REPLACE INTO events(stream, version, at_ms, type, schema, body, digest) "
        "SELECT stream, version, at_ms, type, schema, '{}', digest FROM events LIMIT 1"
    ),
    "an event put in its place": (
        "INSERT INTO events " + EVENT.format("position, stream, version").replace(" LIMIT 1", " WHERE true LIMIT 1")
        + " ON CONFLICT DO UPDATE SET body = excluded.body"
    ),
    "a stream renamed": "UPDATE streams SET id = 'b'",
    "a stream deleted": "DELETE FROM streams",
    "a stream replaced by number": "INSERT OR REPLACE INTO streams SELECT number, category, 'b' FROM streams",
    "a stream replaced by name": "INSERT OR REPLACE INTO streams SELECT 77, category, id FROM streams",
    "a blob changed": "UPDATE blobs SET data = x'66'",
    "a blob deleted": "DELETE FROM blobs",
    "a blob replaced by number": "INSERT OR REPLACE INTO blobs SELECT number, 'other', x'66' FROM blobs",
    "a blob replaced by digest": "INSERT OR REPLACE INTO blobs SELECT 77, digest, x'66' FROM blobs",
}  # fmt: skip
EVERYTHING = (
    "SELECT position, stream, version, body, digest FROM events",
    "SELECT number, category, id FROM streams",
    "SELECT number, digest, data FROM blobs",
)


def keeping(id: str, data: bytes) -> Operation:
    """An operation that creates a task and keeps bytes under a name that every such operation gives them."""

    def decide(view: View) -> Result:
        append: Append = appended(new(id), [created()], view.now_ms)
        return Result(None, (append,), blobs=(Blob("the digest", data),))

    return Operation(decide, writes=(f"task/{id}",))


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    store = open_at(path, ManualClock(START_MS))
    store.commit([keeping("a", b"true bytes")])
    yield store
    store.close()


@pytest.mark.parametrize("name", STATEMENTS)
@pytest.mark.parametrize("recursive", [0, 1])
def test_the_log_refuses_every_change_from_whatever_connection(
    store: SqliteStore, path: Path, name: str, recursive: int
) -> None:
    """[LOG-3] [BLOB-1] REPLACE asks DELETE triggers only where the connection has set `recursive_triggers`."""
    connection = raw(path)
    connection.pragma("recursive_triggers", recursive)
    before = [connection.execute(statement).fetchall() for statement in EVERYTHING]
    with pytest.raises(apsw.ConstraintError, match="append-only"):
        connection.execute(STATEMENTS[name])
    assert [connection.execute(statement).fetchall() for statement in EVERYTHING] == before
    connection.close()
    assert versions(store) == {"a": 1}


def test_bytes_go_only_where_the_store_has_them_as_pruned(store: SqliteStore, path: Path) -> None:
    """[BLOB-1] [PRUNE-1] And a name of such bytes is gone once they are kept again."""
    connection = raw(path)
    connection.execute("INSERT INTO pruned(digest, version) VALUES ('another digest', 2)")
    with pytest.raises(apsw.ConstraintError, match="append-only"):
        connection.execute("DELETE FROM blobs")
    connection.execute("INSERT INTO pruned(digest, version) VALUES ('the digest', 2)")
    connection.execute("DELETE FROM blobs")
    connection.close()
    store.commit([keeping("b", b"true bytes")])
    with store.read() as snapshot:
        assert snapshot.blob("the digest") == b"true bytes"
        assert (snapshot.pruned("the digest"), snapshot.pruned("another digest")) == (None, 2)


def test_bytes_that_are_kept_already_are_not_written_again(store: SqliteStore) -> None:
    """[BLOB-1]"""
    store.commit([keeping("b", b"other bytes under the same name")])
    with store.read() as snapshot:
        assert snapshot.blob("the digest") == b"true bytes"
    assert versions(store) == {"a": 1, "b": 1}

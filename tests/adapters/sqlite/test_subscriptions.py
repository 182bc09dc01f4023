"""Checkpoints of subscriptions in an SQLite file: durable, or told to be unknown; and nothing is written in vain."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

import sagalog
from sagalog import Closed, Conflict, Unavailable, Unknown
from sagalog_sqlite.store import SqliteStore
from tests.adapters.sqlite.faulty_files import FaultyFiles, failing, faulty_files
from tests.adapters.sqlite.stores import open_at, raw, url_of


@pytest.fixture
def files() -> Iterator[FaultyFiles]:
    with faulty_files() as files:
        yield files


@pytest.fixture
def store(path: Path, files: FaultyFiles) -> Iterator[SqliteStore]:
    """A store at full durability on faulty files, with one checkpoint."""
    store = open_at(path, durability="full")
    assert save(store, None, 3)
    yield store
    files.strike = None
    store.close()


def stands(store: SqliteStore) -> int | None:
    with store.read() as snapshot:
        kept = snapshot.kept("subscriptions", "r")
    return None if kept is None else int(kept)


def save(store: SqliteStore, expected: int | None, position: int) -> bool:
    return store.keep("subscriptions", "r", None if expected is None else str(expected), str(position))


def test_a_checkpoint_is_synced_before_it_is_told_as_saved(store: SqliteStore, files: FaultyFiles) -> None:
    """[SUBSCRIBE-3]"""
    files.reached.clear()

    assert save(store, 3, 4)

    assert "sync" in [operation for operation, path in files.reached if path.endswith("-wal")]


def test_a_sync_that_fails_leaves_it_unknown_and_the_next_try_settles_it(
    store: SqliteStore, files: FaultyFiles
) -> None:
    files.strike = failing("sync", "-wal", apsw.IOError)
    with pytest.raises(Unknown):
        save(store, 3, 4)
    files.strike = None

    assert stands(store) in (3, 4)
    assert save(store, 3, 4) or stands(store) == 4


def test_a_full_disk_is_told_as_not_written(store: SqliteStore, files: FaultyFiles) -> None:
    files.strike = failing("write", "-wal", apsw.FullError)
    with pytest.raises(Unavailable):
        save(store, 3, 4)
    files.strike = None

    assert stands(store) == 3
    assert save(store, 3, 4)


def test_a_checkpoint_saved_elsewhere_is_compared_and_nothing_is_written(
    store: SqliteStore, files: FaultyFiles
) -> None:
    """[SUBSCRIBE-3]"""
    seen = store.changes()
    files.reached.clear()

    assert not save(store, 2, 4)

    assert store.changes() == seen
    assert not [one for one in files.reached if one[0] != "read"]


def test_a_process_that_opens_the_file_anew_sees_what_was_saved(path: Path) -> None:
    """[SUBSCRIBE-2]"""
    with sagalog.open(url_of(path)) as engine:
        engine.create("build")
        with engine.subscribe("r") as reader:
            reader.read()
    connection = raw(path)

    found = list(connection.execute("SELECT space, name, value FROM kept"))
    assert [("subscriptions", "r", "2")] == found
    connection.close()


def test_a_name_that_another_connection_has_taken_away_is_a_conflict(path: Path) -> None:
    with sagalog.open(url_of(path)) as engine:
        reader = engine.subscribe("r")
        reader.read()
        connection = raw(path)
        connection.execute("DELETE FROM kept")
        connection.close()

        with pytest.raises(Conflict, match="is at None"):
            reader.save()


def test_a_closed_store_saves_nothing(path: Path) -> None:
    store = open_at(path)
    store.close()

    with pytest.raises(Closed):
        save(store, None, 1)

"""Rebuilding gives the rows and tags that the log gives, and lets others write meanwhile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apsw
import pytest

from sagalog.kernel import events as e
from sagalog.store import Query, SavedTask
from sagalog.store.row import row_of
from sagalog_sqlite import rebuild
from sagalog_sqlite.store import SqliteStore
from tests.adapters.sqlite.stores import created, founding, leased, open_at, owing, writing


def test_rebuilding_gives_the_same_rows_and_tags(
    store: SqliteStore, behind: apsw.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It removes what has no stream."""
    monkeypatch.setattr(rebuild, "SLICE", 3)
    store.commit([founding()])
    for number in range(10):
        store.commit([writing(f"t{number}", created(tags={"n": str(number), "all": "yes"}), leased())])
    store.commit([writing("u", *owing("x"))])

    def everything() -> list[Any]:
        return [
            behind.execute(statement).fetchall()
            for statement in (
                "SELECT * FROM tasks ORDER BY stream",
                "SELECT * FROM tags ORDER BY name, value, stream",
                "SELECT * FROM store",
            )
        ]

    before = everything()
    behind.execute("UPDATE tasks SET queue = 'other', priority = 5, fold = x'5b5d' WHERE stream % 2")
    behind.execute("DELETE FROM tasks WHERE stream % 3 = 0")
    behind.execute("INSERT INTO tasks(stream, queue, gate) VALUES (77, 'q', 'ready')")
    behind.execute("DELETE FROM tags WHERE stream % 2")
    behind.execute("INSERT INTO tags VALUES ('all', 'no', 2), ('all', 'yes', 99), ('zzz', 'zzz', 3)")
    behind.execute("UPDATE store SET id = 'x', version = 8, epoch = 3")
    assert store.rebuild() == 11
    assert everything() == before


def test_rebuilding_lets_others_write_between_its_slices(
    store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuild, "SLICE", 2)
    store.commit([writing(f"t{number}", created(tags={"n": str(number)})) for number in range(5)])
    other = open_at(path)
    turns = 0
    release = store._turns.ticket_lock.release

    def release_and_write() -> None:
        nonlocal turns
        release()
        other.commit(
            [writing("t0", e.Noted("seen")), writing("t4", e.Noted("seen")), writing(f"new{turns}", created())]
        )
        turns += 1

    monkeypatch.setattr(store._turns.ticket_lock, "release", release_and_write)
    assert store.rebuild() == 5
    monkeypatch.undo()
    assert turns > 4
    with store.read() as snapshot:
        listed = snapshot.find(Query())
        assert len(listed) == 5 + turns
        for one in listed:
            fold = one.fold
            assert snapshot.saved(f"task/{fold.id}") == SavedTask(fold, row_of(fold, "ready"), (), fold.tags or {})
            assert len(snapshot.history(f"task/{one.fold.id}")) == one.fold.version
    other.close()

"""Tasks that cannot be read are put aside, stop no other, and come back once they can be read. [LOG-5]"""

from __future__ import annotations

import apsw
import pytest

from sagalog.codec import enclose
from sagalog.engine import Engine
from sagalog.errors import LogDamaged, SchemaMismatch, UnknownEvent
from sagalog.kernel import events as e
from sagalog.kernel.state import FOLD_FORMAT
from sagalog.store import Due, Query
from sagalog.testing import ManualClock
from sagalog_sqlite.store import SqliteStore
from tests.adapters.sqlite.rows import change, claimed, maintained, plant, steps_of
from tests.adapters.sqlite.stores import START_MS, TTL_MS, claiming, created, leased, owing, work, writing


def test_a_claim_puts_aside_what_it_cannot_read_and_takes_the_next(store: SqliteStore, behind: apsw.Connection) -> None:
    """[LOG-5] No event is written for it, and it is not met again."""
    store.commit([writing(id, created()) for id in "abcd"])
    for id in "ac":
        plant(behind, id)
    assert claimed(store, limit=2) == ["b", "d"]
    with store.read() as snapshot:
        assert snapshot.unreadable() == ["a", "c"]
        assert [one.fold.id for one in snapshot.find(Query())] == ["b", "d"]
        with pytest.raises(UnknownEvent):
            snapshot.task("a")
        assert [one.type for one in snapshot.events(6, 9)] == ["founded", "leased", "leased"]
    again = steps_of(store, claiming(work()))
    assert not [one for one in again if one.startswith(("UPDATE", "INSERT"))]


def test_maintenance_puts_an_unreadable_task_aside_once(
    store: SqliteStore, behind: apsw.Connection, clock: ManualClock
) -> None:
    """It finds the task due no more."""
    store.commit([writing(id, created(), leased()) for id in "ab"])
    store.commit([writing("later", created(run_at_ms=START_MS + 1)), writing("u", *owing("x"))])
    for id in ("a", "later", "u"):
        plant(behind, id)
    clock.advance(TTL_MS)
    assert maintained(store, Due(None, 64)) == ["b"]
    assert claimed(store, purpose="undo") == []
    with store.read() as snapshot:
        assert snapshot.unreadable() == ["a", "later", "u"]
        assert snapshot.over(clock.now_ms()) == []
    assert maintained(store, Due(("q",), 1)) == []


def test_a_task_saved_by_a_newer_version_is_refused_by_name(store: SqliteStore, behind: apsw.Connection) -> None:
    """It stops no other task."""
    store.commit([writing("new", created()), writing("old", created())])
    change(behind, "new", format=FOLD_FORMAT + 1)
    with store.read() as snapshot, pytest.raises(SchemaMismatch, match="'new'"):
        snapshot.task("new")
    [refusal] = store.commit([writing("new", e.Noted("seen"))])
    assert (refusal.code, refusal.task, claimed(store)) == ("schema_mismatch", "new", ["old"])


def test_a_task_ended_by_a_newer_version_ends_its_waits_once_readable(
    store: SqliteStore, behind: apsw.Connection, clock: ManualClock
) -> None:
    """[LOG-5] [WAIT-3] Who cannot read it puts it aside, so that a process that can looks at who waits for it."""
    older = Engine(store, clock=clock)
    for id in ("new", "parked", "held up"):
        older.create("build", id=id)
    leases = {id: older.acquire(id, owner="ann", ttl_ms=None) for id in ("parked", "held up")}
    leases["held up"].park("w", after="new")
    older.cancel("new")
    change(behind, "new", format=FOLD_FORMAT + 1)
    assert older.claim("default", owner="ann", ttl_ms=None) == []
    leases["parked"].park("w", after="new")
    change(behind, "new", format=FOLD_FORMAT)
    assert older.claim("default", owner="ann", ttl_ms=None) == []
    newer = Engine(store, clock=clock)
    found = newer.claim("default", owner="ann", ttl_ms=None, limit=3)
    assert [lease.task.id for lease in found] == ["parked", "held up"]
    assert newer.verify().ok


def test_a_task_that_was_put_aside_is_not_read_from_what_was_saved_of_it(
    store: SqliteStore, behind: apsw.Connection
) -> None:
    store.commit([writing("t", created(), e.Noted("seen"))])
    behind.execute("DROP TRIGGER events_are_not_changed")
    behind.execute("UPDATE events SET type = 'praised' WHERE version = 2")
    store.rebuild()
    with store.read() as snapshot, pytest.raises(LogDamaged):
        snapshot.task("t")
    assert store.commit([writing("t", e.Noted("again"))])[0].code == LogDamaged.code


def test_what_was_put_aside_comes_back_by_rebuilding_once_it_can_be_read(
    store: SqliteStore, behind: apsw.Connection
) -> None:
    store.commit([writing("t", created())])
    plant(behind, "t")
    assert claimed(store) == []
    assert store.rebuild() == 1
    with store.read() as snapshot:
        assert snapshot.unreadable() == ["t"]
    behind.execute("DROP TRIGGER events_are_not_changed")
    known = enclose("task/t", 2, START_MS, e.Noted("later"))
    behind.execute("UPDATE events SET type = 'noted', digest = ? WHERE type = 'praised'", (known.digest,))
    assert store.rebuild() == 1
    assert claimed(store) == ["t"]

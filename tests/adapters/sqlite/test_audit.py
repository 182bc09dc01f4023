"""An audit of a real file: what was changed behind the store's back is named, and a rebuild mends what it can."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import apsw
import pytest

import sagalog
from sagalog.codec import enclose
from sagalog.engine import audit
from sagalog.kernel import events as e
from sagalog.kernel.state import StoreFold
from sagalog.kernel.values import Compensation
from sagalog.store import Append, Operation, Projection, Result
from sagalog.testing import ManualClock
from sagalog_sqlite import audit_rows, rebuild
from sagalog_sqlite.snapshot import SqliteSnapshot
from tests.adapters.sqlite.stores import START_MS, open_at, raw, url_of, writing
from tests.store_of import store_of

TTL_MS = 1_000


@pytest.fixture
def engine(path: Path) -> Iterator[sagalog.Engine]:
    """A store in which `parent` waits for `first` and `second`, and `idle` for nothing."""
    with sagalog.open(url_of(path), clock=ManualClock(START_MS), durability="normal") as engine:
        for id in ("first", "second", "idle", "parent"):
            engine.create("build", id=id)
        engine.acquire("parent", owner="ann", ttl_ms=TTL_MS).park("both", after=["second", "first"])
        yield engine


@pytest.fixture
def behind(engine: sagalog.Engine, path: Path) -> Iterator[apsw.Connection]:
    connection = raw(path)
    connection.set_busy_timeout(1_000)
    yield connection
    connection.close()


def faults(engine: sagalog.Engine) -> list[tuple[str, str | None]]:
    return [(fault.code, fault.stream) for fault in engine.verify().faults]


CHANGES = {
    "a wait that is gone": ("DELETE FROM awaited WHERE task = 'first'", "task/parent"),
    "all waits that are gone": ("DELETE FROM awaited", "task/parent"),
    "a wait of one that waits for others": (
        "INSERT INTO awaited(task, stream) SELECT 'idle', number FROM streams WHERE id = 'parent'",
        "task/parent",
    ),
    "a wait of one that does not wait": (
        "INSERT INTO awaited(task, stream) SELECT 'first', number FROM streams WHERE id = 'idle'",
        "task/idle",
    ),
    "a wait of no task": ("INSERT INTO awaited(task, stream) VALUES ('first', 99)", None),
}


@pytest.mark.parametrize("name", CHANGES)
def test_an_audit_compares_who_waits_for_whom_in_both_directions(
    engine: sagalog.Engine, behind: apsw.Connection, name: str
) -> None:
    """[WAIT-3] [RECORD-3] A rebuild mends what is wrong.

    A row that is gone would never wake its task; one too many wakes the wrong one.
    """
    assert faults(engine) == []
    statement, stream = CHANGES[name]
    behind.execute(statement)
    assert faults(engine) == [("projection", stream)]
    engine.rebuild()
    assert faults(engine) == []
    for id in ("first", "second"):
        engine.acquire(id, owner="ann", ttl_ms=TTL_MS).complete()
    engine.recover()
    parent = engine.get("parent")
    assert parent is not None
    assert parent.waiting is None


def test_an_audit_compares_the_bytes_of_a_blob_with_the_recorded_size(path: Path) -> None:
    """[BLOB-1] The event says how long the bytes are."""
    clock = ManualClock(START_MS)
    with sagalog.open(url_of(path), clock=clock, durability="normal") as engine:
        engine.create("build", id="a", inputs={"spec": b"right"})
        engine.acquire("a", owner="ann", ttl_ms=TTL_MS)
    store = open_at(path, clock)
    with store.read() as snapshot:
        digest = snapshot.task("a") and snapshot.history("task/a")[0].body.partition('"digest":"')[2][:64]
    store.commit([writing("a", e.ArtifactPut("log", 1, str(digest), 6, "text/plain"))])
    [fault] = audit.verify(store).faults
    assert (fault.code, fault.stream, fault.version) == ("blob", "task/a", 3)
    store.close()


def test_an_undoing_that_owes_nothing_at_its_end_is_a_cut_stream(path: Path) -> None:
    """[COMP-6] Workers look for what is owed, so no worker would ever end it."""
    clock = ManualClock(START_MS)
    with sagalog.open(url_of(path), clock=clock, durability="normal") as engine:
        engine.create("build", id="a", compensations=[Compensation("remove", id="u")])
        engine.acquire("a", owner="ann", ttl_ms=TTL_MS).fail("no way on")
    store = open_at(path, clock)
    store.commit([writing("a", e.CompensationWaived("u", "by hand"))])
    [fault] = audit.verify(store).faults
    assert (fault.code, fault.stream, fault.version) == ("damaged", "task/a", 4)
    store.close()


def test_a_store_that_is_founded_under_another_id_than_its_stream_is_named(path: Path) -> None:
    """[RECORD-1]"""
    store = open_at(path)
    founded = enclose("store/one", 1, START_MS, e.Founded("other", 0, "1"))
    append = Append("store/one", 0, (founded,), Projection(StoreFold("other", 1, 0, 0, "1")))
    store.commit([Operation(lambda _: Result(None, (append,)), ("store/one",))])
    [fault] = audit.verify(store).faults
    assert (fault.code, fault.stream) == ("damaged", "store/one")
    store.close()


def test_a_task_whose_newest_events_are_missing_is_refused(engine: sagalog.Engine, behind: apsw.Connection) -> None:
    """[LOG-1] It is not shown as it was. Its saved fold, which is sound, was made from more events than there are."""
    behind.execute("DROP TRIGGER events_are_not_deleted")
    behind.execute("DELETE FROM events WHERE type = 'parked'")
    for ask in (engine.get, engine.history):
        with pytest.raises(sagalog.LogDamaged) as found:
            ask("parent")
        assert (found.value.fields["stream"], found.value.fields["version"]) == ("task/parent", 3)
    assert [task.id for task in engine.find()] == ["first", "second", "idle"]
    assert ("projection", "task/parent") in faults(engine)
    assert engine.acquire("idle", owner="ann", ttl_ms=TTL_MS).task.id == "idle"


def test_a_stream_whose_name_a_disk_has_taken_away_is_named_by_an_audit(path: Path) -> None:
    """[LOG-4] No program can write such a row; a flipped bit can."""
    with sagalog.open(url_of(path), clock=ManualClock(START_MS), durability="normal") as engine:
        engine.create("test", id="a")
    nullable = "UPDATE sqlite_schema SET sql = replace(sql, {!r}, {!r}) WHERE name = 'streams'"
    names = ("category TEXT NOT NULL", "category TEXT")
    for statements in (
        ["DROP TRIGGER streams_are_not_changed", nullable.format(*names)],
        ["UPDATE streams SET category = NULL WHERE id = 'a'", nullable.format(*reversed(names))],
    ):
        connection = raw(path)
        connection.pragma("writable_schema", 1)
        connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 0)
        for statement in statements:
            connection.execute(statement)
        connection.close()
    with sagalog.open(url_of(path), clock=ManualClock(START_MS), durability="normal") as engine:
        assert "/a" in {stream for _, stream in faults(engine)}


def test_an_audit_holds_a_bounded_number_of_events_and_sees_them_all(
    engine: sagalog.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.create("build", "x" * 10_000, id="large")
    whole = engine.verify()
    with store_of(engine).read() as read:
        numbers = [one.number for one in read.audited(0, 10)]

    for held_bytes, slices in ((1, [1] * 6), (6_000, [5, 1]), (20_000, [6])):
        monkeypatch.setattr(audit_rows, "_AUDITED_BYTES_MAX", held_bytes)
        with store_of(engine).read() as read:
            after, found = 0, []
            while part := read.audited(after, 10):
                found.append([one.number for one in part])
                after = part[-1].number
        assert ([len(part) for part in found], list(chain.from_iterable(found))) == (slices, numbers)
        assert engine.verify() == whole


def test_an_event_without_a_stream_at_the_logs_end_is_damage(engine: sagalog.Engine, behind: apsw.Connection) -> None:
    """It is not taken for an earlier end of the log."""
    newest = engine.newest_position()
    behind.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 0)
    behind.execute("UPDATE events SET stream = 999 WHERE position = ?", (newest,))

    with pytest.raises(sagalog.LogDamaged):
        engine.events(newest - 1)
    assert not engine.verify().ok


# --- how far it is ----------------------------------------------------------------------------------------------------


def test_an_audit_tells_how_far_it_is_once_a_slice(engine: sagalog.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "_SLICE", 2)
    told: list[tuple[int, int]] = []

    report = engine.verify(lambda done, total: told.append((done, total)))

    # The store's own stream and that of `first`, then two tasks, then `parent` with three events; and the end.
    assert [(0, 7), (2, 7), (4, 7), (7, 7), (7, 7)] == told
    assert (True, 7) == (report.ok, report.events)


def test_a_rebuild_tells_how_far_it_is_once_a_slice(engine: sagalog.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuild, "SLICE", 2)
    told: list[tuple[int, int]] = []

    engine.create("build", id="tagged", tags={"a": "1", "b": "2", "c": "3"})

    engine.rebuild(lambda done, total: told.append((done, total)))

    # Six streams, then three tags: a look behind the last one finds that there are no more.
    assert [(done, 9) for done in (0, 2, 4, 6, 8, 9, 9)] == told


def test_a_rebuild_that_is_ended_in_the_middle_leaves_the_rest_as_it_was(
    engine: sagalog.Engine, behind: apsw.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuild, "SLICE", 2)
    behind.execute("UPDATE tasks SET queue = 'other'")

    def end_at_2(done: int, _: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engine.rebuild(end_at_2)

    assert [("projection", f"task/{id}") for id in ("second", "idle", "parent")] == faults(engine)
    engine.rebuild()
    assert [] == faults(engine)


def test_an_interrupt_ends_a_look_at_the_whole_file_that_takes_long(engine: sagalog.Engine) -> None:
    """SQLite says nothing of itself within a statement; afterwards the connection reads as ever."""
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n"
    alarm = threading.Timer(0.2, signal.pthread_kill, (threading.get_ident(), signal.SIGINT))
    given_up: list[str] = []

    with store_of(engine).read() as view:
        assert isinstance(view, SqliteSnapshot)
        connection = view._connection

        def give_up() -> None:
            given_up.append("the statement did not hear of the signal")
            connection.interrupt()

        guard = threading.Timer(30, give_up)

        def look() -> None:
            with view._interruptible():
                # Within the block that catches it: a busy machine may ring before the statement has begun.
                guard.start()
                alarm.start()
                view._rows(endless)

        with pytest.raises(KeyboardInterrupt):
            look()
    guard.cancel()
    alarm.join()
    guard.join()

    assert ([], []) == (given_up, faults(engine))

"""The projection: what is saved beside the log, that the log always wins, and that an unreadable row stops no other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest

from sagalog.codec import digest_of, enclose
from sagalog.engine import Engine, audit
from sagalog.engine.operations import maintaining, promoting
from sagalog.errors import LogDamaged, SchemaMismatch, UnknownEvent
from sagalog.kernel import events as e
from sagalog.kernel.state import FOLD_FORMAT
from sagalog.store import Append, Due, Operation, Query, Result, Saved, SavedTask
from sagalog.store.row import row_of
from sagalog.testing import ManualClock
from sagalog_sqlite import rebuild
from sagalog_sqlite.store import SqliteStore
from tests.adapters.sqlite.stores import (
    START_MS,
    TTL_MS,
    appended,
    claiming,
    created,
    engine_on,
    founding,
    ids_of,
    leased,
    new,
    open_at,
    owing,
    raw,
    seeing,
    shown,
    tending,
    undo,
    work,
    writing,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START_MS)


@pytest.fixture
def store(path: Path, clock: ManualClock) -> Iterator[SqliteStore]:
    store = open_at(path, clock)
    yield store
    store.close()


@pytest.fixture
def behind(store: SqliteStore, path: Path) -> Iterator[apsw.Connection]:
    """A connection that changes the file behind the store's back."""
    connection = raw(path)
    connection.set_busy_timeout(1_000)
    yield connection
    connection.close()


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


# --- what is saved --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "events",
    [
        (created(priority=3, affinity="red", tags={"x": "y"}),),
        (created(run_at_ms=START_MS + 5),),
        (created(run_at_ms=START_MS + 5), e.Noted("seen")),
        (created(), leased(), e.Parked(1, "park", "w", 1, until_ms=START_MS + 9)),
        (created(), leased()),
        (created(), leased(ttl_ms=None)),
        (created(), leased(), e.Heartbeat(1, TTL_MS, START_MS + TTL_MS, "half")),
        (created(), leased(), e.Completed(1, "complete", {"n": 1})),
        owing("x", "y"),
        (*owing("x"), leased(2, "undo")),
        (*owing("x"), e.CompensationWaived("undo-x", "gone"), e.Compensated("failed")),
    ],
)
def test_a_row_says_what_its_fold_says_however_it_came_there(store: SqliteStore, events: tuple[Any, ...]) -> None:
    store.commit([writing("at-once", *events)])
    for event in events:
        store.commit([writing("by-and-by", event)])
    rows = []
    for id in ("at-once", "by-and-by"):
        with store.read() as snapshot:
            fold, saved = snapshot.task(id), snapshot.saved(f"task/{id}")
            assert fold is not None
            assert saved is not None
            assert saved == SavedTask(fold, row_of(fold, saved.row.gate), (), fold.tags or {})
        rows.append({name: value for name, value in row(store, id).items() if name not in ("stream", "fold")})
    assert rows[0] == rows[1]
    store.rebuild()
    assert {name: value for name, value in row(store, "at-once").items() if name not in ("stream", "fold")} == rows[0]


def test_a_write_touches_no_more_columns_than_have_changed(store: SqliteStore) -> None:
    store.commit([writing("t", created(), leased())])
    renewal = steps_of(store, writing("t", e.Heartbeat(1, 5_000, START_MS + 5_000)))
    assert [one for one in renewal if one.startswith("UPDATE")] == [
        "UPDATE tasks SET format = ?, version = ?, fold = ?, expires_ms = ?, renewed_ms = ? WHERE stream = ?"
    ]
    note = steps_of(store, writing("t", e.Noted("seen")))
    assert [one for one in note if one.startswith("UPDATE")] == [
        "UPDATE tasks SET format = ?, version = ?, fold = ? WHERE stream = ?"
    ]


# --- the log wins ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "damage",
    [
        {"version": 1},
        {"version": 99},
        {"format": FOLD_FORMAT - 1},
        {"fold": b"no json"},
        {"fold": b"[1,2,3]"},
        {"fold": None},
    ],
)
def test_a_saved_fold_that_cannot_be_trusted_is_folded_afresh(
    store: SqliteStore, behind: apsw.Connection, damage: dict[str, Any]
) -> None:
    store.commit([writing("t", created(priority=7), e.Noted("one"))])
    change(behind, "t", **damage)
    with store.read() as snapshot:
        fold = snapshot.task("t")
    assert fold is not None
    assert (fold.version, fold.priority) == (2, 7)
    assert store.commit([seeing(lambda view: shown(view, "t").fold, "t"), claiming(work())]) == [fold, ["t"]]
    assert (row(store, "t")["version"], row(store, "t")["format"]) == (3, FOLD_FORMAT)


def test_a_task_without_a_row_is_read_and_written_from_the_log(store: SqliteStore, behind: apsw.Connection) -> None:
    store.commit([writing("t", created())])
    before = row(store, "t")
    behind.execute("DELETE FROM tasks")
    assert store.commit([claiming(work())]) == [[]]
    assert store.commit([writing("t", e.Noted("seen"))]) == [2]
    assert {**row(store, "t"), "version": 1, "fold": ""} == {**before, "fold": ""}
    assert store.commit([claiming(work())]) == [["t"]]


def test_a_row_without_a_stream_hides_no_task_from_a_claim(store: SqliteStore, behind: apsw.Connection) -> None:
    store.commit([writing("t", created())])
    behind.execute("INSERT INTO tasks(stream, queue, kind, gate, priority) VALUES (99, 'q', 'build', 'ready', -5)")
    assert claimed(store) == ["t"]
    store.rebuild()
    assert behind.execute("SELECT count(*) FROM tasks").get == 1


def maintained(store: SqliteStore, due: Due) -> list[str]:
    """The tasks on which maintenance finds something due, and does it."""
    [upkept] = store.commit([maintaining(due)])
    return [one.task for one in upkept.maintained]


def claimed(store: SqliteStore, **how: Any) -> list[str]:
    """The tasks that an engine's claim leases."""
    return [lease.task.id for lease in engine_on(store).claim("q", owner="ann", ttl_ms=TTL_MS, **how)]


@pytest.mark.parametrize(
    ("events", "gate"),
    [
        ((created(), leased()), "ready"),
        ((created(), leased(), e.Completed(1, "complete")), "ready"),
        (owing("x"), "ready"),
    ],
)
def test_a_wrong_gate_is_put_right_by_the_claim_that_meets_it(
    store: SqliteStore, behind: apsw.Connection, events: tuple[Any, ...], gate: str
) -> None:
    """It is not what the log gives."""
    store.commit([writing("wrong", *events), writing("right", created(priority=9))])
    before = row(store, "wrong")
    change(behind, "wrong", gate=gate)
    assert claimed(store) == ["right"]
    assert row(store, "wrong") == before


def test_a_wrong_lease_is_put_right_by_the_maintenance_that_meets_it(
    store: SqliteStore, behind: apsw.Connection, clock: ManualClock
) -> None:
    """It is not what the log gives."""
    store.commit([writing("wrong", created(), leased(ttl_ms=TTL_MS * 9)), writing("right", created(), leased())])
    before = row(store, "wrong")
    change(behind, "wrong", check_ms=START_MS - 1)
    clock.advance(TTL_MS)
    assert maintained(store, Due(("q",), 64)) == ["right"]
    assert row(store, "wrong") == before


def test_a_wrong_wait_is_put_right_by_the_maintenance_that_meets_it(
    store: SqliteStore, behind: apsw.Connection
) -> None:
    """It is not what the log gives."""
    store.commit(
        [
            writing("early", created(), leased(), e.Parked(1, "park", "w", 1, until_ms=START_MS + 9)),
            writing("never", created(), leased(), e.Parked(1, "park", "w", 1, signal="go")),
            writing("ready", created(priority=9)),
        ]
    )
    before = row(store, "early"), row(store, "never"), row(store, "ready")
    for task in ("early", "never", "ready"):
        change(behind, task, gate="waiting", run_at_ms=START_MS)
    assert maintained(store, Due(("q",), 64)) == []
    assert (row(store, "early"), row(store, "never"), row(store, "ready")) == before
    for task in ("early", "never", "ready"):
        change(behind, task, gate="waking")
    assert maintained(store, Due(None, 64)) == []
    assert (row(store, "early"), row(store, "never"), row(store, "ready")) == before


def test_a_wait_is_looked_at_once_for_each_end(store: SqliteStore) -> None:
    """[WAIT-3] Also where the operation that wrote has read neither task."""
    due = Due(("q",), 64)
    store.commit([writing("one", created()), writing("two", created())])
    blind = appended(new("t"), (created(), leased()), START_MS)
    between = Saved("task/t", blind.projection.fold, blind.projection.row)
    parked = appended(between, [e.Parked(1, "park", "w", 1, after=("one", "two"))], START_MS)
    for append in (blind, parked):
        store.commit([blindly(append)])
    assert store.commit([tending(due)]) == [[]]
    store.commit([writing("one", e.Quarantined("operator"))])
    assert store.commit([tending(due)]) == [["t"]]
    assert maintained(store, due) == []
    assert store.commit([tending(due)]) == [[]]
    store.commit([writing("two", e.Quarantined("operator"))])
    assert maintained(store, due) == ["t"]
    assert store.commit([tending(due)]) == [[]]


def test_a_rebuild_that_is_cut_short_forgets_no_task_that_waits(store: SqliteStore, path: Path) -> None:
    """[WAIT-3]"""
    store.commit(
        [writing("one", created()), writing("t", created(), leased(), e.Parked(1, "park", "w", 1, after=("one",)))],
    )
    store._do(rebuild.begin)
    store.commit([writing("one", e.Quarantined("operator"))])
    assert store.commit([tending(Due(("q",), 64))]) == [["t"]]


def test_a_gate_that_was_opened_stays_open_when_the_clock_steps_back(store: SqliteStore, clock: ManualClock) -> None:
    store.commit([writing("t", created(run_at_ms=START_MS + 100))])
    assert store.commit([promoting(Due(None, 64)), claiming(work())]) == [0, []]
    clock.advance(100)
    assert store.commit([promoting(Due(None, 64))]) == [1]
    clock.step(-3_600_000)
    assert claimed(store) == ["t"]


# --- what cannot be read --------------------------------------------------------------------------------------------


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


# --- rebuilding -----------------------------------------------------------------------------------------------------


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
    release = store._turns.ticket.release

    def release_and_write() -> None:
        nonlocal turns
        release()
        other.commit(
            [writing("t0", e.Noted("seen")), writing("t4", e.Noted("seen")), writing(f"new{turns}", created())]
        )
        turns += 1

    monkeypatch.setattr(store._turns.ticket, "release", release_and_write)
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


# --- claims beyond the contract -------------------------------------------------------------------------------------


def test_a_claim_orders_by_affinity_then_priority_then_age(store: SqliteStore) -> None:
    """The claim names several queues and kinds."""
    tasks = [
        ("a", {"queue": "left", "kind": "x", "priority": 1}),
        ("b", {"queue": "right", "kind": "y", "priority": 0}),
        ("c", {"queue": "left", "kind": "z", "priority": 0}),
        ("d", {"queue": "right", "kind": "x", "priority": 5, "affinity": "red"}),
        ("e", {"queue": "left", "kind": "y", "priority": 7, "affinity": "blue"}),
        ("f", {"queue": "other", "kind": "x", "priority": -9}),
        ("g", {"queue": "left", "kind": "x", "priority": -1, "affinity": "red"}),
    ]
    store.commit([writing(id, created(**fields)) for id, fields in tasks])  # type: ignore[arg-type]

    def order(**how: Any) -> list[str]:
        claim = work("left", "right", "left", limit=how.pop("limit", 10), **how)
        [answer] = store.commit([seeing(lambda view: ids_of(view.claimed), claim=claim)])
        assert isinstance(answer, list)
        return answer

    assert order() == ["g", "b", "c", "a", "d", "e"]
    assert order(affinities=("blue", "red")) == ["e", "g", "d", "b", "c", "a"]
    assert order(affinities=("blue", "red"), limit=2) == ["e", "g"]
    assert order(kinds=frozenset({"x"})) == ["g", "a", "d"]
    assert order(kinds=frozenset({"x"}), affinities=("red", "none"), limit=2) == ["g", "d"]
    assert order(limit=1) == ["g"]


def test_an_undo_claim_takes_only_what_it_knows_all_of(store: SqliteStore) -> None:
    store.commit([writing("xy", *owing("x", "y")), writing("x", *owing("x")), writing("z", *owing("z"))])

    def order(kinds: frozenset[str] | None, limit: int = 10) -> Any:
        claim = undo("q", "q", limit=limit, kinds=kinds)
        return store.commit([seeing(lambda view: ids_of(view.claimed), claim=claim)])[0]

    assert order(None) == ["xy", "x", "z"]
    assert order(frozenset({"x"})) == ["x"]
    assert order(frozenset({"x", "y"})) == ["xy", "x"]
    assert order(frozenset({"y"})) == []
    assert order(None, 2) == ["xy", "x"]


def test_maintenance_is_bounded_and_oldest_first(store: SqliteStore, clock: ManualClock) -> None:
    store.commit([writing(f"late{n}", created(queue="ab"[n % 2], run_at_ms=START_MS + 10 - n)) for n in range(6)])
    store.commit([writing(f"lease{n}", created(queue="ab"[n % 2]), leased(ttl_ms=100 - n)) for n in range(6)])
    clock.advance(100)
    assert maintained(store, Due(("a",), 2)) == ["lease4", "lease2"]
    assert maintained(store, Due(None, 4)) == ["lease5", "lease3", "lease1", "lease0"]
    # Six in all are promoted: two of queue a, then four more.
    claim = work("a", "b", limit=20)
    assert len(store.commit([seeing(lambda view: view.claimed, claim=claim)])[0]) == 6 + 6


def test_a_heartbeat_moves_no_check_time_and_maintenance_does(store: SqliteStore, clock: ManualClock) -> None:
    """[UPKEEP-1] Maintenance moves it to the expiry.

    However often a lease is renewed, no index is written but when it is looked at.
    """
    engine = engine_on(store)
    engine.create("build", id="t", queue="q")
    lease = engine.acquire("t", owner="ann", ttl_ms=100)
    for _ in range(3):
        clock.advance(60)
        lease = lease.heartbeat()
    assert (row(store, "t")["check_ms"], row(store, "t")["expires_ms"]) == (START_MS + 100, START_MS + 280)
    events = engine.newest_position()
    assert claimed(store) == []
    assert (row(store, "t")["check_ms"], row(store, "t")["expires_ms"]) == (START_MS + 280, START_MS + 280)
    assert engine.newest_position() == events
    clock.advance(99)
    assert claimed(store) == []
    clock.advance(1)
    assert claimed(store) == ["t"]


def test_a_heartbeat_that_moves_the_expiry_back_lowers_the_check_time_too(
    store: SqliteStore, clock: ManualClock
) -> None:
    """[LEASE-3] [UPKEEP-1] A clock that has stepped back renews for less; the lease is then over sooner."""
    engine = engine_on(store)
    engine.create("build", id="t", queue="q")
    lease = engine.acquire("t", owner="ann", ttl_ms=100)
    clock.step(-50)
    lease.heartbeat()
    assert (row(store, "t")["check_ms"], row(store, "t")["expires_ms"]) == (START_MS + 50, START_MS + 50)


def test_a_claim_looks_past_live_leases_and_finds_the_one_that_is_over(store: SqliteStore, clock: ManualClock) -> None:
    """[UPKEEP-1] Behind more live leases than it ends at a time."""
    engine = engine_on(store)
    engine.create_many({"kind": "build", "id": f"t{number}", "queue": "q"} for number in range(100))
    leases = engine.claim("q", owner="ann", ttl_ms=100, limit=100)
    clock.advance(99)
    engine.heartbeat(leases[:-1])
    clock.advance(1)
    assert claimed(store) == ["t99"]
    assert {row(store, f"t{number}")["check_ms"] for number in range(99)} == {START_MS + 199}


@pytest.mark.parametrize(
    ("statement", "stream"),
    [
        ("INSERT INTO tags VALUES ('a', '2', 1)", "task/t"),
        ("INSERT INTO tags VALUES ('zzz', '2', 2)", "task/s"),
        ("UPDATE tags SET value = '9' WHERE stream = 1 AND name = 'b'", "task/t"),
        ("DELETE FROM tags WHERE stream = 1 AND name = 'b'", "task/t"),
        ("INSERT INTO tags VALUES ('a', '1', 99)", None),
    ],
)
def test_an_audit_finds_a_tag_too_many_too_few_or_of_no_task_once(
    store: SqliteStore, behind: apsw.Connection, statement: str, stream: str | None
) -> None:
    store.commit([writing("t", created(tags={"a": "1", "b": "2"})), writing("s", created(tags={"a": "1"}))])
    assert [fault for fault in audit.verify(store).faults if fault.code == "projection"] == []
    behind.execute(statement)
    found = [fault.stream for fault in audit.verify(store).faults if fault.code == "projection"]
    assert found == [stream]
    audit.rebuild(store)
    assert [fault for fault in audit.verify(store).faults if fault.code == "projection"] == []


def test_tags_are_found_by_the_first_and_checked_by_the_log(store: SqliteStore, behind: apsw.Connection) -> None:
    store.commit([writing("t", created(tags={"a": "1", "b": "2"})), writing("s", created(tags={"a": "1"}))])
    behind.execute("INSERT INTO tags VALUES ('a', '9', 1), ('b', '2', 2)")
    with store.read() as snapshot:
        assert [one.fold.id for one in snapshot.find(Query(tags=(("a", "1"), ("b", "2"))))] == ["t"]
        assert snapshot.find(Query(tags=(("a", "9"),))) == []
        assert [one.fold.id for one in snapshot.find(Query(tags=(("b", "2"),)))] == ["t"]

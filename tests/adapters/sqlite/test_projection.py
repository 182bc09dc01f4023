"""The projection: what is saved beside the log, that the log always wins, and that an unreadable row stops no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apsw
import pytest

from sagalog.engine import audit
from sagalog.engine.operations import Promoted, promoting
from sagalog.kernel import events as e
from sagalog.kernel.state import FOLD_FORMAT
from sagalog.store import Due, Query, Saved, SavedTask
from sagalog.store.row import row_of
from sagalog.testing import ManualClock
from sagalog_sqlite import rebuild
from sagalog_sqlite.store import SqliteStore
from tests.adapters.sqlite.rows import blindly, change, claimed, maintained, row, steps_of
from tests.adapters.sqlite.stores import (
    START_MS,
    TTL_MS,
    appended,
    claiming,
    created,
    leased,
    new,
    owing,
    seeing,
    shown,
    tending,
    work,
    writing,
)

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


def test_a_wait_is_looked_at_once_all_have_ended_and_not_before(store: SqliteStore) -> None:
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
    assert store.commit([tending(due)]) == [[]]
    store.commit([writing("one", e.Noted(text="seen"))])
    assert store.commit([tending(due)]) == [[]]
    store.commit([writing("two", e.Quarantined("operator"))])
    assert store.commit([tending(due)]) == [["t"]]
    assert maintained(store, due) == ["t"]
    assert store.commit([tending(due)]) == [[]]


def test_a_rebuild_that_is_cut_short_forgets_no_task_that_waits(store: SqliteStore, path: Path) -> None:
    """[WAIT-3]"""
    store.commit(
        [writing("one", created()), writing("t", created(), leased(), e.Parked(1, "park", "w", 1, after=("one",)))],
    )
    store._run_alone(rebuild.begin)
    store.commit([writing("one", e.Quarantined("operator"))])
    assert store.commit([tending(Due(("q",), 64))]) == [["t"]]


def test_a_gate_that_was_opened_stays_open_when_the_clock_steps_back(store: SqliteStore, clock: ManualClock) -> None:
    store.commit([writing("t", created(run_at_ms=START_MS + 100))])
    assert store.commit([promoting(Due(None, 64)), claiming(work())]) == [Promoted(), []]
    clock.advance(100)
    assert store.commit([promoting(Due(None, 64))]) == [Promoted(1)]
    clock.step(-3_600_000)
    assert claimed(store) == ["t"]


# --- claims beyond the contract -------------------------------------------------------------------------------------


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

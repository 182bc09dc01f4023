"""What statements cost: every claim and all maintenance by seeks, whatever the number of tasks, and prepared once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest
from msgspec.structs import replace

from sagalog.store import Due, Query
from sagalog_sqlite import audit_rows, edges, kept, listing, rows, selection, snapshot
from sagalog_sqlite.store import SqliteStore
from tests.adapters.sqlite.stores import claiming, created, leased, open_at, owing, tending, undo, work, writing

# Each way to find tasks, by itself and with all the others.
LISTED = (
    Query(),
    Query(kind="k", since_ms=5),
    Query(queues=("q", "r"), states=("pending", "running")),
    Query(states=("pending",), kind="k"),
    Query(queues=("q",)),
    Query(waiting=True),
    Query(waiting="w", queues=("q",), states=("pending",)),
    Query(tags=(("a", "b"),)),
    Query(tags=(("a", "b"), ("c", "d")), waiting="w", states=("pending",)),
    Query(correlation_id="c", tags=(("a", "b"),), queues=("q",)),
    Query(("q",), "k", ("pending",), (("a", "b"),), waiting="w", parent="p", correlation_id="c", since_ms=5),
)

# The statements of a write transaction, and those of reading that must not grow with the store.
SEEKING = {
    **{
        f"selection {number}": text
        for number, text in enumerate((*selection.STATEMENTS, selection.BEHIND, selection.OVER))
    },
    "task by id": rows.TASK_BY_ID,
    "task by number": rows.TASK_BY_NUMBER,
    "newest version": rows.NEWEST,
    "event of a version": rows.OF_VERSION,
    "event of a name": rows.OF_NAME,
    "events of a stream": rows.OF_STREAM,
    "events of an idempotency key": rows.OF_IDEMPOTENCY_KEY,
    "events of the log": rows.OF_LOG,
    "history": snapshot.HISTORY,
    "saved": audit_rows.SAVED,
    "tagged": audit_rows.TAGGED,
    "tags": audit_rows.TAGS,
    "streams": audit_rows.STREAMS,
    "delayed": snapshot.DELAYED,
    "unreadable": snapshot.UNREADABLE,
    "count": snapshot.COUNT,
    "queues of a state": listing.QUEUES_OF_STATE,
    "ids from a prefix": snapshot.IDS_FROM,
    **{
        f"listing {number} {'down' if newest_first else 'up'}": seek.text
        for number, query in enumerate(LISTED)
        for newest_first in (False, True)
        for seek in [*listing.seeks(lambda *_: [("q",)], replace(query, newest_first=newest_first))][:1]
    },
    "kept": kept.OF_NAME,
    "kept in a space": kept.PAGE,
    "keeping no more": kept.REMOVE,
    "dependants": edges.DEPENDANTS_OF,
    "edges ended": edges.END_EDGES,
    "edges forgotten": edges.FORGET_EDGES,
    "followers": edges.FOLLOWERS,
    "unhandled": edges.UNHANDLED,
}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = open_at(tmp_path / "store.db")
    yield store
    store.close()


def plan(connection: apsw.Connection, statement: str) -> list[str]:
    numbered = [int(number) for number in re.findall(r"\?(\d)", statement)]
    values = (None,) * max([*numbered, statement.count("?") if not numbered else 0])
    return [row[3] for row in connection.execute("EXPLAIN QUERY PLAN " + statement, values)]


@pytest.mark.parametrize("name", SEEKING)
def test_it_finds_its_rows_by_seeks_in_an_index_and_sorts_nothing(store: SqliteStore, name: str) -> None:
    assert store._connections.writer is not None
    steps = plan(store._connections.writer, SEEKING[name])
    assert any(step.startswith("SEARCH") for step in steps)
    for step in steps:
        assert "TEMP B-TREE" not in step, steps
        # A recursion reads its own queue, of one row at a time, and a row of constants is no table.
        assert not step.startswith("SCAN") or step in ("SCAN found", "SCAN CONSTANT ROW"), steps


# [ORDER-2] Where a queue bounds how long affinities wait, a claim reads the rows of those that have waited too long:
# with their gate in the index, every write of every task would look at it.
BY_ROW = frozenset(gate.first_waiting for gate in (*selection.GATES.values(), *selection.GATES_ALONE.values()))
BY_INDEX = [number for number, text in enumerate(selection.STATEMENTS) if text not in BY_ROW]


@pytest.mark.parametrize("number", BY_INDEX)
def test_a_claim_and_its_maintenance_read_nothing_but_indexes(store: SqliteStore, number: int) -> None:
    assert store._connections.writer is not None
    steps = plan(store._connections.writer, selection.STATEMENTS[number])
    # A table without row numbers is its own index.
    found = ("USING COVERING INDEX", "USING PRIMARY KEY", "SEARCH s USING INTEGER PRIMARY KEY")
    assert all(any(how in step for how in found) for step in steps if step.startswith("SEARCH")), steps


def work_of_a_claim(store: SqliteStore) -> int:
    """Steps of SQLite's machine that a claim of nothing takes in all its statements."""
    steps = 0

    def count(event: dict[str, object]) -> None:
        nonlocal steps
        status = event["stmt_status"]
        assert isinstance(status, dict)
        steps += status["SQLITE_STMTSTATUS_VM_STEP"]

    # What is known from earlier ones spares statements.
    store._fold_cache.forget()
    assert store._connections.writer is not None
    store._connections.writer.trace_v2(apsw.SQLITE_TRACE_PROFILE, count)
    claim = work("q", "empty", limit=3, affinities=("red",), kinds=frozenset({"nothing"}))
    claims = [claim, replace(claim, build="mine"), undo("q", kinds=frozenset({"other"}))]
    assert store.commit([claiming(one) for one in claims]) == [[], [], []]
    store._connections.writer.trace_v2(0, None)
    return steps


def test_a_claim_takes_as_many_steps_with_a_thousand_tasks_as_with_ten(store: SqliteStore) -> None:
    def fill(first: int, last: int) -> None:
        store.commit([writing(f"t{n}", created(affinity="red", tags={"n": str(n)})) for n in range(first, last)])
        store.commit([writing(f"pinned{n}", created(build="gone", affinity="red")) for n in range(first, last)])
        store.commit([writing(f"later{n}", created(run_at_ms=2**50)) for n in range(first, last)])
        store.commit([writing(f"leased{n}", created(), leased()) for n in range(first, last)])
        store.commit([writing(f"owing{n}", *owing("x")) for n in range(first, last)])

    fill(0, 10)
    few = work_of_a_claim(store)
    fill(10, 250)
    assert work_of_a_claim(store) == few


def test_no_statement_is_prepared_twice(store: SqliteStore) -> None:
    asked = 0

    def ask(*_: object) -> int:
        # SQLite asks its authorizer while it prepares a statement, and never while it runs one.
        nonlocal asked
        asked += 1
        return apsw.SQLITE_OK

    def live(name: str) -> None:
        store.commit([writing(name, created(tags={"a": name})), writing(f"{name}-undo", *owing("x"))])
        store.commit([tending(Due(("q",), 64)), claiming(work(affinities=("red",))), claiming(undo())])

    assert store._connections.writer is not None
    store._connections.writer.authorizer = ask
    live("a")
    assert asked > 100
    asked = 0
    for name in "bcd":
        live(name)
    assert asked == 0
    store._connections.writer.authorizer = None

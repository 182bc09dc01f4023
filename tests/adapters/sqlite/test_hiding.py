"""Rows that lead to no readable task hide no other: those of unreadable tasks, of no stream, and with a damaged column.

Rule: what a call costs is counted in statements, never timed; every row here is changed behind the store's back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from sagalog import Compensation, Engine
from sagalog.kernel.bounds import LEASE_CHECKS_MAX, UPKEEP_LIMIT
from sagalog.kernel.state import FOLD_FORMAT
from sagalog.testing import ManualClock
from sagalog_sqlite import rows
from sagalog_sqlite.loader import UNREADABLE_MAX
from sagalog_sqlite.store import SqliteStore
from tests.adapters.sqlite.stores import TTL_MS, engine_on, open_at, raw
from tests.store_of import store_of

# Where rows of no stream begin.
STRAY = 1_000_000


@pytest.fixture
def store(tmp_path: Path, clock: ManualClock) -> Iterator[SqliteStore]:
    store = open_at(tmp_path / "store.db", clock)
    yield store
    store.close()


@pytest.fixture
def engine(store: SqliteStore) -> Engine:
    return engine_on(store)


@pytest.fixture
def behind(store: SqliteStore, tmp_path: Path) -> Iterator[apsw.Connection]:
    """A connection that changes the file behind the store's back."""
    connection = raw(tmp_path / "store.db")
    connection.set_busy_timeout(1_000)
    yield connection
    connection.close()


def make_unreadable(behind: apsw.Connection, prefix: str) -> None:
    """Save the folds of all tasks whose id begins so as a newer version would."""
    behind.execute(
        "UPDATE tasks SET format = ? WHERE stream IN (SELECT number FROM streams WHERE id GLOB ?)",
        (FOLD_FORMAT + 1, f"{prefix}*"),
    )


def plant_strays(behind: apsw.Connection, count: int, **columns: Any) -> None:
    """Insert rows of tasks whose streams there are not."""
    values = {"queue": "default", "kind": "k", "priority": -1, "state": "pending", **columns}
    places = ", ".join("?" * len(values))
    behind.executemany(
        f"INSERT INTO tasks(stream, {', '.join(values)}) VALUES (?, {places})",  # noqa: S608  names of ours
        [(STRAY + number, *values.values()) for number in range(count)],
    )


def claim(engine: Engine, **how: Any) -> list[str]:
    return [lease.task.id for lease in engine.claim("default", owner="ann", ttl_ms=TTL_MS, **how)]


def loads_of(engine: Engine, call: Callable[[], object]) -> list[list[int]]:
    """The numbers of the streams that a call loads, transaction by transaction."""
    store = store_of(engine)
    assert isinstance(store, SqliteStore)
    loads: list[list[int]] = []

    def trace(_: apsw.Cursor, statement: str, values: Any) -> bool:
        if statement.startswith("BEGIN"):
            loads.append([])
        elif statement == rows.TASK_BY_NUMBER:
            loads[-1].append(values[0])
        return True

    assert store._connections.writer is not None
    store._connections.writer.exec_trace = trace
    call()
    store._connections.writer.exec_trace = None
    return loads


# --- unreadable tasks -----------------------------------------------------------------------------------------------


def test_a_claim_loads_every_unreadable_task_once(engine: Engine, behind: apsw.Connection) -> None:
    """[LOG-5] Each commit loads a bounded share of them."""
    count = 2 * UNREADABLE_MAX + 88
    engine.create_many({"kind": "k", "id": f"bad{number}"} for number in range(count))
    engine.create("k", id="good")
    make_unreadable(behind, "bad")
    found: list[str] = []
    loads = loads_of(engine, lambda: found.extend(claim(engine)))
    assert found == ["good"]
    assert max(map(len, loads)) <= UNREADABLE_MAX + 1
    loaded = [number for some in loads for number in some]
    assert len(loaded) == len(set(loaded)) == count + 1
    assert engine.counts()["default"] == {"pending": count, "running": 1}


def test_a_claim_of_many_takes_the_tasks_between_unreadable_ones(engine: Engine, behind: apsw.Connection) -> None:
    for number in range(20):
        engine.create("k", id=f"bad{number}")
        engine.create("k", id=f"good{number}")
    make_unreadable(behind, "bad")
    assert claim(engine, limit=15) == [f"good{number}" for number in range(15)]
    assert claim(engine, limit=15) == [f"good{number}" for number in range(15, 20)]


def test_tasks_that_are_unreadable_take_no_place_of_what_becomes_due(
    engine: Engine, behind: apsw.Connection, clock: ManualClock
) -> None:
    due_ms = clock.now_ms() + 10
    engine.create_many({"kind": "k", "id": f"bad{number}", "run_at_ms": due_ms} for number in range(UPKEEP_LIMIT))
    engine.create("k", id="good", run_at_ms=due_ms + 1)
    make_unreadable(behind, "bad")
    clock.advance(11)
    assert claim(engine) == ["good"]


def test_waits_that_are_unreadable_take_no_place_of_those_that_are_over(
    engine: Engine, behind: apsw.Connection, clock: ManualClock
) -> None:
    until_ms = clock.now_ms() + 10
    for id in (*(f"bad{number}" for number in range(UPKEEP_LIMIT)), "good"):
        engine.create("k", id=id)
        engine.acquire(id, owner="ann", ttl_ms=TTL_MS).park("w", until_ms=until_ms)
    make_unreadable(behind, "bad")
    clock.advance(11)
    assert claim(engine) == ["good"]


def test_recover_with_a_limit_passes_leases_that_are_over_and_unreadable(
    engine: Engine, behind: apsw.Connection, clock: ManualClock
) -> None:
    """[UPKEEP-1]"""
    for id in ("bad1", "bad2", "good1", "good2"):
        engine.create("k", id=id)
        engine.acquire(id, owner="ann", ttl_ms=TTL_MS)
        clock.advance(1)
    make_unreadable(behind, "bad")
    clock.advance(TTL_MS)
    assert [one.task for one in engine.recover(limit=1)] == ["good1"]
    assert [one.task for one in engine.recover(limit=1)] == ["good2"]
    assert engine.recover(limit=1) == []


# --- rows of no stream ----------------------------------------------------------------------------------------------


def delayed(engine: Engine, clock: ManualClock) -> None:
    engine.create("k", id="good", run_at_ms=clock.now_ms() + 10)


def parked(engine: Engine, clock: ManualClock) -> None:
    engine.create("k", id="good")
    engine.acquire("good", owner="ann", ttl_ms=TTL_MS).park("w", until_ms=clock.now_ms() + 10)


def awaiting(engine: Engine, _: ManualClock) -> None:
    engine.create("other", id="awaited")
    engine.create("k", id="good")
    engine.acquire("good", owner="ann", ttl_ms=TTL_MS).park("w", after=["awaited"])
    engine.acquire("awaited", owner="ann", ttl_ms=TTL_MS).complete()


def leased(engine: Engine, _: ManualClock) -> None:
    engine.create("k", id="good")
    engine.acquire("good", owner="ann", ttl_ms=10)


def ready(engine: Engine, _: ManualClock) -> None:
    engine.create("k", id="good")


@pytest.mark.parametrize(
    ("make", "columns", "limit"),
    [
        (delayed, {"gate": "later", "run_at_ms": 0}, UPKEEP_LIMIT),
        (parked, {"gate": "waiting", "run_at_ms": 0}, UPKEEP_LIMIT),
        (awaiting, {"gate": "waking"}, UPKEEP_LIMIT),
        (leased, {"check_ms": 0, "expires_ms": 0}, UPKEEP_LIMIT + LEASE_CHECKS_MAX),
        (ready, {"gate": "ready"}, UNREADABLE_MAX),
    ],
)
def test_rows_of_no_stream_beyond_one_look_hide_no_task(
    engine: Engine,
    behind: apsw.Connection,
    clock: ManualClock,
    make: Callable[[Engine, ManualClock], None],
    columns: dict[str, Any],
    limit: int,
) -> None:
    """They are met once."""
    make(engine, clock)
    strays = 2 * limit + 1
    plant_strays(behind, strays, **({"expires_ms": None} | columns))
    if make is awaiting:
        # Rows of higher numbers come after it; these come before.
        behind.execute("UPDATE tasks SET stream = -stream WHERE stream >= ?", (STRAY,))
    clock.advance(20)
    found: list[str] = []
    loads = loads_of(engine, lambda: found.extend(claim(engine)))
    assert found == ["good"]
    assert max(map(len, loads)) <= limit + 2
    # What is aside is not met again, and an audit still names it.
    assert [len(some) for some in loads_of(engine, lambda: claim(engine))] == [0]
    assert len(engine.verify().faults) == strays
    engine.rebuild()
    assert engine.verify().ok


def test_a_row_of_no_stream_is_no_unreadable_task(engine: Engine, behind: apsw.Connection, store: SqliteStore) -> None:
    # The store's own stream is no task's either.
    behind.execute("INSERT INTO tasks(stream, queue, kind, gate, priority) SELECT number, 'default', 'k', 'ready', 0 "
                   "FROM streams WHERE category = 'store'")  # fmt: skip
    assert claim(engine) == []
    with store.read() as snapshot:
        assert snapshot.unreadable() == []


# --- a damaged column -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("purpose", ["work", "undo"])
def test_a_priority_that_is_no_number_stops_no_claim_and_is_put_right(
    engine: Engine, behind: apsw.Connection, purpose: Any
) -> None:
    for id in ("one", "two", "three"):
        engine.create("k", id=id, compensations=[Compensation("undo")])
        if purpose == "undo":
            engine.acquire(id, owner="ann", ttl_ms=TTL_MS).fail("no")
    behind.execute("UPDATE tasks SET priority = NULL WHERE stream = (SELECT number FROM streams WHERE id = 'two')")
    found = [*claim(engine, limit=9, purpose=purpose), *claim(engine, limit=9, purpose=purpose)]
    assert sorted(found) == ["one", "three", "two"]
    assert engine.verify().ok

"""Each bound that a store keeps of its tables is forgotten once another connection has committed.

One test a bound: the store is brought to know it, another store changes what it says, and the first one's next call is
right. Each runs beside a store of this process and beside one of another.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from zlib import crc32

import pytest

import sagalog
from sagalog import Compensation, Engine, Retry
from sagalog.engine import operations
from sagalog.errors import Corrupt
from sagalog.store import StoreFold
from sagalog.testing import ManualClock, SeededEntropy
from sagalog_sqlite import estimates, rows
from sagalog_sqlite.store import SqliteStore
from tests.adapters.sqlite.other_engine import Here, Other, There
from tests.adapters.sqlite.stores import START_MS, open_at, raw, seeing
from tests.store_of import store_of

LONG_MS = 2**40
SUSPICIOUS = Retry(expiries_max=2, delay_min_ms=0, delay_max_ms=0)


@pytest.fixture
def engine(path: Path, clock: ManualClock) -> Iterator[Engine]:
    with sagalog.open(f"sqlite:///{path}", durability="normal", clock=clock, entropy=SeededEntropy(1)) as engine:
        yield engine


@pytest.fixture(scope="module")
def there() -> Iterator[There]:
    process = There()
    yield process
    process.end()


@pytest.fixture(params=["in this process", "in another"])
def other(request: pytest.FixtureRequest, engine: Engine, path: Path, there: There) -> Iterator[Other]:
    """The store that commits in between; afterwards the file is sound."""
    if request.param == "in another":
        there.open(f"sqlite:///{path}")
    one: Other = there if request.param == "in another" else Here(f"sqlite:///{path}")
    yield one
    one.close()
    assert engine.verify().ok


def claimed(engine: Engine, purpose: str = "work", **how: object) -> list[str]:
    """The ids that a claim of any kind leases."""
    leases = engine.claim("q", owner="ann", ttl_ms=LONG_MS, limit=9, purpose=purpose, **how)  # type: ignore[arg-type]
    return [lease.task.id for lease in leases]


def versions(engine: Engine, id: str) -> list[int]:
    return [one.version for one in engine.history(id)]


# --- the tasks at the gates of a queue  ------------------------------------------------------------------------------


def test_a_kind_that_another_has_made_ready_is_claimed(engine: Engine, other: Other) -> None:
    assert claimed(engine) == []
    other.call("create", "new kind", id="a", queue="q")
    assert claimed(engine) == ["a"]


def test_a_set_of_undos_that_another_has_made_due_is_claimed(engine: Engine, other: Other) -> None:
    engine.create("build", id="a", queue="q", compensations=[Compensation("remove")])
    assert claimed(engine, "undo") == []
    other.call("acquire", "a", owner="bob", ttl_ms=LONG_MS)
    other.holder("a", "fail", "no")
    assert claimed(engine, "undo") == ["a"]


def test_a_suspect_that_another_has_found_is_claimed(engine: Engine, other: Other) -> None:
    """[LEASE-5]"""
    engine.create("build", id="a", queue="q", retry=SUSPICIOUS)
    other.call("acquire", "a", owner="bob", ttl_ms=1)
    assert claimed(engine, suspects="only") == []
    other.advance(1)
    other.call("recover")
    assert versions(engine, "a") == [1, 2, 3]
    assert claimed(engine, suspects="only") == ["a"]


def test_a_suspect_among_the_undos_that_another_has_found_is_claimed(engine: Engine, other: Other) -> None:
    """[LEASE-5]"""
    undo = [Compensation("remove")]
    engine.create("build", id="a", queue="q", retry=SUSPICIOUS, compensations=undo)
    other.call("acquire", "a", owner="bob", ttl_ms=LONG_MS)
    other.holder("a", "fail", "no")
    other.call("acquire", "a", owner="bob", ttl_ms=1, purpose="undo")
    assert claimed(engine, "undo", suspects="only") == []
    other.advance(1)
    other.call("recover")
    assert claimed(engine, "undo", suspects="only") == ["a"]


# --- when something is due in a queue at the earliest -----------------------------------------------------------------


def test_a_lease_that_another_has_given_is_ended_when_it_is_over(
    engine: Engine, other: Other, clock: ManualClock
) -> None:
    """[LEASE-4] [UPKEEP-2]"""
    engine.create("build", id="a", queue="q")
    engine.acquire("a", owner="ann", ttl_ms=LONG_MS).release()
    assert claimed(engine, kinds=["none"]) == []
    other.call("acquire", "a", owner="bob", ttl_ms=1_000)
    clock.advance(1_000)
    assert claimed(engine) == ["a"]
    assert [one.type for one in engine.history("a")][-2:] == ["lease_expired", "leased"]


def test_a_lease_that_another_has_shortened_is_ended_when_it_is_over(
    engine: Engine, other: Other, clock: ManualClock
) -> None:
    """[LEASE-3] [LEASE-4]"""
    other.call("create", "build", id="a", queue="q")
    other.call("acquire", "a", owner="bob", ttl_ms=LONG_MS)
    assert claimed(engine) == []
    other.set_back(1)
    other.holder("a", "heartbeat", 1_000)
    clock.advance(1_000)
    assert claimed(engine) == ["a"]


def test_a_task_that_another_has_delayed_is_claimed_when_its_time_has_come(
    engine: Engine, other: Other, clock: ManualClock
) -> None:
    assert claimed(engine) == []
    other.call("create", "build", id="a", queue="q", run_at_ms=START_MS + 1_000)
    assert claimed(engine) == []
    clock.advance(1_000)
    assert claimed(engine) == ["a"]


def test_a_wait_that_another_has_begun_ends_when_its_time_has_come(
    engine: Engine, other: Other, clock: ManualClock
) -> None:
    """[WAIT-1]"""
    other.call("create", "build", id="a", queue="q")
    other.call("acquire", "a", owner="bob", ttl_ms=LONG_MS)
    assert claimed(engine) == []
    other.holder("a", "park", "answer", signal="go", until_ms=START_MS + 1_000)
    clock.advance(1_000)
    assert claimed(engine) == ["a"]


def test_a_waiter_that_another_has_woken_is_claimed(engine: Engine, other: Other) -> None:
    """[WAIT-3]"""
    other.call("create", "build", id="child", queue="children")
    other.call("acquire", "child", owner="bob", ttl_ms=LONG_MS)
    engine.create("build", id="a", queue="q")
    engine.acquire("a", owner="ann", ttl_ms=LONG_MS).park("child", after=["child"])
    assert claimed(engine) == []
    other.holder("child", "complete")
    assert claimed(engine) == ["a"]


def test_a_wait_begun_elsewhere_is_told_of_the_end_that_it_waits_for(engine: Engine, other: Other) -> None:
    """[WAIT-3] The store has known that no task waits for any other."""
    engine.create_many([{"kind": "build", "id": id, "queue": "children"} for id in ("before", "child")])
    engine.acquire("before", owner="ann", ttl_ms=LONG_MS).complete()
    lease = engine.acquire("child", owner="ann", ttl_ms=LONG_MS)
    other.call("create", "build", id="a", queue="q")
    other.call("acquire", "a", owner="bob", ttl_ms=LONG_MS)
    other.holder("a", "park", "child", after=["child"])
    lease.complete()
    assert claimed(engine) == ["a"]


# --- tasks ------------------------------------------------------------------------------------------------------------


def test_a_task_ended_elsewhere_is_not_completed_by_its_late_holder(engine: Engine, other: Other) -> None:
    """[FENCE-2] [TERM-1] Another process has ended it."""
    engine.create("build", id="a", queue="q")
    lease = engine.acquire("a", owner="ann", ttl_ms=LONG_MS)
    other.call("cancel", "a", now=True)
    with pytest.raises(sagalog.LeaseLost):
        lease.complete()
    assert versions(engine, "a") == [1, 2, 3]


def test_a_version_that_another_has_written_is_not_written_again(engine: Engine, other: Other) -> None:
    """[LOG-1]"""
    engine.create("build", id="a", queue="q")
    other.call("note", "a", "seen")
    engine.note("a", "seen too")
    assert versions(engine, "a") == [1, 2, 3]


def test_the_lease_that_another_has_renewed_is_held_as_long_as_that_says(
    engine: Engine, other: Other, clock: ManualClock
) -> None:
    """[LEASE-3] The row of the task, and its fold."""
    engine.create("build", id="a", queue="q")
    engine.acquire("a", owner="ann", ttl_ms=1_000)
    other.call("reattach", "a", 1)
    other.holder("a", "heartbeat", LONG_MS)
    clock.advance(1_000)
    assert claimed(engine) == []
    with pytest.raises(sagalog.LeaseHeld):
        engine.acquire("a", owner="eve", ttl_ms=1)
    assert versions(engine, "a") == [1, 2, 3]


def test_a_task_found_by_number_is_leased_under_the_next_fence(engine: Engine, other: Other) -> None:
    """[FENCE-1] A claim finds tasks by number, where the store may know them already."""
    engine.create("build", id="a", queue="q")
    other.call("acquire", "a", owner="bob", ttl_ms=LONG_MS)
    other.holder("a", "release")
    (lease,) = engine.claim("q", owner="ann", ttl_ms=LONG_MS)
    assert lease.fence == 2
    assert versions(engine, "a") == [1, 2, 3, 4]


def test_a_task_is_told_of_the_end_for_which_another_had_it_wait(engine: Engine, other: Other) -> None:
    """[WAIT-3] The store has known of another wait of that task."""
    engine.create_many([{"kind": "build", "id": id, "queue": "children"} for id in ("first", "second")])
    engine.create("build", id="a", queue="q")
    engine.acquire("a", owner="ann", ttl_ms=LONG_MS).park("first", after=["first"])
    second = engine.acquire("second", owner="ann", ttl_ms=LONG_MS)
    other.call("acquire", "first", owner="bob", ttl_ms=LONG_MS)
    other.holder("first", "complete")
    other.call("recover")
    other.call("acquire", "a", owner="bob", ttl_ms=LONG_MS)
    other.holder("a", "park", "second", after=["second"])
    second.complete()
    assert claimed(engine) == ["a"]


def test_a_creation_that_another_program_has_changed_is_refused_as_damaged(engine: Engine, path: Path) -> None:
    """[LOG-4] The store has kept the first event of a task that it has created."""
    engine.create("build", {"sum": 1}, id="a", queue="q")
    with raw(path) as program:
        program.execute("DROP TRIGGER events_are_not_changed")
        program.execute("""UPDATE events SET body = replace(body, '{"sum":1}', '{"sum":2}') WHERE type = 'created'""")
        assert program.changes() == 1
    with pytest.raises(Corrupt):
        engine.acquire("a", owner="ann", ttl_ms=LONG_MS)


# --- the store's own row ----------------------------------------------------------------------------------------------


def test_the_version_that_another_has_recorded_is_recorded_once(engine: Engine, path: Path, clock: ManualClock) -> None:
    """[LOG-7]"""
    one, another = store_of(engine), open_at(path, clock)
    upgrading = operations.upgrading(engine.store_id, "99.0")
    [first] = another.commit([upgrading])
    [second] = one.commit([upgrading])
    assert isinstance(first, StoreFold)
    assert (second.writer, second.version) == (first.writer, first.version) == ("99.0", 2)
    another.close()
    assert engine.verify().ok


def test_a_file_of_a_newer_format_is_written_to_no_more(engine: Engine, path: Path) -> None:
    """[LOG-5] Another process has raised the format."""
    engine.create("build", id="a", queue="q")
    with raw(path) as program:
        program.execute("UPDATE store SET format = 1")
    with pytest.raises(Corrupt, match="format 1"):
        engine.note("a", "seen")
    assert versions(engine, "a") == [1]


def test_what_a_rebuild_has_made_of_the_store_is_what_the_next_call_sees(path: Path, clock: ManualClock) -> None:
    """[RECORD-3] [FENCE-1] A row that another program has changed, with a checksum that fits, is put right for good."""
    store = open_at(path, clock)
    with sagalog.open(f"sqlite:///{path}", clock=clock) as engine:
        with raw(path) as program:
            [(format, id, version, _, writer, paused)] = program.execute(rows.STORE_ROW.replace(", checksum", ""))
            checksum = crc32(repr((format, id, version, 1, writer, paused)).encode())
            program.execute("UPDATE store SET epoch = 1, checksum = ?", (checksum,))
        assert store.commit([seeing(lambda view: view.epoch)]) == [1]
        assert not engine.verify().ok
        store.rebuild()
        assert engine.verify().ok
        assert store.commit([seeing(lambda view: view.epoch)]) == [0]
    store.close()


# --- bounds of what is kept -------------------------------------------------------------------------------------------


def test_no_more_queues_are_kept_than_their_bound(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimates, "QUEUES_KEPT_MAX", 4)
    monkeypatch.setattr(estimates, "GATES_KEPT_MAX", 16)
    store = store_of(engine)
    assert isinstance(store, SqliteStore)
    for number in range(20):
        engine.create("build", id=f"t{number}", queue=f"queue {number}")
        assert len(engine.claim(f"queue {number}", owner="ann", ttl_ms=LONG_MS)) == 1
        assert engine.claim(f"queue {number}", owner="ann", ttl_ms=LONG_MS, purpose="undo") == []
        assert len(store._fold_cache.estimates._values) <= 16
        assert len(store._fold_cache.estimates._due_ms) <= 4

"""What one transaction knows of tasks serves the next: while no other process has written, never after a failure."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import sagalog
from sagalog import failpoints
from sagalog.testing import ManualClock
from sagalog_sqlite import estimates, fold_cache
from sagalog_sqlite.store import SqliteStore
from tests.adapters.sqlite.stores import raw
from tests.store_of import store_of


@pytest.fixture
def engine(path: Path) -> Iterator[sagalog.Engine]:
    with sagalog.open(f"sqlite:///{path}") as engine:
        yield engine
        assert engine.verify().ok


def leased(engine: sagalog.Engine, id: str) -> sagalog.Lease:
    engine.create("build", id=id)
    return engine.acquire(id, owner="ann", ttl_ms=60_000)


def test_what_another_process_has_written_is_seen_at_once(engine: sagalog.Engine, path: Path) -> None:
    """[LEASE-1] [FENCE-2]"""
    lease = leased(engine, "a")
    with sagalog.open(f"sqlite:///{path}") as other:
        other.cancel("a", "not needed", now=True)
        with pytest.raises(sagalog.LeaseLost):
            lease.complete()
        other.create("build", id="b")
        mine = engine.acquire("b", owner="ann", ttl_ms=60_000)
        with pytest.raises(sagalog.LeaseHeld):
            other.acquire("b", owner="bob", ttl_ms=60_000)
        assert mine.heartbeat(120_000).ttl_ms == 120_000
        assert other.get("b").lease.ttl_ms == 120_000  # type: ignore[union-attr]


def test_nothing_that_a_failed_transaction_decided_is_believed(engine: sagalog.Engine) -> None:
    """[LOG-2]"""
    lease = leased(engine, "a")

    def fail() -> None:
        raise OSError("broken")

    failpoints.armed["commit.before_commit"] = fail
    try:
        with pytest.raises(OSError, match="broken"):
            lease.complete()
    finally:
        del failpoints.armed["commit.before_commit"]
    assert lease.heartbeat(90_000).task.state == "running"
    assert lease.complete().state == "completed"


def test_a_row_that_another_connection_changed_is_put_right(engine: sagalog.Engine, path: Path) -> None:
    """[RECORD-3]"""
    engine.create("build", id="a")
    other = raw(path)
    other.execute("UPDATE tasks SET priority = 7")
    other.close()
    assert not engine.verify().ok
    [lease] = engine.claim("default", owner="ann", ttl_ms=60_000)
    assert lease.task.priority == 0


def test_what_is_kept_is_little_however_many_tasks_there_are(
    engine: sagalog.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fold_cache, "TASKS_MAX", 10)
    store = store_of(engine)
    for number in range(5):
        engine.create_many({"kind": "build", "id": f"{number}-{one}"} for one in range(7))
        assert len(store._fold_cache.streams) <= 10  # type: ignore[attr-defined]
    leases = engine.claim("default", owner="ann", ttl_ms=60_000, limit=40)
    assert len(leases) == 35
    for lease in leases:
        lease.complete()
    assert not store._fold_cache.streams  # type: ignore[attr-defined]


def test_a_task_with_a_long_story_is_not_kept(engine: sagalog.Engine) -> None:
    lease = leased(engine, "a")
    for number in range(fold_cache.LENGTH_MAX):
        lease = lease.step(f"step{number}")
    assert not store_of(engine)._fold_cache.streams  # type: ignore[attr-defined]


def test_a_rebuild_believes_nothing_that_was_kept(engine: sagalog.Engine, path: Path) -> None:
    lease = leased(engine, "a")
    engine.rebuild()
    assert lease.heartbeat(90_000).ttl_ms == 90_000


def test_a_waiter_that_is_kept_is_woken_by_the_end_it_waits_for(engine: sagalog.Engine) -> None:
    """[WAIT-3]"""
    child = leased(engine, "child")
    leased(engine, "parent").park("kid", after=["child"])
    child.complete()
    [lease] = engine.claim("default", owner="ann", ttl_ms=60_000)
    assert lease.task.waits == {"kid": 1}


def test_what_is_known_of_a_queue_is_asked_again_after_a_foreign_write(engine: sagalog.Engine, path: Path) -> None:
    """[UPKEEP-2] [WAIT-3] Another connection has written.

    Kinds at the gates, times that come, suspects, and whether any task waits for another.
    """
    with sagalog.open(f"sqlite:///{path}") as other:
        assert engine.claim("q", owner="ann", ttl_ms=60_000) == []
        other.create("new kind", id="a", queue="q")
        (lease,) = engine.claim("q", owner="ann", ttl_ms=60_000)
        other.create("build", id="w")
        other.acquire("w", owner="bob", ttl_ms=60_000).park("done", after=["a"])
        lease.complete()
        assert engine.claim("default", owner="ann", ttl_ms=60_000)[0].task.id == "w"
        other.create("build", id="late", queue="q", run_at_ms=0)
        assert [one.task.id for one in engine.claim("q", owner="ann", ttl_ms=60_000)] == ["late"]


def test_a_kind_that_comes_back_to_a_gate_is_found_there_again(engine: sagalog.Engine) -> None:
    """An estimate shrinks where nothing was found, and grows with what this process writes."""
    for round_ in range(3):
        assert engine.claim("q", owner="ann", ttl_ms=60_000) == []
        for kind in ("build", "test"):
            engine.create(kind, id=f"{kind}{round_}", queue="q")
        for lease in engine.claim("q", owner="ann", ttl_ms=60_000, limit=2):
            lease.complete()
    assert {task.state for task in engine.find()} == {"completed"}


def test_a_queue_of_very_many_kinds_is_claimed_from_like_any_other(engine: sagalog.Engine) -> None:
    count = estimates.VALUES_MAX + 2
    assert engine.claim("q", owner="ann", ttl_ms=60_000) == []
    for number in range(count):
        engine.create(f"kind {number}", queue="q")
    claimed = [lease.task.kind for _ in range(count) for lease in engine.claim("q", owner="ann", ttl_ms=60_000)]
    assert claimed == [f"kind {number}" for number in range(count)]
    assert engine.claim("q", owner="ann", ttl_ms=60_000) == []


def test_maintenance_finds_a_lease_that_ends_after_nothing_was_due(path: Path) -> None:
    """[LEASE-4] The earliest time at which something may be due is kept, and what is written may move it forward."""
    clock = ManualClock(1_700_000_000_000)
    with sagalog.open(f"sqlite:///{path}", clock=clock) as engine:
        assert engine.claim("q", owner="ann", ttl_ms=1_000) == []
        engine.create("build", id="a", queue="q")
        engine.create("build", id="b", queue="q", run_at_ms=clock.now_ms() + 500)
        engine.claim("q", owner="ann", ttl_ms=1_000)
        clock.advance(500)
        assert [one.task.id for one in engine.claim("q", owner="bob", ttl_ms=10_000)] == ["b"]
        clock.advance(500)
        assert [one.task.id for one in engine.claim("q", owner="bob", ttl_ms=10_000)] == ["a"]


def test_a_task_that_begins_to_wait_later_is_told_of_the_end(
    engine: sagalog.Engine,
) -> None:
    """[WAIT-3] Other ends were told to no task before.

    In a queue of which it was known that nothing there would ever be due.
    """
    leased(engine, "before").complete()
    awaited, waiter = leased(engine, "awaited"), leased(engine, "waiter")
    waiter.park("done", after=["awaited"])
    assert engine.claim("default", owner="bob", ttl_ms=60_000) == []
    awaited.complete()
    assert [one.task.id for one in engine.claim("default", owner="bob", ttl_ms=60_000)] == ["waiter"]


def test_no_more_kinds_of_a_queue_are_kept_than_its_bound(
    engine: sagalog.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimates, "VALUES_MAX", 2)
    assert engine.claim("q", owner="ann", ttl_ms=60_000) == []
    for kind in ("a", "b", "c"):
        engine.create(kind, queue="q")
    store = store_of(engine)
    assert isinstance(store, SqliteStore)
    assert store._fold_cache.estimates.values("ready", "q") is None


def test_nothing_is_believed_of_a_transaction_that_was_interrupted_twice(
    engine: sagalog.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """[LOG-1] [LOG-2] Its failing was interrupted as well.

    Two signals at once: the second strikes before anything can be forgotten.
    """
    engine.create("build", id="a", queue="q")
    store = store_of(engine)
    assert isinstance(store, SqliteStore)

    def interrupt() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setitem(failpoints.armed, "commit.before_commit", interrupt)
        patch.setattr(store._fold_cache, "forget", interrupt)
        with pytest.raises(KeyboardInterrupt):
            engine.claim("q", owner="ann", ttl_ms=60_000)
        with pytest.raises(KeyboardInterrupt):
            engine.cancel("a")
    (lease,) = engine.claim("q", owner="ann", ttl_ms=60_000)
    assert lease.fence == 1
    engine.note("a", "seen")
    assert [one.version for one in engine.history("a")] == [1, 2, 3]


def test_a_changed_row_is_put_right_after_its_task_was_loaded(engine: sagalog.Engine, path: Path) -> None:
    """[LOG-5] The task was loaded for something else. A repeat reads the task, and does not look at its row."""
    leased(engine, "a")
    raw(path).execute("UPDATE tasks SET gate = 'ready'")
    engine.create("build", id="a")
    engine.create("build", id="b")
    claims = [engine.claim("default", owner="ann", ttl_ms=60_000) for _ in range(2)]
    assert [[lease.task.id for lease in leases] for leases in claims] == [["b"], []]

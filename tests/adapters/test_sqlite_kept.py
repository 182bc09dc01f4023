"""What one transaction knows of tasks serves the next: while nobody else has written, and never after a failure."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import sagalog
from sagalog import failpoints
from sagalog_sqlite import kept
from tests.adapters.sqlite_making import raw


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


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


def test_a_row_that_somebody_changed_is_put_right(engine: sagalog.Engine, path: Path) -> None:
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
    monkeypatch.setattr(kept, "TASKS_MAX", 10)
    store = engine._store
    for number in range(5):
        engine.create_many({"kind": "build", "id": f"{number}-{one}"} for one in range(7))
        assert len(list(store._kept)) <= 10  # type: ignore[attr-defined]
    leases = engine.claim("default", owner="ann", ttl_ms=60_000, limit=40)
    assert len(leases) == 35
    for lease in leases:
        lease.complete()
    assert not list(store._kept)  # type: ignore[attr-defined]


def test_a_task_with_a_long_story_is_not_kept(engine: sagalog.Engine) -> None:
    lease = leased(engine, "a")
    for number in range(kept.LENGTH_MAX):
        lease = lease.step(f"step{number}")
    assert not list(engine._store._kept)  # type: ignore[attr-defined]


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

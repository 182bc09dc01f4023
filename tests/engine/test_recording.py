"""Steps, artifacts, inputs and waits through the public calls; the contract suite holds what every store must do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

import sagalog
from sagalog.testing import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_000)


@pytest.fixture
def engine(clock: ManualClock) -> Iterator[sagalog.Engine]:
    with sagalog.open("memory:", clock=clock) as engine:
        yield engine


def lease_of(engine: sagalog.Engine, id: str) -> sagalog.Lease:
    return engine.acquire(id, owner="ann", ttl_ms=1_000)


def test_bytes_come_back_as_they_were_given_and_are_told_apart_by_task(engine: sagalog.Engine) -> None:
    """[BLOB-1]"""
    engine.create("build", id="a", inputs={"spec": b"\x00\xff", "empty": b""})
    engine.create("build", id="b", inputs={"spec": b"other"})
    lease_of(engine, "a").put_artifact("log", b"first", "text/plain").release()
    lease_of(engine, "a").put_artifact("log", b"second", "text/plain")

    assert (engine.input("a", "spec"), engine.input("a", "empty")) == (b"\x00\xff", b"")
    assert engine.input("b", "spec") == b"other"
    assert engine.artifact("a", "log").data == b"second"
    with pytest.raises(sagalog.NotFound, match="no artifact 'spec'; it has: \\['log'\\]"):
        engine.artifact("a", "spec")


def test_bytes_that_were_changed_in_the_file_are_told_as_corrupt(tmp_path: Path) -> None:
    """[BLOB-1]"""
    url = f"sqlite:///{tmp_path}/store.db"
    with sagalog.open(url) as engine:
        engine.create("build", id="a", inputs={"spec": b"right"})
    raw = apsw.Connection(f"{tmp_path}/store.db")
    raw.execute("DROP TRIGGER blobs_are_not_changed; UPDATE blobs SET data = x'00'")
    raw.close()
    with sagalog.open(url) as engine:
        with pytest.raises(sagalog.Corrupt, match="'spec' of task 'a' is changed"):
            engine.input("a", "spec")
        assert not engine.verify().ok


def test_tasks_do_not_wait_for_one_another_in_a_circle(engine: sagalog.Engine) -> None:
    """[WAIT-4]"""
    for id in ("a", "b", "c"):
        engine.create("build", id=id)
    lease_of(engine, "a").park("others", after=["b"])
    lease_of(engine, "b").park("others", after=["c"])
    last = lease_of(engine, "c")
    with pytest.raises(sagalog.Rejected, match="neither would ever go on"):
        last.park("others", after=["a"])
    with pytest.raises(sagalog.Rejected, match="its own end"):
        last.park("others", after=["c"])
    with pytest.raises(sagalog.NotFound, match="no such task"):
        last.park("others", after=["nobody"])
    last.complete()
    engine.acquire("b", owner="ann", ttl_ms=1_000).complete()
    assert engine.acquire("a", owner="ann", ttl_ms=1_000).task.waits == {"others": 1}


def test_a_wait_for_a_signal_or_a_time_ends_with_whichever_comes_first(
    engine: sagalog.Engine, clock: ManualClock
) -> None:
    """[WAIT-1] [WAIT-2]"""
    engine.create("build", id="a")
    lease_of(engine, "a").park("approval", signal="approved", until_ms=1_500)
    with pytest.raises(sagalog.Blocked, match="waits for the signal 'approved' until 1500 ms"):
        lease_of(engine, "a")
    clock.advance(500)
    lease = lease_of(engine, "a")
    assert engine.wait_end("a", "approval") == sagalog.WaitOutcome("approval", "time")
    engine.signal("a", "approved", {"by": "bob"})
    with pytest.raises(sagalog.WaitOver, match="its answer is on record"):
        lease.park("approval", signal="approved")
    assert lease.park("late", signal="approved").waiting is None
    assert engine.wait_end("a", "late") == sagalog.WaitOutcome("late", "signal", {"by": "bob"})

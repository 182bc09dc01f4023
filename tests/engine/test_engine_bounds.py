"""A stream at its bound: nothing more is begun, everything that ends or settles still fits. [BOUND-2]"""

from __future__ import annotations

import pytest

from sagalog import Engine, Lease, OverBound
from sagalog.kernel.bounds import STREAM_EVENTS_MAX, STREAM_EVENTS_RESERVE
from sagalog.testing import ManualClock
from tests.engine.checking import CLOSE, REMOVE, TTL_MS, get, refused, types

FULL = STREAM_EVENTS_MAX - STREAM_EVENTS_RESERVE


@pytest.fixture
def full(engine: Engine) -> Engine:
    """A task that holds a lease and has no room for anything but its end."""
    engine.create("build", id="t", compensations=[REMOVE], priority=-1)
    engine.acquire("t", owner="ann", ttl_ms=TTL_MS)
    with engine.batch() as batch:
        for number in range(FULL - 2):
            batch.note("t", str(number))
    return engine


def test_what_neither_ends_nor_settles_is_refused_by_name(full: Engine) -> None:
    refusal = refused(full, OverBound, full.note, "t", "one more")
    assert (refusal.bound, refusal.maximum, refusal.task) == ("stream_events", FULL, "t")


def test_heartbeats_and_every_end_still_fit(full: Engine, clock: ManualClock) -> None:
    lease = Lease(get(full), full._executor)
    clock.advance(1)
    lease = lease.heartbeat()
    refused(full, OverBound, lease.register, CLOSE)
    lease.fail("no way on", [CLOSE])
    assert types(full, "t")[-2:] == ["compensation_registered", "failed"]
    full.waive("t", "close", "gone")
    assert full.waive("t", "remove", "gone").state == "compensated"
    assert full.verify().ok


def test_a_task_without_room_for_a_lease_blocks_no_claim(full: Engine) -> None:
    """No claim finds it first."""
    full.create("build", id="u")
    Lease(get(full), full._executor).release()
    [lease] = full.claim("default", owner="bob", ttl_ms=TTL_MS, limit=2)
    assert lease.task.id == "u"
    task = get(full)
    assert (task.state, task.code, [one.id for one in task.owed]) == ("quarantined", "bound", ["remove"])

"""Clocks that jump: no jump makes a lease immortal, and none lets a late writer in. [TIME-2] [TIME-3] [FENCE-2]"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from sagalog import Engine, LeaseLost, Retry
from sagalog.kernel.bounds import TIME_MS_MAX
from sagalog.kernel.events import LeaseExpired
from sagalog.kernel.values import Seen
from sagalog.store.memory import MemoryStore
from sagalog.store.memory_snapshot import MemorySnapshot
from sagalog.testing import ManualClock
from sagalog.testing.history import check
from tests.conftest import START_MS, OpenEngine
from tests.engine.checking import REMOVE, TTL_MS, get, leased, log_of, refused, types, unchanged, undoing

HOUR_MS = 3_600_000


def expiry(engine: Engine, id: str = "t") -> LeaseExpired:
    """The newest expiry of a task."""
    return [one.event for one in engine.history(id) if isinstance(one.event, LeaseExpired)][-1]


@pytest.fixture(params=["claim", "recover"])
def look(request: pytest.FixtureRequest, engine: Engine) -> object:
    """One of the two calls that look at leases from the future; gives how many events it wrote."""

    def look_() -> int:
        before = len(log_of(engine))
        if request.param == "claim":
            engine.claim("default", owner="bob", ttl_ms=TTL_MS)
        else:
            engine.recover()
        return len(log_of(engine)) - before

    return look_


def test_a_lease_is_not_immortal_after_the_clock_was_set_back(engine: Engine, clock: ManualClock, look: object) -> None:
    assert callable(look)
    lease = leased(engine)
    clock.step(-HOUR_MS)
    assert look() == 0
    clock.advance(TTL_MS - 1)
    assert look() == 0
    clock.advance(1)
    assert look() >= 1
    assert expiry(engine) == LeaseExpired(1, "expire", "unseen", Seen(1, START_MS, TTL_MS))
    for verb in (lease.heartbeat, lease.complete, lambda: lease.fail("x", [REMOVE])):
        refused(engine, LeaseLost, verb)
    assert check(log_of(engine)) == []
    assert engine.verify().ok


def test_the_observer_starts_anew_when_the_lease_was_renewed(engine: Engine, clock: ManualClock, look: object) -> None:
    assert callable(look)
    lease = leased(engine)
    clock.step(-HOUR_MS)
    look()
    clock.advance(TTL_MS - 1)
    clock.step(-1)
    renewed = lease.heartbeat()
    assert renewed.expires_ms == START_MS - HOUR_MS + TTL_MS - 2 + TTL_MS
    clock.step(-10)
    clock.advance(1)
    assert look() == 0
    clock.advance(8)
    assert look() == 0


def test_an_observer_that_looked_once_only_says_nothing(engine: Engine, clock: ManualClock) -> None:
    leased(engine)
    clock.step(-HOUR_MS)
    clock.advance(10 * TTL_MS)
    assert unchanged(engine, engine.recover) == []


def test_a_new_engine_has_seen_nothing_yet(open_engine: OpenEngine, store_url: str, clock: ManualClock) -> None:
    if store_url == "memory:":
        pytest.skip("a memory store has one engine")
    engine = open_engine()
    leased(engine)
    clock.step(-HOUR_MS)
    engine.recover()
    clock.advance(TTL_MS)
    other = open_engine()
    assert unchanged(other, other.recover) == []
    assert [one.task for one in engine.recover()] == ["t"]


def test_a_lease_without_end_stays_whatever_the_clock_does(engine: Engine, clock: ManualClock) -> None:
    engine.create("build", id="t")
    engine.acquire("t", owner="ann", ttl_ms=None)
    clock.step(-HOUR_MS)
    engine.recover()
    clock.advance(100 * HOUR_MS)
    assert unchanged(engine, engine.recover) == []


def test_an_undo_is_watched_as_well(engine: Engine, clock: ManualClock) -> None:
    undoing(engine)
    clock.step(-HOUR_MS)
    engine.recover()
    clock.advance(TTL_MS)
    assert [one.state for one in engine.recover()] == ["compensating"]
    assert expiry(engine).why == "unseen"


def test_a_jump_of_an_hour_lets_others_take_over_and_fences_the_late_writer(engine: Engine, clock: ManualClock) -> None:
    late = leased(engine)
    clock.step(HOUR_MS)
    refused(engine, LeaseLost, late.heartbeat)
    [holder] = engine.claim("default", owner="bob", ttl_ms=TTL_MS)
    assert (holder.fence, expiry(engine).why) == (2, "clock")
    for verb in (late.complete, late.release, late.heartbeat, lambda: late.retry("x"), lambda: late.register(REMOVE)):
        assert refused(engine, LeaseLost, verb).current == 2
    clock.step(-HOUR_MS)
    refused(engine, LeaseLost, late.complete)
    assert holder.complete("by bob").result == "by bob"


def test_a_clock_that_steps_back_orders_nothing_anew(engine: Engine, clock: ManualClock) -> None:
    lease = leased(engine)
    clock.step(-HOUR_MS)
    lease.complete()
    engine.create("build", id="u")
    assert [one.at_ms - START_MS for one in log_of(engine)] == [0, 0, 0, -HOUR_MS, -HOUR_MS]
    assert [one.position for one in log_of(engine)] == [1, 2, 3, 4, 5]
    assert get(engine).updated_ms == START_MS - HOUR_MS
    assert engine.verify().ok


def test_a_heartbeat_after_the_clock_was_set_back_moves_the_expiry_with_it(engine: Engine, clock: ManualClock) -> None:
    lease = leased(engine)
    clock.step(-HOUR_MS)
    renewed = lease.heartbeat()
    assert renewed.expires_ms == START_MS - HOUR_MS + TTL_MS
    assert types(engine, "t") == ["created", "leased", "heartbeat"]
    clock.advance(TTL_MS)
    assert [task.id for task in engine.stale()] == ["t"]


def test_a_call_that_has_no_reason_to_doubt_the_clock_looks_once_a_minute(clock: ManualClock) -> None:
    store = CountedReads(clock)
    with Engine(store, clock=clock) as engine:
        engine.create_many({"kind": "build"} for _ in range(6))

        def reads_of_a_claim() -> int:
            before = store.reads
            [lease] = engine.claim("default", owner="ann", ttl_ms=TTL_MS)
            lease.complete()
            return store.reads - before

        assert [reads_of_a_claim() for _ in range(3)] == [1, 0, 0]
        clock.advance(60_000)
        assert [reads_of_a_claim() for _ in range(2)] == [1, 0]
        clock.step(-1)
        assert reads_of_a_claim() == 1


class CountedReads(MemoryStore):
    """Counts its snapshots."""

    reads = 0

    @contextmanager
    def read(self) -> Iterator[MemorySnapshot]:
        self.reads += 1
        with super().read() as snapshot:
            yield snapshot


def test_delayed_work_waits_for_the_wall_clock(engine: Engine, clock: ManualClock) -> None:
    engine.create("build", id="t", run_at_ms=START_MS + HOUR_MS)
    clock.step(HOUR_MS)
    assert len(engine.claim("default", owner="ann", ttl_ms=TTL_MS)) == 1


def test_work_that_was_let_in_stays_in_when_the_clock_steps_back(engine: Engine, clock: ManualClock) -> None:
    engine.create("build", id="a", run_at_ms=START_MS + 10)
    engine.create("build", id="b", priority=-1)
    clock.advance(10)
    assert engine.claim("default", owner="ann", ttl_ms=TTL_MS)[0].task.id == "b"
    clock.step(-HOUR_MS)
    assert [lease.task.id for lease in engine.claim("default", owner="ann", ttl_ms=TTL_MS)] == ["a"]


def test_no_time_lies_beyond_the_bound_however_far_the_clock_has_gone(engine: Engine, clock: ManualClock) -> None:
    """[TIME-4]"""
    clock.step(TIME_MS_MAX - TTL_MS - clock.now_ms())
    engine.create("build", id="t", retry=Retry(delay_min_ms=HOUR_MS, delay_max_ms=HOUR_MS, undo_attempts_max=9))
    lease = engine.acquire("t", owner="ann", ttl_ms=HOUR_MS)
    assert lease.expires_ms == TIME_MS_MAX
    clock.advance(1)
    assert lease.heartbeat(2 * HOUR_MS).expires_ms == TIME_MS_MAX
    assert lease.retry("again").run_at_ms == TIME_MS_MAX
    engine.create("build", id="u", compensations=[REMOVE])
    engine.acquire("u", owner="ann", ttl_ms=1).fail("no")
    undo = engine.acquire("u", owner="ann", ttl_ms=1, purpose="undo")
    assert undo.compensation_failed("remove", "no", retry_after_ms=TIME_MS_MAX).run_at_ms == TIME_MS_MAX
    assert engine.verify().ok

"""Clocks that jump: no jump makes a lease immortal, and none lets a late writer in. [TIME-2] [TIME-3] [FENCE-2]"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from sagalog import Engine, LeaseLost, Retry, Unavailable
from sagalog.engine.local_executor import LocalExecutor
from sagalog.kernel.bounds import TIME_MS_MAX
from sagalog.kernel.events import LeaseExpired
from sagalog.kernel.values import Seen
from sagalog.store import Operation
from sagalog.store.memory import MemoryStore
from sagalog.store.memory_snapshot import MemorySnapshot
from sagalog.testing import ManualClock
from sagalog.testing.history import check
from sagalog.validation.commands import claim
from tests.conftest import START_MS, OpenEngine
from tests.engine.checking import REMOVE, TTL_MS, get, leased, log_of, refused, types, unchanged, undoing
from tests.store_of import store_of

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


def test_a_jump_of_an_hour_lets_others_take_over_and_fences_the_writer(engine: Engine, clock: ManualClock) -> None:
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


class Looks:
    """An engine on memory whose queue `b` has leases and delayed tasks that lie ahead of a clock which was set back.

    Its queue `a` has work; `count` says how many looks at all leases there were.
    """

    def __init__(self, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = clock
        self.count = 0
        self.engine = Engine(MemoryStore(clock), clock=clock)
        self.engine.create_many({"kind": "build", "queue": "b", "id": f"b{number}"} for number in range(9))
        assert len(self.engine.claim("b", owner="gone", ttl_ms=TTL_MS, limit=9)) == 9
        self.engine.create("build", id="delayed", queue="b", run_at_ms=clock.now_ms() + TTL_MS + 5)
        self.engine.create("build", id="far", queue="b", run_at_ms=clock.now_ms() + HOUR_MS)
        self.engine.create_many({"kind": "build", "queue": "a"} for _ in range(60))
        clock.step(-24 * HOUR_MS)
        behind = MemorySnapshot.behind

        def counted(snapshot: MemorySnapshot, now_ms: int) -> object:
            self.count += 1
            return behind(snapshot, now_ms)

        monkeypatch.setattr(MemorySnapshot, "behind", counted)

    def claim(self, queue: str | tuple[str, ...], **arguments: Any) -> list[str]:
        leases = self.engine.claim(queue, owner="ann", ttl_ms=None, **arguments)
        ids = [lease.task.id for lease in leases]
        for lease in leases:
            lease.complete()
        return ids

    def looks_of(self, call: Callable[[], object], times: int = 5) -> list[int]:
        """How many looks each call of some made, a millisecond after the other."""
        looks = []
        for _ in range(times):
            before = self.count
            call()
            looks.append(self.count - before)
            self.clock.advance(1)
        return looks


@pytest.fixture
def looks(clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Looks]:
    looks = Looks(clock, monkeypatch)
    yield looks
    looks.engine.close()


def test_what_is_over_in_another_queue_has_no_claim_look_again(looks: Looks) -> None:
    """[TIME-3]"""
    calls: list[Callable[[], object]] = [
        lambda: looks.claim("a"),
        lambda: looks.claim("a", kinds=["none"]),
        lambda: looks.claim("a", kinds=["none"], wait_ms=0),
        lambda: looks.engine.recover(queues=["a"]),
    ]
    assert looks.looks_of(calls[0]) == [1, 0, 0, 0, 0]
    looks.clock.advance(TTL_MS + 9)
    for call in calls:
        assert looks.looks_of(call) == [0] * 5
    looks.clock.advance(60_000)
    for first, call in zip((1, 0, 0, 0), calls, strict=True):
        assert looks.looks_of(call) == [first, 0, 0, 0, 0]


def test_a_claim_that_waits_looks_no_more_often_than_one_that_does_not(
    looks: Looks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """[TIME-3]"""
    request = claim("nothing", "ann", None, 1, None, None, "work", None)
    looks.claim("nothing")
    looks.clock.advance(TTL_MS + 9)
    sliced = 0

    def slice_of_it(*_: object) -> None:
        nonlocal sliced
        sliced += 1
        looks.clock.advance(100)

    executor = looks.engine._executor
    assert isinstance(executor, LocalExecutor)
    monkeypatch.setattr(executor.store, "wait_change", slice_of_it)
    assert executor.claim_later(request, 30_000) == []
    assert (sliced, looks.count) == (300, 1)


def test_a_claim_of_another_queue_finds_what_was_seen_for_long_enough(looks: Looks) -> None:
    """[TIME-3] The same caller saw it earlier."""
    looks.claim("a")
    looks.clock.advance(TTL_MS)
    assert len(looks.claim("b", limit=99)) == 9
    assert looks.claim("b", limit=99) == []
    looks.clock.advance(5)
    assert looks.claim(("a", "b"), limit=99)[0] == "delayed"
    assert looks.count == 1
    looks.clock.advance(HOUR_MS)
    assert looks.claim("b") == ["far"]


def test_the_next_call_ends_what_a_failed_commit_left_over(looks: Looks) -> None:
    """[TIME-3] It ends what a limit left over, too."""
    looks.claim("a")
    looks.clock.advance(TTL_MS)
    store = store_of(looks.engine)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "commit", failing)
        with pytest.raises(Unavailable):
            looks.claim("b")
    assert len(looks.engine.recover(limit=4)) == 4
    assert len(looks.engine.recover()) == 5
    assert looks.count == 1


def test_a_lease_renewed_meanwhile_is_left_alone(
    engine: Engine, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """[TIME-3] No claim has to look at it again."""
    lease = leased(engine)
    clock.step(-HOUR_MS)
    engine.recover()
    clock.advance(TTL_MS - 1)
    lease.heartbeat()
    clock.advance(1)
    commits = 0
    store = store_of(engine)
    commit = store.commit

    def counted(operations: Sequence[Operation]) -> list[Any]:
        nonlocal commits
        commits += 1
        return commit(operations)

    monkeypatch.setattr(store, "commit", counted)
    for needed in (2, 1, 1):
        commits = 0
        assert unchanged(engine, engine.recover) == []
        assert commits == needed


def failing(_: object) -> object:
    raise Unavailable("the disk is full")


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

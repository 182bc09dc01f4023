"""Reading: listings, counts, histories, pages of the log, and waiting for an end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

import sagalog
from sagalog import Engine, InvalidValue, NotFound, State, Task
from sagalog.codec import digest_of
from sagalog.system import SystemClock
from sagalog.testing import ManualClock
from tests.conftest import START_MS, OpenEngine
from tests.engine.checking import REMOVE, TTL_MS, get, leased, refused, undoing


@pytest.fixture
def many(engine: Engine) -> Engine:
    """Tasks of several queues, kinds, tags and states, in the order d, a, c, b."""
    engine.create("build", id="d", queue="left", tags={"team": "red", "size": "s"})
    engine.create("test", id="a", queue="right", tags={"team": "red"})
    engine.create("build", id="c", queue="left", tags={"team": "blue", "size": "s"})
    leased(engine, "b", queue="left", tags={"team": "red"}).complete()
    return engine


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, "dacb"),
        ({"queue": "left"}, "dcb"),
        ({"kind": "test"}, "a"),
        ({"state": "pending"}, "dac"),
        ({"state": State.COMPLETED}, "b"),
        ({"state": "quarantined"}, ""),
        ({"tags": {}}, "dacb"),
        ({"tags": {"team": "red"}}, "dab"),
        ({"tags": {"team": "red", "size": "s"}}, "d"),
        ({"tags": {"size": "m"}}, ""),
        ({"tags": {"team": "red"}, "queue": "left"}, "db"),
        ({"tags": {"team": "red"}, "queue": "left", "state": "completed", "kind": "build"}, "b"),
        ({"limit": 2}, "da"),
        ({"queue": "left", "limit": 2}, "dc"),
        ({"tags": {"team": "red"}, "limit": 2}, "da"),
        ({"queue": "nowhere"}, ""),
    ],
)
def test_tasks_are_found_by_everything_that_was_asked_in_order_of_creation(
    many: Engine, filters: dict[str, object], expected: str
) -> None:
    found = many.find(**filters)  # type: ignore[arg-type]
    assert [task.id for task in found] == list(expected)
    assert found == [get(many, id) for id in expected]


def test_tasks_are_counted_by_queue_and_state(many: Engine) -> None:
    assert many.counts() == {"left": {"pending": 2, "completed": 1}, "right": {"pending": 1}}
    assert many.counts("right") == {"right": {"pending": 1}}
    assert many.counts("nowhere") == {}


def test_stale_tasks_are_those_whose_lease_is_over_and_not_ended(engine: Engine, clock: ManualClock) -> None:
    leased(engine, "a")
    engine.create("build", id="b")
    engine.acquire("b", owner="ann", ttl_ms=None)
    clock.advance(1)
    undoing(engine, "c")
    clock.advance(TTL_MS - 1)
    assert [task.id for task in engine.stale()] == ["a"]
    clock.advance(1)
    assert {task.id for task in engine.stale()} == {"a", "c"}
    engine.recover()
    assert engine.stale() == []


def test_a_history_has_every_event_with_its_envelope(engine: Engine, clock: ManualClock) -> None:
    lease = leased(engine)
    clock.advance(7)
    lease.complete("done")
    history = engine.history("t")
    assert [(one.version, one.type, one.at_ms) for one in history] == [
        (1, "created", START_MS), (2, "leased", START_MS), (3, "completed", START_MS + 7),
    ]  # fmt: skip
    assert [one.position for one in history] == [2, 3, 4]
    assert [one.name for one in history] == ["task/t@1", "task/t@2", "task/t@3"]
    assert all(digest_of(one) == one.digest and one.schema == 1 for one in history)
    assert history[2].event.result == "done"  # type: ignore[attr-defined]


def test_the_history_of_a_missing_task_is_not_found(engine: Engine) -> None:
    assert refused(engine, NotFound, engine.history, "nobody").task == "nobody"
    assert engine.get("nobody") is None


def test_the_log_is_read_page_by_page(engine: Engine) -> None:
    for number in range(7):
        engine.create("build", id=str(number))
    pages, after = [], 0
    while page := engine.events(after=after, limit=3):
        pages.append([one.position for one in page])
        after = page[-1].position
    assert pages == [[1, 2, 3], [4, 5, 6], [7, 8]]
    assert [one.type for one in engine.events(limit=2)] == ["founded", "created"]
    refused(engine, InvalidValue, engine.events, 0, 10_001)


def test_a_picture_of_a_task_does_not_change_with_the_task(engine: Engine) -> None:
    before = engine.create("build", {"list": [1]}, id="t")
    engine.acquire("t", owner="ann", ttl_ms=TTL_MS).complete()
    assert (before.state, before.version) == ("pending", 1)
    after = get(engine)
    assert after != before
    assert after == get(engine)
    with pytest.raises(AttributeError):
        after.state = State.FAILED  # type: ignore[misc]


def test_waiting_gives_the_task_that_has_ended(engine: Engine) -> None:
    leased(engine).complete(42)
    task = engine.wait("t", 0)
    assert isinstance(task, Task)
    assert (task.state, task.result) == ("completed", 42)


def test_waiting_for_a_missing_task_is_not_found(engine: Engine) -> None:
    refused(engine, NotFound, engine.wait, "nobody", 10)


def test_waiting_ends_with_its_time(engine: Engine) -> None:
    leased(engine, compensations=[REMOVE]).fail("x")
    with pytest.raises(TimeoutError, match="compensating"):
        engine.wait("t", 0)


def _eventually(act: Callable[[], object]) -> threading.Thread:
    """Act in another thread, a little later: the waiting has begun by then, or is about to; both must do."""

    def later() -> None:
        time.sleep(0.02)
        act()

    thread = threading.Thread(target=later)
    thread.start()
    return thread


def test_waiting_is_measured_on_the_monotonic_clock(engine: Engine, clock: ManualClock) -> None:
    """What the wall clock does is no matter."""

    def let_time_pass() -> None:
        clock.step(-(10**9))
        clock.advance(50)

    engine.create("build", id="t")
    clock.step(10**9)
    thread = _eventually(let_time_pass)
    with pytest.raises(TimeoutError):
        engine.wait("t", 50)
    thread.join()


def test_a_waiter_is_woken_when_the_task_ends(open_engine: OpenEngine) -> None:
    engine = open_engine(clock=SystemClock())
    lease = leased(engine)
    thread = _eventually(lease.complete)
    assert engine.wait("t", 30_000).state == "completed"
    thread.join()


def test_a_waiter_sees_what_another_engine_on_the_same_file_does(sqlite_url: str) -> None:
    with sagalog.open(sqlite_url, durability="normal") as engine, sagalog.open(sqlite_url) as other:
        engine.create("build", id="t")
        thread = _eventually(lambda: other.cancel("t", "called off"))
        assert engine.wait("t", 30_000).state == "cancelled"
        thread.join()


# --- histories of what is no task -----------------------------------------------------------------------------------


def test_the_history_of_a_limit_tells_what_changed_its_breaker(engine: Engine) -> None:
    """[BREAKER-1] Also after the limit was removed."""
    engine.set_limit("provider", breaker=sagalog.Breaker(1))
    task = leased(engine, "t", uses={"provider": 1}).retry(
        sagalog.Failure("down", "503", limit="provider"), budget="transient"
    )
    engine.cancel("t")
    engine.remove_limit("provider")

    told = engine.history(limit="provider")

    assert [one.type for one in told] == ["limit_set", "limit_breaker_opened", "limit_removed"]
    assert [one.stream for one in told] == ["limit/provider"] * 3
    assert told[1].cause == f"task/{task.id}@{task.version}"


def test_queues_and_schedules_have_histories(engine: Engine) -> None:
    engine.limit_queue("left", slots=1)
    engine.set_schedule("nightly", "audit", every_ms=60_000)

    assert [one.type for one in engine.history(queue="left")] == ["queue_limited"]
    assert [one.type for one in engine.history(schedule="nightly")] == ["schedule_set"]


@pytest.mark.parametrize("word", ["limit", "queue", "schedule"])
def test_there_is_no_history_of_what_was_never_set(engine: Engine, word: str) -> None:
    error = refused(engine, NotFound, lambda: engine.history(**{word: "nope"}))

    assert error.fields[word] == "nope"
    assert f"the {word} 'nope' has no events, since it was never set" in error.message

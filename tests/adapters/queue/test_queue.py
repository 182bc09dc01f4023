"""The FIFO queue, on memory and on SQLite: what its calls promise, one sentence a test."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from sagalog import AlreadyExists, InvalidValue, LeaseLost, NotFound, SagalogError, Unavailable, WrongState
from sagalog.testing import ManualClock
from sagalog_queue import Item, Queue, default_owner, open_queue

VISIBILITY_MS = 1_000
OpenQueue = Callable[..., Queue]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_700_000_000_000)


@pytest.fixture(params=["memory", "sqlite"])
def open_(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> Iterator[OpenQueue]:
    """Opens a queue with a clock that is moved by hand; on SQLite a second call opens the same file."""
    url = "memory:" if request.param == "memory" else f"sqlite:///{tmp_path}/queue.db"
    with ExitStack() as stack:
        yield lambda **given: stack.enter_context(
            open_queue(url, clock=clock, **{"visibility_ms": VISIBILITY_MS, **given})
        )


@pytest.fixture
def queue(open_: OpenQueue) -> Queue:
    return open_()


def pop(queue: Queue, owner: str = "ann") -> Item:
    item = queue.pop(owner, 0)
    assert item is not None
    return item


def states(queue: Queue) -> dict[str, int]:
    return queue.engine.counts(queue.name).get(queue.name, {})


# --- push and pop ----------------------------------------------------------------------------------------------------


def test_items_come_in_the_order_in_which_they_were_pushed(queue: Queue) -> None:
    ids = [queue.push({"n": n}) for n in range(20)]
    items = [pop(queue) for _ in ids]
    assert [item.id for item in items] == ids
    assert [item.payload for item in items] == [{"n": n} for n in range(20)]


def test_many_items_are_pushed_in_their_order_all_or_none(queue: Queue) -> None:
    ids = queue.push_many([1, 2, 3])
    with pytest.raises(InvalidValue):
        queue.push_many([4, {5}])
    assert (queue.depth(), [pop(queue).id for _ in ids]) == (3, ids)
    with pytest.raises(InvalidValue, match="payloads"):
        queue.push_many("abc")


def test_an_empty_queue_gives_none_when_the_time_is_over(tmp_path: Path) -> None:
    for url in ("memory:", f"sqlite:///{tmp_path}/queue.db"):
        with open_queue(url) as queue:
            assert queue.pop("ann", 0) is None
            assert queue.pop("ann", 20) is None


def test_a_pop_that_waits_is_woken_by_a_push(queue: Queue) -> None:
    found: list[Item | None] = []
    waiting = threading.Thread(target=lambda: found.append(queue.pop("ann", 3_600_000)), daemon=True)
    waiting.start()
    id = queue.push("x")
    waiting.join(30)
    assert [item and item.id for item in found] == [id]


def test_what_is_pushed_again_under_its_id_is_there_once(queue: Queue) -> None:
    assert queue.push({"n": 1}, id="a") == queue.push({"n": 1}, id="a") == "a"
    with pytest.raises(AlreadyExists):
        queue.push({"n": 2}, id="a")
    assert queue.depth() == 1


def test_a_payload_that_json_would_not_give_back_is_refused(queue: Queue) -> None:
    """Nothing is pushed."""
    with pytest.raises(InvalidValue, match=r"payload\.x"):
        queue.push({"x": {1, 2}})
    assert queue.depth() == 0


def test_queues_of_other_names_in_one_store_are_apart(queue: Queue) -> None:
    other = Queue(queue.engine, name="other")
    queue.push("mine")
    other.push("theirs")
    queue.engine.create("build", queue="builds")
    assert (pop(other).payload, pop(queue).payload) == ("theirs", "mine")
    assert (other.pop("ann", 0), queue.pop("ann", 0)) == (None, None)


def test_a_task_of_another_kind_is_never_taken_for_an_item(queue: Queue) -> None:
    queue.engine.create("build", queue=queue.name)
    assert queue.pop("ann", 0) is None
    queue.push("x")
    assert queue.pop("ann", 0, ack=pop(queue)) is None


# --- ack and nack ----------------------------------------------------------------------------------------------------


def test_an_item_that_is_acknowledged_is_gone_and_its_history_is_kept(queue: Queue) -> None:
    id = queue.push("x")
    assert queue.ack(pop(queue))
    assert (queue.depth(), queue.in_flight(), queue.pop("ann", 0)) == (0, 0, None)
    assert [event.type for event in queue.engine.history(id)] == ["created", "leased", "completed"]


def test_an_acknowledgement_may_be_repeated(queue: Queue) -> None:
    queue.push("x")
    item = pop(queue)
    assert (queue.ack(item), queue.ack(item)) == (True, True)


def test_what_is_nacked_comes_back_before_those_behind_it(queue: Queue) -> None:
    first, second = queue.push(1), queue.push(2)
    queue.nack(pop(queue))
    assert [pop(queue).id, pop(queue).id] == [first, second]


def test_what_is_nacked_for_good_ends_and_its_history_tells_why(queue: Queue) -> None:
    id = queue.push("x")
    queue.nack(pop(queue), requeue=False, reason="no such file")
    assert (queue.pop("ann", 0), states(queue)) == (None, {"failed": 1})
    task = queue.engine.get(id)
    assert task is not None
    assert task.error is not None
    assert task.error.message == "no such file"


def test_what_is_nacked_with_a_delay_lets_those_behind_it_go_first(queue: Queue, clock: ManualClock) -> None:
    first, second = queue.push(1), queue.push(2)
    queue.nack(pop(queue), delay_ms=500)
    assert (pop(queue).id, queue.pop("ann", 0)) == (second, None)
    clock.advance(500)
    assert pop(queue).id == first


def test_attempts_count_from_one_with_every_pop(queue: Queue, clock: ManualClock) -> None:
    queue.push("x")
    item = pop(queue)
    assert item.attempts == 1
    queue.nack(item)
    assert pop(queue).attempts == 2
    clock.advance(VISIBILITY_MS)
    assert pop(queue).attempts == 3


def test_unknown_items_are_harmless(queue: Queue) -> None:
    assert (queue.ack("nobody"), queue.nack("nobody"), queue.nack("nobody", requeue=False)) == (False, False, False)
    with open_queue("memory:") as elsewhere:
        elsewhere.push("x")
        item = pop(elsewhere)
    assert (queue.ack(item), queue.nack(item), queue.nack(item, requeue=False)) == (False, False, False)
    assert queue.engine.newest_position() == 1


def test_an_item_of_another_store_says_nothing_of_one_of_the_same_id(queue: Queue) -> None:
    queue.push("x", id="job")
    with open_queue("memory:") as elsewhere:
        elsewhere.push("x", id="job")
        foreign = pop(elsewhere)
    pop(queue)
    assert (queue.ack(foreign), queue.nack(foreign), queue.hand_back(foreign, "x")) == (False, False, False)
    assert queue.pop("ann", 0, ack=foreign) is None
    with pytest.raises(NotFound):
        queue.heartbeat(foreign)
    assert queue.in_flight() == 1


def test_items_can_be_kept_in_sets_whatever_their_payload(queue: Queue) -> None:
    queue.push({"n": 1})
    item = pop(queue)
    assert {item, item} == {item}


def test_an_id_does_not_acknowledge_what_a_consumer_holds(queue: Queue) -> None:
    id = queue.push("x")
    pop(queue)
    for settle in (queue.ack, queue.nack):
        with pytest.raises(InvalidValue, match="lease"):
            settle(id)
    assert queue.in_flight() == 1


# --- leases ----------------------------------------------------------------------------------------------------------


def test_no_consumer_gets_what_another_holds(queue: Queue, clock: ManualClock) -> None:
    queue.push("x")
    pop(queue)
    clock.advance(VISIBILITY_MS - 1)
    assert queue.pop("bob", 0) is None


def test_an_item_whose_holder_died_comes_back_when_its_visibility_is_over(queue: Queue, clock: ManualClock) -> None:
    id = queue.push("x")
    pop(queue)
    clock.advance(VISIBILITY_MS)
    assert (queue.depth(), queue.in_flight()) == (1, 0)
    assert pop(queue, "bob").id == id
    assert (queue.depth(), queue.in_flight()) == (0, 1)


def test_without_a_visibility_it_never_does(open_: OpenQueue, clock: ManualClock) -> None:
    queue = open_(visibility_ms=None)
    queue.push("x")
    item = pop(queue)
    clock.advance(10**12)
    assert (queue.pop("bob", 0), queue.in_flight()) == (None, 1)
    assert queue.ack(item)


def test_a_late_holder_can_neither_acknowledge_nor_give_back(queue: Queue, clock: ManualClock) -> None:
    queue.push("x")
    late = pop(queue)
    clock.advance(VISIBILITY_MS)
    item = pop(queue, "bob")
    for settle in (queue.ack, queue.nack, queue.heartbeat, lambda one: queue.nack(one, requeue=False)):
        with pytest.raises(LeaseLost):
            settle(late)
    assert queue.ack(item)
    with pytest.raises(LeaseLost):
        queue.ack(late)


def test_a_late_holder_may_acknowledge_until_another_takes_over(queue: Queue, clock: ManualClock) -> None:
    queue.push("x")
    item = pop(queue)
    clock.advance(10 * VISIBILITY_MS)
    assert queue.ack(item)


def test_a_heartbeat_holds_an_item_for_longer(queue: Queue, clock: ManualClock) -> None:
    queue.push("x")
    item = pop(queue)
    for visibility_ms in (None, 5 * VISIBILITY_MS):
        clock.advance(VISIBILITY_MS - 1)
        item = queue.heartbeat(item, visibility_ms)
    clock.advance(5 * VISIBILITY_MS - 1)
    assert queue.pop("bob", 0) is None
    assert (item.attempts, queue.ack(item)) == (1, True)


# --- acknowledging and popping in one commit -------------------------------------------------------------------------


def test_the_next_pop_acknowledges_the_item_in_hand_in_one_commit(queue: Queue) -> None:
    first, second = queue.push(1), queue.push(2)
    item = pop(queue)
    before = queue.engine.newest_position()
    following = queue.pop("ann", 0, ack=item)
    assert following is not None
    assert following.id == second
    done, leased = queue.engine.events(before)
    assert (done.type, done.stream, leased.type) == ("completed", f"task/{first}", "leased")
    assert (following.lease.ttl_ms, following.lease.owner) == (VISIBILITY_MS, "ann")
    assert queue.pop("ann", 0, ack=following) is None
    assert states(queue) == {"completed": 2}


@pytest.mark.parametrize("how", ["its visibility was over", "an operator took it"])
def test_who_has_lost_the_item_in_hand_is_told_and_holds_no_other(queue: Queue, clock: ManualClock, how: str) -> None:
    first, second = queue.push(1), queue.push(2)
    item = pop(queue)
    if how == "an operator took it":
        queue.engine.quarantine(first, "odd")
    else:
        clock.advance(VISIBILITY_MS)
        assert pop(queue, "bob").id == first
    with pytest.raises(LeaseLost) as refusal:
        queue.pop("ann", 0, ack=item)
    assert refusal.value.task == first
    assert [event.type for event in queue.engine.history(second)] == ["created"]
    assert pop(queue).id == second


def test_an_unknown_item_in_hand_is_harmless(queue: Queue) -> None:
    id = queue.push(1)
    with open_queue("memory:") as elsewhere:
        elsewhere.push("x")
        unknown = pop(elsewhere)
    item = queue.pop("ann", 0, ack=unknown)
    assert item is not None
    assert (item.id, item.attempts) == (id, 1)
    with pytest.raises(InvalidValue, match="item"):
        queue.pop("ann", 0, ack=id)  # type: ignore[arg-type]


def test_a_loop_acknowledges_each_item_when_it_asks_for_the_next(queue: Queue) -> None:
    queue.push_many([1, 2, 3])
    seen = []
    for item in queue.consume("ann", 0):
        seen.append(item.payload)
        assert (queue.in_flight(), states(queue).get("completed", 0)) == (1, len(seen) - 1)
    assert (seen, states(queue)) == ([1, 2, 3], {"completed": 3})


def test_a_loop_without_end_waits_for_what_is_pushed_later(queue: Queue) -> None:
    seen: list[Any] = []

    def consume() -> None:
        for item in queue.consume("ann"):
            seen.append(item.payload)
            if item.payload == "last":
                queue.ack(item)
                return

    consumer = threading.Thread(target=consume, daemon=True)
    consumer.start()
    queue.push("first")
    while states(queue).get("completed") is None:
        # The first is acknowledged before the loop waits for the next.
        threading.Event().wait(0.01)
    queue.push("last")
    consumer.join(30)
    assert (seen, states(queue)) == (["first", "last"], {"completed": 2})


def test_who_leaves_the_loop_gives_the_item_in_hand_back(queue: Queue) -> None:
    queue.push_many([1, 2, 3])

    def work() -> None:
        for item in queue.consume("ann", 0):
            if item.payload == 2:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    # What the exception's traceback has kept alive is gone by now.
    assert (pop(queue).payload, states(queue)["completed"]) == (2, 1)


def test_however_often_a_consumer_leaves_the_item_in_hand_is_no_poison(open_: OpenQueue) -> None:
    queue = open_(returns_max=2)
    id = queue.push("x")
    for _ in range(5):
        for item in queue.consume("ann", 0):
            assert item.id == id
            break
    assert (pop(queue).attempts, queue.quarantined()) == (6, [])


def test_who_acknowledges_and_then_leaves_gives_nothing_back(queue: Queue) -> None:
    queue.push_many([1, 2])
    for item in queue.consume("ann", 0):
        queue.ack(item)
        break
    assert (pop(queue).payload, states(queue)["completed"]) == (2, 1)


# --- poison ----------------------------------------------------------------------------------------------------------


def test_an_item_that_is_nacked_too_often_is_quarantined_and_listed(open_: OpenQueue) -> None:
    queue = open_(returns_max=3)
    id, behind = queue.push("poison"), queue.push("x")
    for _ in range(3):
        queue.nack(pop(queue), reason="it broke")
    assert pop(queue).id == behind
    [task] = queue.quarantined()
    assert (task.id, task.code, task.reason) == (id, "releases_spent", "it broke")
    assert queue.quarantined(limit=0) == []


def test_so_is_one_whose_holders_die_too_often(open_: OpenQueue, clock: ManualClock) -> None:
    queue = open_(returns_max=2)
    queue.push("poison")
    for _ in range(2):
        pop(queue)
        clock.advance(VISIBILITY_MS)
    assert (queue.pop("ann", 0), [task.code for task in queue.quarantined()]) == (None, ["expiries_spent"])


def test_an_item_may_come_back_without_end_where_no_bound_is_set(open_: OpenQueue) -> None:
    queue = open_(returns_max=None)
    queue.push("x")
    for _ in range(30):
        queue.nack(pop(queue))
    assert pop(queue).attempts == 31


def test_a_quarantined_item_is_pushed_again_once_with_new_returns(open_: OpenQueue) -> None:
    """Its returns are counted from nothing."""
    queue = open_(returns_max=2)
    id = queue.push({"n": 1})
    for _ in range(2):
        queue.nack(pop(queue))
    new = queue.push_again(id)
    assert (queue.push_again(id), queue.depth(), queue.quarantined()) == (new, 1, [])
    item = pop(queue)
    assert (item.id, item.payload, item.attempts) == (new, {"n": 1}, 1)
    queue.nack(item)
    assert queue.ack(pop(queue))
    assert queue.engine.verify().ok


def test_a_dropped_item_may_be_pushed_again(queue: Queue) -> None:
    """One that waits or is done may not."""
    dropped = queue.push("x")
    queue.nack(pop(queue), requeue=False)
    assert queue.push_again(dropped) == pop(queue).id
    waiting = queue.push("y")
    with pytest.raises(WrongState):
        queue.push_again(waiting)
    queue.ack(pop(queue))
    with pytest.raises(WrongState):
        queue.push_again(waiting)
    queue.engine.create("build", id="foreign", queue=queue.name)
    queue.engine.quarantine("foreign", "odd")
    for id in ("nobody", "foreign"):
        with pytest.raises(NotFound):
            queue.push_again(id)


@pytest.mark.parametrize(
    "given", [{"delay_ms": -1}, {"delay_ms": 1.5}, {"delay_ms": "5"}, {"delay_ms": None}, {"requeue": None}]
)
def test_an_odd_nack_is_refused_by_name_and_the_item_stays_held(queue: Queue, given: dict[str, Any]) -> None:
    queue.push("x")
    with pytest.raises(InvalidValue) as refusal:
        queue.nack(pop(queue), **given)
    assert (refusal.value.path, queue.in_flight()) == (next(iter(given)), 1)


@pytest.mark.parametrize("timeout_ms", [-1, 1.5, None, True])
def test_a_pop_that_is_to_wait_for_nonsense_is_refused_by_name(queue: Queue, timeout_ms: Any) -> None:
    with pytest.raises(InvalidValue, match="timeout_ms"):
        queue.pop("ann", timeout_ms)


def test_only_items_are_listed_as_quarantined(queue: Queue) -> None:
    queue.engine.create("build", id="foreign", queue=queue.name)
    queue.engine.quarantine("foreign", "odd")
    assert queue.quarantined() == []
    with pytest.raises(InvalidValue, match="limit"):
        queue.quarantined(-1)


# --- stores ----------------------------------------------------------------------------------------------------------


def test_depth_and_in_flight_tell_what_waits_and_what_is_held(queue: Queue) -> None:
    queue.push_many([1, 2, 3])
    item = pop(queue)
    assert (queue.depth(), queue.in_flight()) == (2, 1)
    queue.ack(item)
    assert (queue.depth(), queue.in_flight()) == (2, 0)


def test_what_is_over_in_another_queue_is_not_counted(queue: Queue, clock: ManualClock) -> None:
    other = Queue(queue.engine, name="other", visibility_ms=VISIBILITY_MS)
    other.push("x")
    pop(other)
    clock.advance(VISIBILITY_MS)
    assert (queue.depth(), queue.in_flight(), other.depth(), other.in_flight()) == (0, 0, 1, 0)


def test_what_was_pushed_is_there_when_the_file_is_opened_again(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/queue.db"
    with open_queue(url) as queue:
        ids = queue.push_many([1, 2])
        held = pop(queue)
    with open_queue(url) as queue:
        assert (queue.depth(), queue.in_flight()) == (1, 1)
        # What was popped through the other handle is still its holder's.
        assert queue.ack(held)
        assert pop(queue).id == ids[1]


@pytest.mark.parametrize("url", ["redis://localhost:6379/0", "rediss://x", "amqp://x", "queue.db", ""])
def test_a_url_of_no_store_is_refused_naming_those_that_there_are(url: str) -> None:
    with pytest.raises(ValueError, match="memory, sqlite"):
        open_queue(url)


def test_a_file_that_cannot_be_used_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        open_queue(f"sqlite:///{tmp_path}/no/such/folder/queue.db")


def test_a_queue_closes_the_store_that_it_opened_and_no_other(tmp_path: Path) -> None:
    queue = open_queue(f"sqlite:///{tmp_path}/queue.db")
    Queue(queue.engine).close()
    queue.push("x")
    queue.close()
    queue.close()
    with pytest.raises(SagalogError):
        queue.push("y")


@pytest.mark.parametrize("given", [{"visibility_ms": 0}, {"visibility_ms": 1.5}, {"returns_max": 0}, {"name": ""}])
def test_bad_settings_are_refused_by_name_before_a_file_is_made(tmp_path: Path, given: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue) as refusal:
        open_queue(f"sqlite:///{tmp_path}/queue.db", **given)
    assert refusal.value.path == next(iter(given))
    assert list(tmp_path.iterdir()) == []
    with open_queue("memory:") as queue, pytest.raises(InvalidValue):
        Queue(queue.engine, **given)


def test_owners_are_told_apart() -> None:
    assert len({default_owner() for _ in range(50)}) == 50

"""Items that a consumer holds: for how long, what a late holder may say, and loops that pop the next. [FENCE-2]"""

from __future__ import annotations

import threading
from typing import Any

import pytest

from sagalog import InvalidValue, LeaseLost
from sagalog.testing import ManualClock
from sagalog_queue import Queue, open_queue
from tests.adapters.queue.items import VISIBILITY_MS, OpenQueue, pop, states

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

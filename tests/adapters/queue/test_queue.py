"""The FIFO queue, on memory and on SQLite: what its calls promise, one sentence a test."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from sagalog import AlreadyExists, InvalidValue, NotFound
from sagalog.testing import ManualClock
from sagalog_queue import Item, Queue, open_queue
from tests.adapters.queue.items import VISIBILITY_MS, pop, states

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

"""Items that come back too often are quarantined, listed, and may be pushed again."""

from __future__ import annotations

from typing import Any

import pytest

from sagalog import InvalidValue, NotFound, WrongState
from sagalog.testing import ManualClock
from sagalog_queue import Queue
from tests.adapters.queue.items import VISIBILITY_MS, OpenQueue, pop


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

"""The store below a queue: what it counts, how it is opened and closed, and which settings are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sagalog import InvalidValue, SagalogError, Unavailable
from sagalog.testing import ManualClock
from sagalog_queue import Queue, default_owner, open_queue
from tests.adapters.queue.items import VISIBILITY_MS, pop


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

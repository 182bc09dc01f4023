"""Items of a queue in tests: how one is popped, how many are in which state, and how a queue is opened."""

from __future__ import annotations

from collections.abc import Callable

from sagalog_queue import Item, Queue

VISIBILITY_MS = 1_000
OpenQueue = Callable[..., Queue]


def pop(queue: Queue, owner: str = "ann") -> Item:
    item = queue.pop(owner, 0)
    assert item is not None
    return item


def states(queue: Queue) -> dict[str, int]:
    return queue.engine.counts(queue.name).get(queue.name, {})

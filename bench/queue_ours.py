"""The sides of sagalog in the suite `queue`: `sagalog_queue` by three calls, and by its loop.

Rule: only public calls are timed. Both sides keep the whole history, and the suite checks it: every item was created,
leased and completed, once each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench import stores
from sagalog import Engine
from sagalog_queue import Queue, open_queue
from sagalog_sqlite.store import SqliteStore
from tests.store_of import store_of

_HISTORY: Final = ("created", "leased", "completed")
_PAGE: Final = 1_000


class Calling:
    """The side of three calls, and three commits, an item."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    def push(self) -> None:
        """Push one item."""
        self._queue.push(stores.PAYLOAD)

    def take(self) -> None:
        """Take the next item, and acknowledge it at once."""
        item = self._queue.pop(stores.OWNER, timeout_ms=0)
        assert item is not None
        assert item.payload == stores.PAYLOAD
        self._queue.ack(item)

    def settle(self) -> None:
        """Do nothing: no item is in hand."""

    def done(self) -> int:
        """Count the items with a whole history."""
        return whole(self._queue.engine)


class Consuming(Calling):
    """The side of the loop, which acknowledges one item and takes the next in one commit: two commits an item."""

    def __init__(self, queue: Queue) -> None:
        super().__init__(queue)
        self._items = queue.consume(stores.OWNER, timeout_ms=0)

    def take(self) -> None:
        """Take the next item, which acknowledges the one before it."""
        assert next(self._items).payload == stores.PAYLOAD

    def settle(self) -> None:
        """Acknowledge the last item: no item comes after it."""
        assert next(self._items, None) is None


def whole(engine: Engine) -> int:
    """Count the items that were created, leased and completed; raises AssertionError for any other history."""
    types: dict[str, list[str]] = {}
    after = 0
    while events := engine.events(after, _PAGE):
        for event in events:
            types.setdefault(event.stream, []).append(event.type)
        after = events[-1].position
    assert after == engine.newest_position()
    histories = Counter(tuple(history) for history in types.values() if history[0] == _HISTORY[0])
    items = histories.pop(_HISTORY, 0)
    assert not histories, f"{items} items have their whole history, and others have {dict(histories)}"
    return items


@contextmanager
def calling(path: Path) -> Iterator[Calling]:
    """Open a side of three calls on a new file."""
    with _opened(path) as queue:
        yield Calling(queue)


@contextmanager
def consuming(path: Path) -> Iterator[Consuming]:
    """Open a side of the loop on a new file."""
    with _opened(path) as queue:
        yield Consuming(queue)


@contextmanager
def _opened(path: Path) -> Iterator[Queue]:
    with open_queue(f"sqlite:///{path}", visibility_ms=stores.TTL_MS) as queue:
        # The store itself reads back the settings of each of its connections.
        store = store_of(queue.engine)
        assert isinstance(store, SqliteStore)
        assert store.durability == "full"
        yield queue

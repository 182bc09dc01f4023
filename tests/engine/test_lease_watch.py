"""The watch over leases behind a clock that stepped back: threads look through it one after another. [TIME-3]"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from sagalog.engine.lease_watch import LeaseWatch
from sagalog.kernel.state import TaskFold
from sagalog.kernel.values import LeaseRecord, State
from sagalog.testing import ManualClock


def fold(id: str, now_ms: int) -> TaskFold:
    return TaskFold(id, 1, State.RUNNING, lease=LeaseRecord("ann", 1, 1, "work", 10, now_ms + 10, now_ms))


class Slow(list[TaskFold]):
    """A listing in the middle of which another thread comes."""

    meanwhile: Callable[[], None] | None = None

    def __iter__(self) -> Iterator[TaskFold]:
        for task in super().__iter__():
            if self.meanwhile is not None:
                come, self.meanwhile = self.meanwhile, None
                come()
            yield task


def test_threads_look_through_one_watch_one_after_another() -> None:
    """[TIME-3] Else one forgets what the other has just seen, or trips over it."""
    clock = ManualClock()
    watch = LeaseWatch(clock)
    began_ms = clock.monotonic_ms()
    done: list[bool] = []

    def look_too() -> None:
        watch.look([fold("a", 0), fold("b", 0)], [], began_ms + 5)
        done.append(True)

    another = threading.Thread(target=look_too)

    def come() -> None:
        another.start()
        another.join(0.1)
        assert done == [], "the other thread did not wait"

    listing = Slow([fold("a", 0)])
    listing.meanwhile = come
    watch.look(listing, [], began_ms)
    another.join(60)
    assert done == [True]
    clock.advance(15)
    seen = watch.over(None)
    assert [(command.task, command.seen and command.seen.unchanged_ms) for command in seen] == [("a", 15), ("b", 10)]

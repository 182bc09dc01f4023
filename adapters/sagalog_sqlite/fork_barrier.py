"""The barrier of this process: which threads use which file just now, and whether another may begin to.

Its one rule: who is inside is never put out, and who comes while it is shut waits outside. Nothing here is a lock that
a fork, an interrupt or a signal's handler could leave locked: it is a set and a dictionary whose single operations are
whole, and a thread that has to wait looks again every half a millisecond. It must not know what a file is used for.
"""

from __future__ import annotations

import threading
import time
import weakref
from types import TracebackType
from typing import Final

from sagalog.errors import Unavailable

_LOOK_S: Final = 0.0005
_KEEPER: Final = "keeper"


class Place:
    """Within the block, the calling thread uses a file; a thread that shuts the barrier waits for it or is told of it.

    Entering waits while the barrier is shut, but for a thread that is inside already; it raises Unavailable in the
    thread that has shut it. An interrupt may strike before the end of a block is noted: then the place is free as soon
    as this object is dropped, with the exception whose traceback holds it.
    """

    __slots__ = ("__weakref__", "_barrier", "_mark", "path", "thread")

    def __init__(self, barrier: Barrier, path: str) -> None:
        self._barrier = barrier
        self._mark = weakref.ref(self)
        self.path = path
        self.thread = threading.get_ident()

    def __enter__(self) -> Place:
        try:
            while not self.try_enter():
                self._barrier.wait_open()
            return self
        except BaseException:
            self.leave()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()

    def try_enter(self) -> bool:
        """Go in, if the barrier is open or this thread is inside already."""
        barrier = self._barrier
        barrier.marks.add(self._mark)
        if not barrier.keepers:
            return True
        # The place was taken before this look: a thread that has shut the barrier meanwhile sees it, or is seen here.
        if any(one.thread == self.thread for one in barrier.inside() if one is not self):
            return True
        self.leave()
        return False

    def leave(self) -> None:
        """Go out; nothing the second time."""
        self._barrier.marks.discard(self._mark)


class Barrier:
    """One for all files of a process.

    marks      of the places that are taken, each weak: that of a dropped place means nothing
    keepers    which thread has shut it; empty while it is open
    """

    def __init__(self) -> None:
        self.marks: set[weakref.ref[Place]] = set()
        self.keepers: dict[str, int] = {}

    def place(self, path: str) -> Place:
        """A place for one use of a file by the calling thread."""
        return Place(self, path)

    def inside(self) -> list[Place]:
        """The places that are taken now."""
        return [place for mark in list(self.marks) if (place := mark()) is not None]

    def shut(self) -> bool:
        """Let no thread in any more, once no other keeps it shut; False if this thread did so already."""
        me = threading.get_ident()
        if self.is_mine():
            return False
        while self.keepers.setdefault(_KEEPER, me) != me:
            time.sleep(_LOOK_S)
        return True

    def open(self) -> None:
        """Let every thread in again, if this thread has shut it."""
        if self.is_mine():
            self.keepers.clear()

    def is_mine(self) -> bool:
        """Whether this thread has shut it."""
        return self.keepers.get(_KEEPER) == threading.get_ident()

    def occupied(self, wait_s: float) -> set[str]:
        """The files in use once `wait_s` is over, or sooner if none is; at once where this thread itself uses one."""
        me = threading.get_ident()
        if any(place.thread == me for place in self.inside()):
            wait_s = 0.0
        until_s = time.monotonic() + wait_s
        while self.inside() and time.monotonic() < until_s:
            time.sleep(_LOOK_S)
        return {place.path for place in self.inside()}

    def wait_open(self) -> None:
        """Return once it is open; raises Unavailable where this thread would wait for itself."""
        while self.keepers:
            if self.is_mine():
                raise Unavailable(
                    "this thread is in the middle of a fork, and no store can be used before its end; repeat it then"
                )
            time.sleep(_LOOK_S)

    def begin_anew(self) -> None:
        """In a forked child: none of the parent's threads is here."""
        self.marks.clear()
        self.keepers.clear()


BARRIER: Final = Barrier()

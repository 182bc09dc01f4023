"""The barrier of this process: which threads use which file now, and whether another thread may enter.

Rule: a thread that is inside stays inside, and a thread that arrives while the barrier is shut waits outside. A fork,
an interrupt or a signal's handler could leave a lock locked, so the barrier has none: it is a set and a dictionary
whose single operations are atomic, and a thread that waits looks again every 0.5 ms. It must not know what a file is
for.
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
    """One use of a file by the calling thread, for the length of a block.

    A thread that shuts the barrier waits for the block to end, or learns that the file is in use. A thread that enters
    waits while the barrier is shut, unless it is inside already; in the thread that has shut it, entering raises
    Unavailable. An interrupt may come before the end of the block is noted: then the place is free as soon as this
    object is dropped, together with the exception whose traceback holds it.
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
        """Enter, if the barrier is open or this thread is inside already."""
        barrier = self._barrier
        barrier.marks.add(self._mark)
        if not barrier.shut_by:
            return True
        # This thread took the place before this look. So it sees a thread that shuts the barrier, or that one sees it.
        if any(one.thread == self.thread for one in barrier.inside() if one is not self):
            return True
        self.leave()
        return False

    def leave(self) -> None:
        """Leave; a second call does nothing."""
        self._barrier.marks.discard(self._mark)


class Barrier:
    """The barrier for all files of a process.

    marks      weak references to the places in use; one whose place was dropped means nothing
    shut_by    the thread that has shut it; empty while it is open
    """

    def __init__(self) -> None:
        self.marks: set[weakref.ref[Place]] = set()
        self.shut_by: dict[str, int] = {}

    def place(self, path: str) -> Place:
        """Make a place for one use of a file by the calling thread."""
        return Place(self, path)

    def inside(self) -> list[Place]:
        """Return the places in use now."""
        return [place for mark in list(self.marks) if (place := mark()) is not None]

    def shut(self) -> bool:
        """Shut the barrier, once no other thread keeps it shut; False if this thread has shut it already."""
        me = threading.get_ident()
        if self.is_mine():
            return False
        while self.shut_by.setdefault(_KEEPER, me) != me:
            time.sleep(_LOOK_S)
        return True

    def open(self) -> None:
        """Let every thread enter again, if this thread has shut the barrier."""
        if self.is_mine():
            self.shut_by.clear()

    def is_mine(self) -> bool:
        """Tell whether this thread has shut the barrier."""
        return self.shut_by.get(_KEEPER) == threading.get_ident()

    def occupied(self, wait_s: float) -> set[str]:
        """Return the files in use after `wait_s`, or once none is; at once where this thread uses one itself."""
        me = threading.get_ident()
        if any(place.thread == me for place in self.inside()):
            wait_s = 0.0
        until_s = time.monotonic() + wait_s
        while self.inside() and time.monotonic() < until_s:
            time.sleep(_LOOK_S)
        return {place.path for place in self.inside()}

    def wait_open(self) -> None:
        """Return once the barrier is open; raises Unavailable where this thread would wait for itself."""
        while self.shut_by:
            if self.is_mine():
                raise Unavailable(
                    "this thread is in the middle of a fork, and no store can be used before its end; repeat it then"
                )
            time.sleep(_LOOK_S)

    def begin_anew(self) -> None:
        """Forget the parent's threads in a forked child: none of them is in it."""
        self.marks.clear()
        self.shut_by.clear()


BARRIER: Final = Barrier()

"""The waits of one attempt: which wait of a name comes next, and how those on record have ended.

Rule: waits of one name are numbered in the order in which the attempt asks for them, so two that are open at the same
time need names of their own [WAIT-1]. The attempt reads the ends once. It must not know leases and stop tokens.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType

from sagalog.engine.queries import WaitOutcome
from sagalog.outcomes import Park, StepMismatch

Read = Callable[[], Mapping[str, Sequence[WaitOutcome]]]


class Waits:
    """The waits that an attempt asks for. Threads may share it.

    conflict   why the attempt must not park, whatever its handler makes of it
    ended      how many waits of each name were over when the attempt began, counted from the first without a gap; the
               attempt asks for no wait behind an open one, so ends behind it count in a later attempt
    read       returns how they ended; called once, when an attempt first needs it
    """

    def __init__(self, ended: Mapping[str, int], read: Read) -> None:
        self._ended = ended
        self._read = read
        self.conflict: StepMismatch | None = None
        self._guard = threading.Lock()
        self._asked: dict[str, int] = {}
        self._open: set[str] = set()
        self._reading = threading.Lock()
        self._ends: Mapping[str, Sequence[WaitOutcome]] | None = None

    def open(self, name: str) -> OpenWait:
        """Open the next wait of a name; it is open until its caller has got its end.

        Raises:
            StepMismatch: a wait of this name is open: in another thread, in another coroutine, or since it parked.
        """
        with self._guard:
            if name in self._open:
                self.conflict = StepMismatch(
                    f"two waits of the name {name!r} are open at the same time, so their order may be another one in "
                    "the next attempt: give each a name of its own, with name="
                )
                raise self.conflict
            number = self._asked[name] = self._asked.get(name, 0) + 1
            self._open.add(name)
        return OpenWait(self, name, number)

    def close(self, wait: OpenWait, *, was_given: bool) -> None:
        """Let the next wait of this name open; it gets this one's number if this one has given no end."""
        with self._guard:
            self._open.discard(wait.name)
            self._asked[wait.name] -= not was_given

    def is_over(self, wait: OpenWait) -> bool:
        """Tell whether the end of a wait is on record."""
        return wait.number <= self._ended.get(wait.name, 0)

    def end_of(self, wait: OpenWait) -> WaitOutcome | None:
        """Return how a wait ended; None: it is not over."""
        if not self.is_over(wait):
            return None
        with self._reading:
            if self._ends is None:
                self._ends = self._read()
            return self._ends[wait.name][wait.number - 1]


class OpenWait:
    """A wait that an attempt has asked for, closed when the block ends; one that parks stays open.

    A call that is refused, or cancelled by its event loop, was no wait: it has used up no number.
    """

    def __init__(self, waits: Waits, name: str, number: int) -> None:
        self._waits = waits
        self.name = name
        self.number = number

    def __enter__(self) -> OpenWait:
        return self

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        if not isinstance(error, Park):
            # A timeout is an end too, and so is the end of another wait that does not fit this one.
            was_given = error is None or isinstance(error, TimeoutError | StepMismatch)
            self._waits.close(self, was_given=was_given)

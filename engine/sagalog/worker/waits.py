"""The waits of one attempt: which of a name comes next, and how those on record have ended.

Rule: waits of one name are numbered in the order in which the attempt asks for them, so two that are open at the same
time need names of their own [WAIT-1]. Ends are read once per attempt. Knows neither lease nor stop.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType

from sagalog.engine.reading import WaitOutcome
from sagalog.outcomes import Park, StepMismatch

Read = Callable[[], Mapping[str, Sequence[WaitOutcome]]]


class Waits:
    """The waits that an attempt asks for. Safe to share between threads.

    conflict   why the attempt must not park, whatever its handler makes of it
    ended   how many waits of each name were over when the attempt began, from the first to the one before the next;
            what is over behind that one is not asked for before it has ended, and so in a later attempt
    read    gives how they ended; called once, when an attempt first needs it
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
        """Open the next wait of a name; it is open until its end is given back.

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
        """Let the next wait of this name be opened; it has this one's number where this one has given no end."""
        with self._guard:
            self._open.discard(wait.name)
            self._asked[wait.name] -= not was_given

    def is_over(self, wait: OpenWait) -> bool:
        """Whether the end of a wait is on record."""
        return wait.number <= self._ended.get(wait.name, 0)

    def end_of(self, wait: OpenWait) -> WaitOutcome | None:
        """How a wait ended; None: it is not over."""
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
            # That its time was over is an end too, and so is that it was another wait's.
            was_given = error is None or isinstance(error, TimeoutError | StepMismatch)
            self._waits.close(self, was_given=was_given)

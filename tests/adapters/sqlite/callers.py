"""Threads that commit to one store, and units that hold a commit up until a test lets it go on.

Rule: nothing sleeps for luck. A test waits until so many calls are in the store's line, and only then goes on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sagalog import failpoints
from sagalog.store import Operation, Result, View
from sagalog_sqlite.store import SqliteStore

PATIENCE_S = 20.0


class Caller:
    """A thread that makes one commit and keeps its answers or its error."""

    def __init__(self, store: SqliteStore, *units: Operation) -> None:
        self.answers: list[Any] | None = None
        self.error: BaseException | None = None
        self._store, self._units = store, units
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def ends(self) -> Caller:
        """Wait for its end; one that hangs fails the test."""
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive(), "a caller hangs"
        return self

    def _work(self) -> None:
        try:
            self.answers = self._store.commit(self._units)
        except BaseException as error:  # noqa: BLE001  # a test looks at it
            self.error = error


class Gate:
    """Something that an operation's function cannot pass until it is opened."""

    def __init__(self) -> None:
        self._reached = threading.Event()
        self._opened = threading.Event()

    def unit(self) -> Operation:
        def decide(_: View) -> Result:
            self.pass_through()
            return Result("held")

        return Operation(decide)

    def pass_through(self) -> None:
        self._reached.set()
        assert self._opened.wait(PATIENCE_S), "no test has opened the gate"

    def wait_for_it(self) -> None:
        assert self._reached.wait(PATIENCE_S), "no caller has come to the gate"

    def open(self) -> None:
        self._opened.set()


@contextmanager
def held_up(store: SqliteStore) -> Iterator[Callable[[], None]]:
    """A commit of another thread is under way and stays so until what is given is called, or the block ends."""
    gate = Gate()
    holder = Caller(store, gate.unit())
    gate.wait_for_it()
    try:
        yield gate.open
    finally:
        gate.open()
        assert holder.ends().answers == ["held"]


def until(holds: Callable[[], bool]) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, "it never came so far"
        time.sleep(0.0005)


def in_line(store: SqliteStore) -> int:
    """How many calls are in the store's commit queue, with those that are run."""
    return len(store._commit_queue._calls)


def call(store: SqliteStore, *calls: Sequence[Operation]) -> list[Caller]:
    """One caller for each, arriving in this order behind the callers that are in line already."""
    callers = []
    for units in calls:
        before = in_line(store)
        callers.append(Caller(store, *units))
        until(lambda before=before: in_line(store) > before)  # type: ignore[misc]
    return callers


@contextmanager
def counted_transactions() -> Iterator[list[str]]:
    """A list that grows by one with every transaction that begins in this process."""
    begun: list[str] = []
    failpoints.armed["commit.after_begin"] = lambda: begun.append("begun")
    try:
        yield begun
    finally:
        del failpoints.armed["commit.after_begin"]

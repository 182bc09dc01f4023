"""A store that locks rows, as a database of a server does, and not the whole: two writes run at once if they can.

Rule: one operation a commit. It locks what the operation declares, in the order of names, and nothing else; what two
operations do at the same time is brought about by waiting until the other one has decided, or stands at a lock.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sagalog.errors import SagalogError
from sagalog.store import Attempt, Operation, Undeclared
from sagalog.store.memory_tables import Tables
from sagalog.store.memory_view import MemoryView


class OpenView(MemoryView):
    """A view that shows everything, locked or not: what the port forbids."""

    def __init__(self, tables: Tables, attempt: Attempt, now_ms: int) -> None:
        super().__init__(tables, attempt, now_ms)
        self._reads |= set(tables.stream_of)


class RowLocks:
    """Writes of two threads on the tables of a memory store."""

    def __init__(self, tables: Tables, now_ms: int, view: type[MemoryView] = MemoryView) -> None:
        self._tables = tables
        self._now_ms = now_ms
        self._view = view
        self._guard = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._decided = 0
        self._met = threading.Event()

    def commit(self, operation: Operation) -> Any:
        """Carry out one operation; its answer, or its refusal."""
        attempt = Attempt(operation)
        while True:
            with self._locked(self._names(attempt)):
                try:
                    return self._carry_out(attempt)
                except Undeclared as undeclared:
                    attempt.widen(undeclared)
                except SagalogError as refusal:
                    return refusal

    def _carry_out(self, attempt: Attempt) -> Any:
        result = attempt.operation.decide(self._view(self._tables, attempt, self._now_ms))
        self._meet()
        with self._guard:
            self._tables.begin()
            self._tables.require_expected(result)
            self._tables.write(result)
        return result.answer

    def _names(self, attempt: Attempt) -> list[str]:
        """What is declared, and what is reached along waits by one look, in the order of names."""
        view = MemoryView(self._tables, attempt, self._now_ms)
        return sorted({*attempt.locks(), *view._along(attempt.operation.along)})

    @contextmanager
    def _locked(self, names: list[str]) -> Iterator[None]:
        locks = []
        try:
            for name in names:
                with self._guard:
                    lock = self._locks.setdefault(name, threading.Lock())
                if not lock.acquire(blocking=False):
                    self._met.set()  # the other one need not wait for this one
                    lock.acquire()
                locks.append(lock)
            yield
        finally:
            for lock in reversed(locks):
                lock.release()

    def _meet(self) -> None:
        """Wait until both have decided, or the other one stands at a lock."""
        with self._guard:
            self._decided += 1
            if self._decided == 2:
                self._met.set()
        self._met.wait()

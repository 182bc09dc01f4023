"""A store that locks rows, as a database of a server does, and not the whole: two writes run at once if they can.

Rule: one operation a commit. It locks what the operation declares, in the order of names, and nothing else; what two
operations do at the same time is brought about by waiting until the other one has decided, or waits at a lock.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sagalog.codec import Envelope
from sagalog.errors import SagalogError
from sagalog.store import Execution, Operation, Undeclared
from sagalog.store.dedupe_keys import DedupeRow
from sagalog.store.memory_tables import Tables
from sagalog.store.memory_view import MemoryView


class OpenView(MemoryView):
    """A view that shows everything, locked or not: what the port forbids."""

    def __init__(self, tables: Tables, execution: Execution, now_ms: int) -> None:
        super().__init__(tables, execution, now_ms)
        self._reads |= set(tables.stream_of)

    def keyed(self, key: str, /) -> Sequence[Envelope]:
        """As the port, of any key."""
        return [envelope for envelope in self._tables.log if envelope.idempotency_key == key]

    def dedupe(self, kind: str, key: str, /) -> DedupeRow | None:
        """As the port, of any key."""
        return self._tables.dedupes.get((kind, key))

    def dedupes_over(self, limit: int, /) -> Sequence[DedupeRow]:
        """None: no test of this view has periods."""
        return ()


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
        execution = Execution(operation)
        while True:
            keys = [name for name in execution.locks() if name.startswith(("/", "#"))]
            # The events of a key are looked for once that key is locked: keys are the first in the order of names.
            with self._locked(keys), self._locked(self._streams(execution, keys)):
                try:
                    return self._carry_out(execution)
                except Undeclared as undeclared:
                    execution.widen(undeclared)
                except SagalogError as refusal:
                    return refusal

    def _carry_out(self, execution: Execution) -> Any:
        result = execution.operation.decide(self._view(self._tables, execution, self._now_ms))
        self._meet()
        with self._guard:
            self._tables.begin()
            self._tables.require_expected(result)
            self._tables.write(result)
        return result.answer

    def _streams(self, execution: Execution, keys: list[str]) -> list[str]:
        """What is declared, reached along waits or found under the keys by one look, in the order of names."""
        view = MemoryView(self._tables, execution, self._now_ms)
        keyed = {envelope.stream for key in execution.keys for envelope in view.keyed(key)}
        rows = [view.dedupe(*named) for named in execution.dedupes]
        having = {f"task/{row.task}" for row in rows if row is not None}
        along = view._along(execution.operation.along)
        return sorted({*execution.locks(), *along, *keyed, *having}.difference(keys))

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
        """Wait until both have decided, or the other one waits at a lock."""
        with self._guard:
            self._decided += 1
            if self._decided == 2:
                self._met.set()
        self._met.wait()

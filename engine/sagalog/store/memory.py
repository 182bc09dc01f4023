"""The reference store: the shortest code that keeps every promise of the port, in this process's memory.

Rule: its answers are right by definition; random runs compare every other store with it. So it looks at all tasks for a
claim where another store has an index, and no part of it is clever. Keeps nothing beyond the process.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sagalog import failpoints
from sagalog.errors import Closed, SagalogError
from sagalog.forks import hold_during_forks
from sagalog.ports import Clock
from sagalog.store.execution import Execution
from sagalog.store.memory_snapshot import MemorySnapshot
from sagalog.store.memory_tables import Tables
from sagalog.store.memory_view import MemoryView
from sagalog.store.operation import Kept, Operation, Undeclared
from sagalog.store.port import Progress


def open_store(url: str, *, create: bool, clock: Clock, durability: str) -> MemoryStore:  # noqa: ARG001  keeps no file
    """Open a new, empty store; no caller can open one twice, so `create=False` finds nothing.

    Raises:
        ValueError: the URL is not `memory:`, or asks for an existing store.
    """
    if url not in ("memory:", "memory://"):
        raise ValueError(f"a memory store has no name: use 'memory:' instead of {url!r}")
    if not create:
        raise ValueError("a memory store is always new: open it without create=False")
    return MemoryStore(clock)


class MemoryStore:
    """The tables of `memory_tables`, behind one lock.

    A forked child has a copy of its own, which no other process writes or reads. A fork waits up to two seconds for a
    commit of another thread; the child of a fork during a longer commit refuses its half-written copy. [FORK-1]
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._changed = threading.Condition(threading.RLock())
        self._is_writing = False
        self._is_torn = False
        self._commits = 0
        self._closed = False
        self.tables = Tables()
        hold_during_forks(self)

    def hold(self, timeout_s: float) -> bool:
        """Wait, before a fork, for the commit that is under way."""
        return self._changed.acquire(timeout=timeout_s)

    def let_go(self) -> None:
        """Let the parent commit again after a fork."""
        self._changed.release()

    def begin_anew(self) -> None:
        """Make a new lock in the child: a thread that the child does not have may hold the old one."""
        self._changed = threading.Condition(threading.RLock())
        self._is_torn, self._is_writing = self._is_torn or self._is_writing, False

    # --- writing --------------------------------------------------------------------------------------------------

    def commit(self, operations: Sequence[Operation]) -> list[Any]:
        """Carry out the operations, round after round, until each has declared what it asks for."""
        executions = [Execution(operation) for operation in operations]
        with self._changed:
            self._require_open()
            while (answers := self._transact(executions)) is None:
                pass
            failpoints.reach("commit.after_commit")
            return answers

    def _transact(self, executions: Sequence[Execution]) -> list[Any] | None:
        """Run one transaction; write nothing and return None where an operation asks for what it has not declared."""
        failpoints.reach("commit.before_begin")
        now_ms = self._clock.now_ms()
        self.tables.begin()
        self._is_writing = True
        try:
            answers = [self._answer(execution, now_ms) for execution in executions]
        except BaseException:
            self.tables.take_back()
            raise
        finally:
            self._is_writing = False
        if any(isinstance(answer, Undeclared) for answer in answers):
            self.tables.take_back()
            return None
        if self.tables.has_appended():
            self._commits += 1
            self._changed.notify_all()
        return answers

    def _answer(self, execution: Execution, now_ms: int) -> Any:
        """Carry out an operation and return its answer; or its refusal; or what it had not declared."""
        if execution.refusal is not None:
            return execution.refusal
        view = MemoryView(self.tables, execution, now_ms)
        try:
            result = execution.operation.decide(view)
            view.require_writes(append.stream for append in result.appends)
            self.tables.require_expected(result)
        except Undeclared as undeclared:
            execution.widen(undeclared)
            return undeclared
        except SagalogError as refusal:
            return refusal
        self.tables.write(result)
        return result.answer

    def rebuild(self, progress: Progress | None = None) -> int:
        """Fold every task afresh, all in one slice."""
        with self._changed:
            self._require_open()
            streams = len(self.tables.stream_of)
        if progress is not None:
            progress(0, streams)
        with self._changed:
            self._require_open()
            tasks = self.tables.rebuild(self._clock.now_ms())
        if progress is not None:
            progress(streams, streams)
        return tasks

    def keep(self, space: str, name: str, expected: str | None, value: str | None) -> bool:
        """Compare what is kept and set it, under the lock. [KEEP-1]"""
        with self._changed:
            self._require_open()
            if self.tables.kept.get((space, name)) != expected:
                return False
            self.tables.begin()
            self.tables.keep((Kept(space, name, value),))
            return True

    # --- reading --------------------------------------------------------------------------------------------------

    @contextmanager
    def read(self) -> Iterator[MemorySnapshot]:
        """Give a snapshot; the lock, held for the block, keeps it consistent."""
        with self._changed:
            self._require_open()
            yield MemorySnapshot(self.tables)

    def changes(self) -> int:
        """Count the commits so far."""
        with self._changed:
            return self._commits

    def wait_change(self, since: int, timeout_ms: int) -> None:
        """Sleep until a commit comes or the time is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._commits != since, timeout_ms / 1_000)
            self._require_open()

    def file_health(self) -> None:
        """Return None: there is no file."""
        self._require_open()

    def close(self) -> None:
        """Mark the store as closed: the engine can no longer use it, and a debugger still sees its tables."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _require_open(self) -> None:
        if self._is_torn:
            raise Closed(
                "a thread was writing this memory store when this process was forked, so the copy is half-written: "
                "start processes by spawn or forkserver, or fork while no thread writes"
            )
        if self._closed:
            raise Closed("this memory store was closed; open a new one")

"""What an operation sees of the memory store: exactly what it has declared, and what was selected for it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sagalog.codec import Envelope, read
from sagalog.kernel.bounds import LEASE_CHECKS_MAX
from sagalog.kernel.events import Recordable
from sagalog.kernel.state import TaskFold
from sagalog.store import memory_selection as found
from sagalog.store.execution import Execution
from sagalog.store.memory_tables import Tables
from sagalog.store.operation import Due, Saved, Undeclared
from sagalog.store.projection import refold
from sagalog.store.row import Row


class MemoryView:
    """The port's view; what is selected or found for the operation is shown to it as if it were declared."""

    def __init__(self, tables: Tables, execution: Execution, now_ms: int) -> None:
        self._tables = tables
        self._execution = execution
        self._writes = set(execution.writes)
        self._reads = {*execution.streams, *self._along(execution.operation.along)}
        # Streams of which only events are shown: what a task has from its predecessors stands there.
        self._sources: set[str] = set()
        self.now_ms = now_ms
        self.store = tables.store_fold
        self.epoch = 0 if tables.store_fold is None else tables.store_fold.epoch

    def require_writes(self, streams: Iterable[str]) -> None:
        """Raise Undeclared for those that may not be appended to."""
        if missing := [stream for stream in dict.fromkeys(streams) if stream not in self._writes]:
            raise Undeclared(missing)

    def saved(self, stream: str, /) -> Saved | None:
        """By name; folded afresh, as if it had no row, where it was put aside: mostly that raises and says why."""
        if stream not in self._reads:
            raise Undeclared((stream,))
        category, _, id = stream.partition("/")
        if category == "store":
            return None if self.store is None or self.store.id != id else Saved(stream, self.store)
        if category != "task":
            other = self._tables.others.get(stream)
            return None if other is None else Saved(stream, other)
        is_aside = id in self._tables.unreadable
        fold = refold(id, self._tables.stream_of[stream]) if is_aside else self._tables.folds.get(id)
        if fold is None:
            return None
        return self._shown(fold, None if is_aside else self._tables.rows[id])

    def event(self, stream: str, version: int, /) -> Recordable:
        """By place in the stream's list."""
        if stream not in self._reads and stream not in self._sources:
            raise Undeclared((stream,))
        return read(self._tables.stream_of[stream][version - 1])

    def keyed(self, key: str, /) -> Sequence[Envelope]:
        """By looking through the whole log; the streams of what is found are declared by their key."""
        if key not in self._execution.keys:
            raise Undeclared((), (key,))
        envelopes = [envelope for envelope in self._tables.log if envelope.idempotency_key == key]
        self._reads.update(envelope.stream for envelope in envelopes)
        return envelopes

    @property
    def claimed(self) -> Sequence[Saved]:
        """Every ready task, sorted, cut to the limit."""
        claim = self._execution.operation.claim
        assert claim is not None, "the operation declares no claim"
        return self._selected(found.claimable(self._tables, claim))

    @property
    def expired(self) -> Sequence[Saved]:
        """By looking at every lease."""
        due = self._due()
        limit = due.limit + LEASE_CHECKS_MAX
        return self._selected(found.checks(self._tables, due.queues, self.now_ms)[:limit])

    @property
    def waits_over(self) -> Sequence[Saved]:
        """By looking at every wait; what such tasks wait for is shown with them."""
        due = self._due()
        tasks = found.waits_over(self._tables, due.queues, self.now_ms)[: due.limit]
        self._reads.update(f"task/{id}" for task in tasks for id in self._tables.awaited[task.id])
        return self._selected(tasks)

    @property
    def promotable(self) -> Sequence[Saved]:
        """By looking at every task that is due later."""
        due = self._due()
        return self._selected(found.promotable(self._tables, due.queues, self.now_ms)[: due.limit])

    def _due(self) -> Due:
        due = self._execution.operation.due
        assert due is not None, "the operation declares no maintenance"
        return due

    def _selected(self, tasks: Sequence[TaskFold]) -> list[Saved]:
        streams = [f"task/{task.id}" for task in tasks]
        self._writes.update(streams)
        self._reads.update(streams)
        return [self._shown(task, self._tables.rows[task.id]) for task in tasks]

    def _shown(self, fold: TaskFold, row: Row | None) -> Saved:
        self._sources.update(f"task/{source}" for source in fold.sources)
        return Saved(f"task/{fold.id}", fold, row)

    def _along(self, ids: Iterable[str]) -> set[str]:
        """The streams of these tasks, and of all that are reached from them over waits."""
        reached: set[str] = set()
        ahead = list(ids)
        while ahead:
            id = ahead.pop()
            if id not in reached:
                reached.add(id)
                ahead += self._tables.awaited.get(id, ())
        return {f"task/{id}" for id in reached}

"""The memory store keeps the contract of stores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from sagalog.codec import Envelope
from sagalog.kernel.state import TaskFold
from sagalog.ports import Clock
from sagalog.store import Store
from sagalog.store.memory import MemoryStore, open_store
from sagalog.testing.contract import StoreContract


class TestMemory(StoreContract):
    @pytest.fixture(autouse=True)
    def over(self) -> Iterator[None]:
        yield
        self.close_all()

    def open_store(self, clock: Clock) -> Store:
        return open_store("memory:", create=True, clock=clock, durability="full")

    def change_event(self, event: Envelope, changed: Envelope | None) -> None:
        store = self.store
        assert isinstance(store, MemoryStore)
        for events in (store.tables.log, store.tables.stream_of[event.stream]):
            place = events.index(event)
            events[place : place + 1] = [] if changed is None else [changed]

    def change_projection(self, task: str, columns: Mapping[str, object] | None, fold: TaskFold | None = None) -> None:
        store = self.store
        assert isinstance(store, MemoryStore)
        tables = store.tables
        if columns is None:
            del tables.folds[task], tables.rows[task], tables.awaited[task]
            return
        tables.folds[task] = fold or tables.folds[task]
        tables.rows[task] = tables.rows[task]._replace(**columns)  # type: ignore[arg-type]  # damaged on purpose

"""The memory store keeps the contract of stores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec
import pytest

from sagalog.codec import Envelope
from sagalog.kernel.state import TaskFold
from sagalog.memory import MemoryStore, open_store
from sagalog.ports import Clock, Store
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
        for events in (store.log, store.stream_of[event.stream]):
            place = events.index(event)
            events[place : place + 1] = [] if changed is None else [changed]

    def change_projection(self, task: str, columns: Mapping[str, object] | None, fold: TaskFold | None = None) -> None:
        store = self.store
        assert isinstance(store, MemoryStore)
        if columns is None:
            del store.folds[task], store.gates[task]
        else:
            # Memory searches its folds and has no columns of their own.
            store.folds[task] = fold or msgspec.structs.replace(store.folds[task], **columns)

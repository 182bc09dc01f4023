"""An engine whose executor gets everything as bytes keeps what the contract promises of one that is at the store."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import pytest

from sagalog import Engine
from sagalog.engine.local_executor import LocalExecutor
from sagalog.ports import Clock
from sagalog.store import Store
from sagalog.store.memory import open_store
from sagalog.testing import SeededEntropy
from sagalog.testing.contract import StoreContract
from tests.engine.bytes_executor import BytesExecutor


class TestBytes(StoreContract):
    @pytest.fixture(autouse=True)
    def over(self) -> Iterator[None]:
        yield
        self.close_all()

    def open_store(self, clock: Clock) -> Store:
        return open_store("memory:", create=True, clock=clock, durability="full")

    @cached_property
    def engine(self) -> Engine:
        return Engine.over(BytesExecutor(LocalExecutor(self.store, self.clock, SeededEntropy(1))))

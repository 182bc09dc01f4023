"""A claim that waits takes no turn meanwhile: it asks, it does not try."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sagalog import Engine
from sagalog.store import Operation
from sagalog.store.memory import MemoryStore
from sagalog.system import SystemClock


class CountingStore(MemoryStore):
    """A memory store that counts its commits."""

    commits = 0

    def commit(self, operations: Sequence[Operation]) -> list[Any]:
        self.commits += 1
        return super().commit(operations)


def test_a_claim_that_waits_in_vain_has_tried_once() -> None:
    store = CountingStore(SystemClock())
    engine = Engine(store)
    engine.create("build", queue="other")
    engine.create("build", queue="mine", run_at_ms=engine.now_ms() + 3_600_000)
    before = store.commits

    assert engine.claim("mine", owner="ann", ttl_ms=1_000, wait_ms=150) == []

    assert store.commits == before + 1

"""Suspects are leased alone whatever a store selects: the engine is the last to look. [LEASE-5]"""

from __future__ import annotations

from typing import Any

import pytest

import sagalog
from sagalog.kernel.state import TaskFold
from sagalog.store import Claim, memory_selection
from sagalog.store.memory import MemoryStore
from sagalog.store.memory_tables import Tables
from sagalog.testing import ManualClock


def careless(tables: Tables, claim: Claim) -> list[TaskFold]:
    """What a store selects that knows nothing of suspects: every task that is ready."""
    return [task for task in tables.folds.values() if task.lease is None and not task.is_terminal][: claim.limit]


@pytest.mark.parametrize(
    ("limit", "suspects", "leased"),
    [(10, "alone", ["a", "b"]), (1, "alone", ["bad"]), (1, "never", []), (10, "never", ["a", "b"])],
)
def test_a_store_that_selects_a_suspect_beside_others_gets_none_leased(
    limit: int, suspects: Any, leased: list[str], clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_selection, "claimable", careless)
    store = MemoryStore(clock)
    with sagalog.Engine(store, clock=clock) as engine:
        engine.create("do", id="bad")
        for _ in range(2):
            engine.acquire("bad", owner="dead", ttl_ms=100)
            clock.advance(100)
            engine.recover()
        for id in ("a", "b"):
            engine.create("do", id=id)
        claimed = engine.claim("default", owner="ann", ttl_ms=100, limit=limit, suspects=suspects)
        assert [lease.task.id for lease in claimed] == leased

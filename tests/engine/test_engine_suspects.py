"""Suspects are leased alone whatever a store selects: the engine is the last to look. [LEASE-5]"""

from __future__ import annotations

from typing import Any

import pytest

import sagalog
from sagalog.kernel.state import TaskFold
from sagalog.memory import MemoryStore
from sagalog.ports import Claim
from sagalog.testing import ManualClock


class Careless(MemoryStore):
    """A store that knows nothing of suspects: it selects every task that is ready."""

    def standing_for(self, claim: Claim) -> list[TaskFold]:
        ready = [task for task in self.folds.values() if task.lease is None and not task.is_terminal]
        return ready[: claim.limit]


@pytest.mark.parametrize(
    ("limit", "suspects", "leased"),
    [(10, "alone", ["a", "b"]), (1, "alone", ["bad"]), (1, "never", []), (10, "never", ["a", "b"])],
)
def test_a_store_that_selects_a_suspect_beside_others_gets_none_leased(
    limit: int, suspects: Any, leased: list[str], clock: ManualClock
) -> None:
    store = Careless(clock)
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

"""What a made-up event promises, tried on an engine that has it: `python -m tests.touched.reranking URL`.

It fails where anything is missing, and leaves a store at the URL in which a task was reranked.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import sagalog
from sagalog.aio.engine import AsyncEngine
from sagalog.diagram import task_diagram
from sagalog.schemas import schema_files
from sagalog.testing import ManualClock
from sagalog.testing.history import check, explain


def refusal(call: Callable[[], object]) -> str:
    try:
        call()
    except sagalog.SagalogError as error:
        return error.code
    return "accepted"


def rerank(url: str) -> None:
    engine: Any = sagalog.open(url, clock=ManualClock(1_700_000_000_000), durability="normal")
    for id in ("first", "second", "third", "ended"):
        engine.create("build", id=id, queue="q")
    engine.cancel("ended")

    reranked = engine.rerank("second", -1, "urgent", actor="ann", idempotency_key="key")
    assert engine.rerank("second", -1, "urgent", idempotency_key="key") == reranked == engine.get("second")
    assert reranked.priority == -1
    assert refusal(lambda: engine.rerank("second", -2, "urgent", idempotency_key="key")) == "conflict"
    assert refusal(lambda: engine.rerank("second", 2**40)) == "invalid_value"
    assert refusal(lambda: engine.rerank("ended", 1)) == "terminal_task"
    with engine.batch() as batch:
        batch.rerank("third", -2)
    asyncio.run(rerank_by_coroutine(engine))

    claimed = [lease.task.id for lease in engine.claim("q", owner="ann", ttl_ms=1_000, limit=3)]
    assert claimed == ["third", "second", "first"], claimed
    (shown,) = (one for one in engine.history("second") if one.type == "reranked")
    assert (shown.event.priority, shown.event.reason, shown.actor) == (-1, "urgent", "user:ann")
    assert explain(check(engine.events())) == ""
    assert engine.verify().ok
    engine.rebuild()
    assert engine.verify().ok
    assert engine.get("second").priority == -1
    engine.close()


async def rerank_by_coroutine(engine: Any) -> None:
    shared: Any = AsyncEngine(engine)
    await shared.rerank("first", 7)
    async with shared.batch() as batch:
        batch.rerank("first", 8)
    assert (await shared.get("first")).priority == 8


if __name__ == "__main__":
    assert "reranked.1.json" in schema_files()
    assert "reranked" in task_diagram()
    rerank("memory:")
    rerank(sys.argv[1])

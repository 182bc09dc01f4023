"""What a made-up event promises, tried on an engine that has it: `python -m tests.touched.amending URL`.

It fails where anything is missing, and leaves a store at the URL in which a task was amended.
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


def amend(url: str) -> None:
    engine: Any = sagalog.open(url, clock=ManualClock(1_700_000_000_000), durability="normal")
    for id in ("first", "second", "third", "ended"):
        engine.create("build", id=id, queue="q")
    engine.cancel("ended")

    amended = engine.amend("second", -1, "urgent", actor="ann", idempotency_key="key")
    assert engine.amend("second", -1, "urgent", idempotency_key="key") == amended == engine.get("second")
    assert amended.priority == -1
    assert refusal(lambda: engine.amend("second", -2, "urgent", idempotency_key="key")) == "conflict"
    assert refusal(lambda: engine.amend("second", 2**40)) == "invalid_value"
    assert refusal(lambda: engine.amend("ended", 1)) == "terminal_task"
    with engine.batch() as batch:
        batch.amend("third", -2)
    asyncio.run(amend_by_coroutine(engine))

    claimed = [lease.task.id for lease in engine.claim("q", owner="ann", ttl_ms=1_000, limit=3)]
    assert claimed == ["third", "second", "first"], claimed
    (shown,) = (one for one in engine.history("second") if one.type == "amended")
    assert (shown.event.priority, shown.event.reason, shown.actor) == (-1, "urgent", "user:ann")
    assert explain(check(engine.events())) == ""
    assert engine.verify().ok
    engine.rebuild()
    assert engine.verify().ok
    assert engine.get("second").priority == -1
    engine.close()


async def amend_by_coroutine(engine: Any) -> None:
    shared: Any = AsyncEngine(engine)
    await shared.amend("first", 7)
    async with shared.batch() as batch:
        batch.amend("first", 8)
    assert (await shared.get("first")).priority == 8


if __name__ == "__main__":
    assert "amended.1.json" in schema_files()
    assert "amended" in task_diagram()
    amend("memory:")
    amend(sys.argv[1])

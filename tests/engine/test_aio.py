"""sagalog for asyncio: subscriptions, and what a coroutine handler may do beside what a plain one may."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from sagalog import aio
from sagalog.worker import AsyncContext, AsyncWorkContext, Context, UndoContext, WorkContext

# What a coroutine has no use for, or is given by the loop itself.
OF_THREADS = {"wait_stop", "on_stop"}


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(coroutine, 30))


def url(path: Path) -> str:
    return f"sqlite:///{path}/store.db"


def public(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


@pytest.mark.parametrize(
    ("plain", "other", "added"),
    [
        (WorkContext, AsyncWorkContext, {"compensation", "idempotency_key"}),
        (UndoContext, AsyncContext, {"compensation"}),
        (Context, AsyncContext, {"compensation", "idempotency_key"}),
    ],
)
def test_the_contexts_have_the_same_names(plain: type, other: type, added: set[str]) -> None:
    assert public(other) == (public(plain) - OF_THREADS) | added


def test_a_subscription_is_read_with_async_for(tmp_path: Path) -> None:
    async def main() -> list[str]:
        async with aio.open(url(tmp_path)) as engine:
            seen = []
            subscription = await engine.subscribe("reader")

            async def read() -> None:
                async for recorded in subscription:
                    seen.append(recorded.type)
                    if recorded.type == "cancelled":
                        return

            reading = asyncio.create_task(read())
            task = await engine.create("build")
            await engine.cancel(task.id)
            await reading
            await subscription.save()
            assert subscription.checkpoint == subscription.position == 3
            return seen

    assert run(main()) == ["founded", "created", "cancelled"]

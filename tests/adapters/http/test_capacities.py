"""Capacities: what waits holds no thread, and what is slow holds up no heartbeat."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

import sagalog
from sagalog_http import Application, Call, Capacity, Route, public
from sagalog_http.capacities import Capacities
from sagalog_http.errors import Overloaded
from tests.adapters.http.served import ROUTES, serving

WAITING: Final = 500
SLOW: Final = 20


async def slow(call: Call) -> dict[str, Any]:
    """Holds a thread of its capacity for a while."""
    await call.engine._pool.run(lambda: time.sleep(1.5))
    return {}


def test_500_that_wait_and_slow_calls_hold_up_no_heartbeat(tmp_path: Path) -> None:
    """[HTTP-7] Over real sockets; each heartbeat is a durable commit."""
    with sagalog.open(f"sqlite:///{tmp_path}/store.db", durability="normal") as engine:
        for id in ("waited-for", "held"):
            engine.create("k", id=id)
        lease = engine.acquire("held", owner="ann", ttl_ms=60_000)
        with serving([*ROUTES, Route("GET", "/slow", slow, public())], engine) as served:
            headers = served.bearer("admin")
            limits = httpx.Limits(max_connections=WAITING + SLOW)

            async def ask() -> tuple[list[float], list[int]]:
                async with (
                    httpx.AsyncClient(base_url=served.url, headers=headers, limits=limits, timeout=60) as waiting,
                    httpx.AsyncClient(base_url=served.url, headers=headers, timeout=60) as worker,
                ):
                    waits = [asyncio.ensure_future(waiting.get("/tasks/waited-for/end")) for _ in range(WAITING)]
                    until = time.monotonic() + 30
                    while served.server.application.requests < WAITING:
                        assert time.monotonic() < until
                        await asyncio.sleep(0.01)
                    slows = [asyncio.ensure_future(waiting.get("/slow")) for _ in range(SLOW)]
                    while served.server.application.requests < WAITING + SLOW:
                        assert time.monotonic() < until
                        await asyncio.sleep(0.01)
                    took = []
                    for _ in range(5):
                        begun = time.monotonic()
                        answer = await worker.post(f"/leases/held/{lease.fence}")
                        took.append(time.monotonic() - begun)
                        assert answer.status_code == 200
                    assert not any(one.done() for one in waits)
                    await asyncio.to_thread(engine.cancel, "waited-for")
                    answers = await asyncio.gather(*waits, *slows)
                    return took, [one.status_code for one in answers]

            took, statuses = asyncio.run(ask())
    assert max(took) < 1.0, took
    assert statuses == [200] * (WAITING + SLOW)


def test_a_capacity_takes_so_many_requests_and_then_says_when_to_repeat(engine: sagalog.Engine) -> None:
    """[HTTP-7] What is full of one is free of another."""
    capacities = Capacities(engine, {"a": Capacity(1, 1), "b": Capacity(1, 1)})
    with capacities.used("a"), capacities.used("b"):
        with pytest.raises(Overloaded) as refused, capacities.used("a"):
            pass
        assert refused.value.retry_after_ms == 1_000
    with capacities.used("a"):
        pass
    asyncio.run(capacities.close())


def test_an_engine_stays_open_when_its_application_ends(engine: sagalog.Engine) -> None:
    assert isinstance(Application(ROUTES, engine), Application)
    with serving([Route("GET", "/x", slow, public())], sagalog.open("memory:")) as served:
        served.server.stop_thread()
        assert served.engine.newest_position() >= 0

"""Capacities: what waits holds no thread, and what is slow holds up no heartbeat."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

import sagalog
from sagalog_http import GENERAL, SETTLE, Application, Call, Capacity, Route, public, scope
from sagalog_http.capacities import CAPACITIES, Capacities
from sagalog_http.errors import Overloaded
from tests.adapters.http.served import ROUTES, serving

WAITING: Final = 500
BLOCKING: Final = 20


class Blockade:
    """A route whose calls hold a thread of their capacity until it is lifted."""

    def __init__(self) -> None:
        self.lifted = threading.Event()
        self.held = threading.Semaphore(0)

    def hold(self) -> None:
        self.held.release()
        assert self.lifted.wait(60)

    async def handle(self, call: Call) -> dict[str, Any]:
        await call.engine._pool.run(self.hold)
        return {}


async def at_once(call: Call) -> dict[str, Any]:
    return {}


async def complete(call: Call) -> dict[str, Any]:
    lease = await call.engine.reattach(call.path["id"], int(call.path["fence"]))
    return {"state": (await lease.complete()).state}


COMPLETE: Final = Route("POST", "/leases/{id}/{fence}/end", complete, scope("work"), capacity=SETTLE)


def test_500_that_wait_and_blocked_threads_hold_up_no_settling(tmp_path: Path) -> None:
    """[HTTP-7] Over real sockets, while every thread of the other routes is held until the last of it has settled."""
    blockade = Blockade()
    threads = CAPACITIES[GENERAL].threads
    assert threads < BLOCKING
    with sagalog.open(f"sqlite:///{tmp_path}/store.db", durability="normal") as engine:
        for id in ("waited-for", "held"):
            engine.create("k", id=id)
        lease = engine.acquire("held", owner="ann", ttl_ms=60_000)
        with serving([*ROUTES, Route("GET", "/blocked", blockade.handle, public()), COMPLETE], engine) as served:
            headers = served.bearer("admin")
            limits = httpx.Limits(max_connections=WAITING + BLOCKING)

            async def ask() -> list[int]:
                async with (
                    httpx.AsyncClient(base_url=served.url, headers=headers, limits=limits, timeout=60) as waiting,
                    httpx.AsyncClient(base_url=served.url, headers=headers, timeout=10) as worker,
                ):
                    waits = [asyncio.ensure_future(waiting.get("/tasks/waited-for/end")) for _ in range(WAITING)]
                    until = time.monotonic() + 30
                    while served.server.application.requests < WAITING:
                        assert time.monotonic() < until
                        await asyncio.sleep(0.01)
                    blocked = [asyncio.ensure_future(waiting.get("/blocked")) for _ in range(BLOCKING)]
                    while served.server.application.requests < WAITING + BLOCKING:
                        assert time.monotonic() < until
                        await asyncio.sleep(0.01)
                    for _ in range(threads):
                        assert await asyncio.to_thread(blockade.held.acquire, timeout=10)
                    for _ in range(5):
                        assert (await worker.post(f"/leases/held/{lease.fence}")).status_code == 200
                    assert (await worker.post(f"/leases/held/{lease.fence}/end")).json() == {"state": "completed"}
                    assert not any(one.done() for one in [*waits, *blocked])
                    assert not blockade.held.acquire(blocking=False)
                    blockade.lifted.set()
                    await asyncio.to_thread(engine.cancel, "waited-for")
                    answers = await asyncio.gather(*waits, *blocked)
                    return [one.status_code for one in answers]

            try:
                statuses = asyncio.run(ask())
            finally:
                blockade.lifted.set()
    assert statuses == [200] * (WAITING + BLOCKING)


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
    with serving([Route("GET", "/x", at_once, public())], sagalog.open("memory:")) as served:
        served.server.stop_thread()
        assert served.engine.newest_position() >= 0

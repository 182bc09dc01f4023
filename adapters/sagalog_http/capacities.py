"""Capacities: threads for calls of the engine, by name, so that slow calls of one never hold up those of another.

Rule: all share one engine and its store; each has threads and a number of requests of its own. [HTTP-7]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import msgspec

from sagalog import Engine
from sagalog.aio import AsyncEngine
from sagalog_http.errors import Overloaded
from sagalog_http.routes import GENERAL, SETTLE


class Capacity(msgspec.Struct, frozen=True):
    """The threads and the number of requests that some routes have for themselves.

    threads        how many of their calls of the engine run at a time
    requests_max   how many of them may be under way, those that wait included
    """

    threads: int = 16
    requests_max: int = 2_000


# Renewing and settling leases has capacity of its own: a worker that could not do it in time would lose its leases.
CAPACITIES: Final[Mapping[str, Capacity]] = {GENERAL: Capacity(), SETTLE: Capacity(4, 1_000)}


class Capacities:
    """The capacities of one server over one engine, which stays open when they close."""

    def __init__(self, engine: Engine, capacities: Mapping[str, Capacity]) -> None:
        self._capacities = capacities
        self._engines = {
            name: AsyncEngine(engine, capacity.threads, shares=True) for name, capacity in capacities.items()
        }
        self._under_way = dict.fromkeys(capacities, 0)

    def __contains__(self, name: str) -> bool:
        return name in self._capacities

    def engine(self, name: str) -> AsyncEngine:
        """Return the engine whose calls have the threads of a capacity."""
        return self._engines[name]

    @contextmanager
    def used(self, name: str) -> Iterator[None]:
        """Count a request as under way; raises Overloaded where there are too many."""
        if self._under_way[name] >= self._capacities[name].requests_max:
            raise Overloaded(
                f"{self._under_way[name]:,} requests are under way; wait and repeat it", retry_after_ms=1_000
            )
        self._under_way[name] += 1
        try:
            yield
        finally:
            self._under_way[name] -= 1

    async def close(self) -> None:
        """End the threads, after the calls under way."""
        for engine in self._engines.values():
            await engine.close()

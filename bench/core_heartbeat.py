"""The bytes of the WAL that a heartbeat writes, for a task with a small payload and one with a payload of a megabyte.

Rule: bytes are counted and not timed, so once is enough. The suite moves the clock itself, because a heartbeat that
moves nothing forward writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from bench import stores, wal
from bench.plan import Plan
from bench.report import Figure, Goal, single
from sagalog.testing import ManualClock

_HEARTBEATS: Final = 50
_SMALL_BYTES: Final = 100
# A large payload, which is a blob beside its event.
_LARGE_BYTES: Final = 1_000_000


def measure(plan: Plan) -> Iterator[Figure]:
    """Yield the bytes of a heartbeat with each payload, and the ratio."""
    small, large = (_per_heartbeat(plan, size) for size in (_SMALL_BYTES, _LARGE_BYTES))
    yield single(f"WAL of a heartbeat, payload of {_SMALL_BYTES} bytes", small, "bytes")
    yield single("WAL of a heartbeat, payload of 1 MB", large, "bytes", Goal("<=", 25_000))
    yield single("WAL of a heartbeat, 1 MB of 100 bytes", large / small, "x", Goal("<=", 1.2))


def _per_heartbeat(plan: Plan, payload_bytes: int) -> float:
    path, clock = plan.folder / f"payload-{payload_bytes}.db", ManualClock(1_700_000_000_000)
    with stores.open_engine(path, "normal", clock) as engine:
        engine.create(stores.KIND, {"text": "x" * payload_bytes}, queue=stores.QUEUE)
        (lease,) = engine.claim(stores.QUEUE, owner=stores.OWNER, ttl_ms=stores.TTL_MS)
        wal.empty(path)
        before = lease.task.version
        for _ in range(_HEARTBEATS):
            clock.advance(1_000)
            lease = lease.heartbeat()
        assert lease.task.version == before + _HEARTBEATS, "a heartbeat wrote nothing"
        return wal.written_bytes(path) / _HEARTBEATS

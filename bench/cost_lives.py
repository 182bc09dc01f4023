"""The program `python -m bench.cost_lives SIDE COUNT FOLDER`: it makes COUNT calls of one sort, or lifecycles.

Rule: `cost_instructions` runs it with two counts, so that the difference is the calls alone: the work before them is
the same for every count.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import sagalog
from bench import raw, stores
from bench.tape import record
from sagalog import Engine, Lease
from sagalog_sqlite.checkpoints import PAGES

BATCH: Final = 100
# Lifecycles before the counted calls: they fill caches and prepare every statement.
_WARM: Final = 50
# Ready tasks for the counted calls, and so the largest count.
_READY: Final = 500
_SPEC: Final[dict[str, Any]] = {"kind": stores.KIND, "payload": stores.PAYLOAD, "queue": stores.QUEUE}


def main(side: str, count: int, folder: Path) -> None:
    """Run one side."""
    if side == "raw":
        # The tape has the same length for every count, so that the difference does not include its making.
        tape = record(folder / "tape.db", 1_000)
        with raw.opened(folder / "raw.db", tape, "normal", PAGES) as writer:
            writer.live(_WARM + count)
        return
    with stores.open_engine(folder / "sagalog.db", "normal") as engine:
        stores.live(engine, _WARM)
        SIDES[side](engine, count)


def _create(engine: Engine, count: int) -> None:
    for _ in range(count):
        engine.create(stores.KIND, stores.PAYLOAD, queue=stores.QUEUE)


def _claim(engine: Engine, count: int) -> None:
    engine.create_many([_SPEC] * _READY)
    for _ in range(count):
        engine.claim(stores.QUEUE, owner=stores.OWNER, ttl_ms=stores.TTL_MS)


def _held(engine: Engine) -> list[Lease]:
    engine.create_many([_SPEC] * _READY)
    return engine.claim(stores.QUEUE, owner=stores.OWNER, ttl_ms=stores.TTL_MS, limit=_READY)


def _heartbeat(engine: Engine, count: int) -> None:
    for lease in _held(engine)[:count]:
        lease.heartbeat()


def _step(engine: Engine, count: int) -> None:
    for lease in _held(engine)[:count]:
        lease.step("one", {"n": 1})


def _complete(engine: Engine, count: int) -> None:
    for lease in _held(engine)[:count]:
        lease.complete(stores.RESULT)


def _create_together(engine: Engine, count: int) -> None:
    for _ in range(count // BATCH):
        engine.create_many([_SPEC] * BATCH)


def _claim_together(engine: Engine, count: int) -> None:
    engine.create_many([_SPEC] * _READY)
    for _ in range(count // BATCH):
        engine.claim(stores.QUEUE, owner=stores.OWNER, ttl_ms=stores.TTL_MS, limit=BATCH)


def _complete_together(engine: Engine, count: int) -> None:
    leases = _held(engine)
    for first in range(0, count, BATCH):
        with engine.batch() as batch:
            for lease in leases[first : first + BATCH]:
                batch.complete(lease, stores.RESULT)


def _work(engine: Engine, count: int) -> None:
    worker = sagalog.Worker(concurrency=8, claim_ahead=200, queues=[stores.QUEUE])
    worker.task(stores.KIND)(lambda _context, _payload: None)
    _create_together(engine, count)
    worker.run(engine, until="idle")


SIDES: Final[Mapping[str, Callable[[Engine, int], None]]] = {
    "lifecycle": stores.live,
    "create": _create,
    "claim": _claim,
    "heartbeat": _heartbeat,
    "step": _step,
    "complete": _complete,
    f"create, {BATCH} at once": _create_together,
    f"claim, {BATCH} at once": _claim_together,
    f"complete, {BATCH} at once": _complete_together,
    "a busy worker": _work,
}

if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))

"""The program of one process of the race: `python -m bench.race_worker PATH OWNER BATCH DURABILITY`.

Rule: it prints `ready`, begins at the next line of its input, works until a claim is empty, and prints its report as
one line of JSON. It repeats a refused call and counts the refusal, which no caller may ever see.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from bench import stores
from sagalog import Engine, SagalogError

_ERRORS_MAX = 100
# Longer than any race: another process may rightly claim a task whose lease has expired.
_TTL_MS = 3_600_000

Answer = TypeVar("Answer")


class Worker:
    """One worker of the race: `waits_ms` holds how long each call took, `errors` the refusals by class."""

    def __init__(self, engine: Engine, owner: str) -> None:
        self.completed = 0
        self.waits_ms: list[float] = []
        self.errors: Counter[str] = Counter()
        self._engine = engine
        self._owner = owner

    def work(self, batch: int) -> None:
        """Claim and complete until a claim finds nothing."""
        claim = partial(self._engine.claim, stores.QUEUE, owner=self._owner, ttl_ms=_TTL_MS, limit=batch)
        while leases := self._call(claim):
            for lease in leases:
                self._call(partial(lease.complete, stores.RESULT))
                self.completed += 1

    def _call(self, call: Callable[[], Answer]) -> Answer:
        """Make one call, timed; repeat it after a refusal, and raise after too many."""
        while True:
            started = time.monotonic()
            try:
                return call()
            except SagalogError as error:
                self.errors[type(error).__name__] += 1
                if self.errors.total() > _ERRORS_MAX:
                    raise
            finally:
                self.waits_ms.append((time.monotonic() - started) * 1_000)


def main(path: str, owner: str, batch: str, durability: str) -> None:
    """Race once."""
    with stores.open_engine(Path(path), durability) as engine:
        worker = Worker(engine, owner)
        print("ready", flush=True)
        sys.stdin.readline()
        worker.work(int(batch))
        ended_s = time.monotonic()
    report = {
        "completed": worker.completed,
        "errors": worker.errors,
        "waits_ms": [round(wait, 3) for wait in worker.waits_ms],
        "ended_s": ended_s,
    }
    print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

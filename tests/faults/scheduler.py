"""A scheduler: a process of its own that claims when it is told what time it is, and says what it got.

Run as `python -m tests.faults.scheduler URL OWNER` by `test_schedules.py`. It says `ready`. Each line that comes in is
a time, at which it claims once, says the ids of what it got, and then `looked`.
"""

from __future__ import annotations

import sys

import sagalog
from sagalog.testing.clock import ManualClock


def main(url: str, owner: str) -> None:
    clock = ManualClock(0)
    with sagalog.open(url, clock=clock, durability="normal") as engine:
        print("ready", flush=True)  # noqa: T201  this is how the test is told
        for line in sys.stdin:
            clock.step(int(line) - clock.now_ms())
            for lease in engine.claim("agents", owner=owner, ttl_ms=None, limit=3):
                print(lease.task.id, flush=True)  # noqa: T201
                lease.complete()
            print("looked", flush=True)  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])

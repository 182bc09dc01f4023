"""A user of limits: a process of its own that claims, one task after the other, until none is left.

Run as `python -m tests.faults.limit_user URL OWNER QUEUES HOW TTL_MS` by `test_limits.py`. It says `ready`, begins when
a line comes in, and says the id of each task that it gets. `HOW` is `end`, or `hold`: then it holds the first one until
it is killed.
"""

from __future__ import annotations

import signal
import sys

import sagalog


def main(url: str, owner: str, queues: str, how: str, ttl_ms: str) -> None:
    with sagalog.open(url, durability="normal") as engine:
        print("ready", flush=True)  # noqa: T201  this is how the test is told
        sys.stdin.readline()
        names = queues.split(",")
        while engine.find(queue=names, state=["pending", "running"], limit=1):
            for lease in engine.claim(names, owner=owner, ttl_ms=int(ttl_ms), wait_ms=1_000):
                print(lease.task.id, flush=True)  # noqa: T201
                if how == "hold":
                    signal.pause()
                lease.complete()


if __name__ == "__main__":
    main(*sys.argv[1:])

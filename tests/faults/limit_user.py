"""A user of limits: a process of its own that claims, one task after the other, until none is left.

Run as `python -m tests.faults.limit_user URL OWNER QUEUES HOW TTL_MS` by `test_limits.py` and `test_breakers.py`. It
says `ready`, begins when a line comes in, and says the id of each task that it gets. `HOW` is `end`; `hold`: then it
holds the first one until it is killed; or `strike`: then each fails as if the limit `provider` were down, and it ends
when there is none for a moment.
"""

from __future__ import annotations

import signal
import sys

import sagalog

DOWN = sagalog.Failure("down", "", limit="provider")


def main(url: str, owner: str, queues: str, how: str, ttl_ms: str) -> None:
    with sagalog.open(url, durability="normal") as engine:
        print("ready", flush=True)  # noqa: T201  this is how the test is told
        sys.stdin.readline()
        names = queues.split(",")
        while engine.find(queue=names, state=["pending", "running"], limit=1):
            leases = engine.claim(names, owner=owner, ttl_ms=int(ttl_ms), wait_ms=1_000 if how != "strike" else 100)
            if how == "strike" and not leases:
                break
            for lease in leases:
                print(lease.task.id, flush=True)  # noqa: T201
                if how == "hold":
                    signal.pause()
                if how == "strike":
                    lease.retry(DOWN, budget="transient", run_at_ms=engine.now_ms())
                else:
                    lease.complete()


if __name__ == "__main__":
    main(*sys.argv[1:])

"""An ender: a process of its own that ends a task and then does maintenance until nothing is due, or it is killed.

Run as `python -m tests.faults.ender URL TASK HOW` by `test_dependants.py`; `HOW` is `complete` or `fail`, or `look` for
maintenance alone.
"""

from __future__ import annotations

import sys

import sagalog


def main(url: str, task: str, how: str) -> None:
    with sagalog.open(url, durability="normal") as engine:
        if how != "look":
            lease = engine.acquire(task, owner="ann", ttl_ms=None, waive_compensation="it has no effects")
            if how == "complete":
                lease.complete()
            else:
                lease.fail("no way on")
        # A claim of a queue without tasks: each is one commit, with its share of maintenance.
        while engine.find(waiting=True, limit=1) or engine.counts("children").get("children", {}).get("pending"):
            engine.claim(["elsewhere", "waiters"], owner="ann", ttl_ms=None, kinds=["none"])


if __name__ == "__main__":
    main(*sys.argv[1:])

"""A consumer: a process of its own that pops from one queue. `python -m tests.adapters.queue.consumer URL OWNER MS HOW`

It says `ready`, begins when a line comes in, and prints one line of JSON for each item that it was given. HOW is:
`drain` (acknowledge all until nothing is left anywhere), `hold` (pop one and never come back), `wait` (one item, for
up to a minute), `push` (push the numbers below 300 instead).

It must not decide anything: what is right is the test's business.
"""

from __future__ import annotations

import json
import sys
import threading
import time

from sagalog_queue import Queue, open_queue


def say(**what: object) -> None:
    print(json.dumps(what), flush=True)  # noqa: T201  this is how the test is told


def drain(queue: Queue, owner: str) -> None:
    while queue.depth() or queue.in_flight():
        for item in queue.consume(owner, timeout_ms=100):
            say(item=item.id, fence=item.lease.fence)


def hold(queue: Queue, owner: str) -> None:
    item = queue.pop(owner, 60_000)
    assert item is not None
    say(item=item.id, fence=item.lease.fence)
    threading.Event().wait()


def wait(queue: Queue, owner: str) -> None:
    item = queue.pop(owner, 60_000)
    say(item=item and item.id, at_s=time.monotonic())


def push(queue: Queue, _owner: str) -> None:
    for number in range(300):
        queue.push(number)


def main(url: str, owner: str, visibility_ms: str, how: str) -> None:
    with open_queue(url, visibility_ms=int(visibility_ms), durability="normal") as queue:
        say(ready=owner)
        sys.stdin.readline()
        {"drain": drain, "hold": hold, "wait": wait, "push": push}[how](queue, owner)


if __name__ == "__main__":
    main(*sys.argv[1:])

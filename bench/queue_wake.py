"""The time until an idle `pop` in another process has a new item; `python -m bench.queue_wake URL ITEMS` is that one.

Rule: the time goes from before the push to after the pop, on the one monotonic clock of the machine, both commits
included. Before each push the consumer has had time to fall asleep.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from bench.report import Figure, Goal, single
from bench.rounds import Spread
from sagalog_queue import Queue, open_queue

_ROOT: Final = Path(__file__).parents[1]
_PATIENCE_MS: Final = 60_000
# Longer than any slice of a wait, so that the consumer sleeps before each push.
_REST_S: Final = 0.06
_GOAL_MS: Final = Goal("<=", 50)


def measure(path: Path, items: int) -> Iterator[Figure]:
    """Push so many items to a consumer that has nothing to do."""
    url = f"sqlite:///{path}"
    with open_queue(url) as queue:
        waits = sorted(_wake(queue, url, items))
    yield Figure(
        "a pop that waits in another process has a push after",
        Spread(waits[len(waits) // 2], waits[0], waits[-1]),
        "ms",
    )
    yield single("99 of 100 are there after", waits[len(waits) * 99 // 100], "ms")
    yield single("the last one is there after", waits[-1], "ms", _GOAL_MS)


def _wake(queue: Queue, url: str, items: int) -> Iterator[float]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(word for word in sys.path if word)}
    command = [sys.executable, "-m", "bench.queue_wake", url, str(items)]
    consumer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=_ROOT, env=environment)
    assert consumer.stdout is not None
    try:
        assert consumer.stdout.readline() == "ready\n"
        for _ in range(items):
            threading.Event().wait(_REST_S)
            began_s = time.monotonic()
            queue.push("x")
            yield (float(consumer.stdout.readline()) - began_s) * 1_000
    finally:
        consumer.kill()
        consumer.communicate()


def main(url: str, items: str) -> None:
    """Pop so many items, and print when each arrived."""
    with open_queue(url) as queue:
        print("ready", flush=True)
        for _ in range(int(items)):
            item = queue.pop("idle", _PATIENCE_MS)
            popped_s = time.monotonic()
            assert item is not None
            print(popped_s, flush=True)
            queue.ack(item)


if __name__ == "__main__":
    main(*sys.argv[1:])

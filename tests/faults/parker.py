"""A parker: a process of its own that parks tasks when it is told to, and says whether that was accepted.

Run as `python -m tests.faults.parker URL` by `test_circles.py`. A line that comes in names a task, a fence and a task
to wait for; the answer is `parked`, or the code of the refusal.
"""

from __future__ import annotations

import sys

import sagalog


def main(url: str) -> None:
    with sagalog.open(url, durability="normal") as engine:
        print("ready", flush=True)  # noqa: T201  this is how the test is told
        for line in sys.stdin:
            task, fence, after = line.split()
            try:
                engine.reattach(task, int(fence)).park("w", after=after)
            except sagalog.Rejected as refusal:
                print(refusal.code, flush=True)  # noqa: T201  as above
            else:
                print("parked", flush=True)  # noqa: T201  as above


if __name__ == "__main__":
    main(sys.argv[1])

"""A reader: a process of its own that subscribes to one store and says, line by line, which events it was given.

Run as `python -m tests.faults.reader URL NAME LIMIT` by `test_subscription_readers.py`. For each line that comes in it
reads at most LIMIT events, says their positions, and waits for another line before it saves; it ends when no line
comes.

It must not decide anything: what is right is the test's business.
"""

from __future__ import annotations

import json
import sys

import sagalog


def main(url: str, name: str, limit: str) -> None:
    with sagalog.open(url, durability="normal") as engine:
        reader = engine.subscribe(name)
        while sys.stdin.readline():
            print(json.dumps([event.position for event in reader.read(int(limit))]), flush=True)  # noqa: T201  the answer
            if sys.stdin.readline():
                reader.save()


if __name__ == "__main__":
    main(*sys.argv[1:])

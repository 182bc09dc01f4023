"""A pruner: a process of its own that prunes a store once, and says what it has pruned.

Run as `python -m tests.faults.pruner URL` by `test_pruners.py`. It says `ready`, and begins when a line comes in.

It must not decide anything: what is right is the test's business.
"""

from __future__ import annotations

import json
import sys

import sagalog


def say(**what: object) -> None:
    print(json.dumps(what), flush=True)  # noqa: T201  this is how the test is told


def main(url: str) -> None:
    with sagalog.open(url, durability="normal") as engine:
        say(ready=True)
        sys.stdin.readline()
        report = engine.prune(0)
        say(blobs=report.blobs, size_bytes=report.size_bytes)


if __name__ == "__main__":
    main(sys.argv[1])

"""A deduper: a process of its own that creates tasks with dedupe keys, and says which tasks it was given.

Run as `python -m tests.faults.deduper URL NAME KEYS ROUNDS` by `test_dedupes.py`. It says `ready`, begins when a line
comes in, and prints one JSON object after each answer of the engine. In every other round it ends the task, so that
others take the key anew.

It must not decide anything: what is right is the test's business.
"""

from __future__ import annotations

import json
import sys

import sagalog
from sagalog import Dedupe, SagalogError


def say(**what: object) -> None:
    print(json.dumps(what), flush=True)  # noqa: T201  this is how the test is told


def main(url: str, name: str, keys: int, rounds: int) -> None:
    with sagalog.open(url, durability="normal") as engine:
        say(ready=name)
        sys.stdin.readline()
        for round in range(rounds):
            for key in range(keys):
                task = engine.create("report", {"by": name}, dedupe=Dedupe(f"k{key}"))
                say(key=key, task=task.id, deduplicated=task.deduplicated)
                if round % 2:
                    try:
                        engine.cancel(task.id)
                    except SagalogError as refusal:
                        say(refused=refusal.code)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))

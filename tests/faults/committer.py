"""A committer: a process of its own whose threads create tasks in one store and say what was acknowledged to them.

Run as `python -m tests.faults.committer URL THREADS` by `test_group_crash.py`; it goes on until it is killed. Each
line is the id of a task whose creation has returned, written at once and whole.

It must not decide anything: what is right is the test's business.
"""

from __future__ import annotations

import os
import sys
import threading

import sagalog
from sagalog import Engine


def create(engine: Engine, name: str) -> None:
    number = 0
    while True:
        task = engine.create("build", {"by": name}, id=f"{name}-{number:06}")
        os.write(1, f"{task.id}\n".encode())
        number += 1


def main(url: str, threads: str) -> None:
    with sagalog.open(url) as engine:
        working = [threading.Thread(target=create, args=(engine, f"thread {name}")) for name in range(int(threads))]
        for thread in working:
            thread.start()
        for thread in working:
            thread.join()


if __name__ == "__main__":
    main(*sys.argv[1:])

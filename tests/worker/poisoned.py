"""A worker with a handler that kills its process: `python -m tests.worker.poisoned URL`; with a word more it ends idle.

The first time the poison waits until seven innocent ones have begun beside it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

import sagalog
from sagalog.worker import WorkContext

together = threading.Barrier(8)
worker = sagalog.Worker(concurrency=8, ttl_ms=700, name="w")


@worker.task("poison")
def poison(context: WorkContext, _payload: None) -> None:
    if context.task.leases == 1:
        # The first time it holds seven others, all of them begun.
        together.wait(20)
    os.kill(os.getpid(), signal.SIGKILL)


@worker.task("innocent")
def innocent(context: WorkContext, payload: str | None) -> str:
    if context.task.leases == 1 and payload == "beside":
        together.wait(20)
        threading.Event().wait(20)
    return "done"


if __name__ == "__main__":
    with sagalog.open(sys.argv[1]) as engine:
        worker.run(engine, until="idle" if len(sys.argv) > 2 else None)

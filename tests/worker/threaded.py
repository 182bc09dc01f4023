"""A worker whose handlers run in the real threads and on the real event loop, and whose turns are a test's.

Rule: loop, pool, handlers and inbox are the real ones; time is moved by hand, and what is waited for is a fact.
"""

from __future__ import annotations

import sagalog
from sagalog.testing import ManualClock
from sagalog.worker.config import WorkerConfig
from sagalog.worker.handler_pool import Inbox, ThreadHandlerPool
from sagalog.worker.worker_loop import WorkerLoop
from tests.worker.worker_processes import PATIENCE_S


class ThreadedWorker:
    """One worker loop with its threads."""

    def __init__(self, engine: sagalog.Engine, config: WorkerConfig, owner: str, clock: ManualClock) -> None:
        self.inbox = Inbox()
        self.pool = ThreadHandlerPool(config.concurrency, self.inbox)
        self.worker_loop = WorkerLoop(engine, config, owner, self.pool, clock)

    def __enter__(self) -> ThreadedWorker:
        return self

    def __exit__(self, *_: object) -> None:
        self.worker_loop.interrupt()
        self.pool.close()

    def turn(self) -> bool:
        """Look, and write what is due; whether there was anything."""
        self.worker_loop.look()
        return self.worker_loop.run_round()

    def take(self, count: int = 1) -> None:
        """Wait for handlers to end, and take them back; they are settled in the next turn."""
        while count > 0:
            ended = self.inbox.take(PATIENCE_S)
            assert ended, f"{count} handlers never came back"
            count -= len(ended)
            self.worker_loop.collect(ended)

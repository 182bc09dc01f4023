"""A worker that knows its engine, for tests: it runs until it is idle, and is over before its engine is closed.

Rule: it is a `Worker` in all else. Knows no pytest.
"""

from __future__ import annotations

import threading
from typing import Final

from sagalog import Engine, Worker
from sagalog.worker import WorkerStats
from sagalog.worker.config import Until

# How long a run of another thread may take to end: a handler that heeds nothing is left behind then.
_FINISH_S: Final = 10.0


class EngineWorker(Worker):
    """A `Worker` of the queue `default` on one engine, for tests."""

    def __init__(self, engine: Engine) -> None:
        super().__init__("default", name="pytest")
        self._engine = engine
        self._is_over = threading.Event()
        self._is_over.set()

    def run(
        self, engine: Engine | None = None, *, until: Until | None = "idle", handle_signals: bool = False
    ) -> WorkerStats:
        """Run handlers as `Worker.run` does, until there is nothing to do at the clock's time.

        Args:
            engine: another engine than the worker's own.
            until: when the run ends by itself, as in `Worker.run`; None: only when another thread stops it.
            handle_signals: as in `Worker.run`; left out, Ctrl-C interrupts the test.

        Returns:
            What this run has done, in numbers.

        Raises:
            InvalidValue: `until` is neither "idle" nor "drained".
            Rejected: it runs already, or has no handler.
            Corrupt: the store is damaged, or newer than this version: stop and call a human.
        """
        self._is_over.clear()
        try:
            return super().run(engine or self._engine, until=until, handle_signals=handle_signals)
        finally:
            self._is_over.set()

    def finish(self) -> None:
        """Stop a run of another thread at once, and wait until it is over; nothing where there is none."""
        if not self._is_over.is_set():
            self.stop()
            self.stop()
            self._is_over.wait(_FINISH_S)

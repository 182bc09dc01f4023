"""A worker whose handlers run in the real threads and on the real event loop, and whose turns are a test's.

Rule: shift, crew, handlers and inbox are the real ones; time is moved by hand, and what is waited for is a fact.
"""

from __future__ import annotations

import sagalog
from sagalog.testing import ManualClock
from sagalog.worker.crew import Inbox, ThreadCrew
from sagalog.worker.plan import Plan
from sagalog.worker.shift import Shift
from tests.worker.crew_of import PATIENCE_S


class ThreadedWorker:
    """One shift with its threads."""

    def __init__(self, engine: sagalog.Engine, plan: Plan, owner: str, clock: ManualClock) -> None:
        self.inbox = Inbox()
        self.crew = ThreadCrew(plan.concurrency, self.inbox)
        self.shift = Shift(engine, plan, owner, self.crew, clock)

    def __enter__(self) -> ThreadedWorker:
        return self

    def __exit__(self, *_: object) -> None:
        self.shift.interrupt()
        self.crew.close()

    def turn(self) -> bool:
        """Look, and write what is due; whether there was anything."""
        self.shift.look()
        return self.shift.turn()

    def take(self, count: int = 1) -> None:
        """Wait for handlers to end, and take them back; they are settled in the next turn."""
        while count > 0:
            ended = self.inbox.take(PATIENCE_S)
            assert ended, f"{count} handlers never came back"
            count -= len(ended)
            self.shift.take(ended)

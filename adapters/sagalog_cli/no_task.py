"""The note that a queue or a kind that a command sets has no task and no worker yet: perhaps its name is a typo.

Rule: what is set holds all the same, because operators may set it before the first task. Knows no store.
"""

from __future__ import annotations

from sagalog import Engine
from sagalog_cli.session import Session


def note_if_unused(session: Session, engine: Engine, *, queue: str | None = None, kind: str | None = None) -> None:
    """Leave a note where no task is of this queue, or of this kind, and no live worker works on it."""
    if queue is not None:
        what, has_tasks = f"queue {queue!r}", any(any(states.values()) for states in engine.counts(queue).values())
    else:
        what, has_tasks = f"kind {kind!r}", bool(engine.find(kind=kind, limit=1))
    workers = (one for one in engine.workers() if one.is_live)
    if not has_tasks and not any(queue in one.queues or kind in one.kinds for one in workers):
        session.note("unused", f"no task of {what} is here yet, and no worker works on it")

"""Which child of a predecessor a successor goes on with, where its handler asks for a child of that name. [STEP-2]

Rule: reads only; what it finds is adopted in the commit of what the handler writes next, and is then on record, so that
every later attempt finds the same child, whatever has become of it.
"""

from __future__ import annotations

from sagalog.engine import Engine
from sagalog.engine.task import Task
from sagalog.kernel.values import State
from sagalog.validation.identities import child_id


def adoptable(engine: Engine, task: Task, name: str) -> Task | None:
    """The child of this name that a predecessor had, or that child's newest successor, if it lives or has completed.

    Only a successor that goes on where its predecessor stopped has its children too, as it has its steps. None: there
    is no such child, or it has ended otherwise, so that a new one takes its place.
    """
    predecessor = _kept_by(engine, task)
    while predecessor is not None:
        child = _child_of(engine, predecessor, name)
        if child is not None:
            newest = _newest(engine, child)
            return newest if not newest.is_terminal or newest.state is State.COMPLETED else None
        predecessor = _kept_by(engine, predecessor)
    return None


def _kept_by(engine: Engine, task: Task) -> Task | None:
    """The predecessor where this task goes on; None: it has none, or began with nothing."""
    before = None if task.predecessor is None else engine.get(task.predecessor)
    was_at_work = before is not None and before.state is State.QUARANTINED and before.outcome is None
    return before if was_at_work else None


def _child_of(engine: Engine, parent: Task, name: str) -> Task | None:
    """A task's child of a name, adopted or its own; a task with another parent is not its child here."""
    if name in parent.children:
        return engine.get(parent.children[name])
    child = engine.get(child_id(parent.id, name))
    return child if child is not None and child.parent == parent.id else None


def _newest(engine: Engine, child: Task) -> Task:
    """The last that took the place of a child; what undoes the leavings of a completed one takes no place."""
    while child.state is not State.COMPLETED and child.successor is not None:
        successor = engine.get(child.successor)
        if successor is None:
            break
        child = successor
    return child

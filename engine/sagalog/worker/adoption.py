"""The child of a predecessor that a successor keeps, if its handler asks for a child of that name. [STEP-2]

Rule: it only reads. The handler's next commit adopts the child that it finds. Then the child is on record, and every
later attempt finds the same child, in any state.
"""

from __future__ import annotations

from sagalog.engine import Engine
from sagalog.engine.task import Task
from sagalog.kernel.values import State
from sagalog.validation.identities import child_id


def adoptable(engine: Engine, task: Task, name: str) -> Task | None:
    """Return a predecessor's child of this name, or its newest successor, if that lives or has completed.

    Only a successor that continues where its predecessor stopped keeps the children, as it keeps the steps. None: there
    is no such child, or it has ended in another way, so a new one takes its place.
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
    """Return the predecessor where this task continues; None: it has none, or starts over."""
    before = None if task.predecessor is None else engine.get(task.predecessor)
    was_at_work = before is not None and before.state is State.QUARANTINED and before.outcome is None
    return before if was_at_work else None


def _child_of(engine: Engine, parent: Task, name: str) -> Task | None:
    """Return a task's child of a name, adopted or its own; a task with another parent is not its child here."""
    if name in parent.children:
        return engine.get(parent.children[name])
    child = engine.get(child_id(parent.id, name))
    return child if child is not None and child.parent == parent.id else None


def _newest(engine: Engine, child: Task) -> Task:
    """Return the last task that took a child's place; a task that only undoes what a completed one left takes none."""
    while child.state is not State.COMPLETED and child.successor is not None:
        successor = engine.get(child.successor)
        if successor is None:
            break
        child = successor
    return child

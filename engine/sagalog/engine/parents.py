"""The children of a task whose forward work was cancelled or has failed: they are cancelled too. [CANCEL-4]

Rule: one unit of work cancels a bounded number of them, children of children included, and keeps the names of the tasks
of which some are left; maintenance goes on with those. Knows no store.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence

from sagalog.actors import MAINTENANCE
from sagalog.engine.entries import CommandEntry
from sagalog.kernel import commands as c
from sagalog.kernel.bounds import DEPENDANTS_LIMIT
from sagalog.kernel.state import TaskFold
from sagalog.store import Saved

# The outcomes of forward work after which the children of a task are cancelled. [CANCEL-4]
WITHOUT_SUCCESS = ("cancelled", "failed")


class EndedParents:
    """The tasks of one unit of work whose children are cancelled in it.

    left    ids of those of which children are left
    done    ids of those that maintenance has found due and of which none is left
    """

    def __init__(self) -> None:
        self._ahead: deque[tuple[TaskFold, str | None]] = deque()
        # Children that this unit of work has created, by their parent: the store does not select them.
        self._created: dict[str, list[str]] = {}
        self.left: list[str] = []
        self.done: list[str] = []

    def note(self, before: TaskFold, after: TaskFold) -> None:
        """Take note of what events have made of a task: a child, or a parent whose work is over."""
        if before.version == 0:
            if after.ends_with_parent and after.parent is not None:
                self._created.setdefault(after.parent, []).append(after.id)
        elif before.outcome is None and after.outcome in WITHOUT_SUCCESS and after.leases:
            self._ahead.append((after, f"task/{after.id}@{after.version}"))

    def due(self, found: Iterable[Saved]) -> None:
        """Take the tasks that maintenance has found due; a name is dropped where nothing is, or it cannot be read."""
        for saved in found:
            fold = saved.fold
            self.done.append(saved.stream.partition("/")[2])
            if isinstance(fold, TaskFold) and fold.outcome in WITHOUT_SUCCESS:
                self._ahead.append((fold, None))

    def cancel(self, select: Select, write: Write, limit: int = DEPENDANTS_LIMIT) -> None:
        """Cancel children of all these tasks, in order, until it has looked at `limit` of them."""
        budget = limit
        while self._ahead:
            parent, cause = self._ahead.popleft()
            adopted = [one.task for one in parent.children.values()]
            found = select(parent.id, adopted, self._created.get(parent.id, ()), budget + 1)
            if len(found) > budget:
                self.left.append(parent.id)
            for child in found[:budget]:
                command = c.CancelChild(task=child.id, parent=parent.id, outcome=parent.outcome or "failed")
                write(child, CommandEntry(command, MAINTENANCE, cause))
            budget -= min(budget, len(found))


# The id of a parent, those that it has adopted, those created here, a limit -> its live children.
Select = Callable[[str, Sequence[str], Sequence[str], int], Sequence[TaskFold]]
# Decides a command on a child, and writes what follows.
Write = Callable[[TaskFold, CommandEntry], object]

"""The relations between tasks: what one waits for, which circles that would close, whose children it may adopt.

Rule: it reads only folds and edges that are locked, so that two writes at once cannot each miss the other. Knows no
store.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Protocol, TypeVar

import msgspec

from sagalog.codec import read
from sagalog.errors import Corrupt, InvalidValue, NotFound, OverBound, Rejected
from sagalog.ids import drawn_ms
from sagalog.kernel import commands as c
from sagalog.kernel import events as e
from sagalog.kernel.bounds import CIRCLE_EDGES_MAX
from sagalog.kernel.decide import keeps_steps
from sagalog.kernel.state import TaskFold
from sagalog.kernel.values import State, TaskEnd
from sagalog.store import Ends, Reads, Saved


class Tasks(Protocol):
    """The tasks as they are after the steps so far; raises Undeclared for those that are not locked."""

    def task(self, id: str) -> TaskFold | None:
        """Return the fold of a task, or None; raises Corrupt where it cannot be read."""
        ...

    def ends(self, ids: Sequence[str]) -> Ends:
        """Return the ends of some tasks. [WAIT-3]"""
        ...

    def edges(self, ids: Sequence[str], limit: int) -> Sequence[tuple[str, str]]:
        """Return edges of some tasks: each the id of one, and of a task that it awaits."""
        ...

    def created(self, id: str) -> e.Created:
        """Return the first event of a task."""
        ...

    def noted(self, id: str, version: int) -> e.Noted:
        """Return a note of a task."""
        ...


Waiter = TypeVar("Waiter", c.Park, c.Create)


def with_ended(tasks: Tasks, command: Waiter) -> tuple[Waiter, tuple[str, ...]]:
    """Look up the tasks that a command waits for, which exist and do not wait for this one.

    One that cannot be read exists: a task that waits for it goes on waiting, and does not fail. [LOG-5]

    Returns:
        The command with the ends of those that have ended, and the ids of the others.

    Raises:
        NotFound: there is no such task. Rejected: it waits for this one. [WAIT-4]
        OverBound: the search for a circle would follow too many edges.
    """
    found = tasks.ends(command.after)
    for id in command.after:
        if id not in found.ended and id not in found.live and id not in found.unreadable:
            who = new_task(command.task) if isinstance(command, c.Create) else f"task {command.task!r}"
            raise NotFound(f"{who} cannot wait for {id!r}: there is no such task; create it first", task=id)
    open_ = tuple([id for id in command.after if id not in found.ended])
    if isinstance(command, c.Park):
        # No task waits for one that is created now.
        _refuse_circle(tasks, command, open_)
    return msgspec.structs.replace(command, ended=in_order(found, command.after)), open_


def in_order(ends: Ends, ids: Iterable[str]) -> tuple[TaskEnd, ...]:
    """Return the ends of those of these tasks that have ended and can be read. [TERM-1]

    One that cannot be read delays every task that waits for it, and never the maintenance of others. [LOG-5]
    """
    return tuple([ends.ended[id] for id in ids if id in ends.ended])


def newest_successors(tasks: Tasks, ids: Sequence[str]) -> tuple[str, ...]:
    """Return for each task its newest successor by now, or itself; each once. [WAIT-5]

    A successor that only undoes what a completed task has left replaces nothing.
    """
    ended = tasks.ends(ids).ended
    return tuple(dict.fromkeys([_newest(tasks, id) if _may_be_replaced(ended.get(id)) else id for id in ids]))


def _may_be_replaced(end: TaskEnd | None) -> bool:
    return end is not None and end.state is not State.COMPLETED


def _newest(tasks: Tasks, id: str) -> str:
    task = tasks.task(id)
    while task is not None and task.successor_version and task.state is not State.COMPLETED:
        successor = tasks.noted(task.id, task.successor_version).successor
        if successor is None:
            break
        id, task = successor, tasks.task(successor)
    return id


def require_child_of_predecessor(tasks: Tasks, command: c.AdoptChild) -> None:
    """Refuse to adopt a task with another parent. [STEP-2]

    Raises:
        NotFound: there is no such child. Rejected: its parent is no predecessor that the task goes on from.
    """
    if tasks.task(command.child) is None:
        text = f"task {command.task!r} cannot adopt {command.child!r}: there is no such task"
        raise NotFound(text, task=command.child)
    parent, before = tasks.created(command.child).parent, tasks.created(command.task).predecessor
    while before is not None:
        fold = tasks.task(before)
        if fold is None or not keeps_steps(fold):
            break
        if before == parent:
            return
        before = tasks.created(before).predecessor
    raise Rejected(
        f"task {command.task!r} cannot adopt {command.child!r}: its parent is {parent!r}, no predecessor "
        "that it goes on from; create a child of its own",
        task=command.task,
        child=command.child,
    )


def new_task(id: str) -> str:
    """Return how a refusal names a task that is to be created: by its id, unless that was drawn for it."""
    return "the task" if drawn_ms(id) is not None else f"task {id!r}"


def require_limit(saved: Saved | None, who: str, name: str, units: int, **of: str) -> None:
    """Refuse a use of a limit which does not exist, or of more units than that ever has. [LIMIT-1]

    Args:
        who: what would use it, in words; `of` is the same for the fields of the error.

    Raises:
        NotFound: there is no such limit. InvalidValue: it allows fewer units.
    """
    if saved is None or saved.fold.is_removed:
        raise NotFound(
            f"{who} cannot use the limit {name!r}: there is no such limit; set it first, or check its name",
            **of,
            limit=name,
        )
    most = saved.fold.limit.most
    if most is not None and units > most:
        raise InvalidValue(
            f"uses[{name!r}]: {who} asks for {units:,} units, and the limit allows {most:,}; ask for fewer, or "
            "raise the limit first",
            path=f"uses[{name!r}]",
            limit=name,
        )


def depends_on(reads: Reads, commands: Sequence[c.Command]) -> tuple[str, ...]:
    """Return the ids of tasks that these commands depend on and do not name, so that one round is enough.

    They never change: the predecessors of a task that adopts a child, and the successor that a task has already. The
    tasks for which a successor waits may change until it is created; then another round finds out.
    """
    found: list[str] = []
    for command in commands:
        with suppress(Corrupt):
            if isinstance(command, c.AdoptChild):
                found += _predecessors(reads, command.task)
            elif isinstance(command, c.RetryAsNew):
                found += _successors(reads, command.task)
                found += _of_successor(reads, command.task)
    return tuple(dict.fromkeys(found))


def _of_successor(reads: Reads, id: str) -> Iterator[str]:
    """Yield the parent of a task that is cancelled with it, and the successors of the tasks that it waits for."""
    task = reads.task(id)
    if task is None or task.successor_version:
        return
    if task.parent is not None and task.ends_with_parent:
        yield task.parent
    if task.is_blocked:
        created = read(reads.recorded(id, 1))
        assert isinstance(created, e.Created)
        for end in reads.ends(created.after).ended.values():
            if _may_be_replaced(end):
                yield end.task
                yield from _all_successors(reads, end.task)


def _all_successors(reads: Reads, id: str) -> Iterator[str]:
    for successor in _successors(reads, id):
        yield successor
        yield from _all_successors(reads, successor)


def _predecessors(reads: Reads, id: str) -> Iterator[str]:
    """Yield the predecessors of a task, as far back as it goes on from them."""
    task = reads.task(id)
    while task is not None:
        created = read(reads.recorded(task.id, 1))
        assert isinstance(created, e.Created)
        if created.predecessor is None:
            return
        yield created.predecessor
        before = reads.task(created.predecessor)
        task = before if before is not None and keeps_steps(before) else None


def _successors(reads: Reads, id: str) -> Iterator[str]:
    task = reads.task(id)
    if task is not None and task.successor_version:
        noted = read(reads.recorded(id, task.successor_version))
        assert isinstance(noted, e.Noted)
        if noted.successor is not None:
            yield noted.successor


def _refuse_circle(tasks: Tasks, command: c.Park, open_: Sequence[str]) -> None:
    """Refuse a circle: tasks that wait for one another would wait for ever. [WAIT-4]"""
    seen: set[str] = set()
    followed = 0
    ahead: Sequence[str] = open_
    while ahead := [id for id in dict.fromkeys(ahead) if id not in seen]:
        seen.update(ahead)
        found = tasks.edges(ahead, CIRCLE_EDGES_MAX + 1 - followed)
        followed += len(found)
        for id, awaited in found:
            if awaited == command.task:
                raise Rejected(
                    f"task {command.task!r} cannot wait for {id!r}, which waits for it: neither would ever go on",
                    task=command.task,
                    wait=command.name,
                )
        if followed > CIRCLE_EDGES_MAX:
            raise OverBound(
                f"task {command.task!r} cannot wait for tasks that wait, one for the other, for so many: a search for "
                f"a circle follows at most {CIRCLE_EDGES_MAX:,} edges; let a task of its own wait for some of them",
                task=command.task,
                bound="circle_edges",
                maximum=CIRCLE_EDGES_MAX,
            )
        ahead = [awaited for _, awaited in found]

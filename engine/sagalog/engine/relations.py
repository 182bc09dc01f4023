"""The relations between tasks: what one waits for, which circles that would close, whose children it may adopt.

Rule: it reads only folds that are locked, so that two writes at once cannot each miss the other. Knows no store.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Protocol

import msgspec

from sagalog.codec import read
from sagalog.errors import Corrupt, InvalidValue, NotFound, Rejected
from sagalog.kernel import commands as c
from sagalog.kernel import events as e
from sagalog.kernel.decide import keeps_steps
from sagalog.kernel.state import TaskFold
from sagalog.kernel.values import TERMINAL, TaskEnd
from sagalog.store import Reads, Saved


class Tasks(Protocol):
    """The tasks as they are after the steps so far; raises Undeclared for those that are not locked."""

    def task(self, id: str) -> TaskFold | None:
        """Return the fold of a task, or None; raises Corrupt where it cannot be read."""
        ...

    def task_if_readable(self, id: str) -> TaskFold | None:
        """Return a fold as `task`; None for one that cannot be read."""
        ...

    def created(self, id: str) -> e.Created:
        """Return the first event of a task."""
        ...


def with_ended(tasks: Tasks, command: c.Park) -> c.Park:
    """Look up the tasks that a command waits for, which exist and do not wait for this one; return it with their ends.

    One that cannot be read exists: a task that waits for it goes on waiting, and does not fail. [LOG-5]

    Raises:
        NotFound: there is no such task. Rejected: it waits for this one. [WAIT-4]
    """
    for id in command.after:
        if not _exists(tasks, id):
            raise NotFound(
                f"task {command.task!r} cannot wait for {id!r}: there is no such task; create it first", task=id
            )
    _refuse_circle(tasks, command)
    return msgspec.structs.replace(command, ended=ended_among(tasks, command.after))


def ended_among(tasks: Tasks, ids: Iterable[str]) -> tuple[TaskEnd, ...]:
    """Return the ends of those of these tasks that have ended and can be read. [TERM-1]

    One that cannot be read delays every task that waits for it, and never the maintenance of others. [LOG-5]
    """
    found = ((id, tasks.task_if_readable(id)) for id in ids)
    return tuple(
        [
            TaskEnd(id, other.version, other.state)
            for id, other in found
            if other is not None and other.state in TERMINAL
        ]
    )


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


def require_limit(saved: Saved | None, task: str, name: str, units: int) -> None:
    """Refuse a task that would use a limit which does not exist, or more units than that ever has. [LIMIT-1]

    Raises:
        NotFound: there is no such limit. InvalidValue: it allows fewer units.
    """
    if saved is None or saved.fold.is_removed:
        raise NotFound(
            f"task {task!r} cannot use the limit {name!r}: there is no such limit; set it first, or check its name",
            task=task,
            limit=name,
        )
    most = saved.fold.limit.most
    if most is not None and units > most:
        raise InvalidValue(
            f"uses[{name!r}]: task {task!r} asks for {units:,} units, and the limit allows {most:,}; ask for fewer, or "
            "raise the limit first",
            path=f"uses[{name!r}]",
            limit=name,
        )


def depends_on(reads: Reads, commands: Sequence[c.Command]) -> tuple[str, ...]:
    """Return the ids of tasks that these commands depend on and do not name, so that one round is enough.

    They never change: the predecessors of a task that adopts a child, and the successor that a task has already.
    """
    found: list[str] = []
    for command in commands:
        with suppress(Corrupt):
            if isinstance(command, c.AdoptChild):
                found += _predecessors(reads, command.task)
            elif isinstance(command, c.RetryAsNew):
                found += _successors(reads, command.task)
    return tuple(dict.fromkeys(found))


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


def _refuse_circle(tasks: Tasks, command: c.Park) -> None:
    """Refuse a circle: tasks that wait for one another would wait for ever. [WAIT-4]"""
    seen: set[str] = set()
    ahead = list(command.after)
    while ahead:
        id = ahead.pop()
        other = None if id in seen else tasks.task_if_readable(id)
        seen.add(id)
        if other is None or other.waiting is None or not other.waiting.after:
            continue
        if command.task in other.waiting.after:
            raise Rejected(
                f"task {command.task!r} cannot wait for {id!r}, which waits for it: neither would ever go on",
                task=command.task,
                wait=command.name,
            )
        ahead += other.waiting.after


def _exists(tasks: Tasks, id: str) -> bool:
    """Check whether there is such a task, even one that cannot be read. [LOG-5]"""
    try:
        return tasks.task(id) is not None
    except Corrupt:
        return True

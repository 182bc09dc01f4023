"""Event -> state: the fold of a stream after each of its events.

Rule: `evolve` checks the table of the lifecycle, then applies the event's change; it decides nothing. An event that the
table forbids is a damaged log: `evolve` refuses it and folds nothing. [RECORD-1] Knows nothing of commands.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from sagalog.errors import LogDamaged
from sagalog.kernel import events as e
from sagalog.kernel.changes import CHANGES, Change
from sagalog.kernel.contradictions import Comparison, comparison
from sagalog.kernel.damage import damaged
from sagalog.kernel.lifecycle import FOUNDED, STORE_LIFE, TASK_LIFE, UNBORN, Fork
from sagalog.kernel.state import StoreFold, TaskFold
from sagalog.kernel.values import State

# What an event does to a task in one state: the state that follows, or a fork where two may follow; the comparison;
# the change; and by how much the stream's length grows.
Move = tuple[Any, Fork | None, Comparison | None, Change, int]


def evolve(task: TaskFold, event: e.Recordable, version: int, at_ms: int) -> TaskFold:
    """Return the fold after one more event of the task's stream; `task` itself does not change.

    Versions give the order: `at_ms` is kept as it was recorded and may be earlier than the one before. [TIME-2]

    Raises:
        LogDamaged: a version out of turn, a move that the table forbids, or a fence that is not the lease's.
    """
    # Half the cost of `copy.copy`, which looks up this method each time.
    after: TaskFold = task.__copy__()  # type: ignore[attr-defined]
    _apply(after, event, version, at_ms)
    return after


def fold(id: str, events: Iterable[tuple[e.Recordable, int, int]]) -> TaskFold:
    """Fold a whole stream of (event, version, at_ms), beginning with an empty fold.

    Raises:
        LogDamaged: as `evolve`.
    """
    task = TaskFold(id)
    for event, version, at_ms in events:
        _apply(task, event, version, at_ms)
    return task


def evolve_store(store: StoreFold, event: e.Recordable, version: int, at_ms: int) -> StoreFold:
    """Return the fold of the store's own stream after one more event.

    Raises:
        LogDamaged: a version out of turn, a move that the table forbids, or another store's founding.
    """
    state = FOUNDED if store.version else UNBORN
    name = e.NAMES[type(event)]
    why = f"holds {name!r} at version {version}, which cannot follow {state!r} at version {store.version}"
    if STORE_LIFE.allows(state, name) and version == store.version + 1:
        match event:
            case e.Founded() if event.id == store.id:
                return StoreFold(event.id, version, event.format, writer=event.writer)
            case e.Founded():
                why = f"founds a store of the id {event.id!r}"
            case e.Upgraded() if event.writer != store.writer:
                return msgspec.structs.replace(store, version=version, writer=event.writer)
            case e.KindPaused() if event.kind not in store.paused_kinds:
                paused = {**store.paused_kinds, event.kind: version}
                return msgspec.structs.replace(store, version=version, paused_kinds=paused)
            case e.KindResumed() if event.kind in store.paused_kinds:
                paused = {kind: at for kind, at in store.paused_kinds.items() if kind != event.kind}
                return msgspec.structs.replace(store, version=version, paused_kinds=paused)
            case e.Pruned() if event.digests:
                return msgspec.structs.replace(store, version=version)
            case e.Pruned():
                why = f"prunes nothing at version {version}"
            case e.KindPaused() | e.KindResumed():
                why = f"holds {name!r} of {event.kind!r} at version {version}, which is so already"
            case _:
                why = f"names the writer {store.writer!r} once more at version {version}"
    raise LogDamaged(
        f"the stream store/{store.id} {why}: stop, keep the file, and compare it with a backup",
        stream=f"store/{store.id}",
        version=version,
        type=name,
    )


def _apply(task: TaskFold, event: e.Recordable, version: int, at_ms: int) -> None:
    """Change `task` in place by one event."""
    try:
        dest, fork, compare, change, growth = _MOVES[task.state][type(event)]
    except KeyError:
        raise _misplaced(task, event, version) from None
    if version != task.version + 1:
        raise _misplaced(task, event, version)
    if fork is not None:
        dest = _checked_destination(task, event, version, fork)
    if compare is not None:
        why = compare(task, event, at_ms)
        if why is not None:
            raise damaged(task, e.NAMES[type(event)], version, why)
    change(task, event, version, at_ms)
    task.version = version
    task.state = dest
    task.length += growth
    task.updated_ms = at_ms
    if task.waiting is not None and dest is not State.PENDING:
        task.waiting = None


def _misplaced(task: TaskFold, event: e.Recordable, version: int) -> LogDamaged:
    name = e.NAMES[type(event)]
    if type(event) not in CHANGES:
        return damaged(task, name, version, "it is no event of a task")
    if version != task.version + 1:
        return damaged(task, name, version, f"version {task.version + 1} was expected")
    return damaged(task, name, version, f"the task is {task.state or UNBORN}")


def _checked_destination(task: TaskFold, event: e.Recordable, version: int, fork: Fork) -> Any:
    """Return the state after an event that may lead to two, and check that the event names it. [RECORD-1] [COMP-6]"""
    # [COMP-7] A creation undoes where the predecessor's forward work was over.
    undoes = event.outcome is not None if type(event) is e.Created else bool(task.owed())
    dest = fork.undoing if undoes else fork.otherwise
    if dest is None:
        raise damaged(task, e.NAMES[type(event)], version, f"{task.owed()} are still owed")
    recorded = getattr(event, "to", dest)
    if recorded is not dest:
        why = f"it says that the task is then {recorded}, and {dest} was expected"
        raise damaged(task, e.NAMES[type(event)], version, why)
    return dest


def _moves(state: State | None) -> dict[type[e.Recordable], Move]:
    moves: dict[type[e.Recordable], Move] = {}
    for kind, change in CHANGES.items():
        cell = TASK_LIFE.after.get((state or UNBORN, e.NAMES[kind]))
        if cell is not None:
            fork = cell if isinstance(cell, Fork) else None
            # [BOUND-2] Heartbeats do not count against the bound of a stream.
            growth = 0 if kind is e.Heartbeat else 1
            moves[kind] = (None if fork else cell, fork, comparison(kind, state), change, growth)
    return moves


# One look-up an event: every write asks the table.
_MOVES: Final = {state: _moves(state) for state in (None, *State)}

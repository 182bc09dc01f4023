"""The relations between tasks as rows: edges to the tasks that others wait for, children, and what is due of both.

Rule: an edge is there from the begin of a wait until the task that it names has ended and was handled. A look costs the
same however many edges there are; a long list of tasks is one statement. It must not know what operations do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from sagalog.store import DEPENDANTS_LIMIT, FOLD_FORMAT, TERMINAL, Ends, State, TaskEnd, TaskFold
from sagalog_sqlite.rows import UNFOLDABLE, UNREADABLE, Execute

DEPENDANTS: Final = "dependants"
CHILDREN: Final = "children"

IS_AWAITED: Final = "SELECT EXISTS (SELECT 1 FROM awaited)"
IS_FOLLOWED: Final = "SELECT EXISTS (SELECT 1 FROM tasks WHERE follows IS NOT NULL)"
INSERT_EDGES: Final = "INSERT OR IGNORE INTO awaited(task, stream) SELECT value, ?2 FROM json_each(?1)"
FORGET_EDGES: Final = "DELETE FROM awaited WHERE stream = ?"
# All tasks that one reaches over edges from those of a JSON list.
REACHED: Final = (
    "WITH RECURSIVE found(id) AS (SELECT value FROM json_each(?1) UNION "
    "SELECT a.task FROM found JOIN streams s ON s.category = 'task' AND s.id = found.id "
    "JOIN awaited a ON a.stream = s.number) SELECT id FROM found"
)
EDGES: Final = (
    "SELECT s.id, a.task FROM json_each(?1) j CROSS JOIN streams s ON s.category = 'task' AND s.id = j.value "
    "CROSS JOIN awaited a ON a.stream = s.number LIMIT ?2"
)
# [WAIT-3] The first dependants of a task that has ended, and the end of their edges.
DEPENDANTS_OF: Final = "SELECT stream FROM awaited WHERE task = ? ORDER BY stream LIMIT ?"
END_EDGES: Final = "DELETE FROM awaited WHERE task = ? AND stream <= ?"
WAKE: Final = (
    "UPDATE tasks SET gate = 'waking' WHERE stream IN (SELECT value FROM json_each(?)) AND gate = 'waiting' "
    "AND NOT EXISTS (SELECT 1 FROM awaited a WHERE a.stream = tasks.stream) RETURNING stream"
)
FOLLOWERS: Final = "SELECT stream FROM tasks WHERE follows = ?1 AND gate IS NOT 'unreadable' ORDER BY stream LIMIT ?2"
ADOPTED: Final = (
    "SELECT t.stream FROM json_each(?1) j CROSS JOIN streams s ON s.category = 'task' AND s.id = j.value "
    "CROSS JOIN tasks t ON t.stream = s.number WHERE t.follows IS NOT NULL AND t.gate IS NOT 'unreadable' "
    "ORDER BY t.stream LIMIT ?2"
)
# A name that a disk fault has changed is of no task: an audit tells it, and maintenance passes it over.
UNHANDLED: Final = (
    "SELECT task FROM unhandled u WHERE what = ? "
    "AND EXISTS (SELECT 1 FROM streams s WHERE s.category = 'task' AND s.id = u.task) ORDER BY task LIMIT ?"
)
KEEP_UNHANDLED: Final = "INSERT OR IGNORE INTO unhandled(what, task) VALUES (?, ?)"
FORGET_UNHANDLED: Final = "DELETE FROM unhandled WHERE what = ? AND task = ?"
# The rows of many tasks, without their folds.
STATES: Final = (
    "SELECT s.id, t.format, t.version, (SELECT max(version) FROM events WHERE stream = s.number), t.gate, t.state "
    "FROM json_each(?1) j CROSS JOIN streams s ON s.category = 'task' AND s.id = j.value "
    "LEFT JOIN tasks t ON t.stream = s.number"
)

# Up to so many, each is loaded with its fold, whose checksum shows a change.
_FEW: Final = 256
_ENDS: Final = {str(state): state for state in TERMINAL}
_ALL: Final = frozenset(map(str, State))


def ends(execute: Execute, ids: Sequence[str], load: Callable[[str], TaskFold | None]) -> Ends:
    """Return the ends of some tasks; `load` gives the fold of one that no row shows as it is, and raises as `load`."""
    found = Ends({}, frozenset(), frozenset())
    if len(ids) <= _FEW:
        return _loaded(found, dict.fromkeys(ids), load)
    live: list[str] = []
    stale: list[str] = []
    for id, format, version, newest, gate, state in execute(STATES, (msgspec.json.encode(ids).decode(),)):
        if format != FOLD_FORMAT or version != newest or gate == UNREADABLE or state not in _ALL:
            stale.append(id)
        elif (end := _ENDS.get(state)) is not None:
            found.ended[id] = TaskEnd(id, version, end)
        else:
            live.append(id)
    return _loaded(Ends(found.ended, frozenset(live), frozenset()), stale, load)


def _loaded(found: Ends, ids: Iterable[str], load: Callable[[str], TaskFold | None]) -> Ends:
    live: list[str] = []
    unreadable: list[str] = []
    for id in ids:
        try:
            task = load(id)
        except UNFOLDABLE:
            unreadable.append(id)
            continue
        if task is not None and task.state in TERMINAL:
            found.ended[id] = TaskEnd(id, task.version, State(task.state))
        elif task is not None:
            live.append(id)
    return Ends(found.ended, found.live.union(live), found.unreadable.union(unreadable))


def edges(execute: Execute, ids: Sequence[str], limit: int) -> list[tuple[str, str]]:
    """Return edges of these tasks, up to the limit."""
    return list(execute(EDGES, (msgspec.json.encode(ids).decode(), limit)))


def followers(execute: Execute, parent: str, adopted: Sequence[str], limit: int) -> list[int]:
    """Return the numbers of the streams of tasks that are cancelled with a parent, in order of creation."""
    found = [number for (number,) in execute(FOLLOWERS, (parent, limit))]
    if adopted:
        found += [number for (number,) in execute(ADOPTED, (msgspec.json.encode(adopted).decode(), limit))]
    return sorted(set(found))[:limit]


def unhandled(execute: Execute, what: str, limit: int = -1) -> list[str]:
    """Return the ids of tasks of which dependants, or children, are still to be handled."""
    return [id for (id,) in execute(UNHANDLED, (what, limit))]


def save(execute: Execute, number: int, awaited: Sequence[str]) -> None:
    """Save the edges of a task in place of those that were saved."""
    execute(FORGET_EDGES, (number,))
    if awaited:
        execute(INSERT_EDGES, (msgspec.json.encode(awaited).decode(), number))


def end(execute: Execute, ended: str) -> tuple[list[int], bool]:
    """Delete the first edges to a task that has ended, and wake the tasks without an edge left.

    Returns:
        The numbers of the streams that it has woken, and whether more edges to that task are left.
    """
    found = [number for (number,) in execute(DEPENDANTS_OF, (ended, DEPENDANTS_LIMIT + 1))]
    first = found[:DEPENDANTS_LIMIT]
    if not first:
        return [], False
    execute(END_EDGES, (ended, first[-1]))
    woken = [number for (number,) in list(execute(WAKE, (msgspec.json.encode(first).decode(),)))]
    return woken, len(found) > len(first)

"""Listings: a query -> the numbers of the streams that match, in order, a page at a time.

Rule: the store reads a page by seeks in the index that suits the query best, each in order of the numbers and no
further than the page. Where no index suits, it looks at the tasks in order of their numbers. It must not know folds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sized
from typing import Any, Final, NamedTuple

from sagalog.store import Query, State

_PAGE: Final = 500
# Greater than the number of any stream.
_END: Final = 2**63 - 1

_STATES: Final = tuple(str(state) for state in State)
QUEUES_OF_STATE: Final = (
    "WITH RECURSIVE found(value) AS (SELECT min(queue) FROM tasks WHERE state = ?1 UNION "
    "SELECT (SELECT min(queue) FROM tasks WHERE state = ?1 AND queue > found.value) FROM found "
    "WHERE found.value IS NOT NULL) SELECT value FROM found WHERE value IS NOT NULL"
)
# A newer event of a task has a later version, whatever the clock was set to meanwhile. [TIME-2]
_UPDATED_MS: Final = "(SELECT at_ms FROM events WHERE stream = t.stream ORDER BY version DESC LIMIT 1)"
_CARRIES: Final = "EXISTS (SELECT 1 FROM tags WHERE name = ? AND value = ? AND stream = t.stream)"

Values = tuple[Any, ...]
# A statement and its values -> all its rows.
Select = Callable[[str, Values], list[tuple[Any, ...]]]


class Seek(NamedTuple):
    """One statement over some of the matching tasks; after its values come the last number read, and the limit."""

    text: str
    values: Values


class _Where(NamedTuple):
    """Conditions that hold together, and their values."""

    conditions: tuple[str, ...] = ()
    values: Values = ()

    def __add__(self, other: _Where) -> _Where:  # type: ignore[override]
        return _Where(self.conditions + other.conditions, self.values + other.values)


def pages(select: Select, query: Query, found: Sized) -> Iterator[list[int]]:
    """Yield pages of numbers until the end, or until the caller has `found` as many tasks as the limit says."""
    after = query.after or (_END if query.newest_first else 0)
    while query.limit is None or len(found) < query.limit:
        size = _PAGE if query.limit is None else min(_PAGE, query.limit - len(found))
        page = _page(select, query, after, size)
        yield page
        # If a disk fault has put the table out of order, the next page may lead back.
        if len(page) < size or (page[-1] >= after if query.newest_first else page[-1] <= after):
            return
        after = page[-1]


def seeks(select: Select, query: Query) -> Iterator[Seek]:
    """Yield the statements that together find every match of a query."""
    rest = _of_columns(query) + _of_events(query)
    if query.parent is not None:
        yield _seek(query, "tasks t", _Where(("t.parent = ?",), (query.parent,)), rest + _of_tags(query.tags))
    elif query.correlation_id is not None:
        first = _Where(("t.correlation_id = ?",), (query.correlation_id,))
        yield _seek(query, "tasks t", first, rest + _of_tags(query.tags))
    elif query.tags:
        first = _Where(("g.name = ?", "g.value = ?"), query.tags[0])
        tagged = "tags g CROSS JOIN tasks t ON t.stream = g.stream"
        yield _seek(query, tagged, first, rest + _of_tags(query.tags[1:]), "g.stream")
    elif query.waiting is not None:
        yield _seek(query, "tasks t INDEXED BY parked", _Where(("t.wait IS NOT NULL",)), rest)
    elif query.states is None and query.queues is None:
        yield _seek(query, "tasks t", _Where(), rest)
    else:
        for state in query.states or _STATES:
            for queue in query.queues or [queue for (queue,) in select(QUEUES_OF_STATE, (state,))]:
                yield _seek(query, "tasks t", _Where(("t.state = ?", "t.queue = ?"), (state, queue)), rest)


def _page(select: Select, query: Query, after: int, size: int) -> list[int]:
    found = {number for seek in seeks(select, query) for (number,) in select(seek.text, (*seek.values, after, size))}
    return sorted(found, reverse=query.newest_first)[:size]


def _seek(query: Query, source: str, first: _Where, rest: _Where, number: str = "t.stream") -> Seek:
    sign, direction = ("<", "DESC") if query.newest_first else (">", "ASC")
    where = first + rest
    conditions = (*where.conditions, "(t.gate IS NULL OR t.gate <> 'unreadable')", f"{number} {sign} ?")
    return Seek(
        f"SELECT {number} FROM {source} WHERE {' AND '.join(conditions)} ORDER BY {number} {direction} LIMIT ?",  # noqa: S608
        where.values,
    )


def _of_columns(query: Query) -> _Where:
    """Return what the row of a task must say. The `+` leaves the choice of the index to the first condition."""
    where = _any_of("+t.queue", query.queues) + _any_of("+t.state", query.states)
    for column, value in (("kind", query.kind), ("parent", query.parent), ("correlation_id", query.correlation_id)):
        if value is not None:
            where += _Where((f"+t.{column} = ?",), (value,))
    if query.waiting is True:
        where += _Where(("+t.wait IS NOT NULL",))
    elif query.waiting is not None:
        where += _Where(("+t.wait = ?",), (query.waiting,))
    return where


def _any_of(column: str, names: tuple[str, ...] | None) -> _Where:
    if names is None:
        return _Where()
    return _Where((f"{column} IN ({', '.join('?' * len(names))})",), names)


def _of_events(query: Query) -> _Where:
    return _Where() if query.since_ms is None else _Where((f"{_UPDATED_MS} >= ?",), (query.since_ms,))


def _of_tags(tags: tuple[tuple[str, str], ...]) -> _Where:
    return _Where((_CARRIES,) * len(tags), tuple(word for tag in tags for word in tag))

"""The tape: every row that sagalog wrote in some lifecycles, commit by commit, as plain SQL with its values.

Rule: SQLite itself reports the rows, by its hook before each change. So the tape holds what was really written,
whatever the store's code is today. The raw writer has to write it; it holds no reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import apsw

from bench import stores


class Write(NamedTuple):
    """One statement and its values."""

    sql: str
    values: tuple[Any, ...]


class Commit(NamedTuple):
    """The writes of one transaction; `claimed` is the first stream whose task it leased, None for any other commit."""

    writes: tuple[Write, ...]
    claimed: int | None


class Tape(NamedTuple):
    """The commits that found a store, then three for each lifecycle or batch; `path` is the file that sagalog wrote."""

    path: Path
    founding: tuple[Commit, ...]
    lifecycles: tuple[Commit, ...]


class Change(NamedTuple):
    """One changed row as SQLite reported it."""

    operation: str
    table: str
    old: tuple[Any, ...]
    new: tuple[Any, ...]


def record(path: Path, lifecycles: int, batch: int = 1) -> Tape:
    """Run lifecycles through sagalog on a new file, `batch` at once, and record what it writes."""
    with _recording(path) as commits, stores.open_engine(path, "normal") as engine:
        founded = len(commits)
        stores.live(engine, lifecycles) if batch == 1 else stores.live_together(engine, lifecycles, batch)
    if len(commits) - founded != 3 * lifecycles // batch:
        raise AssertionError(
            f"{lifecycles} lifecycles took {len(commits) - founded} commits, not three for each {batch}"
        )
    with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)) as connection:
        shapes = {table: _Shape(connection, table) for table in stores.tables(connection)}
    written = [_commit(changes, shapes) for changes in commits]
    return Tape(path, tuple(written[:founded]), tuple(written[founded:]))


def commits_of(path: Path, work: Callable[[], object]) -> tuple[Commit, ...]:
    """Run some work of sagalog on the file at `path`, which exists, and record what each of its commits writes."""
    with _recording(path) as commits:
        work()
    with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)) as connection:
        shapes = {table: _Shape(connection, table) for table in stores.tables(connection)}
    return tuple([_commit(changes, shapes) for changes in commits])


@contextmanager
def _recording(path: Path) -> Iterator[list[list[Change]]]:
    """Collect the changes of every commit on the file at `path`, by any connection of this process."""
    commits: list[list[Change]] = []
    pending: list[Change] = []

    def change(update: apsw.PreUpdate) -> None:
        pending.append(Change(update.op, update.table_name, update.old or (), update.new or ()))

    def commit() -> bool:
        if pending:
            commits.append(pending.copy())
            pending.clear()
        return False

    def connected(connection: apsw.Connection) -> None:
        # The store makes a new file under another name: the raw writer gets its tables from the schema, not the tape.
        if Path(connection.filename) == path.resolve():
            connection.preupdate_hook(change)
            connection.set_commit_hook(commit)
            connection.set_rollback_hook(pending.clear)

    apsw.connection_hooks.append(connected)
    try:
        yield commits
    finally:
        apsw.connection_hooks.remove(connected)


class _Shape:
    """The columns of a table, and the places of its key among them."""

    def __init__(self, connection: apsw.Connection, table: str) -> None:
        found = list(connection.execute(f"PRAGMA table_info({table})"))
        self.columns = [name for _, name, *_ in found]
        self.key = [number for number, *_, place in found if place]


def _commit(changes: list[Change], shapes: dict[str, _Shape]) -> Commit:
    claimed = None
    for change in changes:
        row = dict(zip(shapes[change.table].columns, change.new, strict=False))
        if claimed is None and change.table == "events" and row["type"] == "leased":
            claimed = row["stream"]
    return Commit(tuple(_write(change, shapes[change.table]) for change in changes), claimed)


def _write(change: Change, shape: _Shape) -> Write:
    """Return the statement that makes the change: an UPDATE sets only the columns that differ."""
    table, old, new = change.table, change.old, change.new
    if change.operation == "INSERT":
        places = ", ".join("?" * len(new))
        return Write(f"INSERT INTO {table}({', '.join(shape.columns)}) VALUES ({places})", new)  # noqa: S608
    key = " AND ".join(f"{shape.columns[number]} = ?" for number in shape.key)
    keys = tuple(old[number] for number in shape.key)
    if change.operation == "DELETE":
        return Write(f"DELETE FROM {table} WHERE {key}", keys)  # noqa: S608
    changed = [number for number, (was, now) in enumerate(zip(old, new, strict=True)) if was != now]
    assigned = ", ".join(f"{shape.columns[number]} = ?" for number in changed)
    sql = f"UPDATE {table} SET {assigned} WHERE {key}"  # noqa: S608  # here and above: names of the schema
    return Write(sql, (*(new[number] for number in changed), *keys))

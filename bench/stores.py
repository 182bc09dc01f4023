"""The store under measurement: opening an engine on a file, and the lifecycle that every benchmark measures.

Rule: it makes an engine as `sagalog.open` does, by the store's own function, so that nothing need be installed. Reads
of the file only compare it; no figure includes them.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any, Final

import apsw

from sagalog import Engine
from sagalog.ports import Clock
from sagalog.system import SystemClock
from sagalog_sqlite import open_store

QUEUE: Final = "agents"
KIND: Final = "implement-issue"
OWNER: Final = "worker-1"
TTL_MS: Final = 60_000
# The same for every task, so that equal numbers of tasks are equal numbers of bytes.
PAYLOAD: Final[dict[str, Any]] = {"issue": 168, "repository": "sagalog", "labels": ["bug", "storage"]}
RESULT: Final[dict[str, Any]] = {"pull_request": 42, "ok": True}


def open_engine(path: Path, durability: str, clock: Clock | None = None) -> Engine:
    """Open an engine on the file; make the file if it is absent."""
    clock = clock or SystemClock()
    store = open_store(f"sqlite:///{path}", create=True, clock=clock, durability=durability)
    return Engine(store, clock=clock)


def live(engine: Engine, lifecycles: int) -> None:
    """Create, claim and complete so many tasks, one after the other; each call is a commit."""
    for _ in range(lifecycles):
        engine.create(KIND, PAYLOAD, queue=QUEUE)
        (lease,) = engine.claim(QUEUE, owner=OWNER, ttl_ms=TTL_MS)
        lease.complete(RESULT)


def live_together(engine: Engine, lifecycles: int, batch: int) -> None:
    """Create, claim and complete so many tasks, `batch` at once; each call is a commit for the whole batch."""
    spec = {"kind": KIND, "payload": PAYLOAD, "queue": QUEUE}
    for _ in range(lifecycles // batch):
        engine.create_many([spec] * batch)
        leases = engine.claim(QUEUE, owner=OWNER, ttl_ms=TTL_MS, limit=batch)
        with engine.batch() as together:
            for lease in leases:
                together.complete(lease, RESULT)


def remove(path: Path) -> None:
    """Remove the file and all files beside it that belong to it."""
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()


def weigh(path: Path) -> dict[str, tuple[int, int]]:
    """Return table -> how many rows it has, and how many bytes of text and blobs are in them."""
    with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)) as connection:
        return {name: _weigh_table(connection, name) for name in tables(connection)}


def rows_of(path: Path, stream: int) -> dict[str, list[tuple[Any, ...]]]:
    """Return table -> the rows of a task in it, by its stream's number."""
    columns = {"streams": "number", "events": "stream", "tasks": "stream"}
    with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)) as connection:
        return {
            table: list(connection.execute(f"SELECT * FROM {table} WHERE {column} = ?", (stream,)))  # noqa: S608
            for table, column in columns.items()
        }


def tables(connection: apsw.Connection) -> list[str]:
    """Return the names of all tables, in order."""
    found = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
    return [name for (name,) in found]


def _weigh_table(connection: apsw.Connection, table: str) -> tuple[int, int]:
    kinds = {name: kind for _, name, kind, *_ in connection.execute(f"PRAGMA table_info({table})")}
    long = [f"ifnull(length(CAST({name} AS BLOB)), 0)" for name, kind in kinds.items() if kind in ("TEXT", "BLOB")]
    weight = " + ".join(long) or "0"
    sql = f"SELECT count(*), ifnull(sum({weight}), 0) FROM {table}"  # noqa: S608  # names of the schema
    rows, size = next(connection.execute(sql))
    return rows, size

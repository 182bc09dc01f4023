"""A store with very many tasks, made in seconds: a few real ones, copied row by row under new names.

Rule: every copy is a task as the engine would have made it, with its own stream, digest and fold. Claims work on it and
an audit finds no fault. Only the way of its rows into the file is shorter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import apsw
import msgspec

from bench import stores
from sagalog.codec import digest
from sagalog.store.projection import decode_fold, encode_fold
from sagalog.system import SystemClock
from sagalog_sqlite.connection import BUSY_TIMEOUT_MS, connect

KINDS: Final = ("implement-issue", "review", "summarise", "translate")
_PRIORITIES: Final = (0, 5, 10)
# Delayed tasks have better priorities than all ready ones: an index over both would have to step over them.
_DELAYED_PRIORITIES: Final = (-3, -2, -1)
LATER_MS: Final = 30 * 86_400_000


def build(path: Path, tasks: int) -> None:
    """Make a new store with so many tasks, half of them delayed, with alternating kinds and priorities."""
    with stores.open_engine(path, "normal") as engine:
        later_ms = SystemClock().now_ms() + LATER_MS
        shapes = [(kind, at) for kind in KINDS for at in range(len(_PRIORITIES))]
        for kind, at in shapes:
            engine.create(kind, stores.PAYLOAD, queue=stores.QUEUE, priority=_PRIORITIES[at])
            engine.create(
                kind, stores.PAYLOAD, queue=stores.QUEUE, priority=_DELAYED_PRIORITIES[at], run_at_ms=later_ms
            )
        models = [task.id for task in engine.find(limit=2 * len(shapes))]
    copies, more = divmod(tasks - len(models), len(models))
    multiply(path, {id: copies + (at < more) for at, id in enumerate(models)})


def multiply(path: Path, copies: Mapping[str, int]) -> None:
    """Copy each of these tasks so often; of a task under limits its places too."""
    connection = connect(str(path), "normal", BUSY_TIMEOUT_MS, writing=True)
    try:
        # No caller relies on this store yet: after an interrupt the caller throws the file away.
        connection.pragma("synchronous", 0)
        connection.pragma("foreign_keys", 0)
        connection.pragma("cache_size", -400_000)
        _copy(connection, copies)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        connection.close()


def _copy(connection: apsw.Connection, copies: Mapping[str, int]) -> None:
    models = [(_Model(connection, _number_of(connection, id)), number) for id, number in copies.items()]
    stream = connection.execute("SELECT max(number) FROM streams").get
    position = connection.execute("SELECT max(position) FROM events").get

    def places() -> Iterator[tuple[_Model, int]]:
        """Give the models turns, until each has its copies."""
        number = 0
        for turn in range(max(times for _, times in models)):
            for model, times in models:
                if turn < times:
                    number += 1
                    yield model, number

    with connection:
        _insert(connection, "streams", (model.stream(stream + number) for model, number in places()))
        _insert(connection, "events", (model.event(stream + number, position + number) for model, number in places()))
        _insert(connection, "tasks", (model.task(stream + number) for model, number in places()))
        _insert(connection, "limit_uses", (use for model, number in places() for use in model.uses(stream + number)))


def _number_of(connection: apsw.Connection, id: str) -> int:
    (found,) = connection.execute("SELECT number FROM streams WHERE category = 'task' AND id = ?", (id,))
    return int(found[0])


def _insert(connection: apsw.Connection, table: str, found: Iterator[tuple[Any, ...]]) -> None:
    width = len(list(connection.execute(f"PRAGMA table_info({table})")))
    statement = f"INSERT INTO {table} VALUES ({', '.join('?' * width)})"  # noqa: S608  # names of this file
    connection.executemany(statement, found)


class _Model:
    """The rows of a task that was created and nothing else, as a model for copies."""

    def __init__(self, connection: apsw.Connection, number: int) -> None:
        (self._stream,) = _rows(connection, "streams", "number", number)
        (self._event,) = _rows(connection, "events", "stream", number)
        (self._task,) = _rows(connection, "tasks", "stream", number)
        self._uses = _rows(connection, "limit_uses", "stream", number)
        self._body = self._event["body"].encode()
        self._fold = decode_fold(self._task["fold"])

    def stream(self, number: int) -> tuple[Any, ...]:
        """Return the row of `streams`."""
        return tuple({**self._stream, "number": number, "id": _id(number)}.values())

    def event(self, number: int, position: int) -> tuple[Any, ...]:
        """Return the row of `events`, with the digest for its new name."""
        of = self._event
        digested = digest(
            f"task/{_id(number)}", of["version"], of["at_ms"], of["type"], of["schema"], of["actor"], of["cause"],
            of["idempotency_key"], of["data_key"], self._body,
        )  # fmt: skip
        return tuple({**of, "position": position, "stream": number, "digest": digested}.values())

    def task(self, number: int) -> tuple[Any, ...]:
        """Return the row of `tasks`; only the id in its fold differs."""
        fold = encode_fold(msgspec.structs.replace(self._fold, id=_id(number)))
        return tuple({**self._task, "stream": number, "fold": fold}.values())

    def uses(self, number: int) -> list[tuple[Any, ...]]:
        """Return the rows of `limit_uses`."""
        return [tuple({**use, "stream": number}.values()) for use in self._uses]


def _id(number: int) -> str:
    """Return an id as long as a ULID, and rising like one."""
    return f"01K{number:023d}"


def _rows(connection: apsw.Connection, table: str, column: str, value: int) -> list[dict[str, Any]]:
    names = [name for _, name, *_ in connection.execute(f"PRAGMA table_info({table})")]
    sql = f"SELECT * FROM {table} WHERE {column} = ?"  # noqa: S608  # names of this file
    found = connection.execute(sql, (value,))
    return [dict(zip(names, row, strict=True)) for row in found]

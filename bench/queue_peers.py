"""The peers of the suite `queue`: litequeue, persist-queue and huey, as their own documentation uses them.

Rule: each keeps its own choices (how it encodes a payload, its cache, its checkpoints) but one: a commit is synced. The
suite reads that back from the connection, and does not rely on the request. The peers use Python's own SQLite, so no
process opens a file with both libraries.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from huey import SqliteHuey
from litequeue import LiteQueue, MessageStatus
from persistqueue import SQLiteAckQueue

from bench import stores

_DURABLE: Final = {"synchronous": 2, "journal_mode": "wal"}


def versions() -> str:
    """Return the peers with their versions, and that of their SQLite."""
    with closing(LiteQueue(memory=True)) as queue:
        (library,) = queue.conn.execute("SELECT sqlite_version()").fetchone()
    peers = " ".join(f"{name} {version(name)}" for name in ("litequeue", "persist-queue", "huey"))
    return f"{peers} on SQLite {library}"


def require_durable(connection: Any) -> None:
    """Raise AssertionError unless a commit of this connection survives power loss, as one of sagalog does."""
    found = {name: tuple(connection.execute(f"PRAGMA {name}").fetchone()) for name in _DURABLE}
    wanted = {name: (value,) for name, value in _DURABLE.items()}
    if found != wanted:
        raise AssertionError(f"a peer that is measured beside durable writes has {found}")


class Lite:
    """The side of litequeue, which keeps finished messages; it takes text, so encoding the payload counts."""

    def __init__(self, queue: Any) -> None:
        self._queue = queue

    def push(self) -> None:
        """Push one message."""
        self._queue.put(json.dumps(stores.PAYLOAD))

    def take(self) -> None:
        """Take the next message, and mark it as done at once."""
        message = self._queue.pop()
        assert json.loads(message.data) == stores.PAYLOAD
        self._queue.done(message.message_id)

    def settle(self) -> None:
        """Do nothing: no message is in hand."""

    def done(self) -> int:
        """Count the messages that are marked as done."""
        found = self._queue.conn.execute(
            f"SELECT count(*) FROM {self._queue.table} WHERE status = ?",  # noqa: S608  # its own name
            (MessageStatus.DONE.value,),
        )
        return int(found.fetchone()[0])


class Persist:
    """The side of persist-queue, which keeps acknowledged items; with the id it need not search those in hand."""

    def __init__(self, queue: Any) -> None:
        self._queue = queue

    def push(self) -> None:
        """Push one item."""
        self._queue.put(stores.PAYLOAD)

    def take(self) -> None:
        """Take the next item, and acknowledge it at once."""
        item = self._queue.get(block=False, raw=True)
        assert item["data"] == stores.PAYLOAD
        self._queue.ack(id=item["pqid"])

    def settle(self) -> None:
        """Do nothing: no item is in hand."""

    def done(self) -> int:
        """Count the acknowledged items."""
        return int(self._queue.acked_count())


class Huey:
    """The side of huey, which acknowledges nothing: it deletes a task when it dequeues it, and stores the result."""

    def __init__(self, huey: Any) -> None:
        self._huey = huey
        self._task = huey.task()(_is_payload)

    def push(self) -> None:
        """Push one task."""
        self._task(stores.PAYLOAD)

    def take(self) -> None:
        """Take and run the next task; huey stores its result."""
        # Huey would store an exception of the task too: only the result shows success.
        assert self._huey.execute(self._huey.dequeue()) is True

    def settle(self) -> None:
        """Do nothing: no task is in hand."""

    def done(self) -> int:
        """Count the stored results."""
        return int(self._huey.result_count())


def _is_payload(payload: dict[str, Any]) -> bool:
    return payload == stores.PAYLOAD


@contextmanager
def litequeue(path: Path) -> Iterator[Lite]:
    """Open a side of litequeue on a new file, with full sync, which is not its default."""
    with closing(LiteQueue(path)) as queue:
        queue.conn.execute("PRAGMA synchronous = FULL")
        require_durable(queue.conn)
        yield Lite(queue)


@contextmanager
def persist_queue(path: Path) -> Iterator[Persist]:
    """Open a side of persist-queue on a new file; it leaves `synchronous` as SQLite was built."""
    with closing(SQLiteAckQueue(str(path.parent), db_file_name=path.name, auto_commit=True)) as queue:
        for connection in (queue._conn, queue._putter):
            require_durable(connection)
        yield Persist(queue)


@contextmanager
def huey(path: Path) -> Iterator[Huey]:
    """Open a side of huey on a new file, with the sync that it offers."""
    instance = SqliteHuey(filename=str(path), fsync=True)
    with closing(instance.storage):
        require_durable(instance.storage.conn)
        yield Huey(instance)

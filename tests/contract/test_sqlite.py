"""The SQLite store keeps the contract of stores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from sagalog.codec import Envelope
from sagalog.kernel.state import TaskFold
from sagalog.ports import Clock
from sagalog.store import Store
from sagalog.store.projection import encode_fold
from sagalog.testing.contract import StoreContract
from sagalog_sqlite import open_store
from tests.contract.tampering import tamper


class TestSqlite(StoreContract):
    persists = True

    @pytest.fixture(autouse=True)
    def place(self, tmp_path: Path) -> Iterator[None]:
        self.path = tmp_path / "log.db"
        yield
        self.close_all()

    def open_store(self, clock: Clock) -> Store:
        return open_store(f"sqlite:///{self.path}", create=True, clock=clock, durability="normal")

    def change_event(self, event: Envelope, changed: Envelope | None) -> None:
        if changed is None:
            tamper(self.path, ("DELETE FROM events WHERE position = ?", [event.position]))
            return
        names = ("version", "at_ms", "type", "schema", "actor", "cause", "idempotency_key", "data_key", "body")
        columns = ", ".join(f"{name} = ?" for name in (*names, "digest"))
        values = [*(getattr(changed, name) for name in names), {"hex": changed.digest.hex()}, event.position]
        tamper(self.path, (f"UPDATE events SET {columns} WHERE position = ?", values))  # noqa: S608  names of ours

    def change_projection(self, task: str, columns: Mapping[str, object] | None, fold: TaskFold | None = None) -> None:
        where = "WHERE stream = (SELECT number FROM streams WHERE category = 'task' AND id = ?)"
        if columns is None:
            tamper(self.path, (f"DELETE FROM tasks {where}", [task]))  # noqa: S608  text of ours
            return
        changed = dict(columns) if fold is None else {**columns, "fold": {"hex": encode_fold(fold).hex()}}
        assignments = ", ".join(f"{name} = ?" for name in changed)
        tamper(self.path, (f"UPDATE tasks SET {assignments} {where}", [*changed.values(), task]))  # noqa: S608  as above

"""Closing: whatever interrupts it, the turn is free, and closing once more does what is left."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import apsw
import pytest

import sagalog
from sagalog_sqlite.store import SqliteStore
from tests.adapters.sqlite.interrupts import Interrupt
from tests.adapters.sqlite.stores import created, open_at, url_of, versions, writing


def written(path: Path, id: str) -> SqliteStore:
    """A store with a writer, a reader, an asker and a waiter, and something in its WAL."""
    store = open_at(path)
    store.commit([writing(id, created())])
    versions(store)
    store.wait_change(store.changes(), 1)
    return store


def kept_open(path: Path) -> tuple[int, int]:
    """How many connections this process has to a store, and descriptors of its tickets and waiters.

    SQLite's own descriptors are left out: it keeps them, for their locks, as long as it has any connection.
    """
    connections = [one for one in apsw.connections() if one.filename == str(path)]
    ends = (".turn", ".next", "inotify")
    return len(connections), len([name for name in links_of_descriptors() if name.endswith(ends)])


def links_of_descriptors() -> list[str]:
    names = []
    for number in os.listdir("/proc/self/fd"):
        try:
            names.append(os.readlink(f"/proc/self/fd/{number}"))
        except FileNotFoundError:
            continue  # that with which the folder itself was read
    return names


def test_an_interrupt_at_any_line_of_closing_leaves_the_turn_free(path: Path) -> None:
    """A second close does what is left."""
    store = written(path, "first")
    with Interrupt(0) as counting:
        store.close()
    assert counting.lines > 30
    other = open_at(path, turn_timeout_ms=2_000)
    versions(other)
    own = kept_open(path)
    for at in range(1, counting.lines + 1):
        store = written(path, f"t{at}")
        try:
            with Interrupt(at):
                store.close()
        except KeyboardInterrupt:
            pass
        assert other.commit([]) == [], f"line {at} kept the turn"
        store.close()
        assert kept_open(path) == own, f"after line {at} something stays open"
    assert len(versions(other)) >= counting.lines
    other.close()
    assert not path.with_name("store.db-wal").exists()


def test_a_close_that_was_interrupted_and_done_again_leaves_one_whole_file(path: Path) -> None:
    """The last checkpoint is what was left."""
    store = written(path, "t")
    with pytest.raises(KeyboardInterrupt), Interrupt(3):
        store.close()
    assert path.with_name("store.db-wal").stat().st_size > 0
    store.close()
    assert not path.with_name("store.db-wal").exists()
    assert not [one for one in apsw.connections() if one.filename == str(path)]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts descriptors where the system lists them")
def test_an_engine_that_is_dropped_gives_its_lock_files_back(path: Path) -> None:
    def use() -> None:
        engine = sagalog.open(url_of(path), durability="normal")
        engine.create("build")
        assert [one for one in links_of_descriptors() if one.endswith((".turn", ".next"))] != []

    for _ in range(3):
        use()
    gc.collect()
    assert [one for one in links_of_descriptors() if one.startswith(str(path))] == []
    with sagalog.open(url_of(path), durability="normal") as engine:
        assert engine.counts() == {"default": {"pending": 3}}

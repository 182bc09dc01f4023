"""The WAL: moved into the file at our own times, overwritten rather than cut, and never growing without bound."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from sagalog import failpoints
from sagalog.testing import ManualClock
from sagalog_sqlite import checkpoints
from sagalog_sqlite.creation import PAGE_SIZE
from sagalog_sqlite.lock_files import LockFiles
from sagalog_sqlite.store import SqliteStore
from tests.adapters.sqlite.processes import run
from tests.adapters.sqlite.stores import created, open_at, raw, versions, writing

# A page, and its head in the WAL.
FRAME_BYTES = PAGE_SIZE + 24


def wal_pages(path: Path) -> int:
    return path.with_name("store.db-wal").stat().st_size // FRAME_BYTES


def write(store: SqliteStore, name: str, pages: int) -> None:
    """Write about so many pages, a tenth of the bound at a time."""
    for number in range(0, pages, 100):
        store.commit([writing(f"{name}{number}", created(payload="x" * 100 * PAGE_SIZE))])


def test_a_wal_is_used_again_and_stays_near_its_bound(store: SqliteStore, path: Path) -> None:
    write(store, "a", 10_000)
    assert 1_000 <= wal_pages(path) < 1_500
    assert store.checkpoints.error is None


def test_a_checkpoint_does_not_cut_the_wal(store: SqliteStore, path: Path) -> None:
    write(store, "a", 1_200)
    before = wal_pages(path)
    write(store, "b", 1_200)
    assert wal_pages(path) >= before


def test_a_long_reader_holds_the_wal_up_and_it_shrinks_afterwards(store: SqliteStore, path: Path) -> None:
    """It shrinks while the store is in use, once the reader has gone."""
    with store.read() as snapshot:
        snapshot.head()
        write(store, "a", 3_000)
        assert store.checkpoints.wal_pages > 3_000
        assert snapshot.head() == (0, 0)
    write(store, "b", 1_200)
    assert store.checkpoints.wal_pages < 1_500


def test_checkpoints_that_a_reader_holds_up_are_not_tried_at_every_commit(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = 0

    def count() -> None:
        nonlocal tried
        tried += 1

    monkeypatch.setitem(failpoints.armed, "checkpoint.before", count)
    with store.read() as snapshot:
        snapshot.head()
        write(store, "a", 5_000)
    assert 3 <= tried <= 5


def test_a_long_wal_is_begun_anew_when_no_connection_reads_it(
    store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store.checkpoints, "_restart_pages", 2_000)
    with store.read() as snapshot:
        snapshot.head()
        write(store, "a", 4_000)
    assert store.checkpoints.error is None
    writer = store._connections.writer
    assert writer is not None
    assert writer.pragma("busy_timeout") == 10_000
    write(store, "b", 1_100)
    assert store.checkpoints.wal_pages < 1_500
    assert len(versions(store)) == 51


def test_a_wal_that_a_burst_has_let_grow_is_cut_when_it_is_begun_anew(store: SqliteStore, path: Path) -> None:
    store.commit([writing(f"t{number}", created(payload="x" * 1_000_000)) for number in range(20)])
    assert path.with_name("store.db-wal").stat().st_size > 2 * checkpoints.KEPT_BYTES
    store.commit([writing("small", created())])
    assert path.with_name("store.db-wal").stat().st_size <= checkpoints.KEPT_BYTES
    assert store.checkpoints.error is None


def test_a_wal_that_a_long_reader_let_grow_is_small_soon_afterwards(
    store: SqliteStore, path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However little is written then: it is looked at again after a second, not after so many pages."""
    monkeypatch.setattr(store.checkpoints, "_restart_pages", 2_000)
    with store.read() as snapshot:
        snapshot.head()
        write(store, "a", 5_000)
        assert wal_pages(path) > 5_000
    store.commit([writing("one", created())])
    assert wal_pages(path) > 5_000
    clock.advance(checkpoints.RETRY_MS)
    store.commit([writing("two", created())])
    assert wal_pages(path) == 0
    assert len(versions(store)) == 52


def test_a_wal_that_another_process_has_begun_anew_is_bounded_as_before(store: SqliteStore, path: Path) -> None:
    with store.read() as snapshot:
        snapshot.head()
        write(store, "a", 3_500)
    other = open_at(path)
    other.commit([writing("other", created())])
    write(store, "b", 3_000)
    assert store.checkpoints.wal_pages < 1_500
    other.close()


def test_nothing_but_our_own_checkpoints_moves_the_wal(store: SqliteStore, path: Path) -> None:
    size = path.stat().st_size
    for number in range(100):
        store.commit([writing(f"t{number}", created())])
    assert path.stat().st_size == size
    assert wal_pages(path) < checkpoints.PAGES


def test_the_last_to_close_leaves_everything_in_the_file(path: Path) -> None:
    first, second = open_at(path), open_at(path)
    first.commit([writing("a", created())])
    first.close()
    second.commit([writing("b", created())])
    second.close()
    assert not path.with_name("store.db-wal").exists()
    copy = path.with_name("copy.db")
    copy.write_bytes(path.read_bytes())
    assert raw(copy).execute("SELECT count(*) FROM events").get == 2


def test_closing_beside_a_reader_of_another_program_keeps_the_wal(path: Path) -> None:
    store = open_at(path)
    store.commit([writing("a", created())])
    other = raw(path)
    other.execute("BEGIN")
    assert other.execute("SELECT count(*) FROM events").get == 1
    store.commit([writing("b", created())])
    store.close()
    assert other.execute("SELECT count(*) FROM events").get == 1
    other.execute("COMMIT")
    assert other.execute("SELECT count(*) FROM events").get == 2
    other.close()


@pytest.mark.parametrize("point", ["checkpoint.before", "checkpoint.after"])
def test_a_process_killed_at_a_checkpoint_loses_nothing(path: Path, point: str) -> None:
    status, acknowledged = run(path, "committing", "t", 2_000, failpoint=f"{point}:2")
    assert status == -signal.SIGKILL
    store = open_at(path)
    found = versions(store)
    assert len(acknowledged) > 100
    assert set(acknowledged) <= set(found)
    assert len(found) - len(acknowledged) <= 1
    with store.read() as snapshot:
        assert snapshot.check() == []
    store.close()


def test_a_checkpoint_never_runs_within_a_transaction_or_without_the_turn(
    store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[bool, bool]] = []
    other = LockFiles(str(path))

    def look() -> None:
        writer = store._connections.writer
        assert writer is not None
        seen.append((writer.in_transaction, other.try_turn()))

    monkeypatch.setitem(failpoints.armed, "checkpoint.before", look)
    monkeypatch.setitem(failpoints.armed, "checkpoint.after", look)
    write(store, "a", 1_200)
    assert seen == [(False, False)] * 2
    other.close()

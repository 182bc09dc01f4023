"""Faults of disk and system: a commit is written, not written, or told to be unknown; and the store goes on after."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from sagalog.errors import Corrupt, Unavailable, Unknown
from sagalog_sqlite.creation import PAGE_SIZE
from sagalog_sqlite.failures import commit_error, store_error
from sagalog_sqlite.store import SqliteStore
from tests.adapters.sqlite.faulty_files import FaultyFiles, failing, faulty_files
from tests.adapters.sqlite.processes import run_anew
from tests.adapters.sqlite.stores import created, leased, open_at, raw, seeing, versions, writing


@pytest.fixture
def files() -> Iterator[FaultyFiles]:
    with faulty_files() as files:
        yield files


@pytest.fixture
def store(path: Path, files: FaultyFiles) -> Iterator[SqliteStore]:
    """A store at full durability on faulty files, with one task."""
    store = open_at(path, durability="full")
    store.commit([writing("old", created())])
    yield store
    files.strike = None
    store.close()


@pytest.mark.parametrize("error", [apsw.IOError, apsw.NoMemError])
def test_a_sync_that_fails_at_commit_is_told_as_unknown(
    store: SqliteStore, files: FaultyFiles, error: type[apsw.Error]
) -> None:
    """Repeating the call settles it."""
    before = store._connections.writer
    files.strike = failing("sync", "-wal", error)
    with pytest.raises(Unknown, match="same identity") as caught:
        store.commit([writing("new", created())])
    assert isinstance(caught.value.__cause__, error)
    files.strike = None
    # What was written and not synced may be there or not; both are told the same way.
    [seen] = store.commit([seeing(lambda view: view.saved("task/new"), "new")])
    if seen is None:
        assert store.commit([writing("new", created())]) == [1]
    assert store._connections.writer is not before
    assert versions(store) == {"old": 1, "new": 1}


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_write_that_fails_at_commit_is_never_told_as_done(store: SqliteStore, files: FaultyFiles, after: int) -> None:
    files.strike = failing("write", "-wal", apsw.IOError, after)
    with pytest.raises(Unknown):
        store.commit([writing("new", created())])
    files.strike = None
    assert versions(store) in ({"old": 1}, {"old": 1, "new": 1})
    assert store.commit([writing("next", created())]) == [1]
    with store.read() as snapshot:
        assert snapshot.check() == []


@pytest.mark.parametrize("after", [0, 1, 2, 3])
def test_a_full_disk_at_commit_is_told_as_not_written_and_nothing_is(
    store: SqliteStore, files: FaultyFiles, path: Path, after: int
) -> None:
    files.strike = failing("write", "-wal", apsw.FullError, after)
    with pytest.raises(Unavailable, match="the disk is full"):
        store.commit([writing("new", created(payload="x" * 20_000))])
    assert versions(store) == {"old": 1}
    files.strike = None
    assert store.commit([writing("new", created())]) == [1]


def test_a_failing_read_within_a_unit_fails_the_whole_commit(path: Path, files: FaultyFiles) -> None:
    """Nothing is written."""
    first = open_at(path)
    first.commit([writing(f"t{number}", created(payload="x" * 2_000)) for number in range(50)])
    first.close()
    store = open_at(path)
    files.strike = failing("read", "store.db", apsw.IOError)
    with pytest.raises(Unavailable, match="reading or writing failed"):
        store.commit([writing("t7", leased())])
    with pytest.raises(Unavailable), store.read() as snapshot:
        snapshot.history("task/t9")
    files.strike = None
    assert store.commit([writing("t7", leased())]) == [2]
    store.close()


def test_a_failing_checkpoint_fails_no_commit_and_is_kept_for_health(store: SqliteStore, files: FaultyFiles) -> None:
    files.strike = failing("write", "store.db", apsw.FullError)
    for number in range(300):
        store.commit([writing(f"t{number}", created(payload="x" * 20_000))])
        if store.checkpoints.error is not None:
            break
    error = store.checkpoints.error
    assert isinstance(error, Unavailable)
    assert "the disk is full" in str(error)
    assert len(versions(store)) == number + 2
    files.strike = None
    for more in range(300):
        store.commit([writing(f"more{more}", created(payload="x" * 20_000))])
    assert store.checkpoints.error is None


def test_a_process_on_a_full_disk_keeps_what_it_acknowledged(path: Path) -> None:
    """It goes on when there is room."""
    mount = [
        "unshare",
        "--map-root-user",
        "--mount",
        "sh",
        "-c",
        f'mount -t tmpfs -o size=600k none {path.parent} && "$@"',
    ]
    if subprocess.run([*mount, "-", "true"], capture_output=True, check=False).returncode:
        pytest.skip("no small disk can be mounted here")
    status, lines = run_anew(path, "filling", under=[*mount, "-"])
    assert status == 0, lines
    refused, counted, still, after, finally_counted = lines
    code, acknowledged, *text = refused.split()
    assert code == "unavailable", refused
    assert "make room" in " ".join(text)
    assert int(acknowledged) > 3
    assert counted.split() == [acknowledged, acknowledged]
    assert (still, after) == ("unavailable", "written")
    assert finally_counted.split() == [str(int(acknowledged) + 1)] * 2


def test_a_file_that_may_grow_no_more_loses_nothing_that_was_acknowledged(path: Path) -> None:
    status, lines = run_anew(path, "outgrowing", 400_000)
    assert status == 0, lines
    refused, counted, still, after, finally_counted = lines
    code, acknowledged = refused.split()[:2]
    # SQLite tells this from a full disk, and does not promise that nothing was written.
    assert code == "unknown", refused
    assert int(acknowledged) > 3
    assert counted.split() == [acknowledged, acknowledged]
    assert (still, after) == ("unknown", "written")
    assert finally_counted.split() == [str(int(acknowledged) + 1)] * 2


def test_a_damaged_page_stops_its_reader_and_names_the_file(path: Path) -> None:
    store = open_at(path)
    store.commit([writing(f"t{number}", created(payload="x" * 2_000)) for number in range(50)])
    store.close()
    content = bytearray(path.read_bytes())
    for page in range(60, len(content) // PAGE_SIZE):
        content[page * PAGE_SIZE : page * PAGE_SIZE + 60] = b"\xff" * 60
    path.write_bytes(content)
    damaged = open_at(path)
    with pytest.raises(Corrupt, match="restore a backup"), damaged.read() as snapshot:
        snapshot.events(0, 50)
    with damaged.read() as snapshot:
        assert snapshot.check() != []
    damaged.close()


def test_a_row_that_contradicts_the_log_is_told_as_corrupt(path: Path) -> None:
    store = open_at(path)
    other = raw(path)
    other.execute("DROP TRIGGER events_are_not_deleted")
    other.execute("ALTER TABLE tasks RENAME COLUMN fold TO folded")
    with pytest.raises(Corrupt, match="not what this version"):
        store.commit([writing("t", created())])
    other.execute("ALTER TABLE tasks RENAME COLUMN folded TO fold")
    assert store.commit([writing("t", created())]) == [1]
    store.close()


@pytest.mark.parametrize(
    ("error", "before", "at_commit"),
    [
        (apsw.FullError, "unavailable", "unavailable"),
        (apsw.BusyError, "unavailable", "unavailable"),
        (apsw.IOError, "unavailable", "unknown"),
        (apsw.NoMemError, "unavailable", "unknown"),
        (apsw.ReadOnlyError, "unavailable", "unknown"),
        (apsw.CantOpenError, "unavailable", "unknown"),
        (apsw.ProtocolError, "unavailable", "unknown"),
        (apsw.InterruptError, "unavailable", "unknown"),
        (apsw.CorruptError, "corrupt", "corrupt"),
        (apsw.NotADBError, "corrupt", "corrupt"),
        (apsw.ConstraintError, "corrupt", "unknown"),
        (apsw.SQLError, "corrupt", "unknown"),
        (apsw.ConnectionClosedError, "closed", "unknown"),
        (apsw.MisuseError, "unavailable", "unknown"),
    ],
)
def test_each_error_of_the_driver_is_told_by_what_to_do_next(
    error: type[apsw.Error], before: str, at_commit: str
) -> None:
    assert store_error(error("why"), "/a/b.db").code == before
    assert commit_error(error("why"), "/a/b.db").code == at_commit
    assert "/a/b.db" in str(store_error(error("why"), "/a/b.db"))


def test_a_disk_without_room_for_a_shm_is_reported_as_perhaps_full() -> None:
    error = store_error(apsw.exception_for(apsw.SQLITE_IOERR_SHMSIZE), "/a/b.db")  # type: ignore[arg-type]

    assert "perhaps the disk is full; make room" in error.message

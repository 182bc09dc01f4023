"""Opening: what a store's file must be, how an absent one is made, and what is refused with which advice."""

from __future__ import annotations

import os
import signal
import stat
from pathlib import Path

import apsw
import pytest

from sagalog.errors import Corrupt, SchemaMismatch, Unavailable
from sagalog.store import OpenStore
from sagalog.testing import ManualClock
from sagalog_sqlite import open_store
from sagalog_sqlite.connection import require_safe_sqlite
from sagalog_sqlite.creation import PAGE_SIZE
from sagalog_sqlite.opening import path_of
from tests.adapters.sqlite.processes import hear, run, start
from tests.adapters.sqlite.stores import created, founding, open_at, raw, url_of, versions, writing

CREATE_POINTS = ("create.after_file", "create.after_schema", "create.before_rename", "create.after_rename")


@pytest.fixture
def made(path: Path) -> Path:
    """A store with one task, cleanly closed."""
    store = open_at(path)
    store.commit([founding(), writing("t", created())])
    store.close()
    return path


def refusal_of(path: Path, kind: type[Exception], create: bool = True) -> str:
    """The text with which opening is refused; the file is afterwards what it was."""
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(kind) as caught:
        open_at(path, create=create)
    assert caught.type is kind
    assert (path.read_bytes() if path.is_file() else None) == before
    return str(caught.value)


# --- names ----------------------------------------------------------------------------------------------------------


def test_three_slashes_name_a_relative_path_and_four_an_absolute_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert path_of("sqlite:///a/b c%20.db") == str(tmp_path.resolve() / "a" / "b c%20.db")
    assert path_of("sqlite:////a/b.db") == "/a/b.db"


@pytest.mark.parametrize(
    "url", ["sqlite:", "sqlite://", "sqlite://a.db", "sqlite:///", "sqlite:///a/", "sqlite:///a?mode=ro", "sqlite:///:memory:"]
)  # fmt: skip
def test_any_other_url_is_refused_with_the_two_forms(url: str) -> None:
    with pytest.raises(ValueError, match=r"sqlite:///relative\.db.*sqlite:////absolute\.db"):
        open_store(url, create=True, clock=ManualClock(), durability="full")


def test_two_names_of_one_file_share_its_lock_files(made: Path, tmp_path: Path) -> None:
    (tmp_path / "other.db").symlink_to(made)
    with_link = open_at(tmp_path / "other.db")
    assert with_link.path == str(made.resolve())
    assert not list(tmp_path.glob("other.db?*"))
    with_link.close()


@pytest.mark.parametrize("durability", ["off", "FULL", "", "0"])
def test_a_durability_that_is_not_offered_is_refused(path: Path, durability: str) -> None:
    with pytest.raises(ValueError, match="'full' or 'normal'"):
        open_at(path, durability=durability)
    assert not path.exists()


# --- the gate on SQLite's version -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "version", [(3, 51, 3), (3, 51, 10), (3, 53, 0), (3, 54, 1), (4, 0, 0), (3, 50, 7), (3, 50, 99), (3, 44, 6)]
)
def test_a_sqlite_that_keeps_its_commits_is_let_in(version: tuple[int, int, int]) -> None:
    require_safe_sqlite(version)


@pytest.mark.parametrize(
    "version", [(3, 9, 0), (3, 40, 1), (3, 44, 5), (3, 45, 0), (3, 50, 6), (3, 51, 2), (3, 52, 0), (2, 99, 9)]
)
def test_a_sqlite_that_may_lose_commits_is_refused_by_its_number(version: tuple[int, int, int]) -> None:
    with pytest.raises(Unavailable, match=rf"{version[0]}\.{version[1]}\.{version[2]}.*pip install"):
        require_safe_sqlite(version)


# --- settings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("durability", "synchronous"), [("full", 2), ("normal", 1)])
def test_every_connection_has_the_settings_that_keep_commits(path: Path, durability: str, synchronous: int) -> None:
    store = open_at(path, durability=durability)
    store.changes()
    with store.read():
        connections = list(store._connections)
        assert len(connections) == 3
        for connection in connections:
            wanted = {
                "journal_mode": "wal",
                "synchronous": synchronous,
                "fullfsync": synchronous - 1,
                "checkpoint_fullfsync": 1,
                "wal_autocheckpoint": 0,
                "foreign_keys": 1,
                "trusted_schema": 0,
                "cell_size_check": 1,
                "mmap_size": 0,
                "busy_timeout": 10_000,
            }
            assert {name: connection.pragma(name) for name in wanted} == wanted
            assert connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, -1) == 1
            assert connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, -1) == 1
        assert sorted(int(connection.pragma("query_only")) for connection in connections) == [0, 1, 1]
    store.close()


def test_a_setting_that_does_not_stick_refuses_the_store(made: Path) -> None:
    # A program that has the file open and locked in another journal mode keeps it there.
    other = raw(made)
    other.pragma("journal_mode", "delete")
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match=r"locked|journal_mode"):
        open_at(made, turn_timeout_ms=20)
    other.close()


# --- making a file --------------------------------------------------------------------------------------------------


def test_an_absent_store_is_not_made_unasked(path: Path) -> None:
    assert str(path) in refusal_of(path, Unavailable, create=False)
    assert os.listdir(path.parent) == []


def test_eight_processes_that_open_an_absent_store_at_once_share_one(path: Path) -> None:
    members = [start(path, "opening", f"t{number}") for number in range(8)]
    for member in members:
        member.stdin.write("\n")
        member.stdin.flush()
    answers = [(member.communicate(timeout=60)[0].strip(), member.returncode) for member in members]
    assert answers == [("1", 0)] * 8
    store = open_at(path, create=False)
    assert sorted(versions(store)) == [f"t{number}" for number in range(8)]
    assert store.commit([founding()])[0].id == "s"
    store.close()
    assert raw(path).execute("SELECT count(*) FROM migrations").get == 1


@pytest.mark.parametrize("failpoint", [*CREATE_POINTS, "migrate.after_statement:1", "migrate.after_statement:9"])
def test_a_creator_that_is_killed_leaves_nothing_in_the_way(path: Path, failpoint: str) -> None:
    status, _ = run(path, "opening", "t", failpoint=failpoint)
    assert status == -signal.SIGKILL
    assert not path.exists() or path.stat().st_size > 0
    store = open_at(path)
    assert store.commit([writing("t", created())]) == [1]
    with store.read() as snapshot:
        assert snapshot.check() == []
    store.close()
    assert sorted(one.name for one in path.parent.iterdir()) == ["store.db", "store.db.next", "store.db.turn"]


@pytest.mark.parametrize("umask", ["0", "777", "22"])
def test_every_file_of_a_new_store_is_its_owners_alone_whatever_the_umask(path: Path, umask: str) -> None:
    member = start(path, "masked", umask)
    assert hear(member) == "written"
    modes = {one.name: stat.S_IMODE(one.stat().st_mode) for one in path.parent.iterdir()}
    member.communicate("\n", timeout=60)
    assert modes == dict.fromkeys(["store.db", "store.db-wal", "store.db-shm", "store.db.next", "store.db.turn"], 0o600)
    assert member.returncode == 0


def test_a_wal_without_its_file_is_not_read_into_a_new_store(path: Path) -> None:
    store = open_at(path)
    store.commit([writing("t", created())])
    wal = path.with_name("store.db-wal").read_bytes()
    store.close()
    path.unlink()
    path.with_name("store.db-wal").write_bytes(wal)
    assert "-wal" in refusal_of(path, Corrupt)


def test_a_store_that_is_opened_again_has_everything(made: Path) -> None:
    store = open_at(made, create=False)
    assert versions(store) == {"t": 1}
    with store.read() as snapshot:
        fold = snapshot.store()
        assert fold is not None
        assert (fold.id, fold.version, fold.format, fold.epoch) == ("s", 1, 0, 0)
    store.close()


# --- what is no store -----------------------------------------------------------------------------------------------


def test_an_empty_file_is_not_a_new_store(path: Path) -> None:
    path.touch()
    assert "an empty file is not a new store" in refusal_of(path, Corrupt)


def test_the_database_of_another_program_is_refused_and_left_alone(path: Path) -> None:
    with raw(path) as connection:
        connection.execute("CREATE TABLE events(position, body)")
    assert "no sagalog store" in refusal_of(path, Corrupt)


@pytest.mark.parametrize("content", [b"not a database at all" * 500, b"\0" * 8192, b"SQLite format 3\0" + b"\7" * 8176])
def test_garbage_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert str(path) in refusal_of(path, Corrupt)


@pytest.mark.parametrize("cut", ["a byte", "a page", "half", "all but the header"])
def test_a_file_that_was_cut_is_refused(made: Path, cut: str) -> None:
    whole = made.stat().st_size
    length = {"a byte": whole - 1, "a page": whole - PAGE_SIZE, "half": whole // 2, "all but the header": 100}[cut]
    os.truncate(made, length)
    assert str(made) in refusal_of(made, Corrupt)


def test_a_store_of_a_newer_format_is_refused(made: Path) -> None:
    raw(made).execute("UPDATE store SET format = 1")
    assert "format 1" in refusal_of(made, SchemaMismatch)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE migrations SET name = 'log_and_projection' WHERE number = 1",
        "UPDATE migrations SET name = CAST(x'ff' AS TEXT) WHERE number = 1",
        "UPDATE migrations SET number = 0 WHERE number = 1",
    ],
)
def test_a_store_begun_by_another_first_migration_is_refused(made: Path, change: str) -> None:
    """The error names the last commit that reads it."""
    raw(made).execute(change)
    with pytest.raises(SchemaMismatch, match=r"commit 86e543f .*have a new store made") as caught:
        open_at(made)
    assert caught.value.fields["supported"] == "second_edition"


def test_a_store_of_a_newer_migration_is_refused(made: Path) -> None:
    raw(made).execute("INSERT INTO migrations VALUES (9999, 'later', 0)")
    assert "9999" in refusal_of(made, SchemaMismatch)


def test_a_store_whose_tables_another_program_removed_is_refused(made: Path) -> None:
    raw(made).execute("DROP TABLE migrations")
    assert "not what this version" in refusal_of(made, Corrupt)


# --- what cannot be opened ------------------------------------------------------------------------------------------


def test_a_folder_is_not_a_store(tmp_path: Path) -> None:
    assert "it is a folder" in refusal_of(tmp_path, Unavailable)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    assert f"there is no folder {tmp_path}/missing" in refusal_of(tmp_path / "missing" / "store.db", Unavailable)


def test_a_file_that_is_no_regular_file_is_refused(path: Path) -> None:
    os.mkfifo(path)
    assert "no regular file" in refusal_of(path, Unavailable)


@pytest.fixture
def reachable(tmp_path: Path) -> Path:
    """A folder that a process without rights can reach."""
    for folder in (tmp_path, *tmp_path.parents[:3]):
        if folder.stat().st_uid == os.geteuid():
            folder.chmod(folder.stat().st_mode | 0o755)
    folder = tmp_path / "folder"
    folder.mkdir()
    return folder


def test_a_folder_that_cannot_be_written_is_refused_by_name(reachable: Path) -> None:
    reachable.chmod(0o555)
    status, [answer] = run(reachable / "store.db", "without_rights", "create")
    assert (status, answer.split()[0]) == (0, "unavailable")
    assert f"the folder {reachable} cannot be written" in answer


@pytest.mark.parametrize("mode", [0o444, 0o000])
def test_a_file_that_cannot_be_written_is_refused_by_name(reachable: Path, mode: int) -> None:
    path = reachable / "store.db"
    open_at(path).close()
    reachable.chmod(0o777)
    path.chmod(mode)
    status, [answer] = run(path, "without_rights", "open")
    assert (status, answer.split()[0]) == (0, "unavailable")
    assert str(path) in answer


def test_the_entry_point_takes_what_the_port_says(path: Path) -> None:
    opener: OpenStore = open_store
    store = opener(url_of(path), create=True, clock=ManualClock(1), durability="full")
    assert store.commit([]) == []
    store.close()

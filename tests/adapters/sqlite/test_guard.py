"""The guard of the file: nothing is acknowledged that would not be found again."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sagalog.errors import Unavailable
from sagalog_sqlite.file_identity import identity_of
from sagalog_sqlite.file_locks import are_answered, locks_of
from sagalog_sqlite.store import SqliteStore
from tests import warm_processes
from tests.adapters.sqlite.processes import hear, run, start
from tests.adapters.sqlite.stores import created, open_at, raw, seeing, versions, writing
from tests.adapters.sqlite.test_closing import links_of_descriptors

needs_answers = pytest.mark.skipif(not are_answered(), reason="this system does not say whose locks there are")


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    store = open_at(path)
    store.commit([writing("old", created())])
    yield store
    store.close()


def refused(store: SqliteStore, id: str = "refused") -> str:
    """What a commit is told that must not be made."""
    with pytest.raises(Unavailable) as error:
        store.commit([writing(id, created())])
    return error.value.message


def beside(path: Path, end: str) -> Path:
    return path.with_name(path.name + end)


def as_seen_by_another(path: Path) -> dict[str, int]:
    """The tasks that another process finds in the store."""
    output, _ = warm_processes.start("tests.adapters.sqlite.versions_seen", str(path)).communicate(timeout=60)
    found: dict[str, int] = json.loads(output)
    return found


# --- the file -------------------------------------------------------------------------------------------------------


def moved(path: Path) -> None:
    path.rename(path.with_name("elsewhere.db"))


def replaced(path: Path) -> None:
    moved(path)
    shutil.copy(path.with_name("elsewhere.db"), path)


def removed(path: Path) -> None:
    path.rename(path.with_name("kept.db"))
    path.with_name("kept.db").unlink()


@pytest.mark.parametrize("change", [moved, replaced, removed])
def test_a_file_that_is_not_the_opened_one_any_more_takes_no_commit(
    store: SqliteStore, path: Path, change: Callable[[Path], None]
) -> None:
    """[FILE-1]"""
    versions(store)
    change(path)
    assert "moved, replaced or removed while it was open" in refused(store)
    # Nor an answer that nothing was to be written: a caller that gets it would believe it of the file in its place.
    with pytest.raises(Unavailable, match="bring it back"):
        store.commit([seeing(lambda view: view.now_ms)])
    assert versions(store) == {"old": 1}, "what was read can still be read"


def test_a_file_that_was_brought_back_takes_commits_again(store: SqliteStore, path: Path) -> None:
    moved(path)
    refused(store)
    path.with_name("elsewhere.db").rename(path)
    assert store.commit([writing("new", created())]) == [1]
    assert versions(store) == {"old": 1, "new": 1}


def test_closing_moves_nothing_into_a_file_that_was_replaced(store: SqliteStore, path: Path) -> None:
    replaced(path)
    before = path.read_bytes()
    store.close()
    assert path.read_bytes() == before
    assert beside(path, "-wal").stat().st_size > 0, "an operator who brings the file back finds everything"
    path.with_name("elsewhere.db").rename(path)
    again = open_at(path)
    assert versions(again) == {"old": 1}
    again.close()


def test_a_wal_that_another_process_removed_takes_no_commit(store: SqliteStore, path: Path) -> None:
    """[FILE-1]"""
    beside(path, "-wal").unlink()
    assert f"{path}-wal was removed or replaced" in refused(store)
    with pytest.raises(Unavailable, match="close every engine on the store"), store.read():
        pass
    store.close()
    # The one without a name was moved into the file.
    again = open_at(path)
    assert versions(again) == {"old": 1}
    again.close()


def test_a_wal_that_another_process_replaced_is_not_moved_into_the_file(store: SqliteStore, path: Path) -> None:
    beside(path, "-wal").rename(beside(path, "-kept"))
    beside(path, "-wal").touch()
    assert "-wal was removed or replaced" in refused(store)
    held = path.stat().st_mtime_ns
    store.close()
    assert path.stat().st_mtime_ns == held


def test_a_wal_taken_away_while_no_connection_was_open_loses_nothing(store: SqliteStore, path: Path) -> None:
    """Another process has removed it.

    As after a failing disk: the connection for writing is dropped, and the next turn opens another.
    """
    store.disconnect()
    store.commit([writing("new", created())])
    store._connections.drop_writer()
    assert as_seen_by_another(path) == {"old": 1, "new": 1}
    assert not beside(path, "-wal").exists()
    assert store.commit([writing("newer", created())]) == [1]
    assert as_seen_by_another(path) == {"old": 1, "new": 1, "newer": 1}


def test_a_connection_is_never_opened_to_another_file(store: SqliteStore, path: Path) -> None:
    """After a fork or a failing disk a store opens anew what it finds under its name."""
    replaced(path)
    assert store.disconnect()
    assert "is another file now" in refused(store)
    with pytest.raises(Unavailable), store.read():
        pass


# --- locks ----------------------------------------------------------------------------------------------------------


@needs_answers
@pytest.mark.parametrize("ends", [[""], ["-shm"], ["", "-wal", "-shm"]])
def test_locks_that_fell_refuse_one_commit_and_lose_none(store: SqliteStore, path: Path, ends: list[str]) -> None:
    """[FILE-1] This process has read the files by hand since."""
    versions(store)
    for end in ends:
        beside(path, end).read_bytes()
    seen = as_seen_by_another(path)
    assert seen == {"old": 1}
    assert "by hand" in refused(store)
    assert store.commit([writing("new", created())]) == [1]
    assert as_seen_by_another(path) == versions(store) == {"old": 1, "new": 1}


@needs_answers
def test_locks_are_not_taken_anew_while_a_snapshot_reads(store: SqliteStore, path: Path) -> None:
    """The reader's connection keeps what SQLite believes of the locks; it ends, and all is well."""
    with store.read() as snapshot:
        path.read_bytes()
        assert "by hand" in refused(store)
        assert "by hand" in refused(store)
        assert snapshot.task("old") is not None
    refused(store)
    assert store.commit([writing("new", created())]) == [1]


@needs_answers
def test_the_locks_of_another_process_do_not_hide_for_long_that_ours_fell(store: SqliteStore, path: Path) -> None:
    other = start(path, "masked", "022")
    assert hear(other) == "written"
    path.read_bytes()
    store.commit([writing("meanwhile", created())])
    other.communicate("\n", timeout=20)
    assert "by hand" in refused(store)
    assert store.commit([writing("new", created())]) == [1]
    assert as_seen_by_another(path) == {"old": 1, "t": 1, "meanwhile": 1, "new": 1}


@needs_answers
def test_sqlite_locks_where_the_guard_looks(store: SqliteStore, path: Path) -> None:
    identity = identity_of(str(path))
    assert identity is not None
    locks = locks_of(str(path), identity)
    assert (locks.are_held(writing=False), locks.are_held(writing=True)) == (True, False)
    assert store.commit([seeing(lambda _: locks.are_held(writing=True))]) == [True]


@needs_answers
def test_one_set_of_descriptors_serves_all_stores_of_a_file(path: Path) -> None:
    """[FILE-2] It is closed after the last connection."""

    def opened() -> list[str]:
        return sorted(name.removeprefix(str(path)) for name in links_of_descriptors() if name.startswith(str(path)))

    first = open_at(path)
    alone = opened()
    second = open_at(path)
    # Each has a connection and a ticket of its own; SQLite shares the -shm.
    assert sorted([*alone, "", "-wal", ".next", ".turn"]) == opened()
    stranger = raw(path)
    stranger.execute("SELECT count(*) FROM sqlite_schema")
    first.close()
    second.close()
    # As long as the stranger has a connection, closing them would take its locks.
    assert locks_of(str(path), identity_of(str(path)) or (0, 0)).are_held(writing=False)
    stranger.close()
    open_at(path).close()
    assert opened() == []


@needs_answers
@pytest.mark.parametrize("whose", ["the store's", "a stranger's"])
def test_a_busy_connection_keeps_its_locks_when_the_store_opens_others(whose: str, path: Path) -> None:
    """[FILE-2] It is at work in another thread.

    While it is busy apsw does not tell to which file it leads; nor is it the less connected.
    """
    store = open_at(path)
    busy = store._connections.readers.take() if whose == "the store's" else raw(path)
    is_working, may_end = threading.Event(), threading.Event()

    def work(*_: Any) -> int:
        is_working.set()
        return may_end.wait(60)

    busy.create_scalar_function("work", work, 0)
    thread = threading.Thread(target=lambda: busy.execute("SELECT work() FROM sqlite_schema LIMIT 1").get)
    thread.start()
    try:
        assert is_working.wait(60)
        store._connections.drop_writer()
        assert store.commit([writing("new", created())]) == [1]
        store._connections.drop_writer()
        store._connections.guard.detach()
        assert store._connections.guard.refusal(writing=False) is None
    finally:
        may_end.set()
        thread.join()
        busy.close()
        store.close()


# --- names ----------------------------------------------------------------------------------------------------------


def test_a_file_with_two_names_is_not_opened(store: SqliteStore, path: Path) -> None:
    """[FILE-1]"""
    store.close()
    os.link(path, path.with_name("second.db"))
    for name in (path, path.with_name("second.db")):
        with pytest.raises(Unavailable, match=r"2 names \(hard links\).*find -samefile"):
            open_at(name)
    path.with_name("second.db").unlink()
    open_at(path).close()


def test_a_name_that_the_file_gets_while_it_is_open_is_counted(store: SqliteStore, path: Path) -> None:
    assert store.links() == 1
    os.link(path, path.with_name("second.db"))
    assert store.links() == 2
    assert store.commit([writing("new", created())]) == [1]
    moved(path)
    assert store.links() == 0


def test_the_store_goes_on_where_the_system_says_nothing_of_locks(
    store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sagalog_sqlite.file_locks.are_answered", lambda: False)
    assert store.commit([writing("new", created())]) == [1]
    moved(path)
    refused(store)


def test_other_processes_lose_nothing_while_one_reads_the_file_by_hand(store: SqliteStore, path: Path) -> None:
    """A visitor that opens, writes and closes between two commits of ours, three times."""
    for number in range(3):
        beside(path, "-shm").read_bytes()
        path.read_bytes()
        assert run(path, "committing", f"v{number}-", 1)[0] == 0
        with pytest.raises(Unavailable):
            store.commit([writing(f"refused{number}", created())])
        assert store.commit([writing(f"ours{number}", created())]) == [1]
    found = as_seen_by_another(path)
    assert {f"ours{n}" for n in range(3)} | {f"v{n}-0" for n in range(3)} == found.keys() - {"old"}

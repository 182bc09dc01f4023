"""Files that are no store: those beside one, which are left alone, and foreign files in its place."""

from __future__ import annotations

import os
from pathlib import Path

import apsw
import pytest

import sagalog
from sagalog import Corrupt
from sagalog_sqlite.failures import store_error
from tests.adapters.cli.calls import call
from tests.adapters.sqlite.stores import created, open_at, url_of, writing


def listing(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir())


def test_a_users_file_with_a_similar_name_is_never_touched(path: Path) -> None:
    mine = [path.with_name(path.name + ending) for ending in (".new", ".new-wal", ".new-journal", ".sagalog-newer")]
    for one in mine:
        one.write_text("mine")
    for _ in range(2):
        store = open_at(path)
        store.commit([writing("t" + os.urandom(4).hex(), created())])
        store.close()
    assert [one.read_text() for one in mine] == ["mine"] * 4


def test_what_a_killed_maker_left_is_removed_and_nothing_else(path: Path) -> None:
    left = [path.with_name(f"{path.name}.sagalog-new{side}") for side in ("", "-wal", "-shm", "-journal")]
    mine = path.with_name(path.name + ".new")
    for one in (*left, mine):
        one.write_text("half")
    open_at(path).close()
    assert [one.exists() for one in left] == [False] * 4
    assert mine.read_text() == "half"


TAKEN = ("-wal", "-shm", "-journal", ".turn", ".next", ".sagalog-new")


@pytest.mark.parametrize("ending", TAKEN)
def test_a_name_that_another_stores_side_file_would_have_is_refused(tmp_path: Path, ending: str) -> None:
    url = f"sqlite:///{tmp_path}/w.db{ending}"
    with pytest.raises(ValueError, match="beside a store"):
        sagalog.open(url)
    for words in (["init"], ["list"], ["create", "build"]):
        answer = call(*words, "--db", url)
        assert (answer.status, answer.out) == (2, "")
    assert listing(tmp_path) == []


def foreign(path: Path, kind: str) -> None:
    if kind == "text":
        path.write_text("Dear diary, " * 400)
        return
    connection = apsw.Connection(str(path))
    if kind == "sqlite in WAL mode":
        connection.pragma("journal_mode", "wal")
    connection.execute("CREATE TABLE diary(entry TEXT); INSERT INTO diary VALUES ('dear diary')")
    connection.close()


@pytest.mark.parametrize("kind", ["text", "sqlite", "sqlite in WAL mode"])
def test_a_foreign_file_stays_as_it_is_and_gets_no_lock_files(path: Path, kind: str) -> None:
    foreign(path, kind)
    before = path.read_bytes()
    with pytest.raises(Corrupt):
        sagalog.open(url_of(path))
    assert call("list", "--db", url_of(path)).status == 8
    assert path.read_bytes() == before
    # A program that looks into a file in WAL mode leaves these two, empty, and its own program takes them away.
    empty = {path.name + "-wal", path.name + "-shm"} if "WAL" in kind else set()
    assert set(listing(path.parent)) - empty == {path.name}


def test_a_text_file_is_refused_as_no_store_without_a_word_of_backups(path: Path) -> None:
    foreign(path, "text")
    with pytest.raises(Corrupt) as caught:
        sagalog.open(url_of(path))
    assert str(caught.value).startswith(f"{path} is no SQLite file (SQLITE_NOTADB")
    assert "is the path right?" in str(caught.value)
    damaged = str(store_error(apsw.CorruptError("malformed"), str(path)))
    assert damaged.startswith(f"{path} is damaged (")
    assert "restore a backup" in damaged

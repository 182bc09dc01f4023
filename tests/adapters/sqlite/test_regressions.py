"""What once went wrong around an SQLite file, and must not again: side files, audits that saw nothing, descriptors.

Rule: each test is one case that occurred, on a real file; who changes it behind the store's back does so from a
process of its own.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

import sagalog
from sagalog import Compensation, Corrupt, Engine, Lease
from sagalog.codec import enclose
from sagalog.kernel.events import Founded
from sagalog.testing import ManualClock
from sagalog_sqlite.failures import store_error
from tests.adapters.cli.calls import call
from tests.adapters.sqlite.stores import START_MS, created, open_at, url_of, writing
from tests.contract.tampering import Statement, tamper


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def engine(path: Path) -> Iterator[Engine]:
    """Tasks at every gate: `free` and `tagged` may be claimed, `undo` undone, `held` is leased and `over` has ended."""
    with sagalog.open(url_of(path), clock=ManualClock(START_MS), durability="normal") as engine:
        engine.create("build", id="free")
        engine.create("build", id="tagged", tags={"colour": "red", "size": "big"})
        engine.create("build", id="later", run_at_ms=START_MS + 1_000)
        leased(engine, "held")
        leased(engine, "over").complete()
        leased(engine, "undo", compensations=[Compensation("remove")]).fail("no way on")
        assert engine.verify().ok
        yield engine


def leased(engine: Engine, id: str, **given: Any) -> Lease:
    engine.create("build", id=id, **given)
    return engine.acquire(id, owner="ann", ttl_ms=1_000)


def listing(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir())


# --- files beside the store -----------------------------------------------------------------------------------------


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


def test_a_text_file_is_said_to_be_no_store_before_anybody_looks_for_a_backup(path: Path) -> None:
    foreign(path, "text")
    with pytest.raises(Corrupt) as caught:
        sagalog.open(url_of(path))
    assert str(caught.value).startswith(f"{path} is no SQLite file (SQLITE_NOTADB")
    assert "is the path right?" in str(caught.value)
    damaged = str(store_error(apsw.CorruptError("malformed"), str(path)))
    assert damaged.startswith(f"{path} is damaged (")
    assert "restore a backup" in damaged


# --- audits ---------------------------------------------------------------------------------------------------------


def on(task: str, text: str) -> Statement:
    """A statement on the task's own rows."""
    return text.replace("STREAM", "(SELECT number FROM streams WHERE category = 'task' AND id = ?)"), [task]


# What another program does to the tables: a statement, and words of the fault that an audit finds.
HARMS: dict[str, tuple[Statement, str]] = {
    "a deleted tag": (on("tagged", "DELETE FROM tags WHERE name = 'size' AND stream = STREAM"), "tag"),
    "an invented tag": (on("tagged", "INSERT INTO tags VALUES ('taste', 'sour', STREAM)"), "tag"),
    "a second value": (on("tagged", "INSERT INTO tags VALUES ('colour', 'zinc', STREAM)"), "tag"),
    "a second value that sorts first": (on("tagged", "INSERT INTO tags VALUES ('colour', 'blue', STREAM)"), "tag"),
    "a tag on a task without": (on("free", "INSERT INTO tags VALUES ('taste', 'sour', STREAM)"), "tag"),
    "a tag of no stream": (("INSERT INTO tags VALUES ('taste', 'sour', 99)", []), "has no stream"),
    "a tag of the store's stream": (
        ("INSERT INTO tags SELECT 'taste', 'sour', number FROM streams WHERE category = 'store'", []),
        "has no stream",
    ),
    "a row beyond all streams": (("INSERT INTO tasks(stream, gate) VALUES (99, 'ready')", []), "has no stream"),
    "a row before all streams": (("INSERT INTO tasks(stream, gate) VALUES (0, 'ready')", []), "has no stream"),
    "a row of the store's stream": (
        ("INSERT INTO tasks(stream, state) SELECT number, 'pending' FROM streams WHERE category = 'store'", []),
        "has no stream",
    ),
    "no row": (on("free", "DELETE FROM tasks WHERE stream = STREAM"), "no projection"),
    "no gate on what is ready": (on("free", "UPDATE tasks SET gate = NULL WHERE stream = STREAM"), "gate"),
    "no gate on what is undone": (on("undo", "UPDATE tasks SET gate = NULL WHERE stream = STREAM"), "gate"),
    "a gate on what is leased": (on("held", "UPDATE tasks SET gate = 'ready' WHERE stream = STREAM"), "gate"),
    "a gate on what has ended": (on("over", "UPDATE tasks SET gate = 'ready' WHERE stream = STREAM"), "gate"),
    "the wrong gate": (on("undo", "UPDATE tasks SET gate = 'ready' WHERE stream = STREAM"), "gate"),
    "a sound one put aside": (on("free", "UPDATE tasks SET gate = 'unreadable' WHERE stream = STREAM"), "gate"),
    "another queue": (on("free", "UPDATE tasks SET queue = 'elsewhere' WHERE stream = STREAM"), "queue"),
    "another expiry": (on("held", "UPDATE tasks SET expires_ms = NULL WHERE stream = STREAM"), "expires_ms"),
}


@pytest.mark.parametrize("harm", HARMS)
def test_an_audit_finds_what_the_log_does_not_give_and_rebuilding_mends_it(
    engine: Engine, path: Path, harm: str
) -> None:
    """[RECORD-3]"""
    before = (engine.find(), engine.counts(), engine.find(tags={"colour": "red"}))
    statement, words = HARMS[harm]
    tamper(path, statement)
    report = engine.verify()
    assert [fault.code for fault in report.faults] == ["projection"]
    assert words in report.faults[0].text
    assert engine.rebuild().unreadable == ()
    assert engine.verify().faults == ()
    assert (engine.find(), engine.counts(), engine.find(tags={"colour": "red"})) == before


def test_a_stream_without_events_is_a_fault_and_no_task(engine: Engine, path: Path) -> None:
    before = engine.counts()
    tamper(path, ("INSERT INTO streams(category, id) VALUES ('task', 'phantom')", []))
    for _ in range(2):
        [fault] = engine.verify().faults
        assert (fault.code, fault.stream, fault.text) == ("damaged", "task/phantom", "the stream has no events")
        assert engine.counts() == before
        assert "phantom" not in [task.id for task in engine.find()]
        assert engine.rebuild().unreadable == ("phantom",)
    claimed = engine.claim("default", owner="ann", ttl_ms=1_000, limit=9)
    assert [lease.task.id for lease in claimed] == ["free", "tagged"]
    for refused in (engine.get, engine.cancel):
        with pytest.raises(Corrupt, match="no events"):
            refused("phantom")


def test_a_stream_of_an_unknown_category_is_a_fault(engine: Engine, path: Path) -> None:
    event = enclose("rumour/r", 1, START_MS, Founded("r", 0, "1"))
    tamper(
        path,
        ("INSERT INTO streams(category, id) VALUES ('rumour', 'r')", []),
        (
            "INSERT INTO events(stream, version, at_ms, type, schema, body, digest) "
            "SELECT max(number), 1, ?, ?, ?, ?, ? FROM streams",
            [event.at_ms, event.type, event.schema, event.body, {"hex": event.digest.hex()}],
        ),
    )
    for _ in range(2):
        [fault] = engine.verify().faults
        assert (fault.code, fault.stream) == ("damaged", "rumour/r")
        assert "no such category" in fault.text
        assert engine.rebuild().unreadable == ()


# --- descriptors ----------------------------------------------------------------------------------------------------


def open_files() -> list[str]:
    files = []
    for name in os.listdir("/proc/self/fd"):
        try:
            files.append(os.readlink(f"/proc/self/fd/{name}"))
        except FileNotFoundError:
            continue
    return files


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts descriptors where the system lists them")
def test_an_engine_that_is_dropped_gives_its_lock_files_back(path: Path) -> None:
    def use() -> None:
        engine = sagalog.open(url_of(path), durability="normal")
        engine.create("build")
        assert [one for one in open_files() if one.endswith((".turn", ".next"))] != []

    for _ in range(3):
        use()
    gc.collect()
    assert [one for one in open_files() if one.startswith(str(path))] == []
    with sagalog.open(url_of(path), durability="normal") as engine:
        assert engine.counts() == {"default": {"pending": 3}}


# --- what a changed file may not do ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("column", "value"), [("kind", "other"), ("queue", "other"), ("priority", -5)])
def test_a_wrong_column_is_put_right_by_the_claim_that_meets_it(
    engine: Engine, path: Path, column: str, value: object
) -> None:
    """[RECORD-3] The log says what a task is, not the row that it is searched by."""
    tamper(path, (f"UPDATE tasks SET {column} = ? WHERE stream = 3", [value]))  # noqa: S608  # `tagged`
    assert not engine.verify().ok
    assert engine.claim("other", owner="bob", ttl_ms=1_000) == []
    assert engine.claim("default", owner="bob", ttl_ms=1_000, kinds=["other"]) == []
    taken = [engine.claim("default", owner="bob", ttl_ms=1_000)[0].task.id for _ in range(2)]
    assert taken == ["free", "tagged"]
    assert engine.verify().ok


def run_elsewhere(path: Path, script: str) -> None:
    """Run SQL in a process of its own, as it stands: what it drops stays dropped."""
    program = "import apsw, sys; apsw.Connection(sys.argv[1]).execute(sys.argv[2])"
    subprocess.run([sys.executable, "-c", program, str(path), script], check=True)


def test_an_event_that_lost_its_stream_is_a_fault(engine: Engine, path: Path) -> None:
    """[LOG-1]"""
    run_elsewhere(path, "DROP TRIGGER streams_are_not_deleted; DELETE FROM streams WHERE id = 'free'")
    run_elsewhere(path, "DELETE FROM tasks WHERE stream = 2")
    texts = [fault.text for fault in engine.verify().faults]
    assert any("is of no stream" in text for text in texts)
    assert any("streams_are_not_deleted is gone" in text for text in texts)


def test_a_trigger_or_an_index_that_is_gone_is_a_fault(engine: Engine, path: Path) -> None:
    """[LOG-3]"""
    run_elsewhere(path, "DROP TRIGGER events_are_not_changed; DROP INDEX ready")
    texts = [fault.text for fault in engine.verify().faults]
    assert [text.partition(" is gone")[0] for text in texts] == ["events_are_not_changed", "ready"]

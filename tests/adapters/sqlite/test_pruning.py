"""Pruned bytes in a file that another program has changed: what an audit tells, and what a rebuild mends. [PRUNE-4]"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

import sagalog
from sagalog import Corrupt, Engine
from sagalog.testing import ManualClock
from tests.adapters.sqlite.stores import START_MS, raw, url_of
from tests.store_of import store_of

SPEC = sha256(b"spec").hexdigest()
GONE = f"DELETE FROM blobs WHERE digest = '{SPEC}'"  # noqa: S608  a constant
AS_PRUNED = f"INSERT INTO pruned(digest, version) VALUES ('{SPEC}', 2)"  # noqa: S608


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def engine(path: Path) -> Iterator[Engine]:
    """An engine on a store with a live task that has an input."""
    with sagalog.open(url_of(path), clock=ManualClock(START_MS), durability="normal") as engine:
        engine.create("build", id="a", inputs={"spec": b"spec"})
        yield engine


def change(path: Path, *statements: str) -> None:
    """Change the file as another program would."""
    connection = raw(path)
    for statement in statements:
        connection.execute(statement)
    connection.close()


def faults(engine: Engine) -> set[tuple[str, str | None]]:
    return {(fault.code, fault.stream) for fault in engine.verify().faults}


def test_bytes_that_another_program_took_away_are_a_fault(engine: Engine, path: Path) -> None:
    """[PRUNE-4] [BLOB-1] Also where it pretends that the store has pruned them; a rebuild forgets only that."""
    change(path, AS_PRUNED, GONE)
    assert faults(engine) == {("blob", "task/a"), ("projection", None)}
    engine.rebuild()
    assert faults(engine) == {("blob", "task/a")}
    with pytest.raises(Corrupt):
        engine.input("a", "spec")


def test_bytes_that_were_named_again_and_are_gone_are_a_fault(engine: Engine, path: Path) -> None:
    """[PRUNE-4] Of the task that named them before the pruning they are not missing."""
    engine.cancel("a")
    assert engine.prune(0).blobs == 1
    engine.create("build", id="b", inputs={"spec": b"spec"})
    change(path, AS_PRUNED, GONE)
    report = engine.verify()
    assert ("blob", "task/b") in faults(engine)
    assert ("blob", "task/a") not in faults(engine)
    assert report.pruned == 1


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM naming",
        "UPDATE naming SET name = 'f' || substr(name, 2)",
        "UPDATE naming SET task = 'b'",
        "INSERT INTO naming(name, stream) SELECT 'awaits/a', stream FROM naming",
        "INSERT INTO naming(name, stream) VALUES ('awaits/a', 77)",
        "INSERT INTO pruned(digest, version) VALUES ('another', 2)",
    ],
)
def test_a_changed_reference_is_told_and_mended_by_a_rebuild(engine: Engine, path: Path, statement: str) -> None:
    """[PRUNE-2]"""
    change(path, statement)
    assert {code for code, _ in faults(engine)} == {"projection"}
    engine.rebuild()
    assert faults(engine) == set()


def test_a_task_that_cannot_be_read_keeps_its_bytes(engine: Engine, path: Path) -> None:
    """[PRUNE-1] [LOG-5] What it may still need is not known; and a rebuild leaves its references as they are."""
    engine.cancel("a")
    connection = raw(path)
    connection.execute("DROP TRIGGER events_are_not_changed")
    connection.execute("UPDATE events SET schema = 99 WHERE type = 'created'")
    connection.execute("UPDATE tasks SET fold = NULL")
    connection.close()
    assert engine.prune(0).blobs == 0
    engine.rebuild()
    assert engine.prune(0).blobs == 0
    with store_of(engine).read() as snapshot:
        assert snapshot.blob(SPEC) == b"spec"

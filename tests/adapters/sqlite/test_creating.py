"""A store that cannot be made whole is not made at all: nothing is under its name, and a second try succeeds."""

from __future__ import annotations

import errno
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from sagalog import failpoints
from sagalog.errors import Unavailable
from tests.adapters.sqlite.faulty_files import FaultyFiles, failing, faulty_files
from tests.adapters.sqlite.processes import run_anew
from tests.adapters.sqlite.stores import created, open_at, writing

CREATE_POINTS = [f"create.{point}" for point in ("after_file", "after_schema", "before_rename", "after_rename")]
LOCK_FILES = ["store.db.next", "store.db.turn"]


@pytest.fixture
def files() -> Iterator[FaultyFiles]:
    with faulty_files() as files:
        yield files


def operations_of_creating(path: Path, files: FaultyFiles, operation: str) -> int:
    """How many such operations the making of the file takes; what comes after its renaming is not counted."""
    reached: list[int] = []
    files.reached.clear()
    failpoints.armed["create.before_rename"] = lambda: reached.append(sum(one == operation for one, _ in files.reached))
    try:
        open_at(path).close()
    finally:
        del failpoints.armed["create.before_rename"]
    path.unlink()
    return reached[0]


@pytest.mark.parametrize(
    ("operation", "error"),
    [
        ("write", apsw.FullError),
        ("sync", apsw.IOError),
        pytest.param("write", apsw.IOError, marks=pytest.mark.slow),
        pytest.param("sync", apsw.FullError, marks=pytest.mark.slow),
    ],
)
def test_a_failure_while_a_store_is_made_leaves_nothing_under_its_name(
    path: Path, files: FaultyFiles, operation: str, error: type[apsw.Error]
) -> None:
    count = operations_of_creating(path, files, operation)
    assert count > (10 if operation == "write" else 2)
    for number in range(count):
        files.strike = failing(operation, "", error, number)
        with pytest.raises(Unavailable):
            open_at(path)
        files.strike = None
        assert sorted(os.listdir(path.parent)) == LOCK_FILES, number
    store = open_at(path)
    assert store.commit([writing("t", created())]) == [1]
    store.close()


@pytest.mark.parametrize(
    "point", ["create.after_file", "create.after_schema", "create.before_rename", "create.after_rename"]
)
def test_a_folder_that_cannot_be_synced_holds_no_store(path: Path, monkeypatch: pytest.MonkeyPatch, point: str) -> None:
    def fail() -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path.parent))

    monkeypatch.setitem(failpoints.armed, point, fail)
    with pytest.raises(Unavailable, match="Input/output error"):
        open_at(path)
    assert sorted(os.listdir(path.parent)) == LOCK_FILES
    monkeypatch.delitem(failpoints.armed, point)
    store = open_at(path)
    assert store.commit([writing("t", created())]) == [1]
    store.close()


def test_a_store_is_made_whole_or_not_at_all_on_a_full_disk(path: Path) -> None:
    """The test leaves the disk a little more room each time."""
    mount = f'mount -t tmpfs -o size=600k none {path.parent} && "$@"'
    under = ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, "-"]
    if subprocess.run([*under, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no small disk can be mounted here")
    status, lines = run_anew(path, "making", under=under)
    assert status == 0, lines
    first, second = lines[::2], lines[1::2]
    assert {line.split()[1] for line in second} == {"made"}, second
    outcomes = {}
    for line in first:
        room_kib, outcome, *left = line.split()
        outcomes[int(room_kib)] = outcome
        if outcome != "made":
            assert outcome == "unavailable"
            assert set(left) <= set(LOCK_FILES), line
    assert set(outcomes.values()) == {"made", "unavailable"}, outcomes


def test_a_file_that_gets_the_number_of_one_that_is_gone_is_another_file() -> None:
    """File systems on disks give the number of a removed file to the next one; a closed store is in no way."""
    kept, numbers = [], set()
    with tempfile.TemporaryDirectory() as folder:
        for name in range(8):
            path = Path(folder) / f"store{name}.db"
            store = open_at(path)
            assert store.commit([writing("t", created())]) == [1]
            numbers.add(path.stat().st_ino)
            store.close()
            kept.append(store)
            for one in path.parent.iterdir():
                one.unlink()
    if len(numbers) == len(kept):
        pytest.skip("the file system of temporary files gave no number twice")

"""Every command on a store that is not there, is no store, is held, may not be written, or has no room on its disk."""

from __future__ import annotations

import json
import logging
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import apsw
import pytest

from sagalog_cli.queue import work
from sagalog_sqlite import opening
from tests.adapters.cli.bad_calls import MAKING, OF_A_STORE, refused, told, words
from tests.adapters.cli.calls import ROOT, Answer, call, environment, leased, past, run
from tests.adapters.cli.forked import start
from tests.contract.tampering import tamper


def fill(path: Path) -> Path:
    """A store in which each command finds what it is called for."""
    with past(path) as engine:
        leased(engine, "held", undos=["c"])
        leased(engine, "item", kind="item", queue="other")
    return path


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fill(tmp_path_factory.mktemp("sound") / "store.db")


@pytest.fixture
def path(sound: Path, tmp_path: Path) -> Path:
    """A copy of a sound store."""
    return Path(shutil.copy(sound, tmp_path / "store.db"))


# --- what is no store -----------------------------------------------------------------------------------------------


def foreign(path: Path) -> None:
    connection = apsw.Connection(str(path))
    connection.execute("CREATE TABLE mine(x)")
    connection.close()


def newer(path: Path) -> None:
    with past(path):
        pass
    tamper(path, ("UPDATE store SET format = 99", []))


NO_STORE: Final[dict[str, tuple[Callable[[Path], Any], int, str, str]]] = {
    "an empty file": (Path.touch, 8, "corrupt", "is empty"),
    "a text": (lambda path: path.write_text("no store\n" * 99), 8, "corrupt", "is no SQLite file"),
    "a foreign database": (foreign, 8, "corrupt", "no sagalog store"),
    "a newer store": (newer, 8, "schema_mismatch", "99"),
    "a folder": (Path.mkdir, 6, "unavailable", "it is a folder"),
    "a pipe": (os.mkfifo, 6, "unavailable", "it is no regular file"),
    "a link to nowhere": (lambda path: path.symlink_to(path.parent / "no" / "file"), 6, "unavailable", "no folder"),
}


@pytest.mark.parametrize("what", NO_STORE)
def test_what_is_no_store_is_told_by_every_command_and_left_as_it_is(tmp_path: Path, what: str) -> None:
    make, status, code, named = NO_STORE[what]
    path = tmp_path / "store.db"
    make(path)
    before = path.read_bytes() if path.is_file() else None

    for name in OF_A_STORE:
        error = told(call("--json", "--db", str(path), *words(name)), status)
        assert (error["code"], named in error["message"]) == (code, True), (name, error)
    refused(status, words("list"), named, db=str(path), code=code)
    assert (path.read_bytes() if path.is_file() else None) == before


@pytest.mark.parametrize("name", OF_A_STORE)
def test_a_store_that_is_not_there_is_made_only_by_commands_that_say_so(tmp_path: Path, name: str) -> None:
    path = tmp_path / "store.db"
    if name == "ollama serve":
        # It goes on until it is told to stop.
        process = start("--db", str(path), *words(name))
        assert any(b"serving at http://127.0.0.1:" in line for line in iter(process.stderr.readline, b""))
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        assert (process.returncode, path.exists()) == (0, True)
        return
    if name in MAKING:
        assert call("--db", str(path), *words(name)).status == 0
        assert path.exists()
        return
    error = refused(6, words(name), "there is no store at", db=str(path))
    assert "`sagalog init` makes a new store" in error["hint"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("where", ["no/store.db", "x" * 300, "file/store.db"])
def test_a_place_where_no_store_can_be_is_status_6_for_every_command(tmp_path: Path, where: str) -> None:
    (tmp_path / "file").touch()

    for name in OF_A_STORE:
        error = told(call("--json", "--db", str(tmp_path / where), *words(name)), 6)
        assert str(tmp_path / where) in error["message"]


# --- rights ---------------------------------------------------------------------------------------------------------

# Run as another user where the tests run as root, for root may write anywhere: everything is imported before the rights
# are given up, since the interpreter itself may lie out of reach after it.
AS_ANOTHER: Final = """
import json, os, pathlib, sys
import sagalog_ollama.serving
from tests.adapters.cli.bad_calls import OF_A_STORE, words
from tests.adapters.cli.calls import call

warm, *stores = sys.argv[1:]
for name in OF_A_STORE:
    # One would wait for ever where something is in the queue by now, the other serves.
    call("--db", warm, *((*name.split(), "--help") if name in ("queue watch", "ollama serve") else words(name)))
if os.getuid() == 0:
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
print(json.dumps({
    pathlib.Path(store).parent.name: {name: call("--json", "--db", store, *words(name)) for name in OF_A_STORE}
    for store in stores
}))
"""


# Mode of the file, mode of its folder, what is said.
RIGHTS: Final = {
    "file-to-read": (0o444, 0o777, "it cannot be read and written; see to its rights"),
    "file-of-another": (0o000, 0o777, "it cannot be read and written; see to its rights"),
    "folder-to-read": (0o666, 0o555, "cannot be written; see to its rights"),
}


def test_a_store_that_may_not_be_written_is_told_by_every_command(sound: Path, path: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # others must be able to get there
        place = Path(folder)
        place.chmod(0o755)
        stores = [place / name / "store.db" for name in RIGHTS]
        for store, (of_file, of_folder, _) in zip(stores, RIGHTS.values(), strict=True):
            store.parent.mkdir()
            shutil.copy(sound, store)
            store.chmod(of_file)
            store.parent.chmod(of_folder)
        paths = os.pathsep.join([str(ROOT), environment()["PYTHONPATH"]])
        done = subprocess.run(
            [sys.executable, "-c", AS_ANOTHER, str(path), *map(str, stores)],
            env=environment(PYTHONPATH=paths),
            stdout=subprocess.PIPE,
            check=True,
        )
        for store in stores:
            store.parent.chmod(0o755)

    answers = json.loads(done.stdout.splitlines()[-1])
    for what, (_, _, named) in RIGHTS.items():
        assert set(answers[what]) == set(OF_A_STORE)
        for answer in answers[what].values():
            error = told(Answer(*answer), 6)
            assert error["code"] == "unavailable"
            assert named in error["message"]


# --- held by another program ----------------------------------------------------------------------------------------

HOLDER: Final = """
import apsw, sys
connection = apsw.Connection(sys.argv[1])
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
"""
WAIT_MS: Final = 30
# What they read is there all the same; of these, `init` finds the store.
READING: Final = frozenset(
    {
        "init",
        "list",
        "show",
        "explain",
        "history",
        "stats",
        "stale",
        "verify",
        "prune",
        "queue depth",
        "queue watch",
        "tail",
        "worker ls",
        "schedule ls",
        "journal ls",
        "journal show",
        "breaker ls",
        "limit ls",
        "kind ls",
        "token ls",
        "queue ls",
        "queue holders",
    }
)
# No such artifact, input, worker, schedule or limit is there, which is seen without writing.
NOT_THERE: Final = frozenset(
    {
        "artifact",
        "input",
        "worker drain",
        "worker stop",
        "schedule next",
        "limit holders",
        "token revoke",
        "token rm",
    }
)


@pytest.fixture
def held(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A store in which another program is in the middle of a long transaction."""
    kept = opening.open_store.__kwdefaults__
    assert kept is not None
    monkeypatch.setitem(kept, "turn_timeout_ms", WAIT_MS)
    monkeypatch.setattr(work, "_PAUSES_S", ())
    # `ollama serve` has all loggers of its process write to its standard error.
    monkeypatch.setattr(logging.root, "handlers", [*logging.root.handlers])
    monkeypatch.setattr(logging.root, "level", logging.root.level)
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        yield path
        assert holder.stdin is not None
        holder.stdin.close()


def test_a_store_that_another_program_holds_is_waited_for_and_then_told(held: Path) -> None:
    """But for `worker run`, which goes on until it is told to stop."""
    for name in OF_A_STORE:
        if name == "worker run":
            continue
        item = [("ID", "item")] if name in ("queue ack", "queue nack") else []
        answer = call("--json", "--db", str(held), *words(name, *item))
        if name in READING:
            assert answer.status == 0, (name, answer)
        elif name in NOT_THERE:
            told(answer, 4)
        else:
            error = told(answer, 6)
            assert "another program keeps it locked; wait for that program" in error["message"], (name, error)
    refused(6, words("create"), "keeps it locked", db=str(held))


# --- no room on the disk --------------------------------------------------------------------------------------------

WRITING: Final = ["create", "recover", "cancel", "quarantine", "waive", "note", "signal", "queue push", "rebuild"]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], capture_output=True)
    if mount.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mount.stderr.decode().strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def use_up(place: Path) -> Path:
    """Leave no byte; the file to remove for having room again."""
    path = place / "filler"
    with path.open("wb", buffering=0) as filler, suppress(OSError):
        while True:
            filler.write(bytes(4096))
    return path


def test_on_a_full_disk_a_store_in_use_can_be_read_and_not_written(disk: Path) -> None:
    """In use: what SQLite lays beside the file is there already."""
    path = fill(disk / "store.db")
    with past(path) as engine:
        engine.create("k")
        use_up(disk)
        large = '"' + "x" * 1_000_000 + '"'
        refused(6, ["create", "k", "-"], "the disk is full; make room, then repeat", db=str(path), input=large)
        for name in WRITING:
            answer = call("--json", "--db", str(path), *words(name))
            # What is small may find room in the -wal that is there already.
            if answer.status:
                assert "the disk is full; make room" in told(answer, 6)["message"]
        for name in ("list", "show", "history", "tail", "stale", "stats", "verify"):
            assert call("--db", str(path), *words(name)).status == 0, name


def test_on_a_full_disk_a_store_that_no_process_uses_cannot_be_opened(disk: Path) -> None:
    path = fill(disk / "store.db")
    filler = use_up(disk)

    for name in OF_A_STORE:
        error = told(call("--json", "--db", str(path), *words(name)), 6)
        assert "perhaps the disk is full; make room, then repeat the call" in error["message"], (name, error)
    filler.unlink()
    assert call("--db", str(path), "verify").status == 0


def test_on_a_full_disk_no_store_is_made(disk: Path) -> None:
    use_up(disk)

    for name in MAKING:
        error = told(call("--json", "--db", str(disk / "new.db"), *words(name)), 6)
        assert "new.db" in error["message"]
    assert not [left for left in disk.glob("new.db*") if left.stat().st_size]


def test_a_worker_whose_disk_is_full_says_so_and_works_when_there_is_room(disk: Path) -> None:
    path = disk / "store.db"
    with past(path) as engine:
        engine.create("never", id="t")
        filler = use_up(disk)
        paths = os.pathsep.join([str(ROOT), environment()["PYTHONPATH"]])
        process = start("--db", str(path), *words("worker run"), env=environment(PYTHONPATH=paths))
        assert process.stderr is not None
        lines = iter(process.stderr.readline, b"")
        said = next(line for line in lines if b"away" in line)
        filler.unlink()
        out, err = process.communicate(timeout=60)
        task = engine.get("t")

    assert b"the disk is full; make room" in said
    assert (process.returncode, task and task.state) == (0, "completed"), (out, err)


def test_a_file_that_may_not_grow_is_no_defect(path: Path) -> None:
    """A limit of the process, as of a quota."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        size = path.stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    payload = b'"' + b"x" * 500_000 + b'"'
    answer = run("--json", "create", "k", "-", "--db", str(path), given=payload, preexec_fn=limit)

    error = told(answer, answer.status)
    assert answer.status in (6, 7)
    assert str(path) in error["message"]
    assert {task["id"] for task in call("--json", "--db", str(path), "list").documents} == {"held", "item"}

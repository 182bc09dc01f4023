"""How a store on a file says that it fares."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

import sagalog
from sagalog.engine import health
from sagalog_sqlite import checkpoints
from tests.adapters.sqlite.faulty_files import failing, faulty_files
from tests.adapters.sqlite.stores import created, open_at, url_of, writing


@pytest.fixture
def engine(path: Path) -> Iterator[sagalog.Engine]:
    with sagalog.open(url_of(path), durability="normal") as engine:
        yield engine


def file_of(engine: sagalog.Engine) -> sagalog.FileHealth:
    file = engine.health().file
    assert file is not None
    return file


def test_health_tells_of_the_file_and_its_disk(engine: sagalog.Engine, path: Path) -> None:
    engine.create("build", "x" * 100_000)
    file = file_of(engine)
    assert (file.path, file.durability, file.links, file.checkpoint_error) == (str(path), "normal", 1, None)
    assert file.wal_bytes == path.with_name("store.db-wal").stat().st_size > 100_000
    assert abs(file.free_bytes - os.statvfs(path.parent).f_bavail * os.statvfs(path.parent).f_frsize) < 1 << 30
    assert engine.health().ok


def test_the_last_checkpoint_is_when_the_file_was_last_written(engine: sagalog.Engine, path: Path) -> None:
    os.utime(path, (1_000, 1_000))
    engine.create("build")
    assert file_of(engine).checkpointed_ms == 1_000_000
    for content in "xyz":
        engine.create("build", content * 900_000)
    assert file_of(engine).checkpointed_ms > 1_000_000


def test_a_second_name_of_the_file_is_an_error_that_says_what_to_do(engine: sagalog.Engine, path: Path) -> None:
    os.link(path, path.with_name("other.db"))
    found = engine.health()
    assert not found.ok
    assert file_of(engine).links == 2
    [error] = found.errors
    assert "2 names" in error
    assert "remove all names but one" in error
    path.with_name("other.db").unlink()
    assert engine.health().ok


def test_a_file_that_was_taken_away_is_told(engine: sagalog.Engine, path: Path) -> None:
    path.rename(path.with_name("away.db"))
    with pytest.raises(sagalog.Unavailable, match="moved or taken away"):
        engine.health()
    path.with_name("away.db").rename(path)
    assert engine.health().ok


def test_a_checkpoint_that_failed_is_an_error_until_one_goes_well(path: Path) -> None:
    with faulty_files() as files:
        store = open_at(path)
        files.strike = failing("write", "store.db", apsw.FullError)
        store.commit([writing("t", created(payload="x" * 1_000_000)) for _ in range(1)])
        store.commit([writing(f"t{number}", created(payload="x" * 1_000_000)) for number in range(2)])
        found = health.health(store, "s", 0)
        assert [error for error in found.errors if "the disk is full" in error], found
        files.strike = None
        store.commit([writing(f"u{number}", created(payload="x" * 1_000_000)) for number in range(3)])
        assert health.health(store, "s", 0).ok
        store.close()


def test_a_wal_that_grows_and_grows_is_an_error(engine: sagalog.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.create("build", "x" * 100_000)
    monkeypatch.setattr(health, "WAL_ALARM_BYTES", 100_000)
    [error] = engine.health().errors
    assert "reads an old state for long" in error
    assert checkpoints.KEPT_BYTES < 256 << 20


def test_health_of_a_closed_store_says_that_it_was_closed(engine: sagalog.Engine) -> None:
    engine.close()
    with pytest.raises(sagalog.Closed):
        engine.health()

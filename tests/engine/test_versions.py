"""Versions of sagalog: their order, and which of them a store has on record. [LOG-7]"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from packaging.version import Version

import sagalog
from sagalog.engine import Engine, operations
from sagalog.errors import Unavailable
from sagalog.kernel import events as e
from sagalog.kernel.bounds import UPKEEP_LIMIT
from sagalog.store import Operation
from sagalog.store.memory import MemoryStore
from sagalog.testing import ManualClock
from sagalog.versions import RUNNING, is_newer
from tests.engine.checking import log_of
from tests.store_of import store_of

IN_ORDER = [
    "0.1.0.dev0", "0.1.0.dev10", "0.1.0a1.dev2", "0.1.0a1", "0.1.0a2.post1.dev3", "0.1.0a2.post1", "0.1.0b1",
    "0.1.0rc1", "0.1.0rc10", "0.1.0", "0.1.0.post1.dev1", "0.1.0.post1", "0.1.1", "0.2", "0.10", "1.0", "1.0.1",
    "1!0.1",
]  # fmt: skip


def opened_by(store: MemoryStore, *versions: str) -> None:
    for version in versions:
        store.commit([operations.founding("s", version), operations.upgrading("s", version)])


def written(store: MemoryStore) -> list[tuple[str, str]]:
    return [(one.type, one.body) for one in store.tables.log]


@pytest.mark.parametrize(("one", "than"), list(itertools.product(IN_ORDER, IN_ORDER)))
def test_versions_are_ordered_as_packages_order_them(one: str, than: str) -> None:
    assert is_newer(one, than) == (Version(one) > Version(than)) == (IN_ORDER.index(one) > IN_ORDER.index(than))


@pytest.mark.parametrize("text", ["", "latest", "1.x", "v1", "1.0-odd", "1..0"])
def test_a_text_that_is_no_version_is_newer_than_none(text: str) -> None:
    assert not is_newer(text, "0")
    assert not is_newer(text, text)
    assert is_newer("0", text)


def test_what_is_local_or_a_zero_at_the_end_makes_no_version_newer() -> None:
    assert not is_newer("1.0+ours.2", "1.0")
    assert not is_newer("1.0.0", "1.0")


def test_a_newer_version_is_recorded_once(clock: ManualClock) -> None:
    """[LOG-7] Which versions take turns with it does not matter."""
    store = MemoryStore(clock)
    opened_by(store, "1.0", "1.0", "1.2", "1.0", "1.1", "1.2", "1.0", "2.0")
    assert written(store) == [
        ("founded", '{"id":"s","format":0,"writer":"1.0"}'),
        ("upgraded", '{"writer":"1.2"}'),
        ("upgraded", '{"writer":"2.0"}'),
    ]


def test_opening_an_older_store_records_the_version_that_runs(clock: ManualClock) -> None:
    """[LOG-7]"""
    store = MemoryStore(clock)
    opened_by(store, "0.0.1")
    first, second = Engine(store, clock=clock), Engine(store, clock=clock)
    assert [one.event for one in log_of(second)] == [e.Founded("s", 0, "0.0.1"), e.Upgraded(RUNNING)]
    assert first.health().writer == RUNNING
    assert first.verify().ok


def test_a_newer_version_finds_again_what_an_older_one_could_not_read(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """[LOG-5] [LOG-7] It looks as it opens the store."""
    store = MemoryStore(clock)
    engine, tables = Engine(store, clock=clock), store.tables
    tasks = [f"t{number}" for number in range(UPKEEP_LIMIT + 1)]
    for id in tasks:
        engine.create("build", id=id)
    # As this version leaves the store where it cannot read them.
    tables.unreadable.update(dict.fromkeys(tasks))
    before = written(store)
    monkeypatch.setattr("sagalog.versions.RUNNING", "999")
    newer = Engine(store, clock=clock)
    assert tables.unreadable == {}
    assert written(store) == [*before, ("upgraded", '{"writer":"999"}')]
    assert newer.verify().ok


def test_an_older_version_leaves_no_trace_in_a_newer_ones_store(clock: ManualClock) -> None:
    """[LOG-7] It goes on working there."""
    store = MemoryStore(clock)
    opened_by(store, "999")
    engine = Engine(store, clock=clock)
    engine.create("build", id="t")
    assert [one.type for one in log_of(engine)] == ["founded", "created"]
    assert engine.health().writer == "999"


class FullStore(MemoryStore):
    """A store whose disk may be full."""

    is_full = False

    def commit(self, operations: Sequence[Operation]) -> list[Any]:
        return [Unavailable("the disk is full")] if self.is_full else super().commit(operations)


def test_a_store_that_cannot_be_written_to_is_opened_for_reading(clock: ManualClock) -> None:
    """[LOG-7]"""
    store = FullStore(clock)
    opened_by(store, "0.0.1")
    store.is_full = True
    assert [one.type for one in log_of(Engine(store, clock=clock))] == ["founded"]


def test_the_newest_version_on_record_comes_back_by_rebuilding(tmp_path: Path) -> None:
    """[LOG-7] It is in the file."""
    url = f"sqlite:///{tmp_path}/a.db"
    with sagalog.open(url) as engine:
        store_of(engine).commit([operations.upgrading(engine.store_id, "999")])
        assert engine.verify().ok
    with sagalog.open(url) as engine:
        assert engine.health().writer == "999"
        engine.rebuild()
        assert engine.verify().ok
        assert [one.type for one in log_of(engine)] == ["founded", "upgraded"]

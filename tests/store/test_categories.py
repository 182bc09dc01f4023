"""A made-up category of streams on every store: no line of a store knows it, and it is kept like any other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest

from sagalog import Engine
from sagalog.codec import SHAPES, enclose
from sagalog.engine.audit import verify
from sagalog.kernel import events as e
from sagalog.kernel.categories import CATEGORIES
from sagalog.store import Append, Operation, Result, Store, View, project_fold
from sagalog.store.memory import MemoryStore
from sagalog.testing import ManualClock
from tests.adapters.sqlite.stores import START_MS, open_at
from tests.engine.test_categories import COUNTER, Closed, Counted, CounterFold

STREAM = COUNTER.stream("sheep")


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have this version know the category, as one line in `kernel/categories.py` would."""
    monkeypatch.setitem(CATEGORIES, COUNTER.name, COUNTER)
    for kind, name in COUNTER.events.items():
        shapes: list[tuple[Any, Any, Any]] = [
            (SHAPES.names, kind, name),
            (SHAPES.types, name, kind),
            (SHAPES.schemas, name, 1),
            (SHAPES.decoders, name, msgspec.json.Decoder(kind)),
        ]
        for mapping, key, value in shapes:
            monkeypatch.setitem(mapping, key, value)


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    clock = ManualClock(START_MS)
    opened = MemoryStore(clock) if request.param == "memory" else open_at(tmp_path / "log.db", clock)
    Engine(opened, clock=clock)
    yield opened
    opened.close()


def count(*events: e.Recordable) -> Operation:
    """An operation that appends these events; answers the total."""

    def decide(view: View) -> Result:
        saved = view.saved(STREAM)
        fold = COUNTER.begin("sheep") if saved is None else saved.fold
        assert isinstance(fold, CounterFold)
        expected, envelopes = fold.version, []
        for version, event in enumerate(events, start=expected + 1):
            envelopes.append(enclose(STREAM, version, view.now_ms, event))
            fold = COUNTER.evolve(fold, event, version, view.now_ms)
        return Result(fold.total, (Append(STREAM, expected, tuple(envelopes), project_fold(fold)),))

    return Operation(decide, (STREAM,))


def fold_of(store: Store) -> CounterFold:
    with store.read() as snapshot:
        fold = snapshot.fold(STREAM)
    assert isinstance(fold, CounterFold)
    return fold


def test_its_streams_are_appended_to_read_rebuilt_and_verified(store: Store) -> None:
    assert store.commit([count(Counted(2)), count(Counted(3), Counted(4))]) == [2, 9]
    assert store.commit([count(Closed())]) == [9]
    folded = fold_of(store)
    assert (folded.total, folded.version, folded.state) == (9, 4, "shut")
    store.rebuild()
    assert fold_of(store) == folded
    report = verify(store)
    assert (report.ok, report.events, report.tasks) == (True, 1 + 4, 0)


def test_its_events_are_read_by_operations_like_those_of_tasks(store: Store) -> None:
    store.commit([count(Counted(2), Counted(3))])
    [event] = store.commit([Operation(lambda view: Result(view.event(STREAM, 2)), reads=(STREAM,))])
    assert event == Counted(3)


def test_a_saved_fold_that_was_changed_is_named_by_an_audit_and_made_again(tmp_path: Path) -> None:
    """[RECORD-3]"""
    clock = ManualClock(START_MS)
    store = open_at(tmp_path / "log.db", clock)
    Engine(store, clock=clock)
    store.commit([count(Counted(2))])
    with apsw.Connection(str(tmp_path / "log.db")) as other:
        other.set_busy_timeout(1_000)
        other.execute("UPDATE folds SET fold = CAST(replace(fold, ':2}', ':7}') AS BLOB)")
        assert other.changes() == 1
    assert [(fault.code, fault.stream) for fault in verify(store).faults] == [("projection", STREAM)]
    assert fold_of(store).total == 2
    assert store.commit([count(Counted(5))]) == [7]
    store.rebuild()
    assert verify(store).ok
    store.close()


def test_a_category_that_this_version_does_not_know_is_named_by_an_audit(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.commit([count(Counted(2))])
    monkeypatch.delitem(CATEGORIES, COUNTER.name)
    assert [(fault.code, fault.stream) for fault in verify(store).faults] == [("damaged", STREAM)]

"""Schedules in a file that another program has changed, or that a newer version has written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import sagalog
from sagalog import Engine
from sagalog.testing import ManualClock
from tests.adapters.sqlite.stores import START_MS, url_of
from tests.contract.tampering import tamper


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START_MS)


@pytest.fixture
def engine(path: Path, clock: ManualClock) -> Iterator[Engine]:
    with sagalog.open(url_of(path), clock=clock, durability="normal") as engine:
        engine.set_schedule("first", "build", every_ms=1_000)
        engine.set_schedule("second", "build", every_ms=2_000)
        assert engine.verify().ok
        yield engine


@pytest.mark.parametrize(
    "change", ["UPDATE accounts SET due_ms = due_ms + 1000000 WHERE name = ?", "DELETE FROM accounts WHERE name = ?"]
)
def test_a_due_time_that_was_changed_is_a_fault_which_a_rebuild_mends(
    engine: Engine, path: Path, clock: ManualClock, change: str
) -> None:
    """[SCHEDULE-6]"""
    tamper(path, (change, ["schedule/first"]))
    [fault] = engine.verify().faults
    assert "'schedule/first'" in fault.text
    engine.rebuild()
    assert engine.verify().ok
    clock.advance(1_000)
    [lease] = engine.claim("default", owner="ann", ttl_ms=1_000)
    assert lease.task.id.startswith("first@")


def test_a_schedule_that_cannot_be_read_stops_no_other(engine: Engine, path: Path, clock: ManualClock) -> None:
    """[LOG-5] As where a newer version has written an event that this one does not know."""
    named = "(SELECT number FROM streams WHERE category = 'schedule' AND id = 'first')"
    tamper(
        path,
        (f"DELETE FROM folds WHERE stream = {named}", []),  # noqa: S608
        (f"UPDATE events SET type = 'schedule_moved' WHERE stream = {named}", []),  # noqa: S608
    )
    clock.advance(4_000)
    for _ in range(2):
        claimed = engine.claim("default", owner="ann", ttl_ms=None, limit=10)
        clock.advance(2_000)
        assert [lease.task.id.partition("@")[0] for lease in claimed] == ["second"]
        claimed[0].complete()
    tamper(path, (f"UPDATE events SET type = 'schedule_set' WHERE stream = {named}", []))  # noqa: S608
    clock.advance(60_000)
    claimed = engine.claim("default", owner="ann", ttl_ms=None, limit=10)
    assert sorted(lease.task.id.partition("@")[0] for lease in claimed) == ["first", "second"]
    assert engine.verify().ok

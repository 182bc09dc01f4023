"""Listings and explanations of a file in which another program has changed events, so that they cannot be read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import sagalog
from sagalog import Engine, Reason
from sagalog.testing import ManualClock
from tests.adapters.sqlite.stores import START_MS, url_of
from tests.contract.tampering import tamper


@pytest.fixture
def engine(path: Path) -> Iterator[Engine]:
    with sagalog.open(url_of(path), clock=ManualClock(START_MS), durability="normal") as engine:
        yield engine


def change(path: Path, category: str, id: str) -> None:
    """Change the types of all events of a stream of settings, and remove its saved fold."""
    named = f"(SELECT number FROM streams WHERE category = '{category}' AND id = '{id}')"  # noqa: S608
    tamper(
        path,
        (f"DELETE FROM folds WHERE stream = {named}", []),  # noqa: S608
        (f"UPDATE events SET type = 'moved' WHERE stream = {named}", []),  # noqa: S608
    )


def test_what_cannot_be_read_is_named_and_hides_no_other(engine: Engine, path: Path) -> None:
    """[LOG-5]"""
    engine.set_schedule("first", "build", every_ms=1_000)
    engine.set_schedule("second", "build", every_ms=2_000)
    for name in ("cpu", "gpu"):
        engine.set_limit(name, slots=1)
        engine.limit_queue(name, slots=1)
        engine.create("build", id=name, uses={name: 1})
    for category, id in (("schedule", "first"), ("limit", "cpu"), ("queue", "cpu")):
        change(path, category, id)
    for listing, names in ((engine.schedules(), ["first", "second"]), (engine.limits(), ["cpu", "gpu"])):
        assert [one.name for one in listing] == names
        assert [one.code for one in listing] == ["unreadable", None]
        assert f"/{names[0]}@1 was changed" in str(listing[0].error)
    assert [(one.name, one.code, one.slots) for one in engine.queues()] == [
        ("cpu", "unreadable", None),
        ("gpu", None, 1),
    ]


def test_an_explanation_names_the_limits_that_cannot_be_read(engine: Engine, path: Path) -> None:
    """[EXPLAIN-1] [LOG-5] The others count all the same."""
    for name in ("cpu", "gpu"):
        engine.set_limit(name, slots=1)
    engine.limit_queue("default", slots=9)
    engine.create("build", id="first", uses={"gpu": 1})
    engine.claim("default", owner="ann", ttl_ms=None)
    engine.create("build", id="t", uses={"cpu": 1, "gpu": 1}, key="k")
    change(path, "limit", "cpu")
    change(path, "queue", "default")
    found = engine.explain("t")
    assert [(one.code, one.parameters.get("stream", one.parameters.get("limit"))) for one in found.reasons] == [
        ("settings_unreadable", "queue/default"),
        ("settings_unreadable", "limit/cpu"),
        ("lacks_units", "gpu"),
    ]
    assert "cannot read limit/cpu" in found.reasons[1].sentence
    assert found.reasons[1].advice == "sagalog verify"


@pytest.mark.parametrize("is_aside", [False, True])
def test_an_explanation_answers_for_a_task_that_cannot_be_read(engine: Engine, path: Path, is_aside: bool) -> None:
    """[EXPLAIN-1] [LOG-5] Whether it was put aside, or no process has met it yet."""
    engine.create("build", id="t")
    engine.create("build", id="other")
    stream = "(SELECT number FROM streams WHERE category = 'task' AND id = 't')"
    tamper(path, (f"UPDATE events SET type = 'moved' WHERE stream = {stream}", []))  # noqa: S608
    tamper(path, (f"UPDATE tasks SET format = 0 WHERE stream = {stream}", []))  # noqa: S608
    if is_aside:
        assert engine.rebuild().unreadable == ("t",)
    found = engine.explain("t")
    [reason] = found.reasons
    assert (found.state, found.is_claimable, found.notes) == (None, False, ())
    assert (reason.code, reason.parameters["stream"]) == ("unreadable", "task/t")
    assert reason.sentence.startswith("this version cannot read task/t: task/t@1 was changed")
    assert engine.explain("other").is_claimable


def test_an_explanation_passes_over_events_that_only_say_more(engine: Engine, path: Path) -> None:
    """[EXPLAIN-1] The fold is sound, and the events of the wait, of the pause and of the successor are not."""
    engine.create("build", id="a")
    engine.create("build", id="t", after=["a"])
    engine.pause(kind="build", reason="broken")
    engine.create("build", id="old")
    engine.quarantine("old", "odd")
    engine.retry_as_new("old")
    for id in ("t", "old"):
        stream = f"(SELECT number FROM streams WHERE category = 'task' AND id = '{id}')"  # noqa: S608
        newest = f"(SELECT max(version) FROM events WHERE stream = {stream})"  # noqa: S608
        where = f"stream = {stream} AND version = {newest}"
        tamper(path, (f"UPDATE events SET type = 'moved' WHERE {where}", []))  # noqa: S608
    tamper(path, ("UPDATE events SET type = 'moved' WHERE type = 'kind_paused'", []))
    assert engine.explain("t").reasons == (
        Reason("waits_for_tasks", {"wait": "after", "tasks": 1, "live": 1, "ids": ("a",)}),
        Reason("paused_kind", {"kind": "build"}),
    )
    [ended] = engine.explain("old").reasons
    assert ended.code == "ended"
    assert "successor" not in ended.parameters


def test_a_schedule_that_cannot_be_read_is_explained_as_such(engine: Engine, path: Path) -> None:
    """[EXPLAIN-1] [LOG-5]"""
    engine.set_schedule("first", "build", every_ms=1_000)
    change(path, "schedule", "first")
    found = engine.explain(schedule="first")
    assert (found.schedule, found.task, found.is_claimable) == ("first", None, False)
    [reason] = found.reasons
    assert (reason.code, reason.parameters["stream"]) == ("unreadable", "schedule/first")
    assert "schedule/first@1 was changed" in str(reason.parameters["error"])
    assert reason.advice == "sagalog verify"

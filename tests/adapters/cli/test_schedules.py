"""The commands of the group `schedule`: what they set, what they show, and what they refuse."""

from __future__ import annotations

from pathlib import Path

import pytest

import sagalog
from sagalog.kernel.events import ScheduleSet
from tests.adapters.cli.calls import Answer, call, past


def of(path: Path, *words: str) -> Answer:
    return call("schedule", *words, "--db", str(path))


def test_a_schedule_is_set_with_all_that_its_tasks_need(path: Path) -> None:
    """[SCHEDULE-1]"""
    words = ["--cron", "0 2 * * *", "--zone", "Europe/Berlin", "--missed", "skip", "--overlap", "allow"]
    words += ["--queue", "agents", "--priority", "-3", "--key", "acme", "--tag", "a=b", "--retry", "attempts_max=1"]
    [document] = of(path, "set", "nightly", "backup", '{"depth": 1}', *words, "--json").documents
    assert {name: document[name] for name in ("name", "kind", "queue", "cron", "zone", "missed", "overlap")} == {
        "name": "nightly",
        "kind": "backup",
        "queue": "agents",
        "cron": "0 2 * * *",
        "zone": "Europe/Berlin",
        "missed": "skip",
        "overlap": "allow",
    }
    with sagalog.open(f"sqlite:///{path}") as engine:
        [event] = [one.event for one in engine.events() if isinstance(one.event, ScheduleSet)]
    template = event.schedule.template
    assert (template.payload, template.key, template.tags, template.policy.attempts_max) == (
        {"depth": 1},
        "acme",
        {"a": "b"},
        1,
    )


def test_a_listing_shows_when_each_fires_or_why_it_does_not(engine: sagalog.Engine, path: Path) -> None:
    engine.set_schedule("nightly", "backup", cron="@daily")
    engine.set_schedule("often", "poll", every_ms=900_000, queue="agents")
    assert of(path, "pause", "often", "the disk is full").out == "often paused\n"
    head, *rows = of(path, "ls").out.splitlines()
    assert head.split() == ["NAME", "KIND", "QUEUE", "TIMES", "MISSED", "OVERLAP", "LAST", "NEXT"]
    assert rows[0].startswith("nightly  backup  default  @daily UTC")
    assert rows[0].split("  ")[-1].strip().startswith("20")
    assert "every 15m00s" in rows[1]
    assert "  paused 20" in rows[1]
    assert rows[1].endswith(" by user:ann: the disk is full")
    assert " (in " in of(path, "resume", "often").out
    assert [one["name"] for one in of(path, "ls", "--json").documents] == ["nightly", "often"]


def test_an_empty_listing_says_so(engine: sagalog.Engine, path: Path) -> None:
    assert of(path, "ls").err == "note: there is no schedule\n"


def test_recover_tells_of_the_tasks_that_schedules_create(path: Path) -> None:
    """[SCHEDULE-6]"""
    with past(path) as engine:
        engine.set_schedule("hourly", "build", every_ms=3_600_000)
    [document] = call("recover", "--db", str(path), "--json").documents
    assert document["task"].startswith("hourly@")
    assert (document["events"], document["state"]) == (["created"], "pending")
    assert call("recover", "--db", str(path)).err == "note: nothing was due\n"


def test_the_next_times_are_shown_as_many_as_asked_for(engine: sagalog.Engine, path: Path) -> None:
    engine.set_schedule("nightly", "backup", cron="0 2 * * *")
    lines = of(path, "next", "nightly", "2").out.splitlines()
    assert [line.split()[0][10:] for line in lines] == ["", "T02:00:00.000Z", "T02:00:00.000Z"]
    documents = of(path, "next", "nightly", "--json").documents
    assert len(documents) == 10
    assert documents[0] == {"name": "nightly", "nominal_ms": engine.next_times("nightly", 1)[0], "zone": "UTC"}
    assert of(path, "next", "nightly", "0").status == 2


def test_the_next_times_are_shown_in_the_zone_of_the_schedule_too(engine: sagalog.Engine, path: Path) -> None:
    engine.set_schedule("nightly", "backup", cron="0 2 * * *", zone="Asia/Kolkata")
    head, row = of(path, "next", "nightly", "1").out.splitlines()
    assert head.split() == ["TIME", "FROM_NOW", "IN_ZONE"]
    assert "T20:30:00.000Z" in row
    assert row.endswith("T02:00:00+05:30 Asia/Kolkata")
    assert of(path, "next", "nightly", "1", "--json").documents[0]["zone"] == "Asia/Kolkata"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ("0 25 * * *", "is no expression: the hour is '25', which is not of 0 to 23"),
        ("x * * * *", "is no expression: the minute is 'x', which is not of 0 to 59"),
        ("0 0 0 * *", "is no expression: the day of the month is '0', which is not of 1 to 31, L or LW"),
        ("0 2 30 2 *", "never fires; check the day and the month"),
        ("0 0 31 2,4 *", "never fires; check the day and the month"),
    ],
)
def test_a_refused_expression_names_the_field_or_that_it_never_fires(path: Path, fields: str, said: str) -> None:
    """[SCHEDULE-1]"""
    answer = of(path, "set", "nightly", "backup", "--cron", fields)
    assert (answer.status, answer.err.splitlines()[0]) == (3, f"error: --cron: {fields!r} {said}")


def test_a_limit_that_there_is_not_is_refused_to_the_schedule(engine: sagalog.Engine, path: Path) -> None:
    """[SCHEDULE-1]"""
    answer = of(path, "set", "nightly", "backup", "--every", "1h", "--use", "nolimit")
    assert answer.status == 4
    assert answer.err.startswith("error: schedule 'nightly' cannot use the limit 'nolimit': there is no such limit")
    assert "`sagalog limit ls`" in answer.err


def test_a_schedule_is_removed_once(engine: sagalog.Engine, path: Path) -> None:
    engine.set_schedule("nightly", "backup", cron="@daily")
    assert of(path, "rm", "nightly").out == "nightly is removed\n"
    assert of(path, "rm", "nightly").status == 4
    for verb in ("next", "pause", "resume"):
        assert of(path, verb, "nightly").status == 4


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--cron", "0 0 * * * *"],
        ["--cron", "0 0 31 2 *"],
        ["--cron", "@daily", "--zone", "Nowhere"],
        ["--every", "9ms"],
    ],
)
def test_what_cannot_be_is_refused_and_makes_no_store(path: Path, words: list[str]) -> None:
    """[SCHEDULE-1]"""
    answer = of(path, "set", "nightly", "backup", *words)
    assert answer.status == 3
    assert not path.exists()

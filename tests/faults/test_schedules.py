"""Processes fire schedules at once, are killed while they do, or have clocks that jump: each time has one task."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator

import pytest

import sagalog
from sagalog import Engine
from sagalog.testing.clock import ManualClock
from sagalog.testing.history import check, explain
from tests import warm_processes

START_MS = 1_700_000_000_000
YEAR_MS = 31_536_000_000
POINTS = ["commit.before_begin", "commit.after_begin", "commit.after_events", "commit.after_fold"]
POINTS += ["commit.before_commit", "commit.after_commit"]


class Scheduler:
    """A process of `scheduler.py`, whose clock is what the test says."""

    def __init__(self, url: str, owner: str = "ann", failpoint: str | None = None) -> None:
        environment = {} if failpoint is None else {"SAGALOG_FAILPOINT": failpoint}
        self.process = warm_processes.start("tests.faults.scheduler", url, owner, **environment)
        assert self.process.stdout.readline() == "ready\n"

    def look(self, now_ms: int) -> None:
        """Let it look at a time."""
        self.process.stdin.write(f"{now_ms}\n")
        self.process.stdin.flush()

    def got(self) -> list[str]:
        """The tasks that it got by that look, or until it died."""
        found = []
        while (line := self.process.stdout.readline()) not in ("looked\n", ""):
            found.append(line.strip())
        return found

    def ends(self) -> int:
        """Its status."""
        self.process.communicate(timeout=60)
        return self.process.wait(60)


def run(url: str, *times_ms: int, failpoint: str | None = None) -> tuple[list[str], int]:
    """Run one scheduler to its end, at some times; the tasks that it got, and its status."""
    scheduler, got = Scheduler(url, failpoint=failpoint), []
    for now_ms in times_ms:
        scheduler.look(now_ms)
        got += scheduler.got()
    return got, scheduler.ends()


@pytest.fixture
def url(sqlite_url: str) -> Iterator[str]:
    """A store with a schedule, which the last look at it finds sound."""
    with opened(sqlite_url) as engine:
        engine.set_schedule("tick", "build", every_ms=1_000, queue="agents", missed="all", overlap="allow")
    yield sqlite_url
    with opened(sqlite_url) as engine:
        report = engine.verify()
        assert report.ok, report.faults
        violations = check(engine.events(limit=10_000))
        assert not violations, explain(violations)


def opened(url: str) -> Engine:
    return sagalog.open(url, clock=ManualClock(START_MS), durability="normal")


def log_of(url: str) -> list[str]:
    """The types of the schedule's events, and how many tasks there are."""
    with opened(url) as engine:
        events = engine.events(limit=10_000)
    types = [event.type for event in events if event.stream == "schedule/tick"]
    return [*types, f"{sum(event.type == 'created' for event in events)} created"]


def test_eight_schedulers_at_once_fire_each_time_once(url: str) -> None:
    """[SCHEDULE-2]"""
    schedulers = [Scheduler(url, f"owner {number}") for number in range(8)]
    got: Counter[str] = Counter()
    for number in range(1, 7):
        for one in schedulers:
            one.look(START_MS + number * 2_000)
        for one in schedulers:
            got.update(one.got())
    assert [one.ends() for one in schedulers] == [0] * 8
    with opened(url) as engine:
        assert {task.id for task in engine.find()} == set(got)
    assert set(got.values()) == {1}
    assert log_of(url) == ["schedule_set", *["schedule_fired"] * 12, "12 created"]


@pytest.mark.parametrize("point", POINTS)
def test_a_process_that_dies_while_it_fires_leaves_no_time_out(url: str, point: str) -> None:
    """[SCHEDULE-2] Between the choice of the times and their commit, and right behind it."""
    now_ms = START_MS + 3_000
    _, status = run(url, now_ms, failpoint=f"{point}:1")
    assert status == -signal.SIGKILL
    fired = ["schedule_fired"] * 3 if point == "commit.after_commit" else []
    assert log_of(url) == ["schedule_set", *fired, f"{len(fired)} created"]

    got, status = run(url, now_ms, now_ms + 1_000)
    assert status == 0
    assert log_of(url) == ["schedule_set", *["schedule_fired"] * 4, "4 created"]
    assert len(set(got)) == len(got)


def test_a_clock_that_jumps_a_year_and_back_fires_no_time_twice(url: str) -> None:
    """[SCHEDULE-3] Each process has a clock of its own."""
    before, _ = run(url, START_MS + 1_000)
    ahead, _ = run(url, START_MS + YEAR_MS)
    assert log_of(url) == ["schedule_set", *["schedule_fired"] * 101, "101 created"]
    back, _ = run(url, START_MS + 2_000, START_MS + 3_000)
    assert log_of(url)[102:] == ["schedule_reset", "schedule_fired", "102 created"]
    assert before == ["tick@2023-11-14T22:13:21Z"]
    with opened(url) as engine:
        assert engine.get("tick@2023-11-14T22:13:23Z") is not None
    assert len({*before, *ahead, *back}) == len(before) + len(ahead) + len(back)

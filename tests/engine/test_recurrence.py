"""The nominal times of schedules: daylight saving as `cronsim` has it, our names, and looks back that are bounded.

Rule: the table is what schedules promise; a new version of `cronsim` that gives other times fails here. [SCHEDULE-1]
"""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final

import pytest

from sagalog import recurrence
from sagalog.kernel.values import Retry, Schedule, TaskTemplate
from sagalog.recurrence import InvalidCron, UnknownZone, first_after, newest, spelled

TASK: Final = TaskTemplate("build", "default", 0, Retry().resolve())
DAY_MS: Final = 86_400_000


def cron(expression: str, zone: str = "UTC") -> Schedule:
    return Schedule(zone, "one", "skip", TASK, cron=expression)


def every(ms: int) -> Schedule:
    return Schedule("UTC", "one", "skip", TASK, every_ms=ms)


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1_000)


def times(schedule: Schedule, after: str, count: int) -> list[str]:
    """The next times, as in "03-31 01:00" in UTC."""
    found, at_ms = [], at(after)
    for _ in range(count):
        following = first_after(schedule, 0, at_ms)
        assert following is not None
        at_ms = following
        found.append(spelled(at_ms)[5:16].replace("T", " "))
    return found


# Zone, expression, from when on (UTC), and the times that follow (UTC).
DAYLIGHT_SAVING: Final = [
    # Berlin, the clock is set forward at 01:00 UTC (02:00 to 03:00): a fixed time within the gap comes at its end ...
    ("Europe/Berlin", "30 2 * * *", "2024-03-30T00:00", ["03-30 01:30", "03-31 01:00", "04-01 00:30"]),
    # ... two of them come together, and one after the gap is not moved.
    ("Europe/Berlin", "0,30 2 * * *", "2024-03-31T00:00", ["03-31 01:00", "04-01 00:00", "04-01 00:30"]),
    ("Europe/Berlin", "0 3 * * *", "2024-03-30T12:00", ["03-31 01:00", "04-01 01:00"]),
    # What comes every so many minutes or hours goes by the time that passes.
    ("Europe/Berlin", "*/30 * * * *", "2024-03-31T00:15", ["03-31 00:30", "03-31 01:00", "03-31 01:30"]),
    ("Europe/Berlin", "*/30 2 * * *", "2024-03-31T00:00", ["04-01 00:00", "04-01 00:30"]),
    ("Europe/Berlin", "0 * * * *", "2024-03-30T23:30", ["03-31 00:00", "03-31 01:00", "03-31 02:00"]),
    # It is set back at 01:00 UTC (03:00 to 02:00): a fixed time within the repeated hour comes once, at the first ...
    ("Europe/Berlin", "30 2 * * *", "2024-10-26T12:00", ["10-27 00:30", "10-28 01:30"]),
    ("Europe/Berlin", "30 2 * * *", "2024-10-27T01:10", ["10-28 01:30"]),
    # ... and what comes every so many minutes or hours comes in both.
    ("Europe/Berlin", "*/30 2 * * *", "2024-10-26T12:00", ["10-27 00:00", "10-27 00:30", "10-27 01:00", "10-27 01:30"]),
    ("Europe/Berlin", "0 * * * *", "2024-10-26T23:30", ["10-27 00:00", "10-27 01:00", "10-27 02:00"]),
    ("Europe/Berlin", "0 3 * * *", "2024-10-26T12:00", ["10-27 02:00", "10-28 02:00"]),
    # Midnight is not there in Beirut on that day, and half an hour is not in Lord Howe.
    ("Asia/Beirut", "0 0 * * *", "2024-03-30T12:00", ["03-30 22:00", "03-31 21:00"]),
    ("Australia/Lord_Howe", "15 2 * * *", "2024-10-05T00:00", ["10-05 15:30", "10-06 15:15"]),
    # Apia had no 30 December 2011.
    ("Pacific/Apia", "0 12 * * *", "2011-12-29T12:00", ["12-29 22:00", "12-30 10:00", "12-30 22:00"]),
    ("UTC", "30 2 * * *", "2024-03-30T00:00", ["03-30 02:30", "03-31 02:30"]),
]


@pytest.mark.parametrize(("zone", "expression", "after", "expected"), DAYLIGHT_SAVING)
def test_daylight_saving_is_as_this_table_says(zone: str, expression: str, after: str, expected: list[str]) -> None:
    """[SCHEDULE-1]"""
    assert times(cron(expression, zone), after, len(expected)) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("@hourly", ["12-31 23:00", "01-01 00:00"]),
        ("@daily", ["01-01 00:00", "01-02 00:00"]),
        ("@midnight", ["01-01 00:00", "01-02 00:00"]),
        ("@weekly", ["01-05 00:00", "01-12 00:00"]),
        ("@Monthly", ["01-01 00:00", "02-01 00:00"]),
        ("@yearly", ["01-01 00:00", "01-01 00:00"]),
        ("@annually", ["01-01 00:00", "01-01 00:00"]),
    ],
)
def test_names_give_the_times_that_they_say(name: str, expected: list[str]) -> None:
    assert times(cron(name), "2024-12-31T22:30", 2) == expected
    recurrence.check(cron(name))


@pytest.mark.parametrize(
    "expression",
    [
        "", "* * * *", "* * * * * *", "@reboot", "61 * * * *", "*/0 * * * *", "5-1 * * * *", "0 0 30 2 *", "0 0 31 4 *",
        "x * * * *", "* * L * L", "²L * * * *", "* * * * 1#2/3", "1,,2 * * * *", "- * * * *",
    ],
)  # fmt: skip
def test_what_is_no_expression_is_refused(expression: str) -> None:
    """[SCHEDULE-1]"""
    with pytest.raises(InvalidCron):
        recurrence.check(cron(expression))


@pytest.mark.parametrize("zone", ["Nowhere/Town", "America", "../etc/passwd", "/etc/passwd", "\0", "é"])
def test_a_zone_that_there_is_not_is_refused(zone: str) -> None:
    with pytest.raises(UnknownZone):
        first_after(cron("@daily", zone), 0, 0)


def test_an_interval_counts_from_its_anchor_both_ways() -> None:
    assert first_after(every(10), 3, 3) == 13
    assert first_after(every(10), 3, 12) == 13
    assert first_after(every(10), 3, 13) == 23
    assert first_after(every(10), 103, 50) == 53
    assert newest(every(10), 3, 13, 43, 2) == (33, 43)
    assert newest(every(10), 3, 13, 42, 9) == (23, 33)
    assert newest(every(10), 3, 13, 22, 9) == ()


def test_nothing_comes_after_the_years_that_there_are() -> None:
    end_ms = at("9998-12-31T23:59:59")
    for schedule in (cron("@yearly"), cron("0 2 * * *", "Europe/Berlin"), every(1_000)):
        assert first_after(schedule, 0, end_ms) is None
        assert first_after(schedule, 0, 2**53 - 1) is None
        assert newest(schedule, 0, end_ms, 2**53 - 1, 3) == ()


ZONES: Final = (
    "UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Sao_Paulo", "Asia/Beirut",
    "Pacific/Apia", "America/Havana", "Atlantic/Azores", "Antarctica/Troll", "Africa/Casablanca", "Europe/Dublin",
)  # fmt: skip
EXPRESSIONS: Final = (
    "30 2 * * *", "0,30 2 * * *", "*/15 * * * *", "0 * * * *", "30 1 * * *", "0 0 * * *", "*/10 1 * * *", "59 23 * * *",
    "0 3 * * 7", "15 2,3 * * 6,0", "0 0 L * *", "0 12 * * MON#2", "0 */3 * * *", "0 0,1,2,3 * * *",
)  # fmt: skip


def test_looking_back_finds_the_times_that_going_forward_gives() -> None:
    """[SCHEDULE-4]"""
    drawn = random.Random(7)
    for _ in range(200):
        schedule = cron(drawn.choice(EXPRESSIONS), drawn.choice(ZONES))
        after_ms = at(f"{drawn.randint(2005, 2026)}-01-01T00:00") + drawn.randrange(365 * DAY_MS)
        ahead = forward(schedule, after_ms, drawn.randint(1, 200))
        until_ms = ahead[-1] + drawn.choice([0, 1, 1_000, 59_000])
        beyond = [at_ms for at_ms in forward(schedule, ahead[-1], 400) if at_ms <= until_ms]
        expected, count = [*(one for one in ahead if one <= until_ms), *beyond], drawn.choice([1, 2, 100])
        assert list(newest(schedule, 0, after_ms, until_ms, count)) == expected[-count:], (schedule, after_ms, until_ms)


def test_looking_back_costs_no_more_for_a_longer_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """[SCHEDULE-4]"""
    looked: list[int] = []
    ticks = recurrence._ticks

    def counted(*given: Any, **how: Any) -> Iterator[int]:
        for at_ms in ticks(*given, **how):
            looked.append(at_ms)
            yield at_ms

    monkeypatch.setattr(recurrence, "_ticks", counted)
    found = newest(cron("* * * * *", "Europe/Berlin"), 0, 0, at("2024-10-27T01:30"), 100)
    assert len(found) == 100
    assert len(looked) < 3 * 100 + 3 * 60


def test_no_program_imports_cron_or_zones_before_it_has_a_schedule() -> None:
    """`sagalog`, its command line and its workers start without them."""
    program = (
        "import sys, sagalog, sagalog.worker, sagalog_cli.command_line, sagalog_sqlite\n"
        "with sagalog.open('memory:') as engine:\n"
        "    engine.create('build', id='a')\n"
        "    engine.claim('default', owner='ann', ttl_ms=1_000)\n"
        "assert not {'cronsim', 'zoneinfo', 'tzdata'} & set(sys.modules), sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def forward(schedule: Schedule, after_ms: int, count: int) -> list[int]:
    assert schedule.cron is not None
    found = recurrence._walk(recurrence._fields(schedule.cron), recurrence._zone(schedule.zone), after_ms)
    return list(islice(found, count))

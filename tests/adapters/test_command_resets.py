"""From when on trying again makes sense, in all the ways in which programs say it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagalog_command.resets import read_reset

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
WEEK_MS = 7 * DAY_MS


def ms(*parts: int) -> int:
    return round(datetime(*parts, tzinfo=UTC).timestamp() * 1_000)  # type: ignore[arg-type, misc]


# A Thursday in winter: Lisbon is on UTC, Paris one hour ahead.
NOW_MS = ms(2026, 1, 15, 12, 0)


def wait_ms(form: str, value: Any, now_ms: int = NOW_MS, hours_ahead: int = 0, longest_ms: int = WEEK_MS) -> int | None:
    return read_reset(form, value, now_ms, timezone(timedelta(hours=hours_ahead)), longest_ms)


@pytest.mark.parametrize(
    ("sentence", "expected_ms"),
    [
        ("You've hit your limit · resets 1pm (Europe/Lisbon)", 1 * HOUR_MS),
        ("You've hit your session limit · resets 2:30pm (Europe/Paris)", HOUR_MS + HOUR_MS // 2),
        ("resets 11am (Europe/Lisbon)", 23 * HOUR_MS),
        ("resets 12am (Europe/Lisbon)", 12 * HOUR_MS),
        ("resets Jan 17 at 10am (America/Mexico_City)", 2 * DAY_MS + 4 * HOUR_MS),
        ("try again at 11:02 PM.", 11 * HOUR_MS + 2 * 60_000),
        ("try again at Jan 16th, 2026 10:02 AM.", 22 * HOUR_MS + 2 * 60_000),
    ],
)
def test_a_time_of_day_is_the_next_one(sentence: str, expected_ms: int) -> None:
    assert expected_ms == wait_ms("clock", sentence)


def test_a_time_without_a_zone_is_one_of_whoever_wrote_it() -> None:
    assert 9 * HOUR_MS == wait_ms("clock", "try again at 11 PM", hours_ahead=2)


def test_a_time_of_day_that_has_just_passed_means_now() -> None:
    assert 0 == wait_ms("clock", "resets 12pm (Europe/Lisbon)", NOW_MS + 59_999)
    assert DAY_MS - 5 * 60_000 == wait_ms("clock", "resets 12pm (Europe/Lisbon)", NOW_MS + 5 * 60_000)


def test_a_date_that_has_passed_is_one_of_next_year_only_if_long_ago() -> None:
    assert 0 == wait_ms("clock", "resets Jan 14 at 10am (Europe/Lisbon)")
    in_december_ms = ms(2026, 12, 31, 12, 0)
    assert 22 * HOUR_MS == wait_ms("clock", "resets Jan 1 at 10am (Europe/Lisbon)", in_december_ms)


def test_the_next_time_of_day_is_found_on_the_wall_when_clocks_change() -> None:
    # In the night to 29 March 2026 Lisbon's clocks go from 1 to 2 o'clock: 1pm is then 23 hours after 1pm.
    now_ms = ms(2026, 3, 28, 14, 0)
    assert 22 * HOUR_MS == wait_ms("clock", "resets 1pm (Europe/Lisbon)", now_ms)


@pytest.mark.parametrize(
    "sentence", ["resets 1pm (Europe/Atlantis)", "resets 1pm (../../etc/passwd)", "resets 1pm (Europe)", "resets 13pm"]
)
def test_what_names_no_time_that_exists_says_nothing(sentence: str) -> None:
    assert wait_ms("clock", sentence) is None


@pytest.mark.parametrize("sentence", ["resets soon", "", None, 5, "resets Feb 30 at 1pm"])
def test_what_tells_no_time_says_nothing(sentence: Any) -> None:
    assert wait_ms("clock", sentence) is None


def test_an_epoch_may_be_in_seconds_or_milliseconds_or_a_text() -> None:
    then_ms = NOW_MS + HOUR_MS
    assert HOUR_MS == wait_ms("epoch", then_ms // 1_000)
    assert HOUR_MS == wait_ms("epoch", then_ms)
    assert HOUR_MS == wait_ms("epoch", str(then_ms // 1_000))


@pytest.mark.parametrize(
    "date", ["Thu, 15 Jan 2026 13:00:00 GMT", "Thursday, 15-Jan-26 13:00:00 GMT", "Thu Jan 15 13:00:00 2026"]
)
def test_retry_after_takes_each_form_of_a_date(date: str) -> None:
    assert HOUR_MS == wait_ms("retry_after", date, hours_ahead=5)


@pytest.mark.parametrize(
    "date", ["2026-01-15T13:00:00Z", "2026-01-15T14:00:00.000+01:00", "2026-01-15 13:00:00", "20260115T130000Z"]
)
def test_a_date_of_iso_8601_is_read(date: str) -> None:
    assert HOUR_MS == wait_ms("date", date, hours_ahead=5)


@pytest.mark.parametrize("value", ["tomorrow", "", 5, None, "2026-13-01T00:00:00Z"])
def test_what_is_no_date_says_nothing(value: Any) -> None:
    assert wait_ms("date", value) is None


def test_retry_after_takes_seconds() -> None:
    assert 9_000_000 == wait_ms("retry_after", "9000")
    assert 120_000 == wait_ms("retry_after", 120)
    assert 120_000 == wait_ms("seconds", "120")
    assert 120 == wait_ms("milliseconds", 120)


def test_a_wait_is_never_negative_and_never_longer_than_is_believed() -> None:
    assert 0 == wait_ms("epoch", 1)
    assert 0 == wait_ms("retry_after", "Thu, 01 Jan 1970 00:00:00 GMT")
    assert WEEK_MS == wait_ms("seconds", 10**12)
    assert WEEK_MS == wait_ms("retry_after", "Fri, 01 Jan 2100 00:00:00 GMT")
    assert 5 == wait_ms("clock", "resets 1pm (Europe/Lisbon)", longest_ms=5)


@pytest.mark.parametrize("value", [-5, "-5", "1e3", True, None, [], float("nan"), float("inf"), "soon"])
def test_a_wait_that_is_no_number_says_nothing(value: Any) -> None:
    assert wait_ms("retry_after", value) is None
    assert wait_ms("seconds", value) is None


@given(
    form=st.sampled_from(["epoch", "clock", "date", "seconds", "milliseconds", "retry_after"]),
    value=st.one_of(st.text(), st.integers(), st.floats(), st.none(), st.from_regex(r"[A-Z][a-z]{2} \d+ at \d+[ap]m")),
)
def test_whatever_a_program_prints_gives_a_wait_within_bounds_or_none(form: str, value: Any) -> None:
    found = wait_ms(form, value)

    assert found is None or 0 <= found <= WEEK_MS

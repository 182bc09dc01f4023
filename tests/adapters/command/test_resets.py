"""From when on trying again makes sense, in all the ways in which programs say it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagalog_command.resets import FORMS, read_reset

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


def test_a_time_without_a_zone_is_one_of_the_program_that_wrote_it() -> None:
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


@pytest.mark.parametrize(
    ("sentence", "expected_ms"),
    [
        ("resets Mon 12:00am (Europe/Lisbon)", 3 * DAY_MS + 12 * HOUR_MS),
        ("resets Thursday at 1pm (Europe/Lisbon)", HOUR_MS),
        ("resets Thu 11am (Europe/Lisbon)", 6 * DAY_MS + 23 * HOUR_MS),
        ("resets tomorrow at 9am (UTC)", 21 * HOUR_MS),
        ("resets at 15:30 (UTC)", 3 * HOUR_MS + HOUR_MS // 2),
        ("try again at 23:02", 11 * HOUR_MS + 2 * 60_000),
        ("available 16 Jan 2026 10:02 AM", 22 * HOUR_MS + 2 * 60_000),
        ("resets Jan 17 (UTC)", DAY_MS + 12 * HOUR_MS),
        ("resets at midnight Pacific time", 20 * HOUR_MS),
        ("resets 3pm UTC", 3 * HOUR_MS),
        ("resets 3pm UTC+2", HOUR_MS),
        ("resets 3:15:59 PM GMT", 3 * HOUR_MS + 15 * 60_000),
        ("resets 9am (America/New_York)", 2 * HOUR_MS),
        ("Your limit resets at noon (UTC-01:00)", HOUR_MS),
    ],
)
def test_a_time_of_day_is_read_in_each_of_its_forms(sentence: str, expected_ms: int) -> None:
    """It may have a weekday, a date before or behind it, 24 hours, or a zone in letters."""
    assert expected_ms == wait_ms("clock", sentence)


@pytest.mark.parametrize("sentence", ["in the ratio 16:9", "at 25:00", "line 12:30 of the file", "resets 1pm (UTC+99)"])
def test_numbers_with_a_colon_are_no_time_unless_the_sentence_says_when(sentence: str) -> None:
    assert wait_ms("clock", sentence) is None


def test_a_date_of_last_year_that_has_just_passed_means_now() -> None:
    assert 0 == wait_ms("clock", "resets Dec 31 at 11pm (UTC)", ms(2027, 1, 1, 1, 0))
    assert 0 == wait_ms("clock", "resets 11:59pm (UTC)", ms(2027, 1, 1, 0, 0))


def test_a_date_of_last_month_means_now_with_its_year_and_without() -> None:
    now_ms = ms(2026, 8, 27, 7, 38)
    for sentence in ("try again at Jul 28, 2026, 7:38 AM.", "try again at Jul 28 at 7:38 AM."):
        assert 0 == wait_ms("clock", sentence, now_ms)
    # Longer ago is next year's, unless a year is named.
    assert WEEK_MS == wait_ms("clock", "try again at Jul 1 at 7:38 AM.", now_ms)
    assert 0 == wait_ms("clock", "try again at Jul 1, 2025 7:38 AM.", now_ms)


def test_an_hour_that_comes_twice_is_meant_the_first_time_that_is_to_come() -> None:
    # On 25 October 2026 Berlin's clocks go back from 3 to 2 o'clock, at 1:00 UTC.
    assert HOUR_MS // 2 == wait_ms("clock", "resets 2:30am (Europe/Berlin)", ms(2026, 10, 25, 0, 0))
    assert 45 * 60_000 == wait_ms("clock", "resets 2:30am (Europe/Berlin)", ms(2026, 10, 25, 0, 45))
    assert 23 * HOUR_MS + 55 * 60_000 == wait_ms("clock", "resets 2:30am (Europe/Berlin)", ms(2026, 10, 25, 1, 35))


def test_an_hour_that_is_left_out_is_meant_right_behind_the_gap() -> None:
    # On 29 March 2026 they go from 2 to 3 o'clock, at 1:00 UTC.
    assert 90 * 60_000 == wait_ms("clock", "resets 2:30am (Europe/Berlin)", ms(2026, 3, 29, 0, 0))


def test_the_29_february_is_looked_for_in_the_years_that_have_one() -> None:
    assert 0 == wait_ms("clock", "resets Feb 29 at 9am (UTC)", ms(2028, 3, 1, 9, 0))
    assert wait_ms("clock", "resets Feb 29 at 9am (UTC)", ms(2026, 2, 27, 9, 0)) is None
    assert wait_ms("clock", "try again at Feb 29, 2027 9:00 AM.", ms(2027, 2, 27, 9, 0)) is None


@pytest.mark.parametrize(
    ("text", "expected_ms"),
    [
        ("8h44m7s", 8 * HOUR_MS + 44 * 60_000 + 7_000),
        ("5 days 22 hours 11 minutes", 5 * DAY_MS + 22 * HOUR_MS + 11 * 60_000),
        ("1 day 1 minute", DAY_MS + 60_000),
        ("3 hours, 2 minutes and 5 seconds", 3 * HOUR_MS + 2 * 60_000 + 5_000),
        ("15.002899939s", 15_003),
        ("34.337s", 34_337),
        ("900ms", 900),
        ("0s", 0),
        ("an hour", HOUR_MS),
        ("1 WEEK", WEEK_MS),
        ("2 hrs 5 mins.", 2 * HOUR_MS + 5 * 60_000),
    ],
)
def test_a_length_of_time_is_read_and_never_cut_short(text: str, expected_ms: int) -> None:
    assert expected_ms == wait_ms("duration", text)


@pytest.mark.parametrize("text", ["", "5", "h", "5 parsecs", "-5s", "5s or so", "1e9s", 5, None, "5 days ago"])
def test_what_is_no_length_of_time_says_nothing(text: Any) -> None:
    assert wait_ms("duration", text) is None


@pytest.mark.parametrize(
    ("sentence", "expected_ms"),
    [
        ("Your quota will reset after 8h44m7s.", 8 * HOUR_MS + 44 * 60_000 + 7_000),
        ("Please retry in 15.002899939s.", 15_003),
        ("Limit 250000, Used 250000, Requested 143071. Please try again in 34.337s. Visit", 34_337),
        ("Rate limit is exceeded. Try again in 17 seconds.", 17_000),
        ("or try again in less than a minute.", 60_000),
        ("Please wait 30 seconds before trying again", 30_000),
        ("You can go on: the limit resets in about 3h 12m", 3 * HOUR_MS + 12 * 60_000),
        ('{"@type": "RetryInfo", "retryDelay": "34.074824224s"}', 34_075),
        ("Retry-After: 120", 120_000),
        (f'"resets_at": {NOW_MS // 1_000 + 60}', 60_000),
        (f"Claude AI usage limit reached|{NOW_MS // 1_000 + 60}", 60_000),
        ("5-hour limit reached ∙ resets 3pm", 3 * HOUR_MS),
        ("or try again at Jan 16th, 2026 10:02 AM.", 22 * HOUR_MS + 2 * 60_000),
        ("the quota resets 2026-01-15T13:00:00Z", HOUR_MS),
        ("the quota resets 2026-01-15 15:00", 3 * HOUR_MS),
        ("You will regain access on 2026-01-16 at 00:00 UTC.", 12 * HOUR_MS),
        ("You will regain access on 2026-01-15 at 14:00+01:00", HOUR_MS),
        ("available again 2026-01-15 13:00:30 GMT", HOUR_MS + 30_000),
    ],
)
def test_a_sentence_tells_a_length_a_date_or_a_time_of_day(sentence: str, expected_ms: int) -> None:
    assert expected_ms == wait_ms("sentence", sentence)


@pytest.mark.parametrize(
    "sentence", ["timed out after 30 seconds", "You've hit your 5-hour limit", "attempt 3 of 10", "", None, 7]
)
def test_a_sentence_that_tells_no_wait_says_nothing(sentence: Any) -> None:
    assert wait_ms("sentence", sentence) is None


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
    form=st.sampled_from(FORMS),
    value=st.one_of(st.text(), st.integers(), st.floats(), st.none(), st.from_regex(r"[A-Z][a-z]{2} \d+ at \d+[ap]m")),
)
def test_whatever_a_program_prints_gives_a_wait_within_bounds_or_none(form: str, value: Any) -> None:
    found = wait_ms(form, value)

    assert found is None or 0 <= found <= WEEK_MS

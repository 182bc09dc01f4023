"""The times that callers name are milliseconds: what can only be seconds is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sagalog.errors import InvalidValue
from sagalog.kernel import commands as c
from sagalog.testing import Scenario, given
from tests.kernel.making import (
    UNDO,
    acquire,
    acquire_undo,
    amend,
    compensation_failed,
    create,
    fail,
    park,
    quarantine,
    release,
    retry,
    retry_as_new,
)

NOW_MS = 1_790_000_000_000
SECONDS = NOW_MS // 1_000

WORKING = given(create(UNDO, run_at_ms=None), acquire(ttl_ms=None))
UNDOING = WORKING.given(fail(), acquire_undo())
PENDING = given(create(run_at_ms=None))
ENDED = PENDING.given(quarantine())
WAYS: dict[str, tuple[Scenario, Callable[[int], c.Command], str]] = {
    "create": (given(), lambda at: create(run_at_ms=at), "run_at_ms"),
    "release": (WORKING, lambda at: release(run_at_ms=at), "run_at_ms"),
    "retry": (WORKING, lambda at: retry(run_at_ms=at), "run_at_ms"),
    "park": (WORKING, lambda at: park(until_ms=at), "until_ms"),
    "create with a deadline": (given(), lambda at: create(deadline_ms=at, run_at_ms=None), "deadline_ms"),
    "create with a time to start": (given(), lambda at: create(start_by_ms=at, run_at_ms=None), "start_by_ms"),
    "amend": (PENDING, lambda at: amend(run_at_ms=at), "run_at_ms"),
    "amend a deadline": (PENDING, lambda at: amend(deadline_ms=at), "deadline_ms"),
    "amend a time to start": (PENDING, lambda at: amend(start_by_ms=at), "start_by_ms"),
    "retry as new": (ENDED, lambda at: retry_as_new(deadline_ms=at), "deadline_ms"),
    "retry as new with a time to start": (ENDED, lambda at: retry_as_new(start_by_ms=at), "start_by_ms"),
    "fail an undo": (UNDOING, lambda at: compensation_failed("u1", fence=2, run_at_ms=at), "run_at_ms"),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("seconds", [1, SECONDS, 10**11 - 1])
def test_a_time_in_seconds_is_refused_by_name(way: str, seconds: int) -> None:
    """[TIME-5]"""
    story, command, name = WAYS[way]
    story.when(command(seconds), now_ms=NOW_MS).then_refused(InvalidValue, path=name, task="t")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("at_ms", "now_ms"), [(10**11, NOW_MS), (0, NOW_MS), (NOW_MS - 5, NOW_MS), (SECONDS, 10**12), (5, 0)]
)
def test_any_other_time_is_taken_as_it_is(way: str, at_ms: int, now_ms: int) -> None:
    """[TIME-5]"""
    story, command, _ = WAYS[way]
    assert not isinstance(story.when(command(at_ms), now_ms=now_ms).decision, Exception)


def test_every_command_that_names_a_time_is_looked_at() -> None:
    """[TIME-5]"""
    kinds = [kind for kind in vars(c).values() if isinstance(kind, type) and issubclass(kind, c.Command)]
    times = {"run_at_ms", "until_ms", "deadline_ms", "start_by_ms"}
    assert sum(len(times & set(kind.__struct_fields__)) for kind in kinds) == len(WAYS)

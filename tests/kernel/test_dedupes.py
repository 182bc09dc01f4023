"""Dedupe keys in the kernel: what a creation records, what a successor takes over, and what no log may say."""

from __future__ import annotations

import msgspec
import pytest

from sagalog.errors import LogDamaged
from sagalog.kernel import commands as c
from sagalog.kernel import events as e
from sagalog.kernel.decide import decide, succeed, undo_left
from sagalog.kernel.evolve import evolve
from sagalog.kernel.state import TaskFold
from sagalog.kernel.values import DedupeKey
from sagalog.store.dedupe_keys import DedupeRow, dedupe_row_of, fold_dedupes, may_save_dedupe
from tests.kernel.making import cancel, create

NOW_MS = 1_000


def creating(dedupe: DedupeKey | None) -> c.Create:
    return msgspec.structs.replace(create(), dedupe=dedupe)


def created(dedupe: DedupeKey | None, now_ms: int = NOW_MS, task: str = "t") -> tuple[TaskFold, e.Created]:
    """A new task with a key, and its first event."""
    decision = decide(None, msgspec.structs.replace(creating(dedupe), task=task), now_ms, 0)
    assert isinstance(decision, tuple)
    [event] = decision
    assert isinstance(event, e.Created)
    return evolve(TaskFold(task), event, 1, now_ms), event


def ended(dedupe: DedupeKey) -> tuple[TaskFold, e.Created]:
    """A task with a key that was cancelled, and its first event."""
    task, event = created(dedupe)
    decision = decide(task, cancel(), NOW_MS, 0)
    assert isinstance(decision, tuple)
    return evolve(task, decision[0], 2, NOW_MS), event


def test_a_creation_records_when_its_period_is_over() -> None:
    """[DEDUPE-4]"""
    assert created(DedupeKey("k", "period", 50))[1].dedupe == DedupeKey("k", "period", 50, NOW_MS + 50)
    assert created(DedupeKey("k", "live"))[1].dedupe == DedupeKey("k", "live")
    assert created(DedupeKey("k", "ever"))[1].dedupe == DedupeKey("k", "ever")
    assert created(None)[1].dedupe is None


@pytest.mark.parametrize(("until_ms", "expected"), [(NOW_MS + 20, NOW_MS + 20), (NOW_MS + 51, NOW_MS + 50)])
def test_a_period_that_goes_on_ends_at_most_its_length_from_now(until_ms: int, expected: int) -> None:
    """[DEDUPE-3] [DEDUPE-4] The clock may have stepped back since it began."""
    event = created(DedupeKey("k", "period", 50, until_ms))[1]
    assert event.dedupe == DedupeKey("k", "period", 50, expected)


def test_a_successor_has_the_key_and_a_task_that_undoes_has_none() -> None:
    """[DEDUPE-3]"""
    task, event = ended(DedupeKey("k", "period", 50))
    assert succeed(task, event, "next").dedupe == DedupeKey("k", "period", 50, NOW_MS + 50)
    assert undo_left(task, event, (), "undoer").dedupe is None


@pytest.mark.parametrize(
    "dedupe",
    [
        DedupeKey("k", "period"), DedupeKey("k", "period", 50), DedupeKey("k", "period", None, NOW_MS + 50),
        DedupeKey("k", "live", 50), DedupeKey("k", "ever", None, NOW_MS), DedupeKey("k", "live", 50, NOW_MS + 50),
        DedupeKey("k", "period", 50, NOW_MS + 51),
    ],
)  # fmt: skip
def test_a_key_whose_scope_and_period_disagree_is_a_damaged_log(dedupe: DedupeKey) -> None:
    """[DEDUPE-4]"""
    event = msgspec.structs.replace(created(None)[1], dedupe=dedupe)
    with pytest.raises(LogDamaged, match="dedupe key"):
        evolve(TaskFold("t"), event, 1, NOW_MS)


def test_a_live_task_has_the_row_of_its_key_and_an_ended_one_has_none() -> None:
    """[DEDUPE-1]"""
    assert dedupe_row_of(created(None)[0]) is None
    assert dedupe_row_of(created(DedupeKey("k", "live"))[0]) == DedupeRow("build", "k", "t", None)
    assert dedupe_row_of(ended(DedupeKey("k", "live"))[0]) is None
    assert dedupe_row_of(ended(DedupeKey("k", "ever"))[0]) == DedupeRow("build", "k", "t", None)
    assert dedupe_row_of(ended(DedupeKey("k", "period", 50))[0]) == DedupeRow("build", "k", "t", NOW_MS + 50)


def test_of_several_tasks_with_a_key_the_last_one_has_it() -> None:
    """[DEDUPE-1] In the order of their creation; a row whose period is over is not made again."""
    first, last = created(DedupeKey("k", "period", 50))[0], created(DedupeKey("k", "live"), task="u")[0]
    assert fold_dedupes([first, last], NOW_MS) == {("build", "k"): DedupeRow("build", "k", "u", None)}
    assert fold_dedupes([first], NOW_MS + 49) == {("build", "k"): DedupeRow("build", "k", "t", NOW_MS + 50)}
    assert fold_dedupes([first], NOW_MS + 50) == {}


def test_a_row_of_a_period_may_be_gone_or_end_earlier() -> None:
    """[DEDUPE-4]"""
    timed, live = created(DedupeKey("k", "period", 50))[0], created(DedupeKey("k", "live"))[0]
    row = DedupeRow("build", "k", "t", NOW_MS + 50)
    assert may_save_dedupe(timed, None)
    assert may_save_dedupe(timed, row._replace(until_ms=5))
    assert not may_save_dedupe(timed, row._replace(until_ms=NOW_MS + 51))
    assert not may_save_dedupe(timed, row._replace(until_ms=None))
    assert not may_save_dedupe(timed, row._replace(key="other"))
    assert may_save_dedupe(live, row._replace(until_ms=None))
    assert not may_save_dedupe(live, None)
    assert not may_save_dedupe(live, row)

"""What the kernel decides of schedules: which nominal times fire, and what a damaged stream of one is."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import pytest

from sagalog.errors import LogDamaged, NotFound
from sagalog.kernel import commands as c
from sagalog.kernel import events as e
from sagalog.kernel.bounds import LATE_MS
from sagalog.kernel.categories import SCHEDULE
from sagalog.kernel.decide.settings import decide_setting
from sagalog.kernel.state import ScheduleFold
from sagalog.kernel.values import Retry, Schedule, TaskTemplate

EVERY: Final = Schedule("UTC", "one", "skip", TaskTemplate("build", "default", 0, Retry().resolve()), every_ms=10)
SET: Final = e.ScheduleSet(EVERY, 0, 0, 10)


def folded(*events: e.Recordable, missed: Any = "one", overlap: Any = "skip") -> ScheduleFold:
    schedule = msgspec.structs.replace(EVERY, missed=missed, overlap=overlap)
    first = msgspec.structs.replace(SET, schedule=schedule)
    return SCHEDULE.fold("tick", [(event, version, 5) for version, event in enumerate((first, *events), start=1)])


def fire(fold: ScheduleFold, *due: int, now_ms: int | None = None, **given: Any) -> list[e.Recordable]:
    tasks = tuple(f"t{nominal_ms}" for nominal_ms in due)
    now_ms = due[-1] if now_ms is None else now_ms
    command = c.FireSchedule(id="tick", now_ms=now_ms, due=due, tasks=tasks, next_ms=due[-1] + 10, **given)
    return list(decide_setting(fold, command))


def test_the_newest_of_the_times_that_have_come_fires() -> None:
    """[SCHEDULE-4]"""
    assert fire(folded(), 10) == [e.ScheduleFired(10, "t10", 20)]
    assert fire(folded(), 40) == [e.ScheduleFired(40, "t40", 50, missed_ms=10)]
    assert fire(folded(), 40, now_ms=40 + LATE_MS + 1) == [e.ScheduleFired(40, "t40", 50, missed_ms=10)]


def test_none_fires_that_is_late_where_missed_ones_are_skipped() -> None:
    """[SCHEDULE-4]"""
    fold = folded(missed="skip")
    assert fire(fold, 10, now_ms=10 + LATE_MS) == [e.ScheduleFired(10, "t10", 20)]
    assert fire(fold, 10, now_ms=11 + LATE_MS) == [e.ScheduleSkipped(10, "missed", 20)]
    assert fire(fold, 40, now_ms=41 + LATE_MS) == [e.ScheduleSkipped(40, "missed", 50, missed_ms=10)]


def test_all_fire_one_after_the_other_where_the_schedule_says_so() -> None:
    """[SCHEDULE-4]"""
    fold = folded(missed="all", overlap="allow")
    assert fire(fold, 20, 30) == [e.ScheduleFired(20, "t20", 30, missed_ms=10), e.ScheduleFired(30, "t30", 40)]


def test_a_living_task_holds_back_the_next_one() -> None:
    """[SCHEDULE-5]"""
    assert fire(folded(), 10, lives=True) == [e.ScheduleSkipped(10, "overlap", 20)]
    assert fire(folded(overlap="allow"), 10, lives=True) == [e.ScheduleFired(10, "t10", 20)]
    assert fire(folded(missed="all"), 10, 20) == [
        e.ScheduleFired(10, "t10", 20),
        e.ScheduleSkipped(20, "overlap", 30),
    ]


def test_a_time_whose_task_exists_is_settled_without_one() -> None:
    """[SCHEDULE-2]"""
    assert fire(folded(), 10, exists=("t10",)) == [e.ScheduleSkipped(10, "exists", 20)]


def test_nothing_fires_that_is_settled_or_paused_or_stopped_or_removed() -> None:
    """[SCHEDULE-2] [SCHEDULE-3]"""
    fired = e.ScheduleFired(10, "t10", 20)
    for events in ([fired], [e.SchedulePaused()], [e.ScheduleStopped("never_fires")], [e.ScheduleRemoved()]):
        assert fire(folded(*events), 10) == []
    assert fire(folded(e.ScheduleFired(10, "t10")), 20) == []


@pytest.mark.parametrize(
    "events",
    [
        [e.ScheduleFired(5, "t5", 20)],
        [e.ScheduleFired(10, "t10", 10)],
        [e.ScheduleFired(10, "t10", 20), e.ScheduleFired(10, "t10", 20)],
        [e.ScheduleFired(10, "t10", 20), e.ScheduleSkipped(10, "missed", 20)],
        [e.SchedulePaused(), e.ScheduleFired(10, "t10", 20)],
        [e.ScheduleStopped("never_fires"), e.ScheduleFired(10, "t10", 20)],
        [e.ScheduleStopped("never_fires"), e.ScheduleStopped("never_fires")],
        [e.SchedulePaused(), e.SchedulePaused()],
        [e.ScheduleResumed(5, 10)],
        [e.ScheduleReset(0, 10)],
        [e.ScheduleRemoved(), e.ScheduleFired(10, "t10", 20)],
        [SET],
        [e.ScheduleCarried(False, EVERY, 0, 1, 10)],
    ],
    ids=lambda events: " ".join(type(event).__name__ for event in events),
)
def test_events_that_cannot_follow_are_a_damaged_log(events: list[e.Recordable]) -> None:
    """[SCHEDULE-2] [RECORD-1]"""
    with pytest.raises(LogDamaged):
        folded(*events)


def test_a_carried_fold_is_the_fold() -> None:
    """[CARRY-1]"""
    fold = folded(e.ScheduleFired(10, "t10", 20), e.SchedulePaused(), e.ScheduleStopped("task_refused"))
    assert SCHEDULE.carry is not None
    carried = SCHEDULE.carry(fold)
    after = SCHEDULE.evolve(fold, carried, fold.version + 1, 5)
    assert after == msgspec.structs.replace(fold, version=fold.version + 1, length=0)
    assert SCHEDULE.evolve(ScheduleFold("tick"), carried, fold.version + 1, 5) == after


def test_only_one_that_is_ahead_by_more_than_its_period_begins_anew() -> None:
    """[SCHEDULE-3]"""
    fold = folded(e.ScheduleFired(1_000, "t1000", 1_010))
    assert decide_setting(fold, c.ResetSchedule(id="tick", now_ms=990, next_ms=1_000)) == ()
    assert decide_setting(fold, c.ResetSchedule(id="tick", now_ms=989, next_ms=990)) == (e.ScheduleReset(989, 990),)
    assert (fold.settled_at(990), fold.settled_at(989)) == (1_000, 989)


@pytest.mark.parametrize("command", [c.RemoveSchedule, c.PauseSchedule, c.ResumeSchedule])
def test_a_schedule_that_there_is_not_is_not_found(command: type[c.Setting]) -> None:
    """[SCHEDULE-1]"""
    for fold in (ScheduleFold("tick"), folded(e.ScheduleRemoved())):
        with pytest.raises(NotFound):
            decide_setting(fold, command(id="tick"))

"""Why a schedule creates no task: each reason that `Engine.explain` gives, with what it names. [EXPLAIN-1]"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any

import pytest

import sagalog.aio
from sagalog import Engine, Explanation, InvalidValue, NotFound, Reason
from sagalog.engine.schedule_times import task_id
from sagalog.kernel.bounds import CARRY_EVENTS, LATE_MS
from sagalog.kernel.events import ScheduleSkipped
from sagalog.testing import ManualClock
from sagalog.testing.contract.schedules import a_zone
from tests.conftest import START_MS

MINUTE_MS = 60_000
DAY_MS = 24 * 60 * MINUTE_MS
FIRST, SECOND = "tick@2023-11-14T22:14:20Z", "tick@2023-11-14T22:15:20Z"
RESUME = "sagalog schedule resume tick"
ANEW = "sagalog schedule set tick"


def every(engine: Engine, **given: Any) -> None:
    engine.set_schedule("tick", "build", every_ms=MINUTE_MS, **given)


def explained(engine: Engine) -> Explanation:
    """The explanation, which writes nothing and is all about the schedule."""
    before = engine.newest_position(), engine.changes()
    found = engine.explain(schedule="tick")
    assert (engine.newest_position(), engine.changes()) == before, "an explanation has written"
    assert (found.schedule, found.task, found.state) == ("tick", None, None)
    assert found.is_claimable == (not found.reasons)
    return found


def reasons(engine: Engine) -> list[tuple[str, dict[str, Any]]]:
    return [(one.code, one.parameters) for one in explained(engine).reasons]


def only(engine: Engine) -> tuple[str, str | None]:
    """The words of the one reason: what it says, and what to do."""
    [reason] = explained(engine).reasons
    return reason.sentence, reason.advice


# --- what is asked --------------------------------------------------------------------------------------------------


def test_either_a_task_or_a_schedule_is_explained(engine: Engine) -> None:
    with pytest.raises(InvalidValue, match="id, schedule: expected one of the two, found neither"):
        engine.explain()
    with pytest.raises(InvalidValue, match="id, schedule: expected one of the two, found both"):
        engine.explain("t", schedule="tick")
    for name in ("", "x" * 171, 5):
        with pytest.raises(InvalidValue, match="schedule: "):
            engine.explain(schedule=name)  # type: ignore[arg-type]
    engine.create("build", id="t")
    assert engine.explain("t").schedule is None


def test_a_schedule_that_is_unknown_or_removed_is_not_found(engine: Engine) -> None:
    every(engine)
    engine.remove_schedule("tick")
    for name in ("tick", "tock"):
        with pytest.raises(NotFound, match=f"there is no schedule '{name}'; set it first, or check") as caught:
            engine.explain(schedule=name)
        assert caught.value.fields["schedule"] == name


def test_the_asynchronous_engine_explains_a_schedule_too() -> None:
    async def main() -> Explanation:
        async with sagalog.aio.open("memory:", clock=ManualClock(START_MS)) as engine:
            await engine.set_schedule("tick", "build", every_ms=MINUTE_MS)
            return await engine.explain(schedule="tick")

    assert asyncio.run(main()).reasons == (Reason("not_due", {"until_ms": START_MS + MINUTE_MS}),)


# --- a schedule that goes on ----------------------------------------------------------------------------------------


def test_a_schedule_that_is_not_due_says_until_when(engine: Engine) -> None:
    every(engine)
    assert reasons(engine) == [("not_due", {"until_ms": START_MS + MINUTE_MS})]
    assert only(engine) == ("it is not due before 2023-11-14T22:14:20.000Z", None)
    assert explained(engine).notes == ()


def test_a_schedule_that_is_due_names_the_task_that_the_next_claim_creates(engine: Engine, clock: ManualClock) -> None:
    """[SCHEDULE-2]"""
    every(engine)
    clock.advance(2 * MINUTE_MS)
    found = explained(engine)
    [due] = found.notes
    assert (found.is_claimable, due.code) == (True, "due")
    assert due.parameters == {"since_ms": START_MS + MINUTE_MS, "task": SECOND}
    assert due.sentence == f"it is due since 2023-11-14T22:14:20.000Z, and the next claim creates {SECOND!r}"
    assert [one.task for one in engine.recover()] == [SECOND]


def test_a_task_that_lives_is_named_with_the_time_that_it_takes(engine: Engine, clock: ManualClock) -> None:
    """[SCHEDULE-5]"""
    every(engine)
    clock.advance(MINUTE_MS)
    engine.recover()
    taken = ("overlap", {"task": FIRST, "nominal_ms": START_MS + 2 * MINUTE_MS})
    assert reasons(engine) == [("not_due", {"until_ms": START_MS + 2 * MINUTE_MS}), taken]
    clock.advance(MINUTE_MS)
    assert reasons(engine) == [taken]
    assert only(engine) == (
        f"the nominal time 2023-11-14T22:15:20.000Z has no task while {FIRST!r} lives",
        f"sagalog explain {FIRST}",
    )
    engine.cancel(FIRST)
    assert explained(engine).notes[0].parameters["task"] == SECOND


def test_a_task_that_lives_is_no_matter_where_tasks_may_overlap(engine: Engine, clock: ManualClock) -> None:
    """[SCHEDULE-5]"""
    every(engine, overlap="allow")
    clock.advance(MINUTE_MS)
    engine.recover()
    assert [code for code, _ in reasons(engine)] == ["not_due"]
    clock.advance(MINUTE_MS)
    assert explained(engine).is_claimable


def test_a_time_that_is_skipped_as_too_late_is_no_time_that_fires(engine: Engine, clock: ManualClock) -> None:
    """[SCHEDULE-4]"""
    engine.set_schedule("tick", "build", every_ms=DAY_MS, missed="skip")
    clock.advance(DAY_MS + LATE_MS)
    assert explained(engine).is_claimable
    clock.advance(1)
    assert reasons(engine) == [("missed", {"nominal_ms": START_MS + DAY_MS})]
    assert only(engine)[0] == "it is due since 2023-11-15T22:13:20.000Z, which is too late for a task of that time"
    assert engine.recover() == []


def test_a_time_whose_task_exists_creates_no_other(engine: Engine, clock: ManualClock) -> None:
    """[SCHEDULE-2]"""
    every(engine)
    engine.create("build", id=FIRST)
    clock.advance(MINUTE_MS)
    assert reasons(engine) == [("exists", {"task": FIRST, "nominal_ms": START_MS + MINUTE_MS})]
    assert only(engine)[1] == f"sagalog show {FIRST}"


def test_a_schedule_ahead_of_the_clock_says_when_it_fires_first(engine: Engine, clock: ManualClock) -> None:
    """[SCHEDULE-3]"""
    clock.advance(DAY_MS)
    engine.set_schedule("tick", "build", cron="0 2 * * *")
    clock.step(-365 * DAY_MS)
    two_ms = engine.now_ms() + 13_600_000  # 22:13:20 to 2:00
    assert reasons(engine) == [("not_due", {"until_ms": two_ms})]
    engine.recover()
    assert engine.schedules()[0].next_ms == two_ms


# --- a schedule that does not ---------------------------------------------------------------------------------------


def test_a_pause_of_a_schedule_says_by_whom_since_when_and_why(engine: Engine, clock: ManualClock) -> None:
    """[PAUSE-1]"""
    every(engine)
    engine.pause(schedule="tick", reason="the disk is full", actor="user:ann")
    clock.advance(DAY_MS)
    given = {"schedule": "tick", "actor": "user:ann", "since_ms": START_MS, "text": "the disk is full"}
    assert reasons(engine) == [("paused_schedule", given)]
    assert only(engine) == (
        "the schedule 'tick' is paused since 2023-11-14T22:13:20.000Z by user:ann: the disk is full",
        RESUME,
    )


def test_a_zone_that_vanished_is_told_before_and_after_the_stop(engine: Engine, clock: ManualClock) -> None:
    """[SCHEDULE-7]"""
    with a_zone("Nowhere/Town"):
        engine.set_schedule("tick", "build", cron="0 2 * * *", zone="Nowhere/Town")
    clock.advance(DAY_MS)
    found = {"schedule": "tick", "zone": "Nowhere/Town"}
    assert reasons(engine) == [("zone_unknown", found)]
    engine.recover()
    stopped = ("zone_unknown", {**found, "since_ms": START_MS + DAY_MS})
    assert reasons(engine) == [stopped]
    assert only(engine) == (
        "it has stopped since 2023-11-15T22:13:20.000Z: the process that looked does not know its time zone "
        "'Nowhere/Town'",
        f"once each machine knows the zone Nowhere/Town: {RESUME}; or set another zone: {ANEW}",
    )
    clock.advance(5)
    engine.pause(schedule="tick")
    assert [code for code, _ in reasons(engine)] == ["zone_unknown", "paused_schedule"]
    assert reasons(engine)[0] == stopped


def test_a_task_that_is_refused_names_it_and_the_refusal(engine: Engine, clock: ManualClock) -> None:
    """[SCHEDULE-7]"""
    engine.set_limit("gpu", slots=1)
    every(engine, uses={"gpu": 1})
    engine.remove_limit("gpu")
    clock.advance(MINUTE_MS)
    engine.recover()
    given = {"schedule": "tick", "task": FIRST, "refusal": "not_found", "since_ms": START_MS + MINUTE_MS}
    assert reasons(engine) == [("task_refused", given)]
    assert only(engine) == (
        f"it has stopped since 2023-11-14T22:14:20.000Z: its task {FIRST!r} was refused (not_found)",
        f"once that is mended: {RESUME}; or set it anew: {ANEW}",
    )
    engine.set_limit("gpu", slots=1)
    engine.resume(schedule="tick")
    assert [code for code, _ in reasons(engine)] == ["not_due"]


def test_fields_that_are_none_any_more_are_told_with_the_fault(
    engine: Engine, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """[SCHEDULE-7]"""
    engine.set_schedule("tick", "build", cron="0 2 * * *")
    clock.advance(DAY_MS)

    def refuse(*_: object) -> None:
        raise sagalog.recurrence.InvalidCron("bad hour")

    monkeypatch.setattr(sagalog.recurrence, "first_after", refuse)
    engine.recover()
    given = {"schedule": "tick", "cron": "0 2 * * *", "text": "bad hour", "since_ms": START_MS + DAY_MS}
    assert reasons(engine) == [("never_fires", given)]
    assert only(engine) == (
        "it has stopped since 2023-11-15T22:13:20.000Z: its fields '0 2 * * *' give no time any more: bad hour",
        f"set other times: {ANEW}",
    )


def test_a_schedule_whose_last_time_has_fired_never_fires_again(
    engine: Engine, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """[SCHEDULE-1]"""
    every(engine)
    clock.advance(MINUTE_MS)
    monkeypatch.setattr(sagalog.recurrence, "first_after", lambda *_: None)
    engine.recover()
    assert reasons(engine) == [("never_fires", {"schedule": "tick"})]
    assert only(engine) == ("its interval gives no time any more", f"set other times: {ANEW}")


def test_a_stop_behind_a_carried_fold_is_found(engine: Engine, clock: ManualClock) -> None:
    """[CARRY-1]"""
    engine.set_limit("gpu", slots=1)
    for _ in range((CARRY_EVENTS - 2) // 2):
        every(engine, uses={"gpu": 1})
        engine.remove_schedule("tick")
    every(engine, uses={"gpu": 1})
    engine.remove_limit("gpu")
    clock.advance(MINUTE_MS)
    engine.recover()
    assert [one.type for one in engine.events(after=engine.newest_position() - 2)] == [
        "schedule_stopped",
        "schedule_carried",
    ]
    engine.pause(schedule="tick")
    assert [code for code, _ in reasons(engine)] == ["task_refused", "paused_schedule"]
    assert reasons(engine)[0][1]["task"] == FIRST


# --- and what a claim does ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", range(2))
def test_what_explain_says_of_a_schedule_is_what_maintenance_does(part: int) -> None:
    """[SCHEDULE-2]"""
    told: Counter[str] = Counter()
    for seed in range(part * 50, part * 50 + 50):
        chance, clock = random.Random(seed), ManualClock(START_MS)
        with sagalog.open("memory:", clock=clock) as engine:
            for _ in range(20):
                disturb(engine, clock, chance)
                found, before = engine.explain(schedule="tick"), engine.newest_position()
                written = [one for one in engine.recover() if one.events == ("created",)]
                assert found.is_claimable == bool(written), (seed, found)
                if written:
                    assert written[-1].task == found.notes[0].parameters["task"]
                for one in engine.events(after=before):
                    if isinstance(one.event, ScheduleSkipped) and not written:
                        assert found.reasons[0].code == one.event.code, (seed, found)
                told.update(one.code for one in (*found.reasons, *found.notes))
    assert {"due", "not_due", "overlap", "missed", "exists", "paused_schedule"} <= told.keys()


def disturb(engine: Engine, clock: ManualClock, chance: random.Random) -> None:
    """Set the schedule, perhaps as it is, and have one thing happen that its next look meets."""
    if not engine.schedules() or chance.random() < 0.2:
        given: dict[str, Any] = {"missed": chance.choice(["one", "skip", "all"])}
        given["overlap"] = chance.choice(["skip", "allow"])
        engine.set_schedule("tick", "build", every_ms=chance.choice([MINUTE_MS, 7 * MINUTE_MS]), **given)
    verb = chance.randrange(6)
    if verb == 0:
        engine.pause(schedule="tick")
    elif verb == 1:
        engine.resume(schedule="tick")
    elif verb == 2:
        for task in engine.find(state="pending"):
            engine.cancel(task.id)
    elif verb == 3 and (next_ms := engine.schedules()[0].next_ms) is not None:
        engine.create("build", id=task_id("tick", next_ms))
    elif verb == 4:
        clock.step(-chance.choice([1_000, DAY_MS]))
    clock.advance(chance.choice([0, 1_000, MINUTE_MS, 5 * MINUTE_MS]))

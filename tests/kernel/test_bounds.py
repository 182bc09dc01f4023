"""What the kernel itself bounds: the length of a stream, the number of compensations, the length of texts."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from sagalog.errors import Blocked, OverBound, WaitOver
from sagalog.kernel import commands as c
from sagalog.kernel import events as e
from sagalog.kernel.bounds import (
    COMPENSATIONS_MAX,
    SIGNALS_MAX,
    STREAM_EVENTS_MAX,
    STREAM_EVENTS_RESERVE,
    TEXT_CHARACTERS_MAX,
    WAIT_NAMES_MAX,
    WAITS_MAX,
)
from sagalog.kernel.decide import Repeat, decide, next_lease_fits
from sagalog.kernel.evolve import evolve
from sagalog.kernel.state import EndedWaits, KeptSignal, TaskFold
from sagalog.kernel.values import Compensation, Failure, KeptWaits, State
from sagalog.testing import Scenario, given
from tests.kernel.making import (
    LATER_UNDO,
    UNDO,
    acquire,
    acquire_undo,
    cancel,
    compensation_done,
    complete,
    create,
    fail,
    heartbeat,
    maintain,
    note,
    park,
    put_artifact,
    quarantine,
    quarantine_held,
    register,
    release,
    retry,
    signal,
    step,
    waive,
)

OPEN = STREAM_EVENTS_MAX - STREAM_EVENTS_RESERVE
MANY = tuple(Compensation("remove", index, id=f"c{index}") for index in range(COMPENSATIONS_MAX))


def grown(story: Scenario, length: int) -> Scenario:
    """The same task as if its stream had `length` events, heartbeats not counted."""
    assert story.task is not None
    return Scenario(msgspec.structs.replace(story.task, length=length), story.id, story.now_ms, story.epoch)


def test_a_task_is_leased_as_long_as_the_lease_fits_before_the_reserve() -> None:
    """[BOUND-2]"""
    grown(given(create()), OPEN - 1).when(acquire()).then(e.Leased("ann", 1, 1, "work", False, 100, 100))
    grown(given(create()), OPEN).when(acquire()).then_refused(OverBound, bound="stream_events", maximum=OPEN)


@pytest.mark.parametrize(
    ("story", "bound", "owed"),
    [
        (given(create(UNDO)), OPEN, ()),
        (given(create(UNDO), acquire(), fail()), STREAM_EVENTS_MAX - 3, ("u1",)),
    ],
    ids=["pending", "compensating"],
)
def test_maintenance_quarantines_a_task_whose_next_lease_would_not_fit(
    story: Scenario, bound: int, owed: tuple[str, ...]
) -> None:
    """[BOUND-2] [LIFE-2] Undoing has the reserve that forward work left to it."""
    grown(story, bound - 1).when(maintain()).then_nothing()
    full = e.Quarantined("bound", owed=owed, parameters={"stream_events": bound})
    grown(story, bound).when(maintain()).then(full)


def test_the_last_undo_that_fits_can_settle_everything_and_end_the_task() -> None:
    """[BOUND-2]"""
    story = grown(given(create(UNDO), acquire(), fail()), STREAM_EVENTS_MAX - 4).given(acquire_undo())
    ended = story.given(compensation_done(fence=2)).task

    assert ended is not None
    assert ended.state == "compensated"
    assert ended.length <= STREAM_EVENTS_MAX


def test_stores_are_told_the_same_about_the_next_lease() -> None:
    """[BOUND-2]"""
    for length, fits in ((OPEN - 1, True), (OPEN, False)):
        task = grown(given(create()), length).task
        assert task is not None
        assert next_lease_fits(task) is fits


def test_what_neither_ends_nor_settles_is_refused_in_the_reserve() -> None:
    """[BOUND-1] [BOUND-2]"""
    full = grown(given(create(), acquire()), OPEN)
    full.when(register()).then_refused(OverBound, bound="stream_events")
    full.when(note()).then_refused(OverBound, bound="stream_events")


@pytest.mark.parametrize(
    "wait", [{"signal": "go"}, {"after": ("a",)}, {"until_ms": 50}], ids=["signal", "tasks", "time"]
)
def test_a_wait_at_the_bound_ends_and_then_its_task_is_quarantined(wait: dict[str, Any]) -> None:
    """[BOUND-2] [LIFE-2] Nothing is ever stuck, whatever the wait is for."""
    for length in (OPEN, STREAM_EVENTS_MAX - 9):
        parked = grown(given(create(UNDO), acquire()), length).given(park(**wait))
        parked.when(acquire()).then_refused(Blocked)
        over = parked.given(signal()) if "signal" in wait else parked.given(unblocking(), now_ms=50)
        assert over.task is not None
        assert (over.task.waiting, list(over.task.waits)) == (None, ["w"])
        task = over.given(maintain()).task if "signal" in wait else over.task
        assert task is not None
        assert (task.state, task.code) == (State.QUARANTINED, "bound")
        assert task.length < STREAM_EVENTS_MAX


def test_only_the_signal_that_a_wait_asks_for_is_taken_at_the_bound() -> None:
    """[BOUND-2] [WAIT-2]"""
    parked = grown(given(create(), acquire()), OPEN).given(park(signal="go", until_ms=50))
    parked.when(signal("stop")).then_refused(OverBound, bound="stream_events")
    parked.when(signal("stop"), now_ms=60).then_refused(OverBound, bound="stream_events")
    parked.when(signal()).then(e.Signalled("go"), e.Unblocked("w", 1, "signal", 4))
    full = grown(given(create(), acquire()), OPEN)
    full.when(signal()).then_refused(OverBound, bound="stream_events")
    full.when(step()).then_refused(OverBound, bound="stream_events")
    full.when(put_artifact()).then_refused(OverBound, bound="stream_events")


def test_a_task_that_has_waited_too_often_is_quarantined_before_parking() -> None:
    """[BOUND-1] [LIFE-2] It would ask again at every attempt, so a refusal would only cost it all of them."""
    held = given(create(UNDO), acquire()).task
    assert held is not None
    polls = {"poll": EndedWaits(WAITS_MAX - 1, (1 - WAITS_MAX,))}
    last = Scenario(msgspec.structs.replace(held, waits=polls, rounds=WAITS_MAX - 1))
    often = last.when(park("poll", until_ms=0, number=WAITS_MAX)).then(
        e.Parked(1, "park", "poll", WAITS_MAX, until_ms=0), e.Unblocked("poll", WAITS_MAX, "time")
    )
    over = often.given(acquire(), park("poll", 2, until_ms=9, number=WAITS_MAX + 1))
    assert over.task is not None
    assert (over.task.state, over.task.code, over.task.owed()) == (State.QUARANTINED, "bound", ["u1"])
    over.when(park("poll", 2, until_ms=9, number=WAITS_MAX + 1)).then_repeat(over.task.version)
    other = often.given(acquire(), park("other", 2, "go")).task
    assert other is not None
    assert (other.state, other.code) == (State.QUARANTINED, "bound")
    often.given(acquire()).when(park("poll", 2, until_ms=9, number=WAITS_MAX)).then_refused(WaitOver)
    asked = often.given(acquire(), cancel()).when(park("other", 2, "go"))
    asked.then(e.Parked(2, "park", "other", 1, "go"), e.Cancelled(State.COMPENSATING))


def test_a_task_waits_under_a_bounded_number_of_names() -> None:
    """[BOUND-1] It may wait under a name that it has any number of times."""
    held = given(create(), acquire()).task
    assert held is not None
    waits = {f"w{number}": EndedWaits(1, (2,)) for number in range(WAIT_NAMES_MAX)}
    named = Scenario(msgspec.structs.replace(held, waits=waits, rounds=WAIT_NAMES_MAX))
    named.when(park("w1", signal="go", number=2)).then(e.Parked(1, "park", "w1", 2, "go"))
    over = named.given(park(signal="go"))
    assert over.task is not None
    assert (over.task.code, over.task.reason_version) == ("bound", over.task.version)


def test_the_names_that_a_successor_was_handed_do_not_count_as_its_own() -> None:
    """[BOUND-1] What was quarantined at that bound would be a dead end otherwise."""
    kept = tuple(KeptWaits(f"w{number}", (-1,)) for number in range(WAIT_NAMES_MAX))
    heir = given(msgspec.structs.replace(create(), predecessor="t0", waits=kept), acquire())
    heir.when(park(signal="go")).then(e.Parked(1, "park", "w", 1, "go"))
    held = heir.task
    assert held is not None
    own = {f"own{number}": EndedWaits(1, (2,)) for number in range(WAIT_NAMES_MAX)}
    over = Scenario(msgspec.structs.replace(held, waits={**held.waits, **own}))
    over.when(park("w7", signal="go", number=2)).then(e.Parked(1, "park", "w7", 2, "go"))
    spent = over.given(park(signal="go")).task
    assert spent is not None
    assert (spent.code, spent.reason_version) == ("bound", spent.version)


def test_a_task_keeps_so_many_signals_and_no_more() -> None:
    """[BOUND-1] [LIFE-2] A signal that is taken at once is not kept."""
    held = given(create(), acquire()).task
    assert held is not None
    kept = tuple(KeptSignal("noise", 2) for _ in range(SIGNALS_MAX))
    many = Scenario(msgspec.structs.replace(held, signals=kept))
    many.when(signal()).then_refused(OverBound, bound="signals", maximum=SIGNALS_MAX)
    many.when(park(signal="noise")).then(e.Parked(1, "park", "w", 1, "noise"), e.Unblocked("w", 1, "signal", 2))
    waiting = many.given(park(signal="go", until_ms=50))
    waiting.when(signal("noise")).then_refused(OverBound, bound="signals")
    waiting.when(signal("noise"), now_ms=60).then_refused(OverBound, bound="signals")
    waiting.when(signal()).then(e.Signalled("go"), e.Unblocked("w", 1, "signal", 4))


def unblocking() -> c.Maintain:
    return maintain(ended=("a",))


def test_heartbeats_do_not_count() -> None:
    """[BOUND-2]"""
    held = given(create(), acquire())
    assert held.task is not None
    beaten = held.given(heartbeat(progress=1), heartbeat(progress=2))
    assert beaten.task is not None
    assert (beaten.task.length, beaten.task.version) == (held.task.length, held.task.version + 2)
    grown(held, STREAM_EVENTS_MAX).when(heartbeat(progress=1)).then(e.Heartbeat(1, 100, 100, 1))


@pytest.mark.parametrize(
    "command",
    [
        complete(),
        fail(LATER_UNDO),
        release(),
        retry(),
        cancel(),
        cancel(now=True),
        quarantine(),
        waive(),
        quarantine_held(),
        park(signal="go"),
    ],
    ids=lambda command: type(command).__name__,
)
def test_what_ends_or_settles_fits_in_the_reserve(command: c.Command) -> None:
    """[BOUND-2]"""
    full = grown(given(create(UNDO), acquire()), OPEN)
    assert full.task is not None
    decision = decide(full.task, command, 0, 0)
    assert not isinstance(decision, Repeat)
    assert decision


def test_the_reserve_is_enough_for_the_longest_way_to_the_end() -> None:
    """[BOUND-2] Leased on the last free place, asked to stop, failing with as many compensations as there may be."""
    story = grown(given(create()), OPEN - 1).given(acquire(), cancel(), fail(*MANY))
    story = story.given(quarantine())
    worst = grown(given(create(*MANY)), OPEN - 1).given(acquire(), fail())
    for one in MANY:
        worst = worst.given(waive(one.id or ""))
    for ended in (story, worst):
        assert ended.task is not None
        assert ended.task.is_terminal
        assert ended.task.length < STREAM_EVENTS_MAX


def test_an_undo_leased_on_the_last_free_place_can_do_all_that_is_owed() -> None:
    """[BOUND-2]"""
    story = grown(given(create(*MANY), acquire(), fail()), OPEN - 1).given(acquire_undo())
    for one in reversed(MANY):
        story = story.given(compensation_done(one.id or ""))
    assert story.task is not None
    assert story.task.state is State.COMPENSATED
    assert story.task.length < STREAM_EVENTS_MAX


def test_notes_after_the_end_use_the_reserve_and_settlements_always_fit() -> None:
    """[BOUND-2] [BOUND-1]"""
    left = given(create(UNDO), acquire(), quarantine())
    grown(left, STREAM_EVENTS_MAX - 1).when(note("seen")).then(e.Noted("seen"))
    full = grown(left, STREAM_EVENTS_MAX)
    full.when(note("seen")).then_refused(OverBound, bound="stream_events", maximum=STREAM_EVENTS_MAX)
    full.when(note("by hand", ("u1",))).then(e.Noted("by hand", ("u1",)))


def test_a_task_holds_so_many_compensations_and_no_more() -> None:
    """[BOUND-1] However they come: planned, registered, or brought by its failure."""
    given().when(create(*MANY, UNDO)).then_refused(OverBound, bound="compensations", maximum=COMPENSATIONS_MAX)
    full = given(create(*MANY), acquire())
    full.when(register()).then_refused(OverBound, bound="compensations", maximum=COMPENSATIONS_MAX)
    full.when(fail(UNDO)).then_refused(OverBound, bound="compensations", maximum=COMPENSATIONS_MAX)
    full.when(register(MANY[3])).then_repeat(1)
    full.when(fail(MANY[3])).then(
        e.Failed(State.COMPENSATING, "failed", Failure("broken", "it broke"), fence=1, verb="fail")
    )


# --- texts -----------------------------------------------------------------------------------------------------------

LONG = "x" * (TEXT_CHARACTERS_MAX + 1)
CUT = "x" * (TEXT_CHARACTERS_MAX - 1) + "…"
HELD = given(create(UNDO), acquire())
UNDOING = HELD.given(fail(), acquire_undo())


@pytest.mark.parametrize(
    ("story", "command", "field"),
    [
        (given(), create(waiver=LONG), "waiver"),
        (HELD, release(reason=LONG), "reason"),
        (HELD, fail(waiver=LONG), "waiver"),
        (HELD, fail(error=Failure("x", LONG)), "error"),
        (HELD, register(Compensation("close", None, LONG, "u2")), "reason"),
        (HELD, retry(error=Failure("x", LONG, [1])), "error"),
        (HELD, cancel(LONG), "reason"),
        (HELD, cancel(LONG, now=True), "reason"),
        (HELD, quarantine(LONG), "reason"),
        (HELD, quarantine_held(error=Failure("x", LONG)), "reason"),
        (HELD, quarantine_held(error=Failure("x", LONG)), "error"),
        (HELD, note(LONG), "text"),
        (HELD, waive(reason=LONG), "reason"),
        (
            UNDOING,
            c.CompensationFailed(task="t", fence=2, compensation="u1", error=Failure("x", LONG), jitter=0),
            "error",
        ),
    ],
)
def test_a_text_past_its_bound_is_cut_and_shows_that_it_was(story: Scenario, command: c.Command, field: str) -> None:
    """[BOUND-3]"""
    decision = decide(story.task, command, 0, 0)
    assert not isinstance(decision, Repeat)
    value = getattr(decision[0], field)
    assert (value.message if isinstance(value, Failure) else value) == CUT
    task = story.task or TaskFold("t")
    evolve(task, decision[0], task.version + 1, 0)


def test_a_text_at_its_bound_is_kept() -> None:
    """[BOUND-3]"""
    given(create()).when(note(LONG[1:])).then(e.Noted(LONG[1:]))


def test_cutting_a_message_keeps_the_code_and_the_details() -> None:
    """[BOUND-3]"""
    HELD.when(retry(error=Failure("x", LONG, {"status": 500}))).then(
        e.Retried(1, "retry", Failure("x", CUT, {"status": 500}), "attempt", 10)
    )

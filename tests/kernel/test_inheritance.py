"""Folding a successor: what it inherits, keeps and takes for over, and what of that is a damaged log. [COMP-7]"""

from __future__ import annotations

import pytest

from sagalog.errors import LogDamaged
from sagalog.kernel import events as e
from sagalog.kernel.state import CompensationRecord, EndedWaits, StepRecord, TakenSignal
from sagalog.kernel.values import Compensation, KeptStep, KeptWaits, SignalEnd, State
from sagalog.testing import given
from tests.kernel.event_changes import folded, heir
from tests.kernel.making import (
    LATER_UNDO,
    UNDO,
    acquire,
    acquire_undo,
    compensation_done,
    create,
    inherited,
    leased,
    quarantine,
    registered,
)


def test_a_successor_that_only_undoes_owes_just_what_it_inherits() -> None:
    """[COMP-7] [RECORD-1] It begins compensating."""
    planned = (Compensation("close", id="u0"), UNDO)
    event = heir(State.COMPENSATING, compensations=planned, inherited=(inherited(),), outcome="cancelled")
    successor = given(event)
    assert (folded(successor).owed(), folded(successor).outcome) == (["u1"], "cancelled")
    assert list(folded(successor).compensations) == ["u1"]
    successor.given(acquire_undo()).when(compensation_done(fence=1)).then(
        e.CompensationDone("u1", 1), e.Compensated("cancelled", 1, "compensation_done")
    )


def test_an_inherited_undo_is_owed_at_once_and_keeps_its_place() -> None:
    """[COMP-7] It is owed before the first lease, and its place is among what is planned."""
    planned = (Compensation("close", id="u0"), UNDO)
    event = heir(compensations=planned, inherited=(inherited(UNDO, 1, 1), inherited(LATER_UNDO)))
    assert folded(given(event)).owed() == ["u1", "u2"]
    assert folded(given(event).given(acquire())).owed() == ["u0", "u1", "u2"]


@pytest.mark.parametrize(
    "damage",
    [
        heir(State.COMPENSATING, compensations=(UNDO,), outcome="failed"),
        heir(State.COMPENSATING, inherited=(inherited(),)),
        heir(predecessor=None, inherited=(inherited(),)),
        heir(predecessor=None, steps=(KeptStep("s1", "t0", 4),)),
        heir(inherited=(inherited(), inherited())),
        heir(steps=(KeptStep("s1", "t0", 4), KeptStep("s1", "t0", 5))),
        heir(State.COMPENSATING, inherited=(inherited(),), steps=(KeptStep("s1", "t0", 4),), outcome="failed"),
        heir(State.COMPENSATING, inherited=(inherited(),), waits=(KeptWaits("w", (-1,)),), outcome="failed"),
        heir(waits=(KeptWaits("w", (-1,)), KeptWaits("w", (-2,)))),
        heir(predecessor=None, waits=(KeptWaits("w", (-1,)),)),
        heir(waits=(KeptWaits("w", (-1, 0)),)),
        heir(waits=(KeptWaits("w", ()),)),
        heir(waits=(KeptWaits("w", (4, -1)),)),
    ],
    ids=[
        "inherits nothing",
        "says no outcome",
        "inherits from no predecessor",
        "keeps steps of no predecessor",
        "inherits one twice",
        "keeps a step twice",
        "only undoes and keeps steps",
        "only undoes and keeps waits",
        "keeps the waits of a name twice",
        "keeps waits of no predecessor",
        "keeps a gap behind its waits",
        "keeps a name and no wait of it",
        "keeps an end by its version",
    ],
)
def test_a_creation_whose_inheritance_cannot_be_is_a_damaged_log(damage: e.Created) -> None:
    """[COMP-7] [STEP-1]"""
    with pytest.raises(LogDamaged):
        folded(given(damage))


HEIR = given(
    heir(
        inherited=(inherited(), inherited(LATER_UNDO, 0, 1, "t00")),
        steps=(KeptStep("s1", "t0", 4, "u1"), KeptStep("s0", "t00", 9)),
    )
).given(leased())


def test_inherited_undos_and_steps_are_found_in_predecessors_streams() -> None:
    """[COMP-7] [STEP-1]"""
    task = folded(HEIR)
    assert task.sources == ("t0", "t00")
    assert task.compensations == {
        "u1": CompensationRecord("remove", 3, -1, "owed", source=1),
        "u2": CompensationRecord("close", 1, 0, "owed", source=2),
    }
    assert task.steps == {"s1": StepRecord(4, 0, 1, "u1"), "s0": StepRecord(9, 0, 2)}
    assert [task.stream_of(number) for number in (0, 1, 2)] == ["t", "t0", "t00"]


def test_waits_that_a_successor_takes_for_over_are_no_rounds_of_its_own() -> None:
    """[WAIT-1] [BOUND-1] Their numbers go on."""
    waits = (KeptWaits("poll", (-3, SignalEnd("t00", 7), -1)), KeptWaits("go", (SignalEnd("t0", 9),)))
    task = folded(given(heir(waits=waits)).given(leased(), e.Parked(1, "park", "poll", 6, until_ms=9)))
    assert task.sources == ("t00", "t0")
    assert task.waits == {
        "poll": EndedWaits(5, (-3, TakenSignal(7, 1), -1)),
        "go": EndedWaits(1, (TakenSignal(9, 2),)),
    }
    slept = TakenSignal(0)
    assert task.waits["poll"].places() == {1: slept, 2: slept, 3: slept, 4: TakenSignal(7, 1), 5: slept}
    assert (task.rounds, task.kept_wait_names) == (0, 2)


def test_a_wait_that_is_asked_anew_fills_its_gap() -> None:
    """[WAIT-1] Those behind it keep their numbers. However they end, what was one row of sleeps is one count again."""
    task = folded(given(heir(waits=(KeptWaits("w", (-1, 0, -2, 0, 0, SignalEnd("t0", 9))),))))
    taken = TakenSignal(9, 1)
    assert task.waits == {"w": EndedWaits(1, (-1,), (0, -2, 0, 0, taken))}
    assert task.waits["w"].places() == {1: TakenSignal(0), 3: TakenSignal(0), 4: TakenSignal(0), 7: taken}
    assert task.next_wait("w") == 2
    slept = task.waits["w"].and_more(-1)
    assert slept == EndedWaits(4, (-4,), (0, 0, taken))
    asked = slept.and_more(7)
    assert asked == EndedWaits(5, (-4, 7), (0, taken))
    assert asked.kept() == (-4, 0, 0, taken)
    assert asked.and_more(9) == EndedWaits(7, (-4, 7, 9, taken))
    assert asked.and_more(9).and_more(11).kept() == (-4, 0, 0, taken)
    assert EndedWaits().and_more(5).kept() == ()


def test_what_is_owed_at_the_end_is_void_but_for_what_is_left_over() -> None:
    """[COMP-6] [COMP-7] A note hands that over."""
    done = folded(HEIR.given(registered(Compensation("x", id="u3")), e.Completed(1, "complete", left=("u2",))))
    assert [(id, one.status, one.settled) for id, one in done.compensations.items()] == [
        ("u1", "void", 4),
        ("u2", "owed", 0),
        ("u3", "void", 4),
    ]
    assert done.compensations["u1"].source == 1
    noted = folded(HEIR.given(e.Completed(1, "complete", left=("u2",)), e.Noted(None, ("u2",), "t9", code="left_over")))
    assert (noted.owed(), noted.compensations["u2"].status, noted.successor_version) == ([], "noted", 4)


@pytest.mark.parametrize(
    "damage",
    [
        e.Completed(1, "complete"),
        e.Completed(1, "complete", left=("u1", "u2")),
        registered(Compensation("other", id="u2")),
        e.StepCompleted("s1", 1),
        e.StepCompleted("s2", 1, None, "u9"),
    ],
    ids=["leaves too little", "leaves too much", "another kind", "a kept step", "an undo that is not registered"],
)
def test_what_contradicts_what_a_successor_took_over_is_a_damaged_log(damage: e.Recordable) -> None:
    """[RECORD-1] [STEP-1]"""
    with pytest.raises(LogDamaged):
        folded(HEIR.given(damage))


def test_an_inherited_undo_that_is_registered_again_is_the_tasks_own() -> None:
    """[COMP-7] [REPEAT-3]"""
    mine = folded(HEIR.given(registered(LATER_UNDO)))
    assert list(mine.compensations) == ["u1", "u2"]
    assert mine.compensations["u2"] == CompensationRecord("close", 3, -1, "owed", 1)
    with pytest.raises(LogDamaged):
        folded(HEIR.given(registered(LATER_UNDO), registered(LATER_UNDO)))


def test_a_second_successor_or_one_of_a_living_task_is_a_damaged_log() -> None:
    """[REPEAT-7] [TERM-2]"""
    named = e.Noted(code="retried_as_new", successor="t2")
    ended = given(create(), quarantine())
    folded(ended.given(named))
    with pytest.raises(LogDamaged):
        folded(ended.given(named, named))
    with pytest.raises(LogDamaged):
        folded(given(create(), named))

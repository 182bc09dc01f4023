"""retry_as_new: another task takes the place of one that has ended, and owes what was left."""

from __future__ import annotations

import pytest

from sagalog.errors import NotFound, WrongState
from sagalog.kernel import events as e
from sagalog.kernel.decide import succeed
from sagalog.kernel.values import Compensation, State
from sagalog.testing import Scenario, given
from tests.kernel.making import (
    LATER_UNDO,
    UNDO,
    acquire,
    acquire_undo,
    cancel,
    complete,
    create,
    fail,
    finish,
    note,
    policy,
    quarantine,
    register,
    retry_as_new,
)

CREATED = e.Created(
    "build",
    "q",
    3,
    0,
    policy(),
    {"n": 1},
    compensations=(UNDO,),
    waiver="read only",
    tags={"team": "red"},
    affinity="gpu",
    key="k",
    parent="p",
    correlation_id="c",
    trace="00-1",
)
RUNNING = given(CREATED, acquire())
LEFT = RUNNING.given(register(LATER_UNDO), quarantine())
UNDOING = RUNNING.given(register(LATER_UNDO), fail(), acquire_undo())
STUCK = UNDOING.given(finish("u2"), quarantine())
ENDED = {
    "failed": given(create(), acquire(), fail(waiver="read only")),
    "compensated": UNDOING.given(finish("u2"), finish("u1")),
    "cancelled": given(CREATED, cancel()),
    "quarantined": LEFT,
}


@pytest.mark.parametrize("state", ENDED)
def test_what_has_ended_is_retried_by_a_note_that_names_its_successor(state: str) -> None:
    """[TERM-2] [COMP-7]"""
    ended = ENDED[state]
    assert ended.task is not None
    owed = tuple(ended.task.owed())
    after = ended.when(retry_as_new("t2")).then(e.Noted("retried as t2", owed, "t2"))
    assert after.task is not None
    assert (after.task.state, after.task.owed()) == (state, [])


def test_a_second_time_is_a_repeat_whatever_successor_was_drawn() -> None:
    """[REPEAT-7]"""
    retried = LEFT.given(retry_as_new("t2"), note("seen"))
    retried.when(retry_as_new("t3")).then_repeat(LEFT.task.version + 1 if LEFT.task else 0)


@pytest.mark.parametrize("story", [given(CREATED), RUNNING, RUNNING.given(fail()), UNDOING, RUNNING.given(complete())])
def test_what_lives_or_has_completed_is_not_retried(story: Scenario) -> None:
    """[TERM-2]"""
    assert story.task is not None
    story.when(retry_as_new()).then_refused(WrongState, task="t", state=str(story.task.state))


def test_nobody_is_retried_who_never_was() -> None:
    given().when(retry_as_new()).then_refused(NotFound, task="t")


def successor_of(story: Scenario, *owed: Compensation) -> Scenario:
    """The story of the successor, from its creation on."""
    assert story.task is not None
    return given(succeed(story.task, CREATED, owed, "t"), now_ms=50)


def created(story: Scenario, *owed: Compensation) -> e.Created:
    assert story.task is not None
    event = given().when(succeed(story.task, CREATED, owed, "t"), now_ms=50).decision
    assert isinstance(event, tuple)
    assert isinstance(event[0], e.Created)
    return event[0]


def test_a_successor_is_the_same_work_due_now() -> None:
    """[TERM-2] [RECORD-2]"""
    event = created(ENDED["compensated"])
    assert (event.kind, event.queue, event.priority, event.payload) == ("build", "q", 3, {"n": 1})
    assert (event.policy, event.compensations, event.tags, event.key) == (policy(), (UNDO,), {"team": "red"}, "k")
    assert (event.waiver, event.affinity, event.parent) == ("read only", "gpu", "p")
    assert (event.correlation_id, event.trace) == ("c", "00-1")
    assert (event.predecessor, event.run_at_ms, event.to, event.inherited) == ("t", 50, State.PENDING, ())


def test_where_work_was_left_the_successor_works_and_owes_the_rest_before_its_first_lease() -> None:
    """[COMP-7]"""
    heir = successor_of(LEFT, UNDO, LATER_UNDO)
    assert heir.task is not None
    assert (heir.task.state, heir.task.owed(), heir.task.leases) == (State.PENDING, ["u1", "u2"], 0)
    heir.when(cancel()).then(e.Cancelled(State.COMPENSATING))


def test_what_a_later_attempt_registers_again_is_the_inherited_one() -> None:
    """[COMP-7] [REPEAT-3]"""
    successor_of(LEFT, UNDO, LATER_UNDO).given(acquire()).when(register(LATER_UNDO)).then_repeat(1)


def test_where_only_undoing_was_left_the_successor_only_undoes() -> None:
    """[COMP-7] [COMP-6]"""
    heir = successor_of(STUCK, UNDO)
    assert heir.task is not None
    assert (heir.task.state, heir.task.owed(), heir.task.outcome) == (State.COMPENSATING, ["u1"], "failed")
    heir.given(acquire_undo()).when(finish(fence=1)).then(e.CompensationDone("u1", 1), e.Compensated("failed"))


def test_who_only_undoes_what_was_called_off_ends_as_called_off() -> None:
    """[COMP-7] [COMP-6]"""
    stuck = RUNNING.given(cancel(now=True), acquire_undo(), quarantine())
    heir = successor_of(stuck, UNDO)
    heir.given(acquire_undo()).when(finish(fence=1)).then(e.CompensationDone("u1", 1), e.Compensated("cancelled"))


def test_a_successor_that_only_undid_is_retried_with_all_that_was_planned_at_first() -> None:
    """[COMP-7] What was undone on the way must be undone again after new work."""
    first = created(STUCK, UNDO)
    undone = given(first, acquire_undo(), finish(fence=1)).task
    assert undone is not None
    second = succeed(undone, first, (), "t3")
    assert (second.to, second.compensations, second.inherited) == (State.PENDING, (UNDO,), ())


def test_a_human_who_settled_everything_leaves_work_to_be_done_anew() -> None:
    """[COMP-7] [COMP-6]"""
    settled = STUCK.given(note("by hand", ("u1",)))
    assert created(settled).to is State.PENDING

"""cancel, quarantine, note: what people may do to a task, whichever worker holds it."""

from __future__ import annotations

import pytest

from sagalog.errors import LeaseLost, NotFound, TerminalTask, WrongState
from sagalog.kernel import events as e
from sagalog.kernel.values import Failure, State
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
    maintain,
    note,
    quarantine,
    quarantine_held,
    release,
    waive,
)

PENDING = given(create(UNDO))
RUNNING = PENDING.given(acquire())
COMPENSATING = RUNNING.given(fail())
COMPLETED = RUNNING.given(complete())
FAILED = given(create(), acquire(), fail(waiver="read only"))
COMPENSATED = COMPENSATING.given(acquire_undo(), compensation_done())
CANCELLED = PENDING.given(cancel("too late"))
QUARANTINED = RUNNING.given(quarantine())
ENDED = {"completed": COMPLETED, "failed": FAILED, "compensated": COMPENSATED, "quarantined": QUARANTINED}

# --- cancel ----------------------------------------------------------------------------------------------------------


def test_a_pending_task_is_cancelled_at_once() -> None:
    """[CANCEL-1]"""
    cancelled = PENDING.when(cancel("too late")).then(e.Cancelled(State.CANCELLED, "too late"))
    assert cancelled.task is not None
    assert cancelled.task.reason_version == 2


def test_a_pending_task_that_owes_something_is_undone_first() -> None:
    """[CANCEL-1] [COMP-6]"""
    RUNNING.given(release()).when(cancel()).then(e.Cancelled(State.COMPENSATING))


def test_a_running_task_is_asked_to_stop_and_goes_on_until_its_lease_ends() -> None:
    """[CANCEL-1]"""
    asked = RUNNING.when(cancel("too late")).then(e.CancelRequested("too late"))
    assert asked.task is not None
    assert (asked.task.state, asked.task.cancel_version) == (State.RUNNING, 3)


def test_a_running_task_is_cancelled_now_and_its_worker_loses_its_lease() -> None:
    """[CANCEL-1] [FENCE-2]"""
    story = RUNNING.when(cancel(now=True)).then(e.Cancelled(State.COMPENSATING, None, 1, "cancel"))
    story.when(complete()).then_refused(LeaseLost, fence=1, state="compensating")


def test_asking_again_writes_nothing_unless_it_asks_for_more() -> None:
    """[CANCEL-3]"""
    asked = RUNNING.given(cancel("first"))
    asked.when(cancel("second")).then_nothing()
    asked.when(cancel(now=True)).then(e.Cancelled(State.COMPENSATING, None, 1, "cancel"))


@pytest.mark.parametrize("now", [False, True])
def test_cancelling_a_task_that_is_being_undone_writes_nothing(now: bool) -> None:
    """[CANCEL-1] [CANCEL-3]"""
    COMPENSATING.when(cancel(now=now)).then_nothing()
    COMPENSATING.given(acquire_undo()).when(cancel(now=now)).then_nothing()


def test_cancelling_a_task_that_was_cancelled_writes_nothing() -> None:
    """[CANCEL-3]"""
    CANCELLED.when(cancel()).then_nothing()
    undoing = RUNNING.given(cancel(now=True), acquire_undo())
    undoing.given(compensation_done(fence=2)).when(cancel()).then_nothing()
    undoing.given(quarantine()).when(cancel()).then_refused(TerminalTask, state="quarantined")


@pytest.mark.parametrize("state", ENDED)
def test_cancelling_a_task_that_ended_otherwise_is_refused(state: str) -> None:
    """[TERM-1] [CANCEL-3]"""
    ENDED[state].when(cancel()).then_refused(TerminalTask, task="t", state=state)


def test_a_task_asked_to_stop_is_cancelled_when_its_worker_is_gone() -> None:
    """[CANCEL-2] Also where the expiry would have spent a budget."""
    asked = given(create(UNDO, expiries_max=1), acquire(), cancel())
    asked.when(maintain(), now_ms=100).then(e.LeaseExpired(1, "expire", "clock"), e.Cancelled(State.COMPENSATING))


# --- quarantine ------------------------------------------------------------------------------------------------------


def test_a_quarantine_names_what_is_owed_and_ends_the_lease() -> None:
    """[COMP-6]"""
    held = RUNNING.when(quarantine("odd")).then(e.Quarantined("operator", "odd", None, ("u1",), 1, "quarantine"))
    held.when(complete()).then_refused(LeaseLost, state="quarantined")
    PENDING.when(quarantine()).then(e.Quarantined("operator", "odd"))
    COMPENSATING.when(quarantine()).then(e.Quarantined("operator", "odd", None, ("u1",)))


def test_quarantining_again_under_the_same_code_is_a_repeat() -> None:
    """[CANCEL-3] The caller, who can read its words, compares them. [REPEAT-6]"""
    QUARANTINED.when(quarantine()).then_repeat(QUARANTINED.task.version)  # type: ignore[union-attr]
    QUARANTINED.when(quarantine(code="audit")).then_refused(TerminalTask, state="quarantined")


def test_a_holders_quarantine_by_a_telling_code_is_repeated_by_that_code() -> None:
    """[CANCEL-3] [RECORD-6]"""
    put_aside = RUNNING.given(cancel("too late"), quarantine_held(error=Failure("interrupted", "")))
    assert put_aside.task is not None
    put_aside.when(quarantine(code="interrupted")).then_repeat(put_aside.task.version)


def test_an_ended_task_is_not_quarantined() -> None:
    """[TERM-1]"""
    COMPLETED.when(quarantine()).then_refused(TerminalTask, state="completed")


# --- note ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "story",
    [PENDING, RUNNING, COMPENSATING, CANCELLED, *ENDED.values()],
    ids=lambda story: story.task.state.value,
)
def test_a_note_is_accepted_in_every_state_and_leaves_it_as_it_is(story: Scenario) -> None:
    """[TERM-1]"""
    noted = story.when(note("seen")).then(e.Noted("seen"))
    assert noted.task is not None
    assert story.task is not None
    assert noted.task.state is story.task.state
    assert noted.task.lease == story.task.lease


def test_a_note_settles_what_a_quarantine_left() -> None:
    """[COMP-6]"""
    left = given(create(UNDO, LATER_UNDO), acquire(), quarantine())
    settled = left.when(note("by hand", ("u1",))).then(e.Noted("by hand", ("u1",)))
    assert settled.task is not None
    assert settled.task.owed() == ["u2"]
    settled.when(note("again", ("u1",))).then_refused(NotFound, task="t", compensation="u1")
    settled.when(note("the rest", ("u2", "u2"))).then(e.Noted("the rest", ("u2",)))


def test_a_note_settles_nothing_of_a_live_task() -> None:
    """[COMP-6]"""
    COMPENSATING.when(note("by hand", ("u1",))).then_refused(WrongState, task="t", state="compensating")


def test_a_note_that_names_something_unknown_settles_nothing_at_all() -> None:
    """[COMP-6]"""
    QUARANTINED.when(note("by hand", ("u1", "u9"))).then_refused(NotFound, compensation="u9")


def test_a_quarantined_task_knows_which_undos_were_waived_before() -> None:
    """[COMP-6]"""
    story = given(create(UNDO, LATER_UNDO), acquire(), waive("u2"))
    story.when(quarantine()).then(e.Quarantined("operator", "odd", None, ("u1",), 1, "quarantine"))

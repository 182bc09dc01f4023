"""retry_as_new: another task takes the place of one that has ended, and owes what was left."""

from __future__ import annotations

import msgspec
import pytest

from sagalog.errors import NotFound, Rejected, ResultRequired, WaitOver, WrongState
from sagalog.kernel import commands as c
from sagalog.kernel import events as e
from sagalog.kernel.decide import Repeat, succeed, undo_left
from sagalog.kernel.values import Compensation, Inherited, KeptStep, KeptWaits, SignalEnd, State, UnrecordedStep
from sagalog.testing import Scenario, given
from tests.kernel.making import (
    ERROR,
    LATER_UNDO,
    UNDO,
    acquire,
    acquire_undo,
    cancel,
    compensation_done,
    complete,
    create,
    fail,
    note,
    park,
    policy,
    quarantine,
    quarantine_held,
    register,
    registered,
    retry_as_new,
    signal,
    step,
    waive,
)

CREATED = e.Created(
    "build",
    "q",
    3,
    0,
    policy(),
    State.PENDING,
    {"n": 1},
    compensations=(UNDO,),
    waiver="read only",
    tags={"team": "red"},
    affinity="gpu",
    key="k",
    parent="p",
    correlation_id="c",
    trace="00-1",
    tracestate="v=1",
    data_key="tenant",
)
RUNNING = given(CREATED, acquire())
LEFT = RUNNING.given(register(LATER_UNDO), quarantine())
UNDOING = RUNNING.given(register(LATER_UNDO), fail(), acquire_undo())
STUCK = UNDOING.given(compensation_done("u2"), quarantine())
ENDED = {
    "failed": given(create(), acquire(), fail(waiver="read only")),
    "compensated": UNDOING.given(compensation_done("u2"), compensation_done("u1")),
    "cancelled": given(CREATED, cancel()),
    "quarantined": LEFT,
}


@pytest.mark.parametrize("state", ENDED)
def test_what_has_ended_is_retried_by_a_note_that_names_its_successor(state: str) -> None:
    """[TERM-2] [COMP-7]"""
    ended = ENDED[state]
    assert ended.task is not None
    owed = tuple(ended.task.owed())
    after = ended.when(retry_as_new("t2")).then(e.Noted(None, owed, "t2", code="retried_as_new"))
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


def test_a_task_that_never_was_is_not_retried() -> None:
    given().when(retry_as_new()).then_refused(NotFound, task="t")


def created(story: Scenario) -> e.Created:
    """The creation of the successor, 50 ms after the beginning."""
    assert story.task is not None
    create = msgspec.structs.replace(succeed(story.task, CREATED, "t2"), task="t")
    event = given().when(create, now_ms=50).decision
    assert isinstance(event, tuple)
    assert isinstance(event[0], e.Created)
    return event[0]


def successor_of(story: Scenario) -> Scenario:
    """The story of the successor, from its creation on."""
    return given(created(story), now_ms=50)


def test_a_successor_is_the_same_work_due_now() -> None:
    """[TERM-2] [RECORD-2]"""
    event = created(ENDED["compensated"])
    assert (event.kind, event.queue, event.priority, event.payload) == ("build", "q", 3, {"n": 1})
    assert (event.policy, event.compensations, event.tags, event.key) == (policy(), (UNDO,), {"team": "red"}, "k")
    assert (event.waiver, event.affinity, event.parent) == ("read only", "gpu", "p")
    assert (event.correlation_id, event.trace, event.tracestate) == ("c", "00-1", "v=1")
    assert event.data_key == "tenant"
    assert (event.predecessor, event.run_at_ms, event.to, event.inherited) == ("t", 50, State.PENDING, ())


def test_a_successor_of_unfinished_work_owes_the_rest_at_once() -> None:
    """[COMP-7] It works, and owes before its first lease."""
    heir = successor_of(LEFT)
    assert heir.task is not None
    assert (heir.task.state, heir.task.owed(), heir.task.leases) == (State.PENDING, ["u1", "u2"], 0)
    heir.when(cancel()).then(e.Cancelled(State.COMPENSATING))


def test_registered_undos_are_inherited_and_planned_ones_planned_again() -> None:
    """[COMP-7] The params are in the stream of the task that registered it, however many generations ago."""
    first = created(LEFT)
    assert first.inherited == (Inherited("u1", "remove", "t", 1, 0), Inherited("u2", "close", "t", 3, -1))
    again = given(msgspec.structs.replace(first, predecessor="t0"), acquire(), quarantine())
    assert again.task is not None
    second = succeed(again.task, first, "t3")
    assert second.inherited == (Inherited("u1", "remove", "t", 1, 0), Inherited("u2", "close", "t", 3, -1))


def test_what_the_successor_registers_again_is_its_own_from_then_on() -> None:
    """[COMP-7] [REPEAT-3]"""
    again = successor_of(LEFT).given(acquire()).when(register(LATER_UNDO)).then(registered(LATER_UNDO))
    again.when(register(LATER_UNDO)).then_repeat(3)
    again.when(register(UNDO)).then_repeat(1)
    again.when(complete()).then(e.Completed(1, "complete"))


def test_a_task_quarantined_in_its_work_hands_on_its_steps() -> None:
    """[STEP-1] The successor has them by reference. One that kept them itself hands on where they are."""
    worked = RUNNING.given(register(LATER_UNDO), step(compensation="u2"), step("s2"))
    first = created(worked.given(quarantine()))
    assert first.steps == (KeptStep("s1", "t", 4, "u2"), KeptStep("s2", "t", 5))
    again = given(first, id="t2").given(acquire(), step("s3")).given(quarantine())
    assert again.task is not None
    second = succeed(again.task, first, "t3")
    assert second.steps == (KeptStep("s1", "t", 4, "u2"), KeptStep("s2", "t", 5), KeptStep("s3", "t2", 3))


def test_sleeps_and_taken_signals_are_handed_on_and_other_waits_not() -> None:
    """[WAIT-1] What else has ended is asked anew.

    Neither time nor the ends of tasks are kept: where they are before what is kept, there is a gap.
    """
    waited = given(CREATED, acquire(ttl_ms=None))
    waits: list[tuple[c.Park, c.Command | None]] = [
        (park("w", until_ms=1), None),
        (park("w", signal="go", until_ms=1), None),
        (park("w", until_ms=1), None),
        (park("w", signal="go"), signal("go")),
        (park("kids", after=("kid",), ended=("kid",)), None),
        (park("late", signal="go", until_ms=1), None),
    ]
    for wait, end in waits:
        task = waited.task
        assert task is not None
        wait = msgspec.structs.replace(wait, fence=task.fence, number=task.next_wait(wait.name))
        waited = waited.given(wait, *([end] if end else []), acquire(ttl_ms=None), now_ms=5)
    first = created(waited.given(quarantine()))
    [kept] = first.waits
    taken = SignalEnd("t", 14)
    assert kept == KeptWaits("w", (-1, 0, -1, taken))
    again = given(first, id="t2").given(acquire())
    again.when(park("w", 1, signal="go", number=1)).then_refused(WaitOver, next=2)
    again.when(park("w", 1, signal="go", number=5)).then_refused(Rejected, next=2)
    again = again.given(park("w", 1, signal="go", number=2), signal("go"), acquire())
    again.when(park("w", 2, signal="go", number=4)).then_refused(WaitOver, next=5)
    again = again.given(quarantine())
    assert again.task is not None
    assert succeed(again.task, first, "t3").waits == (KeptWaits("w", (-1, SignalEnd("t2", 5), -1, taken)),)


@pytest.mark.parametrize("state", ["failed", "compensated", "cancelled"])
def test_any_other_successor_begins_with_no_steps(state: str) -> None:
    """[STEP-1]"""
    stories = {
        "failed": given(create(), acquire(), step(), fail(waiver="read only")),
        "compensated": RUNNING.given(step(), fail(), acquire_undo(), compensation_done()),
        "cancelled": given(create(), acquire(), step(), cancel(now=True)),
    }
    ended = stories[state].task
    assert ended is not None
    assert ended.state == state
    assert created(stories[state]).steps == ()


def test_one_that_was_quarantined_while_it_was_undone_hands_on_no_steps() -> None:
    """[STEP-1] [COMP-7]"""
    stuck = RUNNING.given(step(), fail(), acquire_undo(), quarantine())
    assert (created(stuck).to, created(stuck).steps) == (State.COMPENSATING, ())
    assert created(stuck.given(note("by hand", ("u1",)))).steps == ()


def test_a_kept_step_is_a_repeat_of_what_a_predecessor_recorded() -> None:
    """[STEP-1] [REPEAT-3]"""
    heir = successor_of(RUNNING.given(step(), quarantine())).given(acquire())
    outcome = heir.when(step()).decision
    assert outcome == Repeat(3, "t")


UNRECORDED = RUNNING.given(
    register(LATER_UNDO),
    c.QuarantineHeld(task="t", fence=1, error=ERROR, steps=(UnrecordedStep("s9", "u2"),)),
)


def test_a_step_that_could_not_be_recorded_needs_a_result_or_runs_again() -> None:
    """[STEP-1]"""
    UNRECORDED.when(retry_as_new()).then_refused(ResultRequired, task="t", steps=["s9"])
    UNRECORDED.when(retry_as_new(rerun=("s8",))).then_refused(NotFound, task="t", step="s8")
    LEFT.when(retry_as_new(results={"s9": 1})).then_refused(NotFound, task="t", step="s9")
    again = e.Noted(None, ("u1", "u2"), "t2", rerun=("s9",), code="retried_as_new")
    UNRECORDED.when(retry_as_new(rerun=("s9",))).then(again)
    given_by = e.Noted(None, ("u1", "u2"), "t2", {"s9": 1}, code="retried_as_new")
    UNRECORDED.when(retry_as_new(results={"s9": 1})).then(given_by)


def test_each_of_several_steps_that_had_begun_needs_a_word() -> None:
    """[STEP-1]"""
    several = given(create(), acquire(), quarantine_held(1, ERROR, UnrecordedStep("a"), UnrecordedStep("b")))
    several.when(retry_as_new()).then_refused(ResultRequired, steps=["a", "b"])
    several.when(retry_as_new(results={"b": 1})).then_refused(ResultRequired, steps=["a"])
    several.when(retry_as_new(results={"b": 1}, rerun=("a",))).then(
        e.Noted(None, (), "t2", {"b": 1}, ("a",), code="retried_as_new")
    )
    assert several.task is not None
    assert succeed(several.task, CREATED, "t2", ("b",), ("a",)).steps == (KeptStep("b", "t", 4),)


UNDONE = RUNNING.given(register(LATER_UNDO), step(compensation="u2"), step("s2"), quarantine())


def test_a_step_whose_undo_a_note_has_settled_needs_a_word_too() -> None:
    """[STEP-1] [COMP-7] Where the successor would keep it, and no other step."""
    UNDONE.when(retry_as_new(rerun=("s1",))).then_refused(NotFound, step="s1")
    settled = UNDONE.given(note("refunded by hand", ("u2",)))
    settled.when(retry_as_new()).then_refused(ResultRequired, task="t", steps=["s1"])
    settled.when(retry_as_new(rerun=("s1", "s2"))).then_refused(NotFound, step="s2")
    settled.when(retry_as_new(rerun=("s1",))).then(e.Noted(None, ("u1",), "t2", rerun=("s1",), code="retried_as_new"))
    assert settled.task is not None
    again = succeed(settled.task, CREATED, "t2", (), ("s1",)).steps
    kept = succeed(settled.task, CREATED, "t2", ("s1",)).steps
    version = settled.task.version
    assert again == (KeptStep("s2", "t", version - 2),)
    assert kept == (KeptStep("s1", "t", version + 1, "u2"), KeptStep("s2", "t", version - 2))
    RUNNING.given(step(), fail(), acquire_undo(), quarantine(), note("by hand", ("u1",))).when(retry_as_new()).then(
        e.Noted(None, (), "t2", code="retried_as_new")
    )


def test_a_result_that_is_given_is_in_the_note_and_names_its_undo() -> None:
    """[STEP-1] [COMP-7] The step names it."""
    assert UNRECORDED.task is not None
    assert succeed(UNRECORDED.task, CREATED, "t2", ("s9",)).steps == (KeptStep("s9", "t", 5, "u2"),)
    assert succeed(UNRECORDED.task, CREATED, "t2").steps == ()


# --- what no work of a completed successor replaces -----------------------------------------------------------------

EXTRA = Compensation("close", {"n": 3}, None, "u3")
THREE = RUNNING.given(register(LATER_UNDO), register(EXTRA), step(compensation="u2"), quarantine())


def test_planned_and_step_undos_are_void_and_the_rest_is_handed_over() -> None:
    """[COMP-6] [COMP-7]"""
    heir = successor_of(THREE).given(acquire())
    handed = (e.Completed(1, "complete", left=("u3",)), e.Noted(None, ("u3",), "t9", code="left_over"))
    done = heir.when(complete(undoer="t9")).then(*handed)
    assert done.task is not None
    statuses = {id: one.status for id, one in done.task.compensations.items()}
    assert statuses == {"u1": "void", "u2": "void", "u3": "noted"}
    heir.when(complete()).then_refused(Rejected)


@pytest.mark.parametrize("stands", [register(EXTRA), step("s2", compensation="u3"), waive("u3")])
def test_nothing_is_handed_over_where_each_undo_has_a_replacement(stands: c.Command) -> None:
    """[COMP-7]"""
    successor_of(THREE).given(acquire(), stands).when(complete(undoer="t9")).then(e.Completed(1, "complete"))


def test_a_repeated_completion_hands_nothing_over_again() -> None:
    """[REPEAT-5]"""
    done = successor_of(THREE).given(acquire(), complete(undoer="t9"))
    done.when(complete(undoer="t8")).then_repeat(3)


def undoing_what_is_left() -> Scenario:
    """The story of the task that undoes what a completed one has left."""
    done = successor_of(THREE).given(acquire(), complete(undoer="t9")).task
    assert done is not None
    return given(msgspec.structs.replace(undo_left(done, CREATED, ("u3",), "t9"), task="t"))


def test_what_is_left_is_undone_by_a_task_that_does_none_of_the_work() -> None:
    """[COMP-7] [TERM-2] It has no work to be retried for either."""
    undoing = undoing_what_is_left()
    assert undoing.task is not None
    assert (undoing.task.state, undoing.task.owed(), undoing.task.outcome) == (State.COMPENSATING, ["u3"], "completed")
    undone = undoing.given(acquire_undo()).when(compensation_done("u3", 1))
    after = undone.then(e.CompensationDone("u3", 1), e.Compensated("completed", 1, "compensation_done"))
    after.when(retry_as_new()).then_refused(WrongState, task="t", state="compensated")


def test_an_undo_left_over_that_gets_stuck_is_retried_until_it_is_done() -> None:
    """[COMP-7] [TERM-2] Retries go on until nothing is owed."""
    stuck = undoing_what_is_left().given(acquire_undo(), quarantine())
    stuck.when(retry_as_new("t10")).then(e.Noted(None, ("u3",), "t10", code="retried_as_new"))
    assert (created(stuck).to, created(stuck).outcome) == (State.COMPENSATING, "completed")
    by_hand = stuck.given(note("by hand", ("u3",)))
    by_hand.when(retry_as_new()).then_refused(WrongState, task="t", state="quarantined")
    stuck.given(retry_as_new("t10")).when(retry_as_new("t11")).then_repeat(4)


def test_where_only_undoing_was_left_the_successor_only_undoes() -> None:
    """[COMP-7] [COMP-6]"""
    heir = successor_of(STUCK)
    assert heir.task is not None
    assert (heir.task.state, heir.task.owed(), heir.task.outcome) == (State.COMPENSATING, ["u1"], "failed")
    heir.given(acquire_undo()).when(compensation_done(fence=1)).then(
        e.CompensationDone("u1", 1), e.Compensated("failed", 1, "compensation_done")
    )


def test_who_only_undoes_what_was_called_off_ends_as_called_off() -> None:
    """[COMP-7] [COMP-6]"""
    stuck = RUNNING.given(cancel(now=True), acquire_undo(), quarantine())
    heir = successor_of(stuck)
    heir.given(acquire_undo()).when(compensation_done(fence=1)).then(
        e.CompensationDone("u1", 1), e.Compensated("cancelled", 1, "compensation_done")
    )


def test_a_successor_that_only_undid_is_retried_with_the_first_plan() -> None:
    """[COMP-7] What was undone on the way must be undone again after new work."""
    first = created(STUCK)
    undone = given(first, acquire_undo(), compensation_done(fence=1)).task
    assert undone is not None
    second = succeed(undone, first, "t3")
    assert (second.outcome, second.compensations, second.inherited) == (None, (UNDO,), ())


def test_a_human_who_settled_everything_leaves_work_to_be_done_anew() -> None:
    """[COMP-7] [COMP-6]"""
    settled = STUCK.given(note("by hand", ("u1",)))
    assert created(settled).to is State.PENDING

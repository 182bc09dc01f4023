"""Folding a damaged log: it is seen, named, and not folded."""

from __future__ import annotations

import msgspec
import pytest

from sagalog.errors import LogDamaged
from sagalog.kernel import events as e
from sagalog.kernel.contradictions import contradiction
from sagalog.kernel.ends import digest_of_ends
from sagalog.kernel.evolve import evolve, evolve_store, fold
from sagalog.kernel.state import StoreFold, TaskFold
from sagalog.kernel.values import Compensation, Seen, State, TaskEnd, UnrecordedStep
from sagalog.testing import Scenario, given
from tests.kernel.making import (
    ERROR,
    LATER_UNDO,
    TTL_MS,
    UNDO,
    cancel,
    compensation_done,
    ends,
    fail,
    in_epoch,
    leased,
    park,
    policy,
    quarantine,
    registered,
    release,
    signal,
    step,
    unblocked_by_tasks,
    waive,
)

CREATED = e.Created("build", "q", 0, 0, policy(), State.PENDING, compensations=(UNDO, LATER_UNDO))
PENDING = given(CREATED)
RUNNING = PENDING.given(leased())
OWING = RUNNING.given(fail())
UNDOING = OWING.given(leased(2, purpose="undo"))
PARKED = RUNNING.given(park(signal="go"))
TIMED = given(e.Created("build", "q", 0, 0, policy(), State.PENDING, deadline_ms=90, start_by_ms=80))
ARTIFACT = e.ArtifactPut("log", 2, "ab" * 32, 3, "text/plain")


def folded(story: Scenario) -> TaskFold:
    assert story.task is not None
    return story.task


@pytest.mark.parametrize("version", [0, 1, 2, 4, 5])
def test_a_version_out_of_turn_is_damage(version: int) -> None:
    """[LOG-1] [RECORD-1] A gap, a repeat, or a step back."""
    with pytest.raises(LogDamaged, match="version 3 was expected"):
        evolve(folded(RUNNING), e.Completed(1, "complete"), version, 0)


def test_a_stream_that_does_not_begin_with_its_creation_is_damage() -> None:
    """[LIFE-1]"""
    with pytest.raises(LogDamaged, match="the task is unborn"):
        fold("t", [(leased(), 1, 0)])
    with pytest.raises(LogDamaged):
        fold("t", [(CREATED, 1, 0), (CREATED, 2, 0)])


DAMAGE: dict[str, tuple[Scenario, e.Recordable]] = {
    "a second lease": (UNDOING, leased(3, purpose="undo")),
    "a fence that skips a lease": (PENDING, leased(2)),
    "a fence that is given again": (RUNNING.given(release()), leased(1)),
    "a fence that falls back to an older epoch": (
        PENDING.given(leased(in_epoch(2, 1)), e.Released(in_epoch(2, 1), "release", 0)),
        leased(in_epoch(1, 2)),
    ),
    "a lease to undo what is not being undone": (PENDING, leased(1, purpose="undo")),
    "a lease to work on what is being undone": (OWING, leased(2)),
    "a heartbeat under another fence": (RUNNING, e.Heartbeat(2)),
    "a heartbeat of no holder": (OWING, e.Heartbeat(1)),
    "a release under another fence": (RUNNING, e.Released(2, "release", 0)),
    "an expiry of another lease": (RUNNING, e.LeaseExpired(2, "expire", "clock")),
    "a retry under another fence": (RUNNING, e.Retried(2, "retry", ERROR, "attempt", 0)),
    "a completion under another fence": (RUNNING, e.Completed(2, "complete")),
    "a failure under another fence": (RUNNING, e.Failed(State.COMPENSATING, "failed", fence=2, verb="fail")),
    "a failure that leaves the lease": (RUNNING, e.Failed(State.COMPENSATING, "failed")),
    "a failure under a fence where no worker holds the task": (PENDING, e.Failed(State.FAILED, "failed", fence=1)),
    "a cancel that leaves the lease": (RUNNING, e.Cancelled(State.COMPENSATING)),
    "a quarantine that leaves the lease": (RUNNING, e.Quarantined("operator")),
    "a registration under another fence": (RUNNING, e.CompensationRegistered("u3", "x", 2)),
    "a compensation registered twice": (RUNNING.given(registered(Compensation("x", id="u3"))), registered(UNDO)),
    "a failure that leaves something owed": (RUNNING, e.Failed(State.FAILED, "failed", fence=1, verb="fail")),
    "a cancel that leaves something owed": (RUNNING, e.Cancelled(State.CANCELLED, fence=1, verb="cancel")),
    "an end of undoing that ends no lease": (
        UNDOING.given(e.CompensationDone("u2", 2), e.CompensationDone("u1", 2)),
        e.Compensated("failed"),
    ),
    "an end of undoing that leaves something owed": (UNDOING, e.Compensated("failed")),
    "an undo out of order": (UNDOING, e.CompensationDone("u1", 2)),
    "an undo under another fence": (UNDOING, e.CompensationDone("u2", 1)),
    "an undo of what is not on record": (UNDOING, e.CompensationDone("u9", 2)),
    "an undo that is done twice": (UNDOING.given(compensation_done("u2")), e.CompensationDone("u2", 2)),
    "a failed undo under another fence": (UNDOING, e.CompensationFailed("u2", 1, "compensation_failed", ERROR, 0)),
    "a waiver of what is not on record": (PENDING, e.CompensationWaived("u9", "gone")),
    "a waiver of what is settled": (UNDOING.given(compensation_done("u2")), e.CompensationWaived("u2", "gone")),
    "a note that settles what is settled": (
        UNDOING.given(compensation_done("u2"), quarantine()),
        e.Noted("by hand", ("u2",)),
    ),
    "a failure that leads nowhere a failure leads": (RUNNING, e.Failed(State.PENDING, "failed", fence=1)),
    "an outcome of work that is still to be done": (
        given(),
        e.Created("b", "q", 0, 0, policy(), State.PENDING, outcome="failed"),
    ),
    "a failure that leads to undoing nothing": (
        RUNNING.given(waive("u1"), waive("u2")),
        e.Failed(State.COMPENSATING, "failed", fence=1, verb="fail"),
    ),
    "a cancel that leads to undoing nothing": (PENDING, e.Cancelled(State.COMPENSATING)),
    "a creation that is over at once": (given(), e.Created("build", "q", 0, 0, policy(), to=State.COMPLETED)),
    "a step under another fence": (RUNNING, e.StepCompleted("s1", 2)),
    "a step without a record that has one": (
        RUNNING.given(step()),
        e.Quarantined("unstorable_result", fence=1, verb="quarantine", steps=(UnrecordedStep("s1"),)),
    ),
    "a step without a record that is named twice": (
        RUNNING,
        e.Quarantined("odd", fence=1, verb="quarantine", steps=(UnrecordedStep("s1"), UnrecordedStep("s1"))),
    ),
    "a step without a record whose undo has none": (
        RUNNING,
        e.Quarantined("odd", fence=1, verb="quarantine", steps=(UnrecordedStep("s1", "u9"),)),
    ),
    "a step that is recorded twice": (RUNNING.given(step()), e.StepCompleted("s1", 1)),
    "a step of an undo": (UNDOING, e.StepCompleted("s1", 2)),
    "an artifact under another fence": (RUNNING, ARTIFACT),
    "an artifact of no holder": (PENDING, ARTIFACT),
    "a wait that another fence begins": (RUNNING, e.Parked(2, "park", "w", 1, "go")),
    "a wait that is begun again": (PARKED.given(signal(), leased(2)), e.Parked(2, "park", "w", 1, "go")),
    "a wait that leaves one of its name out": (RUNNING, e.Parked(1, "park", "w", 2, "go")),
    "a wait of a number that is over": (
        PARKED.given(signal(), leased(2), e.Parked(2, "park", "w", 2, "go"), signal(), leased(3)),
        e.Parked(3, "park", "w", 2, "go"),
    ),
    "an end of another wait of that name": (PARKED, e.Unblocked("w", 2, "time")),
    "a wait of an undo": (UNDOING, e.Parked(2, "park", "w", 1, "go")),
    "a lease while it waits": (PARKED, leased(2)),
    "a signal to an undo": (OWING, e.Signalled("go")),
    "an end of no wait": (PENDING, e.Unblocked("w", 1, "time")),
    "an end of another wait": (PARKED, e.Unblocked("v", 1, "time")),
    "a wait that ends twice": (PARKED.given(signal()), e.Unblocked("w", 1, "time")),
    "a wait that ends after the work": (PARKED.given(cancel()), e.Unblocked("w", 1, "time")),
    "a wait that takes no signal": (PARKED, e.Unblocked("w", 1, "signal", 3)),
    "a wait that takes a signal of another name": (PARKED.given(signal("stop")), e.Unblocked("w", 1, "signal", 4)),
    "a wait that takes a signal that was taken": (
        PARKED.given(signal(), leased(2), e.Parked(2, "park", "v", 1, "go")),
        e.Unblocked("v", 1, "signal", 4),
    ),
    "a wait that takes a newer signal than the oldest": (
        PARKED.given(e.Signalled("go"), e.Signalled("go")),
        e.Unblocked("w", 1, "signal", 5),
    ),
    "a wait for a time that takes a signal": (
        RUNNING.given(signal(), e.Parked(1, "park", "w", 1, until_ms=9)),
        e.Unblocked("w", 1, "signal", 3),
    ),
    "an event of the store": (PENDING, e.Founded("s", 0, "1")),
}


FOR_TWO = RUNNING.given(e.Parked(1, "park", "w", 1, after=("a", "b")))
WAITING_UNTIL = RUNNING.given(e.Parked(1, "park", "w", 1, "go", until_ms=9))
SEEN = Seen(1, 0, TTL_MS)

# What an event says again, otherwise than the task that it meets. All of them are folded at the time 0.
CONTRADICTIONS: dict[str, tuple[Scenario, e.Recordable]] = {
    "another attempt than the next": (PENDING, leased(attempt=2)),
    "another attempt at undoing than the next": (OWING, leased(2, attempt=2, purpose="undo")),
    "an expiry that is not the ttl's": (PENDING, e.Leased("ann", 1, 1, "work", False, TTL_MS, TTL_MS + 1)),
    "an expiry without a ttl": (PENDING, e.Leased("ann", 1, 1, "work", False, None, 5)),
    "a ttl without an expiry": (PENDING, e.Leased("ann", 1, 1, "work", False, 5, None)),
    "a renewal for longer than its ttl": (RUNNING, e.Heartbeat(1, 50, 51)),
    "progress that moves the expiry alone": (RUNNING, e.Heartbeat(1, TTL_MS, TTL_MS + 1, {"n": 1})),
    "a lease that is over before its expiry": (RUNNING, e.LeaseExpired(1, "expire", "clock")),
    "a lease without an end that is over by the clock": (
        PENDING.given(e.Leased("ann", 1, 1, "work", False)),
        e.LeaseExpired(1, "expire", "clock"),
    ),
    "a lease that was unseen by no observer": (RUNNING, e.LeaseExpired(1, "expire", "unseen")),
    "a lease that is over by the clock and unseen": (RUNNING, e.LeaseExpired(1, "expire", "epoch", SEEN)),
    "an observer of another lease": (RUNNING, e.LeaseExpired(1, "expire", "unseen", Seen(2, 0, TTL_MS))),
    "an observer of an older renewal": (RUNNING, e.LeaseExpired(1, "expire", "unseen", Seen(1, -1, TTL_MS))),
    "an observer who did not look for long enough": (
        RUNNING,
        e.LeaseExpired(1, "expire", "unseen", Seen(1, 0, TTL_MS - 1)),
    ),
    "a wait for nothing": (RUNNING, e.Parked(1, "park", "w", 1)),
    "a wait for a signal and for tasks": (RUNNING, e.Parked(1, "park", "w", 1, "go", ("other",))),
    "a wait for its own end": (RUNNING, e.Parked(1, "park", "w", 1, None, ("other", "t"))),
    "a wait for a signal that ends with tasks": (PARKED, unblocked_by_tasks("w", 1, *ends("a"))),
    "a wait for a signal that names the ends of tasks": (
        PARKED.given(e.Signalled("go")),
        e.Unblocked("w", 1, "signal", 4, ended=ends("a")),
    ),
    "a wait for a signal that counts the ends of tasks": (
        PARKED.given(e.Signalled("go")),
        e.Unblocked("w", 1, "signal", 4, counts={State.COMPLETED: 1}),
    ),
    "a wait for tasks that names none": (FOR_TWO, e.Unblocked("w", 1, "tasks")),
    "a wait for tasks that leaves one out": (FOR_TWO, unblocked_by_tasks("w", 1, *ends("a"))),
    "a wait for tasks that names another": (FOR_TWO, unblocked_by_tasks("w", 1, *ends("a", "b", "c"))),
    "a wait for tasks that names one twice": (FOR_TWO, unblocked_by_tasks("w", 1, *ends("a", "b", "b"))),
    "a wait for tasks of which one lives": (
        FOR_TWO,
        unblocked_by_tasks("w", 1, *ends("a"), TaskEnd("b", 3, State.RUNNING)),
    ),
    "a wait for tasks that counts too few": (
        FOR_TWO,
        msgspec.structs.replace(unblocked_by_tasks("w", 1, *ends("a", "b")), counts={State.COMPLETED: 1}),
    ),
    "a wait for tasks whose digest is of others": (
        FOR_TWO,
        msgspec.structs.replace(unblocked_by_tasks("w", 1, *ends("a", "b")), digest=digest_of_ends(ends("a"))),
    ),
    "a wait without a time that ends by it": (PARKED, e.Unblocked("w", 1, "time")),
    "a wait that ends before its time": (WAITING_UNTIL, e.Unblocked("w", 1, "time")),
    "a wait that ends by time with a signal": (WAITING_UNTIL.given(e.Signalled("go")), e.Unblocked("w", 1, "time", 4)),
    "a wait that ends by a signal that it does not name": (
        WAITING_UNTIL.given(e.Signalled("go")),
        e.Unblocked("w", 1, "signal"),
    ),
    "a failure that brings what was not registered": (
        RUNNING,
        e.Failed(State.COMPENSATING, "failed", compensations=("u9",), fence=1, verb="fail"),
    ),
    "a failure that brings what was planned": (
        RUNNING,
        e.Failed(State.COMPENSATING, "failed", compensations=("u1",), fence=1, verb="fail"),
    ),
    "a release with parameters and no code": (RUNNING, e.Released(1, "release", 0, parameters={"n": 1})),
    "a note with parameters and no code": (RUNNING, e.Noted("seen", parameters={"n": 1})),
    "a note without words": (RUNNING, e.Noted()),
    "a note in two sorts of words": (RUNNING, e.Noted("seen", code="left_over")),
    "a release that ends a lease by another verb": (RUNNING, e.Released(1, "retry", 0)),
    "a completion that ends a lease by another verb": (RUNNING, e.Completed(1, "fail")),
    "an end of undoing that ends a lease by no verb": (
        UNDOING.given(e.CompensationDone("u2", 2), e.CompensationDone("u1", 2)),
        e.Compensated("failed", 2),
    ),
    "a failure that ends a lease by no verb": (RUNNING, e.Failed(State.COMPENSATING, "failed", fence=1)),
    "a deadline that a task has not": (PENDING, e.Cancelled(State.CANCELLED, code="deadline")),
    "a deadline that has not come": (TIMED, e.Cancelled(State.CANCELLED, code="start_by")),
    "a deadline of another sort": (TIMED.at(80), e.Cancelled(State.CANCELLED, code="deadline")),
    "a time to start of what has begun": (TIMED.given(leased(at_ms=0)).at(80), e.CancelRequested(code="start_by")),
    "a stop that is asked for before the deadline": (TIMED.given(leased()), e.CancelRequested(code="deadline")),
    "an amendment of nothing": (PENDING, e.Amended()),
    "an amendment to what was so": (PENDING, e.Amended(queue="r", priority=0)),
    "an amendment to the same policy": (PENDING, e.Amended(policy=policy())),
    "an amendment to no limits": (PENDING, e.Amended(uses={})),
    "an amendment to the same limits": (PENDING.given(e.Amended(uses={"gpu": 1})), e.Amended(uses={"gpu": 1})),
    "an amendment that gives and removes": (TIMED, e.Amended(deadline_ms=70, removes=("deadline_ms",))),
    "an amendment that removes what is not there": (PENDING, e.Amended(removes=("deadline_ms",))),
    "an amendment that removes what every task has": (PENDING, e.Amended(removes=("queue",))),
    "an amendment that removes the time": (PENDING, e.Amended(removes=("run_at_ms",))),
    "an amendment of what is held": (RUNNING, e.Amended(priority=7)),
    "an amendment of the time of a parked task": (PARKED, e.Amended(run_at_ms=7)),
    "an amendment of the payload after a lease": (RUNNING.given(release()), e.Amended(payload=1)),
    "an amendment of the time of undoing": (OWING, e.Amended(run_at_ms=7)),
    "a cancel that ends no lease by a verb": (PENDING, e.Cancelled(State.CANCELLED, verb="cancel")),
    "a quarantine that ends a lease by no verb": (RUNNING, e.Quarantined("x", owed=("u1", "u2"), fence=1)),
    "a quarantine that does not name what is owed": (RUNNING, e.Quarantined("x", fence=1, verb="quarantine")),
    "a quarantine that names what is not owed": (PENDING, e.Quarantined("x", owed=("u1",))),
    "a quarantine that names it in another order": (
        RUNNING,
        e.Quarantined("x", owed=("u2", "u1"), fence=1, verb="quarantine"),
    ),
    "a failed undo that is not the next": (UNDOING, e.CompensationFailed("u1", 2, "compensation_failed", ERROR, 0)),
    "another outcome than the work had": (
        UNDOING.given(e.CompensationDone("u2", 2), e.CompensationDone("u1", 2)),
        e.Compensated("cancelled"),
    ),
    "an undoing that goes on when nothing is owed": (
        UNDOING.given(e.CompensationDone("u2", 2), e.CompensationDone("u1", 2)),
        e.Heartbeat(2, TTL_MS, TTL_MS),
    ),
    "a note that settles before the end": (RUNNING, e.Noted("by hand", ("u2",))),
    "a successor that does not take over what is owed": (
        UNDOING.given(quarantine()),
        e.Noted(None, ("u2",), "t2", code="retried_as_new"),
    ),
}


@pytest.mark.parametrize("damage", CONTRADICTIONS)
def test_an_event_that_contradicts_the_task_it_meets_is_not_folded(damage: str) -> None:
    """[RECORD-1] Its redundant fields are compared."""
    story, event = CONTRADICTIONS[damage]
    task = story.task or TaskFold("t")
    assert contradiction(task, event, 0) is not None
    with pytest.raises(LogDamaged) as found:
        evolve(task, event, task.version + 1, 0)
    assert found.value.fields == {"stream": "task/t", "version": task.version + 1, "type": e.NAMES[type(event)]}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_log_is_not_folded(damage: str) -> None:
    """[RECORD-1] [LIFE-1] [LEASE-1] [FENCE-1] [FENCE-2] [COMP-5] [COMP-6]"""
    story, event = DAMAGE[damage]
    task = story.task or TaskFold("t")
    with pytest.raises(LogDamaged) as found:
        evolve(task, event, task.version + 1, 0)
    assert found.value.fields == {"stream": "task/t", "version": task.version + 1, "type": e.NAMES[type(event)]}


def test_a_store_is_founded_once_and_first() -> None:
    """[LIFE-1] [LOG-1]"""
    founded = e.Founded("s", 0, "1")
    nothing = StoreFold("s")
    store = evolve_store(nothing, founded, 1, 0)
    assert store == StoreFold("s", 1, 0, 0, "1")
    for before, event, version in (
        (nothing, founded, 2),
        (nothing, e.Founded("another", 0, "1"), 1),
        (store, founded, 2),
        (nothing, CREATED, 1),
        (store, e.Noted("x"), 2),
        (nothing, e.Upgraded("2"), 1),
        (store, e.Upgraded("2"), 3),
        (store, e.Upgraded("1"), 2),
    ):
        with pytest.raises(LogDamaged) as found:
            evolve_store(before, event, version, 0)
        assert found.value.fields == {"stream": "store/s", "version": version, "type": e.NAMES[type(event)]}


def test_the_newest_version_on_record_is_that_of_the_last_upgrade() -> None:
    """[LOG-7]"""
    store = evolve_store(evolve_store(StoreFold("s"), e.Founded("s", 0, "1"), 1, 0), e.Upgraded("2"), 2, 0)
    assert store == StoreFold("s", 2, 0, 0, "2")

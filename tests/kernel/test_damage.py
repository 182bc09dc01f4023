"""Folding a damaged log: it is seen, named, and not folded."""

from __future__ import annotations

import pytest

from sagalog.errors import LogDamaged
from sagalog.kernel import events as e
from sagalog.kernel.evolve import evolve, evolve_store, fold
from sagalog.kernel.state import StoreFold, TaskFold
from sagalog.kernel.values import Compensation, State
from sagalog.testing import Scenario, given
from tests.kernel.making import (
    ERROR,
    LATER_UNDO,
    UNDO,
    cancel,
    complete_step,
    fail,
    finish,
    in_epoch,
    leased,
    park,
    policy,
    quarantine,
    registered,
    release,
    signal,
)

CREATED = e.Created("build", "q", 0, 0, policy(), compensations=(UNDO, LATER_UNDO))
PENDING = given(CREATED)
RUNNING = PENDING.given(leased())
OWING = RUNNING.given(fail())
UNDOING = OWING.given(leased(2, purpose="undo"))
PARKED = RUNNING.given(park(signal="go"))
ARTIFACT = e.ArtifactPut("log", 2, "ab" * 32, 3, "text/plain")


def folded(story: Scenario) -> TaskFold:
    assert story.task is not None
    return story.task


@pytest.mark.parametrize("version", [0, 1, 2, 4, 5])
def test_a_version_out_of_turn_is_damage(version: int) -> None:
    """[LOG-1] [RECORD-1] A gap, a repeat, or a step back."""
    with pytest.raises(LogDamaged, match="version 3 was expected"):
        evolve(folded(RUNNING), e.Completed(1), version, 0)


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
        PENDING.given(leased(in_epoch(2, 1)), e.Released(in_epoch(2, 1), 0)),
        leased(in_epoch(1, 2)),
    ),
    "a lease to undo what is not being undone": (PENDING, leased(1, purpose="undo")),
    "a lease to work on what is being undone": (OWING, leased(2)),
    "a heartbeat under another fence": (RUNNING, e.Heartbeat(2)),
    "a heartbeat of nobody": (OWING, e.Heartbeat(1)),
    "a release under another fence": (RUNNING, e.Released(2, 0)),
    "an expiry of another lease": (RUNNING, e.LeaseExpired(2, "clock")),
    "a retry under another fence": (RUNNING, e.Retried(2, ERROR, "attempt", 0)),
    "a completion under another fence": (RUNNING, e.Completed(2)),
    "a failure under another fence": (RUNNING, e.Failed(State.COMPENSATING, "failed", fence=2, verb="fail")),
    "a failure that leaves the lease": (RUNNING, e.Failed(State.COMPENSATING, "failed")),
    "a failure under a fence where nobody holds the task": (PENDING, e.Failed(State.FAILED, "failed", fence=1)),
    "a cancel that leaves the lease": (RUNNING, e.Cancelled(State.COMPENSATING)),
    "a quarantine that leaves the lease": (RUNNING, e.Quarantined("operator")),
    "a registration under another fence": (RUNNING, e.CompensationRegistered("u3", "x", 2)),
    "a compensation registered twice": (RUNNING.given(registered(Compensation("x", id="u3"))), registered(UNDO)),
    "a failure that leaves something owed": (RUNNING, e.Failed(State.FAILED, "failed", fence=1, verb="fail")),
    "a cancel that leaves something owed": (RUNNING, e.Cancelled(State.CANCELLED, fence=1, verb="cancel")),
    "an end of undoing that leaves something owed": (UNDOING, e.Compensated("failed")),
    "an undo out of order": (UNDOING, e.CompensationDone("u1", 2)),
    "an undo under another fence": (UNDOING, e.CompensationDone("u2", 1)),
    "an undo of what is not on record": (UNDOING, e.CompensationDone("u9", 2)),
    "an undo that is done twice": (UNDOING.given(finish("u2")), e.CompensationDone("u2", 2)),
    "a failed undo under another fence": (UNDOING, e.CompensationFailed("u2", 1, ERROR, 0)),
    "a waiver of what is not on record": (PENDING, e.CompensationWaived("u9", "gone")),
    "a waiver of what is settled": (UNDOING.given(finish("u2")), e.CompensationWaived("u2", "gone")),
    "a note that settles what is settled": (
        UNDOING.given(finish("u2"), quarantine()),
        e.Noted("by hand", ("u2",)),
    ),
    "a failure that leads nowhere a failure leads": (RUNNING, e.Failed(State.PENDING, "failed", fence=1)),
    "a creation that is over at once": (given(), e.Created("build", "q", 0, 0, policy(), to=State.COMPLETED)),
    "a step under another fence": (RUNNING, e.StepCompleted("s1", 2)),
    "a step that is recorded twice": (RUNNING.given(complete_step()), e.StepCompleted("s1", 1)),
    "a step of an undo": (UNDOING, e.StepCompleted("s1", 2)),
    "an artifact under another fence": (RUNNING, ARTIFACT),
    "an artifact of nobody": (PENDING, ARTIFACT),
    "a wait that another fence begins": (RUNNING, e.Parked(2, "w", 1, "go")),
    "a wait that is begun again": (PARKED.given(signal(), leased(2)), e.Parked(2, "w", 1, "go")),
    "a wait that leaves one of its name out": (RUNNING, e.Parked(1, "w", 2, "go")),
    "a wait of a number that is over": (
        PARKED.given(signal(), leased(2), e.Parked(2, "w", 2, "go"), signal(), leased(3)),
        e.Parked(3, "w", 2, "go"),
    ),
    "an end of another wait of that name": (PARKED, e.Unblocked("w", 2, "time")),
    "a wait of an undo": (UNDOING, e.Parked(2, "w", 1, "go")),
    "a lease while it waits": (PARKED, leased(2)),
    "a signal to an undo": (OWING, e.Signalled("go")),
    "an end of no wait": (PENDING, e.Unblocked("w", 1, "time")),
    "an end of another wait": (PARKED, e.Unblocked("v", 1, "time")),
    "a wait that ends twice": (PARKED.given(signal()), e.Unblocked("w", 1, "time")),
    "a wait that ends after the work": (PARKED.given(cancel()), e.Unblocked("w", 1, "time")),
    "a wait that takes no signal": (PARKED, e.Unblocked("w", 1, "signal", 3)),
    "a wait that takes a signal of another name": (PARKED.given(signal("stop")), e.Unblocked("w", 1, "signal", 4)),
    "a wait that takes a signal that was taken": (
        PARKED.given(signal(), leased(2), e.Parked(2, "v", 1, "go")),
        e.Unblocked("v", 1, "signal", 4),
    ),
    "a wait that takes a newer signal than the oldest": (
        PARKED.given(e.Signalled("go"), e.Signalled("go")),
        e.Unblocked("w", 1, "signal", 5),
    ),
    "a wait for a time that takes a signal": (
        RUNNING.given(signal(), e.Parked(1, "w", 1, until_ms=9)),
        e.Unblocked("w", 1, "signal", 3),
    ),
    "an event of the store": (PENDING, e.Founded("s", 0)),
}


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
    founded = e.Founded("s", 0)
    store = evolve_store(None, founded, 1)
    assert store == StoreFold("s", 1, 0, 0)
    for before, event, version in (
        (None, founded, 2),
        (store, founded, 2),
        (None, CREATED, 1),
        (store, e.Noted("x"), 2),
    ):
        with pytest.raises(LogDamaged) as found:
            evolve_store(before, event, version)
        assert found.value.fields["stream"] == "store"

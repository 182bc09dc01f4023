"""park, signal, and what ends a wait."""

from __future__ import annotations

from typing import Any

import pytest

from sagalog.errors import Blocked, LeaseLost, NotFound, Rejected, TerminalTask, WaitOver, WrongState
from sagalog.kernel import commands as c
from sagalog.kernel import events as e
from sagalog.kernel.state import EndedWaits, KeptSignal, TakenSignal, Waiting
from sagalog.kernel.values import State
from sagalog.testing import Scenario, given
from tests.kernel.making import (
    UNDO,
    acquire,
    cancel,
    complete,
    create,
    ends,
    fail,
    in_epoch,
    maintain,
    note,
    park,
    quarantine,
    release,
    signal,
    unblocked_by_tasks,
    waiting_for,
    waive,
)

HELD = given(create(UNDO), acquire())
FOR_SIGNAL = HELD.given(park(signal="go"))
FOR_TASKS = HELD.given(park(after=("a", "b")))
FOR_TIME = HELD.given(park(until_ms=50))
WAITS = [FOR_SIGNAL, FOR_TASKS, FOR_TIME]
KINDS = ["signal", "tasks", "time"]


def ended(*tasks: str) -> c.Maintain:
    return c.Maintain(task="t", ended=ends(*tasks))


@pytest.mark.parametrize(
    ("wait", "expected"),
    [
        ({"signal": "go"}, Waiting("w", 1, 3, "go", 0, None)),
        ({"after": ("a", "b"), "until_ms": 90}, waiting_for("a", "b", until_ms=90)),
        ({"until_ms": 90}, Waiting("w", 1, 3, None, 0, 90)),
    ],
    ids=KINDS,
)
def test_parking_ends_the_lease_and_burns_nothing(wait: dict[str, Any], expected: Waiting) -> None:
    """[WAIT-1] [ATTEMPT-1]"""
    story = HELD.at(now_ms=7).when(park(**wait)).then(e.Parked(1, "park", "w", 1, **wait))
    task = story.task
    assert task is not None
    assert (task.state, task.lease, task.waiting, task.run_at_ms) == (State.PENDING, None, expected, 7)
    assert (task.attempt, task.failures, task.releases, task.expiries, task.waits) == (1, 0, 0, 0, {})


@pytest.mark.parametrize("story", WAITS, ids=KINDS)
def test_no_worker_leases_a_task_that_waits(story: Scenario) -> None:
    """[WAIT-1]"""
    story.when(acquire("bob")).then_refused(Blocked, wait="w", state="pending")
    story.when(maintain()).then_nothing()


def test_a_signal_is_kept_until_a_wait_of_its_name_takes_it() -> None:
    """[WAIT-2]"""
    early = HELD.when(signal(data=1)).then(e.Signalled("go", 1))
    assert early.task is not None
    assert early.task.signals == (KeptSignal("go", 3),)
    early.when(park(signal="go")).then(e.Parked(1, "park", "w", 1, "go"), e.Unblocked("w", 1, "signal", 3))
    early.when(park(signal="stop")).then(e.Parked(1, "park", "w", 1, "stop"))
    early.when(park(until_ms=9)).then(e.Parked(1, "park", "w", 1, until_ms=9))


def test_a_signal_ends_the_wait_for_its_name_in_the_same_commit() -> None:
    """[WAIT-2]"""
    FOR_SIGNAL.when(signal("stop")).then(e.Signalled("stop"))
    story = (
        FOR_SIGNAL.given(signal("stop"))
        .when(signal("go", 2))
        .then(e.Signalled("go", 2), e.Unblocked("w", 1, "signal", 5))
    )
    assert story.task is not None
    assert (story.task.signals, story.task.waits, story.task.waiting) == (
        (KeptSignal("stop", 4),),
        {"w": EndedWaits(1, (TakenSignal(6),))},
        None,
    )
    FOR_TASKS.when(signal()).then(e.Signalled("go"))


def test_signals_are_taken_oldest_first_and_each_once() -> None:
    """[WAIT-2]"""
    story = HELD.given(signal(data=1), signal(data=2))
    for fence, (name, version) in enumerate((("first", 3), ("second", 4)), start=1):
        story = story.when(park(name, fence, "go")).then(
            e.Parked(fence, "park", name, 1, "go"), e.Unblocked(name, 1, "signal", version)
        )
        story = story.given(acquire())
    story.when(park("third", 3, "go")).then(e.Parked(3, "park", "third", 1, "go"))


def test_a_wait_for_tasks_is_over_when_all_have_ended_and_not_before() -> None:
    """[WAIT-3]"""
    FOR_TASKS.when(ended("a")).then_nothing()
    FOR_TASKS.when(ended("a", "c")).then_nothing()
    FOR_TASKS.at(now_ms=9).when(ended("a", "b")).then(unblocked_by_tasks("w", 1, *ends("a", "b")))
    HELD.when(park(after=("a",), ended=("a",))).then(
        e.Parked(1, "park", "w", 1, after=("a",)), unblocked_by_tasks("w", 1, *ends("a"))
    )


def test_a_wait_is_over_at_its_time_and_not_before() -> None:
    """[WAIT-3]"""
    FOR_TIME.when(maintain(), now_ms=49).then_nothing()
    FOR_TIME.when(maintain(), now_ms=50).then(e.Unblocked("w", 1, "time")).when(maintain()).then_nothing()
    HELD.when(park(until_ms=50), now_ms=50).then(e.Parked(1, "park", "w", 1, until_ms=50), e.Unblocked("w", 1, "time"))
    for wait in ({"signal": "go"}, {"after": ("a",)}):
        story = HELD.given(park(until_ms=50, **wait))
        story.when(maintain(), now_ms=50).then(e.Unblocked("w", 1, "time"))


def test_a_late_signal_still_ends_the_wait_and_another_one_is_kept() -> None:
    """[WAIT-2] It comes when the time is over. Each call on the task, a signal too, sees that the time is over."""
    story = HELD.given(park(signal="go", until_ms=50)).at(now_ms=60)
    story.when(signal()).then(e.Signalled("go"), e.Unblocked("w", 1, "signal", 4))
    story.when(signal("stop")).then(e.Signalled("stop"), e.Unblocked("w", 1, "time"))


def test_a_task_whose_wait_is_over_is_due_at_once() -> None:
    story = FOR_TIME.given(maintain(), now_ms=60)
    assert story.task is not None
    assert (story.task.run_at_ms, story.task.attempt) == (60, 1)
    story.when(acquire("bob")).then(e.Leased("bob", 2, 1, "work", False, 100, 160))


def test_a_wait_is_begun_once_under_its_name() -> None:
    """[WAIT-1]"""
    again = FOR_SIGNAL.given(signal(), acquire("bob"))
    again.when(park(fence=2, signal="go")).then_refused(WaitOver, wait="w")
    again.when(park("another", 2, "go")).then(e.Parked(2, "park", "another", 1, "go"))


def test_waits_of_one_name_are_numbered_and_each_takes_a_signal_of_its_own() -> None:
    """[WAIT-1] [WAIT-2]"""
    story = HELD.given(signal(data=1), signal(data=2))
    for number, version in ((1, 3), (2, 4)):
        story = story.when(park("w", number, "go", number=number)).then(
            e.Parked(number, "park", "w", number, "go"), e.Unblocked("w", number, "signal", version)
        )
        story = story.given(acquire())
    story.when(park("w", 3, "go", number=2)).then_refused(WaitOver, wait="w", number=2, next=3)
    story.when(park("w", 3, "go", number=4)).then_refused(Rejected, wait="w", number=4, next=3)
    waiting = story.when(park("w", 3, "go", number=3)).then(e.Parked(3, "park", "w", 3, "go")).given()
    waiting.when(signal(data=3)).then(e.Signalled("go", 3), e.Unblocked("w", 3, "signal", 12))


def test_sleeps_of_one_name_are_one_count_however_many() -> None:
    """[WAIT-1]"""
    story = HELD
    for number in range(1, 50):
        story = story.given(park("poll", number, until_ms=0, number=number), acquire())
    assert story.task is not None
    assert (story.task.waits, story.task.rounds) == ({"poll": EndedWaits(49, (-49,))}, 49)
    assert story.task.waits["poll"].places() == {number: TakenSignal(0) for number in range(1, 50)}


def test_parking_twice_is_a_repeat_until_another_lease_has_ended() -> None:
    """[REPEAT-5]"""
    FOR_SIGNAL.when(park(signal="go")).then_repeat(3)
    over = FOR_SIGNAL.given(signal(), acquire("bob"))
    over.when(park(signal="go")).then_repeat(3)
    over.given(release(2)).when(park(signal="go")).then_refused(LeaseLost, fence=1, current=2)
    HELD.given(release()).when(park(signal="go")).then_refused(LeaseLost)
    HELD.when(park(signal="go"), epoch=1).then_refused(LeaseLost)
    HELD.given(release()).given(acquire()).when(park(fence=in_epoch(1, 2), signal="go")).then_refused(LeaseLost)


def test_a_task_does_not_wait_for_itself() -> None:
    """[WAIT-4]"""
    HELD.when(park(after=("a", "t"))).then_refused(Rejected, task="t")


def test_a_requested_cancel_goes_before_a_wait() -> None:
    """[CANCEL-2]"""
    asked = HELD.given(signal(), cancel())
    asked.when(park(signal="go")).then(e.Parked(1, "park", "w", 1, "go"), e.Cancelled(State.COMPENSATING))
    given(create(), acquire(), cancel()).when(park(until_ms=9)).then(
        e.Parked(1, "park", "w", 1, until_ms=9), e.Cancelled(State.CANCELLED)
    )


@pytest.mark.parametrize("story", WAITS, ids=KINDS)
@pytest.mark.parametrize("command", [cancel(), quarantine(), cancel(now=True)], ids=["cancel", "quarantine", "now"])
def test_a_wait_ends_with_the_forward_work(story: Scenario, command: c.Command) -> None:
    """[WAIT-1] It then had no effect."""
    over = story.given(command)
    assert over.task is not None
    assert (over.task.waiting, over.task.waits) == (None, {})
    over.when(ended("a", "b"), now_ms=99).then_nothing()


@pytest.mark.parametrize("story", WAITS, ids=KINDS)
def test_remarks_and_waivers_leave_a_wait_as_it_is(story: Scenario) -> None:
    assert story.task is not None
    after = story.given(note(), waive()).task
    assert after is not None
    assert after.waiting == story.task.waiting


def test_signals_are_for_the_forward_work() -> None:
    """[WAIT-2]"""
    given().when(signal()).then_refused(NotFound)
    given(create()).when(signal()).then(e.Signalled("go"))
    HELD.given(fail()).when(signal()).then_refused(WrongState, state="compensating")
    HELD.given(complete()).when(signal()).then_refused(TerminalTask)


def test_an_undo_is_not_parked() -> None:
    undoing = HELD.given(fail(), acquire("ann", purpose="undo"))
    undoing.when(park(fence=2, signal="go")).then_refused(WrongState, state="compensating")

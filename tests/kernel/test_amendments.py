"""Amending a live task: what changes, what stays, and what a caller is told where it cannot change."""

from __future__ import annotations

from typing import Any

import pytest

from sagalog.errors import Blocked, InvalidValue, LeaseHeld, NotFound, OverBound, SagalogError, TerminalTask, WrongState
from sagalog.kernel import events as e
from sagalog.kernel.bounds import STREAM_EVENTS_MAX, STREAM_EVENTS_RESERVE
from sagalog.kernel.decide.successors import succeed
from sagalog.kernel.state import KeptPolicy
from sagalog.testing import Scenario, given
from tests.kernel.making import (
    UNDO,
    acquire,
    acquire_undo,
    amend,
    complete,
    create,
    fail,
    maintain,
    park,
    policy,
    quarantine,
    release,
    retry,
)

PENDING = given(create(UNDO, run_at_ms=100, deadline_ms=900))
RUNNING = PENDING.given(acquire(ttl_ms=None))
PARKED = RUNNING.given(park(signal="go"))
UNDOING = RUNNING.given(fail())


def test_an_amendment_holds_exactly_what_changes() -> None:
    """[AMEND-1]"""
    PENDING.when(amend(priority=0, queue="r", affinity="gpu")).then(e.Amended(queue="r", affinity="gpu"))


@pytest.mark.parametrize(
    "same",
    [
        {"queue": "q", "priority": 0, "run_at_ms": 100, "deadline_ms": 900},
        {"policy": policy()},
        {"removes": ("affinity", "key", "build", "start_by_ms", "uses")},
    ],
)
@pytest.mark.parametrize("story", [PENDING, RUNNING, PARKED, PENDING.given(quarantine())])
def test_what_is_so_already_writes_nothing(story: Scenario, same: dict[str, Any]) -> None:
    """[AMEND-1] Also where it could not change; but an ended task has ended, and a parked one is due by its wait."""
    outcome = story.when(amend(**same))
    if story.task is not None and story.task.is_terminal:
        outcome.then_refused(TerminalTask)
    elif story is PARKED and "run_at_ms" in same:
        outcome.then_refused(Blocked)
    else:
        outcome.then_nothing()


def test_what_a_task_may_lack_is_taken_away() -> None:
    """[AMEND-1] A payload of null is one, and only the engine knows what the payload was."""
    PENDING.when(amend(removes=("deadline_ms", "key", "payload"))).then(e.Amended(removes=("deadline_ms", "payload")))


def test_the_limits_of_a_task_are_given_as_a_whole() -> None:
    """[AMEND-1] In whatever order; what it uses no more is left out, and only a removal takes all away."""
    using = given(create()).given(amend(uses={"cpu": 2, "gpu": 1}))
    using.when(amend(uses={"gpu": 1, "cpu": 2})).then_nothing()
    using.when(amend(uses={"gpu": 1})).then(e.Amended(uses={"gpu": 1}))
    gone = using.given(amend(removes=("uses",)))
    assert gone.task is not None
    assert gone.task.uses is None


def test_a_task_that_is_made_due_at_once_is_due_now() -> None:
    """[AMEND-1] One that is due already stays as it is."""
    PENDING.when(amend(removes=("run_at_ms",)), now_ms=40).then(e.Amended(run_at_ms=40))
    PENDING.when(amend(removes=("run_at_ms",)), now_ms=400).then_nothing()


CHANGES: dict[str, dict[str, Any]] = {
    "queue": {"queue": "r"},
    "priority": {"priority": 3},
    "affinity": {"affinity": "gpu"},
    "key": {"key": "k"},
    "build": {"build": "b2"},
    "run_at_ms": {"run_at_ms": 7},
    "payload": {"payload": {"n": 1}},
    "deadline_ms": {"deadline_ms": 800},
    "start_by_ms": {"start_by_ms": 700},
    "policy": {"policy": policy(attempts_max=9)},
    "uses": {"uses": {"gpu": 1}},
}
ALWAYS = {"deadline_ms", "start_by_ms", "policy"}
UNHELD = {*ALWAYS, "queue", "priority", "affinity", "key", "build", "uses"}
STATES: dict[str, tuple[Scenario, set[str], dict[str, type[SagalogError]]]] = {
    "pending": (PENDING, {*CHANGES}, {}),
    "leased once": (RUNNING.given(release()), {*CHANGES} - {"payload"}, {"payload": WrongState}),
    "between attempts": (RUNNING.given(retry(run_at_ms=50)), {*CHANGES} - {"payload"}, {"payload": WrongState}),
    "running": (RUNNING, ALWAYS, dict.fromkeys({*CHANGES} - ALWAYS, LeaseHeld)),
    "parked": (PARKED, UNHELD, {"run_at_ms": Blocked, "payload": WrongState}),
    "undoing": (UNDOING, UNHELD, dict.fromkeys(("run_at_ms", "payload"), WrongState)),
    "being undone": (UNDOING.given(acquire_undo()), ALWAYS, dict.fromkeys({*CHANGES} - ALWAYS, LeaseHeld)),
    "ended": (PENDING.given(quarantine()), set(), dict.fromkeys(CHANGES, TerminalTask)),
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("name", CHANGES)
def test_what_may_change_depends_on_who_holds_the_task(state: str, name: str) -> None:
    """[AMEND-2]"""
    story, allowed, refused = STATES[state]
    outcome = story.when(amend(**CHANGES[name]))
    if name in allowed:
        outcome.then(e.Amended(**CHANGES[name]))
    else:
        outcome.then_refused(refused[name], task="t")


def test_an_amendment_that_cannot_change_one_thing_changes_nothing() -> None:
    """[AMEND-2]"""
    RUNNING.when(amend(deadline_ms=800, priority=3)).then_refused(LeaseHeld, fence=1)


def test_there_is_no_task_to_amend() -> None:
    given().when(amend(priority=1)).then_refused(NotFound)


def test_a_time_at_which_the_deadline_has_come_is_refused() -> None:
    """[DEADLINE-4] A deadline that comes before the next try is not: the task has had its chance."""
    PENDING.when(amend(run_at_ms=900)).then_refused(InvalidValue, path="run_at_ms", task="t")
    PENDING.when(amend(run_at_ms=900, removes=("deadline_ms",))).then(
        e.Amended(run_at_ms=900, removes=("deadline_ms",))
    )
    PENDING.when(amend(run_at_ms=899, start_by_ms=899)).then_refused(InvalidValue, path="run_at_ms", task="t")
    RUNNING.given(retry(run_at_ms=800)).when(amend(deadline_ms=500)).then(e.Amended(deadline_ms=500))


def test_decisions_use_the_newest_policy_and_what_is_spent_stays_spent() -> None:
    """[AMEND-3] [RECORD-2]"""
    once = given(create(UNDO, attempts_max=2), acquire(), retry(run_at_ms=0))
    stricter = once.given(amend(policy=policy(attempts_max=1)), acquire())
    (failed,) = events(stricter, retry(fence=2))
    assert isinstance(failed, e.Failed)
    looser = once.given(acquire(), amend(policy=policy(attempts_max=3)))
    assert isinstance(events(looser, retry(fence=2))[0], e.Retried)
    assert looser.task is not None
    assert looser.task.policy == KeptPolicy.of(policy(attempts_max=3))


def test_a_successor_takes_over_what_was_amended_and_no_deadline() -> None:
    """[AMEND-3] [DEADLINE-4] [TERM-2]"""
    changed = amend(queue="r", priority=3, affinity="gpu", key="k", policy=policy(attempts_max=9), payload=[1])
    ended = PENDING.given(changed, quarantine()).task
    assert ended is not None
    created = e.Created("build", "q", 0, 100, policy(), ended.state or "", payload=[1], deadline_ms=900)  # type: ignore[arg-type]
    successor = succeed(ended, created, "t2")
    assert (successor.queue, successor.priority, successor.affinity, successor.key) == ("r", 3, "gpu", "k")
    assert (successor.policy, type(successor.policy)) == (policy(attempts_max=9), type(policy()))
    assert (successor.deadline_ms, successor.start_by_ms, successor.payload) == (None, None, [1])


def test_an_amendment_needs_room_in_the_stream() -> None:
    """[BOUND-2]"""
    assert PENDING.task is not None
    PENDING.task.length = STREAM_EVENTS_MAX - STREAM_EVENTS_RESERVE
    try:
        PENDING.when(amend(priority=4)).then_refused(OverBound, bound="stream_events")
    finally:
        PENDING.task.length = PENDING.task.version


def test_a_deadline_that_is_amended_counts_from_then_on() -> None:
    """[DEADLINE-1] [DEADLINE-4]"""
    story = RUNNING.given(amend(deadline_ms=5))
    story.when(maintain(), now_ms=0).then_nothing()
    story.when(maintain(), now_ms=5).then(e.CancelRequested(code="deadline"))
    RUNNING.given(amend(removes=("deadline_ms",))).when(maintain(), now_ms=5_000).then_nothing()
    story.when(complete()).then(e.Completed(1, "complete"))


def events(story: Scenario, command: Any) -> Any:
    return story.when(command).decision

"""The test kit's given, when, then: it passes what is so and fails what is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sagalog.errors import LeaseHeld, LeaseLost, LogDamaged, Rejected, TerminalTask
from sagalog.kernel import decide as kernel
from sagalog.kernel import events as e
from sagalog.kernel.commands import Maintain
from sagalog.kernel.state import TaskFold
from sagalog.kernel.values import State
from sagalog.testing import Outcome, given
from tests.kernel.making import acquire, cancel, complete, create, leased, maintain, note, policy

CREATED = e.Created("build", "q", 0, 0, policy(), State.PENDING)
PENDING = given(create())
HELD = PENDING.given(acquire())
ACCEPTED = HELD.when(complete())
REFUSED = HELD.when(acquire("bob"))
NOTHING = HELD.when(maintain())
REPEATED = HELD.given(complete()).when(complete())


def test_history_may_be_told_in_events_or_in_commands() -> None:
    assert given(CREATED, leased()).task == given(create(), acquire()).task
    assert given(id="other").given(CREATED).task == given(CREATED, id="other").task


def test_a_story_goes_on_from_what_a_command_led_to() -> None:
    ended = ACCEPTED.then(e.Completed(1, "complete")).when(note()).then(e.Noted("seen"))
    assert ended.task is not None
    assert (ended.task.state, ended.task.version) == (State.COMPLETED, 4)


def test_time_and_epoch_stay_until_they_are_set_and_time_may_step_back() -> None:
    story = HELD.given(cancel(), now_ms=9).at(epoch=1).when(maintain(), now_ms=4)
    assert (story.before.now_ms, story.before.epoch) == (4, 1)


def test_what_was_refused_or_repeated_leaves_the_story_where_it_was() -> None:
    assert REFUSED.then_refused(LeaseHeld, owner="ann").task == HELD.task
    assert NOTHING.then_nothing().task == HELD.task
    assert REPEATED.then_repeat(3).task == HELD.given(complete()).task


@pytest.mark.parametrize(
    ("claim", "found"),
    [
        (lambda: ACCEPTED.then(e.Completed(1, "complete", "other")), "Completed"),
        (lambda: ACCEPTED.then(), "Completed"),
        (lambda: ACCEPTED.then_nothing(), "Completed"),
        (lambda: ACCEPTED.then_repeat(3), "Completed"),
        (lambda: ACCEPTED.then_refused(LeaseLost), "Completed"),
        (lambda: REFUSED.then(e.Completed(1, "complete")), "LeaseHeld"),
        (lambda: REFUSED.then_refused(LeaseLost), "LeaseHeld"),
        (lambda: REFUSED.then_refused(LeaseHeld, owner="bob"), "LeaseHeld"),
        (lambda: HELD.given(complete()).when(acquire()).then_refused(Rejected), "TerminalTask"),
        (lambda: REPEATED.then_repeat(2), "Repeat"),
        (lambda: REPEATED.then_nothing(), "Repeat"),
    ],
)
def test_what_is_not_so_fails_and_says_what_was_found(claim: Callable[[], object], found: str) -> None:
    with pytest.raises(AssertionError, match=f"(?s)expected: .*found: .*{found}"):
        claim()


def test_history_that_cannot_have_been_is_refused() -> None:
    with pytest.raises(TerminalTask):
        HELD.given(complete(), acquire())
    with pytest.raises(LogDamaged):
        given(CREATED, e.Completed(1, "complete"))
    with pytest.raises(AssertionError, match="repeats version 3"):
        HELD.given(complete(), complete())


def test_a_decision_that_changes_what_it_was_given_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """[RECORD-3]"""

    def meddle(task: TaskFold | None, command: Maintain, now_ms: int, epoch: int) -> kernel.Decision:
        assert task is not None
        task.failures += 1
        return ()

    verbs: dict[Any, Any] = {Maintain: kernel.Verb(Maintain, meddle, frozenset())}
    monkeypatch.setattr(kernel, "VERB_OF", verbs)
    with pytest.raises(AssertionError, match="changed what it was decided on"):
        PENDING.when(maintain())


def test_an_outcome_can_be_looked_at() -> None:
    assert isinstance(ACCEPTED, Outcome)
    assert ACCEPTED.decision == (e.Completed(1, "complete"),)

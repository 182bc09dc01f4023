"""step and put_artifact: what the holder of a lease puts on record."""

from __future__ import annotations

import msgspec
import pytest

from sagalog.errors import LeaseLost, NotFound, OverBound, TerminalTask, WrongState
from sagalog.kernel import commands as c
from sagalog.kernel import events as e
from sagalog.kernel.bounds import ARTIFACTS_MAX, STEPS_MAX
from sagalog.kernel.state import Recording, StepRecord
from sagalog.testing import Scenario, given
from tests.kernel.making import (
    UNDO,
    acquire,
    acquire_undo,
    adopt_child,
    complete,
    create,
    fail,
    maintain,
    put_artifact,
    release,
    step,
)

HELD = given(create(UNDO), acquire())
AGAIN = HELD.given(step(result=1), put_artifact()).given(release()).given(acquire("bob"))
STEP = e.StepCompleted("s1", 1, {"n": 1})
ARTIFACT = e.ArtifactPut("log", 1, "ab" * 32, 3, "text/plain")


def test_a_step_is_put_on_record_with_its_result() -> None:
    """[STEP-1]"""
    story = HELD.when(step(result={"n": 1})).then(STEP)
    assert story.task is not None
    assert (story.task.steps, story.task.lease is not None) == ({"s1": StepRecord(3, 1)}, True)


def test_a_step_on_record_is_a_repeat_for_this_lease_and_for_later_ones() -> None:
    """[STEP-1] [REPEAT-3] The caller compares the result."""
    HELD.given(step(result=1)).when(step(result=2)).then_repeat(3)
    AGAIN.when(step(fence=2)).then_repeat(3)
    AGAIN.when(step("s2", 2)).then(e.StepCompleted("s2", 2))


def test_a_step_names_its_undo_which_is_on_record_before_it() -> None:
    """[STEP-1] [WORKER-4]"""
    HELD.when(step(compensation="u2")).then_refused(NotFound, task="t", compensation="u2")
    story = HELD.when(step(compensation="u1")).then(e.StepCompleted("s1", 1, None, "u1"))
    assert story.task is not None
    assert story.task.steps == {"s1": StepRecord(3, 1, 0, "u1")}


def test_a_late_holder_gets_the_answer_of_its_own_step_and_of_no_other() -> None:
    """[FENCE-2] [REPEAT-5]"""
    AGAIN.when(step(fence=1)).then_repeat(3)
    AGAIN.given(step("s2", 2)).when(step("s2", 1)).then_refused(LeaseLost, fence=1, current=2)
    AGAIN.when(step("s2", 1)).then_refused(LeaseLost)
    HELD.given(step(), complete()).when(step()).then_repeat(3)
    HELD.when(step(), epoch=1).then_refused(LeaseLost)


def test_steps_are_of_the_work_and_artifacts_of_the_undoing_too() -> None:
    undoing = HELD.given(fail(), acquire_undo())
    undoing.when(step(fence=2)).then_refused(WrongState, state="compensating")
    undoing.when(put_artifact(fence=2)).then(msgspec.structs.replace(ARTIFACT, fence=2))


def test_an_artifact_is_one_for_each_lease_and_name() -> None:
    """[REPEAT-3] [BLOB-1]"""
    story = HELD.when(put_artifact()).then(ARTIFACT)
    story.when(put_artifact(digest="cd" * 32)).then_repeat(3)
    newer = AGAIN.when(put_artifact(fence=2)).then(msgspec.structs.replace(ARTIFACT, fence=2))
    assert newer.task is not None
    assert newer.task.artifacts == {"log": Recording(7, 2)}


def test_a_child_is_adopted_once_for_all_attempts() -> None:
    """[STEP-2] [REPEAT-3] The caller compares which child it is."""
    story = HELD.when(adopt_child()).then(e.ChildAdopted("build", 1, "t0/build"))
    story.when(adopt_child(child="other")).then_repeat(3)
    later = story.given(release()).given(acquire("bob"))
    later.when(adopt_child(fence=2)).then_repeat(3)
    later.when(adopt_child(fence=1)).then_repeat(3)
    later.when(adopt_child("test", fence=1)).then_refused(LeaseLost, fence=1, current=2)
    HELD.given(fail(), acquire_undo()).when(adopt_child(fence=2)).then_refused(WrongState, state="compensating")


def test_a_late_holder_puts_no_artifact() -> None:
    """[FENCE-2]"""
    AGAIN.when(put_artifact(fence=1)).then_repeat(4)
    AGAIN.when(put_artifact("other", 1)).then_refused(LeaseLost)
    AGAIN.given(put_artifact(fence=2)).when(put_artifact(fence=1)).then_refused(LeaseLost)
    over = HELD.given(maintain(), now_ms=100)
    over.when(put_artifact()).then_refused(LeaseLost, current=1)
    HELD.when(put_artifact(), epoch=1).then_refused(LeaseLost)


@pytest.mark.parametrize("command", [step("s9"), put_artifact("x")], ids=lambda one: type(one).__name__)
def test_nothing_is_recorded_of_a_task_that_has_ended(command: c.Held) -> None:
    """[TERM-1]"""
    ended = HELD.given(complete())
    with pytest.raises((LeaseLost, TerminalTask)):
        ended.given(command)


def test_a_task_holds_so_many_steps_and_artifacts_and_no_more() -> None:
    """[BOUND-1] What is on record stays a repeat, and may be put anew by a later lease."""
    assert AGAIN.task is not None
    held = AGAIN.task
    steps = {f"s{number}": StepRecord(3, 1) for number in range(STEPS_MAX)}
    artifacts = {f"a{number}": Recording(4, 1) for number in range(ARTIFACTS_MAX)}
    full = Scenario(msgspec.structs.replace(held, steps=steps, artifacts=artifacts))
    full.when(step("one more", 2)).then_refused(OverBound, bound="steps", maximum=STEPS_MAX)
    full.when(step("s1", 2)).then_repeat(3)
    full.when(put_artifact("one more", 2)).then_refused(OverBound, bound="artifacts", maximum=ARTIFACTS_MAX)
    full.when(put_artifact("a1", 2)).then(e.ArtifactPut("a1", 2, "ab" * 32, 3, "text/plain"))

"""The build to which a task is pinned: who may lease it for work, and what takes it over. [BUILD-1] [BUILD-2]"""

from __future__ import annotations

import msgspec
import pytest

from sagalog.errors import Blocked
from sagalog.kernel import events as e
from sagalog.kernel.decide.successors import succeed, undo_left
from sagalog.testing.scenario import given
from tests.kernel.making import UNDO, acquire, acquire_undo, amend, create, fail, leased, quarantine

PINNED = given(msgspec.structs.replace(create(UNDO), build="b1"))


def test_a_creation_records_the_build() -> None:
    """[BUILD-1]"""
    assert PINNED.task is not None
    assert PINNED.task.build == "b1"


def test_a_lease_for_work_needs_the_build_and_records_it() -> None:
    """[BUILD-1]"""
    PINNED.when(acquire(build="b1")).then(msgspec.structs.replace(leased(), build="b1"))


@pytest.mark.parametrize("build", [None, "b2"])
def test_no_other_build_gets_a_lease_for_work(build: str | None) -> None:
    """[BUILD-1]"""
    PINNED.when(acquire(build=build)).then_refused(Blocked, task="t", state="pending", build="b1")


def test_undoing_needs_no_build() -> None:
    """[BUILD-1]"""
    undoing = PINNED.given(acquire(build="b1")).given(fail())
    undoing.when(acquire_undo()).then(leased(2, purpose="undo"))


def test_a_pin_that_was_taken_away_binds_no_more() -> None:
    """[BUILD-3]"""
    PINNED.when(amend(removes=("build",))).then(e.Amended(removes=("build",)))
    PINNED.given(amend(removes=("build",))).when(acquire()).then(leased())


def test_a_successor_takes_the_newest_pin_over() -> None:
    """[BUILD-2] So does a task that undoes what a completed one has left, which no build holds back."""
    task = PINNED.given(amend(build="b2")).given(quarantine()).task
    assert task is not None
    assert task.policy is not None
    assert task.state is not None
    created = e.Created("build", "q", 0, 0, task.policy.plain(), task.state, build="b1")
    assert succeed(task, created, "next").build == "b2"
    assert undo_left(task, created, (), "undoer").build == "b2"

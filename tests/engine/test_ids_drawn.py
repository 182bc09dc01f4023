"""When an id was drawn is in the id itself, if it is one of ours."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from sagalog import Engine
from sagalog.ids import Ulids, drawn_ms
from sagalog.testing import ManualClock
from sagalog.validation.identities import child_id, undo_key


@pytest.mark.parametrize("now_ms", [0, 1, 1_700_000_000_123, 2**48 - 1])
def test_a_drawn_id_says_when_it_was_drawn(now_ms: int) -> None:
    assert drawn_ms(Ulids(os.urandom).next(now_ms)) == now_ms


def test_a_task_without_an_id_of_the_callers_was_drawn_when_it_was_created(engine: Engine, clock: ManualClock) -> None:
    task = engine.create("build")
    assert drawn_ms(task.id) == task.created_ms == clock.now_ms()


@pytest.mark.parametrize(
    "id",
    [
        "build-7",
        "a" * 200,
        "01ARZ3NDEKTSV4RRFFQ69G5FA",  # a character short
        "01ARZ3NDEKTSV4RRFFQ69G5FAVV",  # one too many
        "01ARZ3NDEKTSV4RRFFQ69G5FAU",  # with a letter that ULIDs leave out
        "01arz3ndektsv4rrffq69g5fav",  # in lower case
        "81ARZ3NDEKTSV4RRFFQ69G5FAV",  # beyond 128 bits
        "é" * 13,  # 26 bytes
        "\N{GRINNING FACE}" * 26,
    ],
)
def test_a_callers_own_id_says_nothing(id: str) -> None:
    assert drawn_ms(id) is None


def test_a_caller_that_only_draws_ids_does_not_pay_for_reading_them() -> None:
    code = (
        "import sys, sagalog\n"
        "with sagalog.open('memory:') as engine: engine.create('build')\n"
        "sys.exit('ulid' in sys.modules)"
    )
    path = os.pathsep.join(sys.path)
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": path})


def test_a_child_is_named_by_its_parent_and_its_name_whatever_their_length() -> None:
    """[STEP-2]"""
    parent, longest = "01K00000000000000000000000", "n" * 200
    assert child_id(parent, "tests") == f"{parent}/tests"
    assert len(child_id(parent, longest)) <= 200
    assert child_id(parent, longest) != child_id(parent, longest[:-1] + "m")


def test_no_two_children_and_no_two_undos_are_named_alike() -> None:
    """[NAME-2] A slash within a name is escaped: `b/c` of `a` is not `c` of `a/b`."""
    assert child_id("P", "build/test") == "P/build%2Ftest"
    parts = ["a", "b", "a/b", "b/c", "/", "//", "%2F", "%252F", "%", "a%2Fb", "n" * 200, "n" * 199 + "/"]
    pairs = [(task, name) for task in parts for name in parts]
    for name_of in (child_id, undo_key):
        names = {name_of(task, name) for task, name in pairs}
        assert len(names) == len(pairs)
        assert max(map(len, names)) <= 200

"""The helper that exchanges what is free reaches it wherever it is, and nothing else."""

from __future__ import annotations

from sagalog.kernel import events as e
from sagalog.kernel.values import Compensation, Failure, State
from tests.kernel.freedom import OTHER_JSON, OTHER_TEXT, exchanged
from tests.kernel.making import policy


def test_all_that_is_free_is_exchanged_and_nothing_else() -> None:
    undo = Compensation("remove", {"path": "wt"}, "left over", "u1")
    created = e.Created("build", "q", 0, 0, policy(), State.PENDING, [1], (undo,), "harmless", {"team": "red"})
    other = Compensation("remove", OTHER_JSON, OTHER_TEXT, "u1")
    expected = e.Created("build", "q", 0, 0, policy(), State.PENDING, OTHER_JSON, (other,), OTHER_TEXT, {"team": "red"})
    assert exchanged(created) == expected

    assert exchanged(e.Noted("seen", results={"one": 1}, rerun=("two",))) == e.Noted(
        OTHER_TEXT, results={"one": OTHER_JSON}, rerun=("two",)
    )
    assert exchanged(e.Failed(State.FAILED, "failed", Failure("x", "y"))) == e.Failed(
        State.FAILED, "failed", Failure("x", OTHER_TEXT)
    )

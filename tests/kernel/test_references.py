"""What an event refers to: bytes, the task that it succeeds, and the tasks for which it waits. [PRUNE-2]"""

from __future__ import annotations

import pytest

from sagalog.kernel import events as e
from sagalog.kernel.references import AWAITS, BLOBS, SUCCEEDS, VALUES, blobs_of, may_refer, references_of
from sagalog.kernel.values import Input, JsonBlob, Retry, State

D, E = "d" * 64, "e" * 64
LARGE = JsonBlob(D, 70_000)
POLICY = Retry().resolve()
REFERRING = [
    (e.Created("k", "q", 0, 0, POLICY, State.PENDING, inputs=(Input("a", E, 3),), payload_blob=LARGE), [E, D]),
    (e.Created("k", "q", 0, 0, POLICY, State.PENDING, predecessor="p", after=("x",)), [f"{SUCCEEDS}p", f"{AWAITS}x"]),
    (e.Amended(payload_blob=LARGE), [D]),
    (e.StepCompleted("s", 1, result_blob=LARGE), [D]),
    (e.Completed(1, "complete", result_blob=LARGE), [D]),
    (e.Signalled("go", data_blob=LARGE), [D]),
    (e.Noted("seen", results={"s": None}, results_blobs={"s": LARGE, "t": JsonBlob(E, 1)}), [D, E]),
    (e.ArtifactPut("log", 1, E, 3, "text/plain"), [E]),
    (e.Parked(1, "park", "w", 1, after=("x", "y")), [f"{AWAITS}x", f"{AWAITS}y"]),
]
REFERRING_TO_NOTHING = [
    e.Created("k", "q", 0, 0, POLICY, State.PENDING, payload={"digest": D}),
    e.Completed(1, "complete", {"digest": D, "size_bytes": 1}),
    e.Noted("seen"),
    e.Heartbeat(1),
    e.Founded("s", 0, "1"),
]


@pytest.mark.parametrize(("event", "names"), REFERRING, ids=[type(event).__name__ for event, _ in REFERRING])
def test_an_event_refers_to_all_that_it_names(event: e.Recordable, names: list[str]) -> None:
    """[PRUNE-2]"""
    assert may_refer(event)
    assert [(one.name, one.task) for one in references_of(event)] == [(name, None) for name in names]
    assert {digest for digest, _ in blobs_of(event)} == {name for name in names if "/" not in name}


@pytest.mark.parametrize("event", REFERRING_TO_NOTHING, ids=lambda event: type(event).__name__)
def test_what_callers_give_names_nothing(event: e.Recordable) -> None:
    """[PRUNE-2] [RECORD-5]"""
    assert references_of(event) == ()


def test_every_value_has_a_field_for_its_blob() -> None:
    """[BLOB-2]"""
    for kind, name in VALUES.items():
        assert {name, BLOBS[kind]} <= set(kind.__struct_fields__)
    named = {kind for kind in e.TASK_EVENTS if any(field.endswith("_blob") for field in kind.__struct_fields__)}
    assert named == set(VALUES)

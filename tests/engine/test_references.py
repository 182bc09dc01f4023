"""`verify` follows what a successor inherits, keeps and adopts to the events that hold it. [COMP-7] [STEP-1]

Rule: the log of a successor is written as it never would be, with digests that fit, so that nothing else is wrong.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from sagalog import Compensation
from sagalog.codec import enclose
from sagalog.engine import Engine
from sagalog.kernel import events as e
from sagalog.kernel.ends import counted, digest_of_ends
from sagalog.kernel.values import Inherited, KeptStep, KeptWaits, SignalEnd, State, TaskEnd
from sagalog.store.memory import MemoryStore
from sagalog.store.projection import refold
from sagalog.testing import ManualClock

UNDO = Compensation("remove", None, None, "u")


def successor(changed: dict[str, Any], child: str = "kid") -> Engine:
    """An engine over a store in which the successor's creation, or the child it adopted, is another."""
    clock = ManualClock(1_000_000)
    store = MemoryStore(clock)
    engine = Engine(store, clock=clock)
    engine.create("build", id="a")
    engine.signal("a", "go", 1)
    lease = engine.acquire("a", owner="ann", ttl_ms=None).register(UNDO).step("one", 1, UNDO)
    lease.park("w", signal="go")
    engine.create("test", id="kid", parent="a")
    engine.quarantine("a", "odd")
    heir = engine.retry_as_new("a").id
    engine.acquire(heir, owner="ann", ttl_ms=None).adopt_child("test", "kid")
    stream = store.tables.stream_of[f"task/{heir}"]
    for place, envelope in enumerate(stream):
        event: Any = engine.history(heir)[place].event
        if isinstance(event, e.Created):
            event = msgspec.structs.replace(event, **changed)
        elif isinstance(event, e.ChildAdopted):
            event = msgspec.structs.replace(event, task=child)
        told = enclose(envelope.stream, envelope.version, envelope.at_ms, event, envelope.actor, envelope.cause)
        stream[place] = msgspec.structs.replace(told, position=envelope.position)
        store.tables.log[envelope.position - 1] = stream[place]
    store.tables.folds[heir] = refold(heir, stream)
    return engine


def test_a_log_whose_references_are_right_is_sound() -> None:
    assert successor({}).verify().ok


@pytest.mark.parametrize(
    ("changed", "child"),
    [
        ({"inherited": (Inherited("u", "remove", "a", 1, 0),)}, "kid"),
        ({"inherited": (Inherited("u", "remove", "nobody", 3, -1),)}, "kid"),
        ({"inherited": (Inherited("u", "close", "a", 4, -1),)}, "kid"),
        ({"steps": (KeptStep("one", "a", 4, "u"),)}, "kid"),
        ({"steps": (KeptStep("two", "a", 5, "u"),)}, "kid"),
        ({"steps": (KeptStep("one", "a", 5),)}, "kid"),
        ({"waits": (KeptWaits("w", (SignalEnd("a", 6),)),)}, "kid"),
        ({"waits": (KeptWaits("v", (SignalEnd("a", 7),)),)}, "kid"),
        ({"waits": (KeptWaits("w", (0, SignalEnd("a", 7))),)}, "kid"),
        ({"waits": (KeptWaits("w", (-2, SignalEnd("a", 7))),)}, "kid"),
        ({}, "nobody"),
    ],
)
def test_a_reference_to_what_is_not_there_is_a_fault(changed: dict[str, Any], child: str) -> None:
    """[COMP-7] [STEP-1] [STEP-2] [WAIT-1]"""
    faults = successor(changed, child).verify().faults
    assert [fault.code for fault in faults] == ["reference"]


def waiter(*ends: TaskEnd) -> Engine:
    """An engine over a store in which the end of a wait for tasks names these ends."""
    clock = ManualClock(1_000_000)
    store = MemoryStore(clock)
    engine = Engine(store, clock=clock)
    for id in ("a", "b", "c"):
        engine.create("build", id=id)
    engine.acquire("b", owner="ann", ttl_ms=None).complete()
    engine.cancel("c")
    engine.note("c", "looked at it")
    engine.acquire("a", owner="ann", ttl_ms=None).park("w", after=["b", "c"])
    tables = store.tables
    last = tables.stream_of["task/a"][-1]
    event = e.Unblocked("w", 1, "tasks", None, counted(ends), digest_of_ends(ends), ends)
    told = enclose("task/a", last.version, last.at_ms, event, last.actor)
    stored = msgspec.structs.replace(told, position=last.position)
    tables.stream_of["task/a"][-1] = tables.log[-1] = stored
    tables.folds["a"] = refold("a", tables.stream_of["task/a"])
    return engine


@pytest.mark.parametrize("version", [2, 3])
def test_an_end_that_a_wait_names_is_in_its_place_or_before_notes(version: int) -> None:
    """[WAIT-3]"""
    assert waiter(TaskEnd("b", 3, State.COMPLETED), TaskEnd("c", version, State.CANCELLED)).verify().ok


@pytest.mark.parametrize(
    "end",
    [
        TaskEnd("c", 3, State.COMPLETED),
        TaskEnd("c", 1, State.CANCELLED),
        TaskEnd("c", 4, State.CANCELLED),
    ],
)
def test_an_end_that_a_wait_names_and_that_was_not_so_is_a_fault(end: TaskEnd) -> None:
    """[WAIT-3]"""
    faults = waiter(TaskEnd("b", 3, State.COMPLETED), end).verify().faults
    assert [(fault.code, fault.stream) for fault in faults] == [("reference", "task/a")]
    assert "'c' had not ended as" in faults[0].text


def test_the_story_is_the_one_that_is_meant() -> None:
    engine = successor({})
    heir = next(task for task in engine.find() if task.predecessor == "a")
    created = engine.history(heir.id)[0].event
    assert isinstance(created, e.Created)
    assert created.inherited == (Inherited("u", "remove", "a", 4, -1),)
    assert created.steps == (KeptStep("one", "a", 5, "u"),)
    assert created.waits == (KeptWaits("w", (SignalEnd("a", 7),)),)

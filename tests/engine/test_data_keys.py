"""Whose data a task holds is on record, and handed on; what is encrypted is refused by this version. [KEY-1] [KEY-2]"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from sagalog import Compensation, Corrupt, Engine, InvalidValue, UnknownEvent
from sagalog.codec import decode, enclose
from sagalog.kernel import events as e
from sagalog.kernel.evolve import evolve
from sagalog.kernel.state import TaskFold
from sagalog.store.memory import MemoryStore
from sagalog.testing import ManualClock
from tests.engine.checking import get


def created(engine: Engine, id: str) -> e.Created:
    event = engine.history(id)[0].event
    assert isinstance(event, e.Created)
    return event


def test_a_task_has_the_data_key_that_it_was_given_or_its_own(engine: Engine) -> None:
    """[KEY-1]"""
    engine.create("build", id="a", data_key="tenant-1")
    engine.create("build", id="b")
    assert [(get(engine, id).data_key, created(engine, id).data_key) for id in ("a", "b")] == [
        ("tenant-1", "tenant-1"),
        ("b", None),
    ]
    with pytest.raises(InvalidValue) as caught:
        engine.create("build", data_key="")
    assert caught.value.path == "data_key"


def test_the_fold_keeps_the_data_key(engine: Engine) -> None:
    """[KEY-1]"""
    engine.create("build", id="a", data_key="tenant-1")
    task = evolve(TaskFold("a"), created(engine, "a"), 1, 0)
    assert (task.data_key, task.subject, TaskFold("b").subject) == ("tenant-1", "tenant-1", "b")


@pytest.mark.parametrize(("given", "handed_on"), [("tenant-1", "tenant-1"), (None, "a")])
def test_a_successor_has_the_data_key_of_its_predecessor(engine: Engine, given: str | None, handed_on: str) -> None:
    """[KEY-1] Also where the predecessor's id is the name, and of the successor's own successor."""
    engine.create("build", id="a", data_key=given)
    id = "a"
    for _ in range(2):
        engine.cancel(id)
        id = engine.retry_as_new(id).id
        assert get(engine, id).data_key == handed_on


def test_a_task_that_undoes_what_another_left_has_that_ones_data_key(engine: Engine) -> None:
    """[KEY-1]"""
    engine.create("build", id="a")
    engine.acquire("a", owner="ann", ttl_ms=None).register(Compensation("remove", id="u"))
    engine.quarantine("a", "odd")
    heir = engine.retry_as_new("a")
    done = engine.acquire(heir.id, owner="ann", ttl_ms=None).complete()
    assert done.successor is not None
    assert get(engine, done.successor).data_key == "a"


def test_encrypted_bytes_are_refused_and_never_taken_for_plain_ones() -> None:
    """[KEY-2]"""
    clock = ManualClock(1_000_000)
    store = MemoryStore(clock)
    engine = Engine(store, clock=clock)
    engine.create("build", id="a", inputs={"plan": b"x"})
    engine.acquire("a", owner="ann", ttl_ms=None).put_artifact("log", b"y")
    for place, envelope in enumerate(store.tables.stream_of["task/a"]):
        event: Any = engine.history("a")[place].event
        if isinstance(event, e.Created):
            event = msgspec.structs.replace(
                event, inputs=tuple(msgspec.structs.replace(one, data_key="a") for one in event.inputs)
            )
        if isinstance(event, e.ArtifactPut):
            event = msgspec.structs.replace(event, data_key="a")
        told = enclose(envelope.stream, envelope.version, envelope.at_ms, event, envelope.actor)
        store.tables.stream_of["task/a"][place] = msgspec.structs.replace(told, position=envelope.position)
    with pytest.raises(Corrupt, match="the input 'plan' of task 'a' is encrypted under the key 'a'"):
        engine.input("a", "plan")
    with pytest.raises(Corrupt, match="the artifact 'log' of task 'a' is encrypted under the key 'a'"):
        engine.artifact("a", "log")
    assert engine.verify().ok


def test_an_event_that_is_encrypted_is_refused() -> None:
    """[KEY-2] [LOG-5]"""
    envelope = msgspec.structs.replace(enclose("task/a", 1, 0, e.Noted("seen")), data_key="tenant-1")
    with pytest.raises(UnknownEvent, match="encrypted under the key 'tenant-1'"):
        decode(envelope)


def test_this_version_writes_no_data_key_beside_a_body_or_bytes(engine: Engine) -> None:
    """[KEY-2]"""
    engine.create("build", id="a", data_key="tenant-1", inputs={"plan": b"x"})
    engine.acquire("a", owner="ann", ttl_ms=None).put_artifact("log", b"y").complete()
    assert {one.data_key for one in engine.history("a")} == {None}
    bodies = [msgspec.json.decode(one.body) for one in engine.history("a")]
    assert bodies[0].pop("data_key") == "tenant-1"
    assert "data_key" not in str(bodies)

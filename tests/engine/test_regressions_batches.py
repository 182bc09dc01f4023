"""What once went wrong with batches, and must not again: a block used twice, ids lost with an answer.

Rule: each test is one case that occurred; batches themselves are in `test_engine_batch`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from sagalog import Engine, NotFound, Rejected, Unknown
from sagalog.store import Operation
from sagalog.testing import ManualClock, SeededEntropy
from tests.engine.checking import refused, types, unchanged
from tests.store_of import store_of


def test_a_batch_is_carried_out_once(engine: Engine) -> None:
    engine.create("build", id="t")
    batch = engine.batch()
    refused(engine, Rejected, batch.note, "t", "too early")
    with batch:
        batch.note("t", "in time")
    refused(engine, Rejected, batch.note, "t", "too late")
    refused(engine, Rejected, batch.__enter__)
    assert types(engine, "t") == ["created", "noted"]


def test_a_batch_cannot_be_entered_within_itself(engine: Engine) -> None:
    engine.create("build", id="t")
    with engine.batch() as batch:
        batch.note("t", "once")
        refused(engine, Rejected, batch.__enter__)
    assert types(engine, "t") == ["created", "noted"]


def test_a_batch_that_was_refused_or_left_by_an_exception_is_not_carried_out_later(engine: Engine) -> None:
    engine.create("build", id="t")
    batches = [engine.batch(), engine.batch()]

    def run(place: int, error: type[Exception] | None) -> None:
        with batches[place] as batch:
            batch.note("t", "seen")
            if error is not None:
                raise error
            batch.cancel("nobody")

    refused(engine, NotFound, run, 0, None)
    with pytest.raises(KeyError):
        run(1, KeyError)
    for batch in batches:
        refused(engine, Rejected, batch.__enter__)
    assert types(engine, "t") == ["created"]


class Severed:
    """A store whose next answer is lost after the commit."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.loses = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def commit(self, operations: Sequence[Operation]) -> list[Any]:
        answers: list[Any] = self._store.commit(operations)
        if self.loses:
            self.loses = False
            raise Unknown("the answer was lost", path="somewhere")
        return answers


def test_an_unknown_batch_names_the_ids_that_were_drawn(engine: Engine, clock: ManualClock) -> None:
    store = Severed(store_of(engine))
    severed = Engine(store, clock=clock, entropy=SeededEntropy(7))

    def run(ids: Sequence[str | None]) -> None:
        with severed.batch() as batch:
            for number, id in enumerate(ids):
                batch.create("build", {"n": number}, id=id)
            batch.cancel("mine")

    store.loses = True
    with pytest.raises(Unknown) as caught:
        run([None, "mine", None])
    assert set(caught.value.fields) == {"path", "identity"}
    ids = caught.value.identity["ids"]
    assert ids[1] == "mine"
    assert [task.id for task in engine.find()] == ids
    unchanged(engine, run, ids)


def test_an_unknown_creation_of_many_is_repeated_with_its_ids(engine: Engine, clock: ManualClock) -> None:
    store = Severed(store_of(engine))
    severed = Engine(store, clock=clock, entropy=SeededEntropy(7))
    store.loses = True
    with pytest.raises(Unknown) as caught:
        severed.create_many({"kind": "build", "payload": number} for number in range(3))
    specs = [{"kind": "build", "payload": place, "id": id} for place, id in enumerate(caught.value.identity["ids"])]
    assert [task.payload for task in unchanged(engine, severed.create_many, specs)] == [0, 1, 2]

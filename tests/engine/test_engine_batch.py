"""Batches: what one may hold, what it gives, and how its first refusal names its command."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import pytest

from sagalog import (
    Batch,
    CompensationRequired,
    Conflict,
    Engine,
    InvalidValue,
    Lease,
    LeaseLost,
    NotFound,
    OverBound,
    Rejected,
    Task,
    Unknown,
)
from sagalog.kernel import bounds
from sagalog.store import Operation
from sagalog.testing import ManualClock, SeededEntropy
from tests.conftest import OpenEngine
from tests.engine.checking import CLOSE, REMOVE, get, leased, log_of, refused, types, unchanged, undoing
from tests.store_of import store_of

# Every command of a batch, the state it needs, and the event it leaves.
COMMANDS: dict[str, tuple[Callable[[Batch, Lease], object], str]] = {
    "create": (lambda batch, _: batch.create("build", id="new"), "created"),
    "cancel": (lambda batch, _: batch.cancel("t", "called off"), "cancel_requested"),
    "quarantine": (lambda batch, _: batch.quarantine("t", "odd"), "quarantined"),
    "note": (lambda batch, _: batch.note("t", "seen"), "noted"),
    "waive": (lambda batch, _: batch.waive("t", "remove", "gone"), "compensation_waived"),
    "heartbeat": (lambda batch, lease: batch.heartbeat(lease, 5_000, "half"), "heartbeat"),
    "register": (lambda batch, lease: batch.register(lease, CLOSE), "compensation_registered"),
    "release": (lambda batch, lease: batch.release(lease, "why"), "released"),
    "retry": (lambda batch, lease: batch.retry(lease, "x", budget="transient"), "retried"),
    "complete": (lambda batch, lease: batch.complete(lease, 42), "completed"),
    "fail": (lambda batch, lease: batch.fail(lease, "x"), "failed"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_does_in_a_batch_what_it_does_alone(engine: Engine, clock: ManualClock, name: str) -> None:
    command, event = COMMANDS[name]
    lease = leased(engine, compensations=[REMOVE])
    clock.advance(1)
    before = log_of(engine)
    with engine.batch() as batch:
        command(batch, lease)
        assert log_of(engine) == before
    assert [one.type for one in log_of(engine)[len(before) :]] == [event]
    [result] = batch.results
    assert isinstance(result, Lease if name in ("heartbeat", "register") else Task)
    task = result.task if isinstance(result, Lease) else result
    assert task == get(engine, task.id)


def test_undoing_goes_in_batches_too(engine: Engine) -> None:
    lease = undoing(engine)
    with engine.batch() as batch:
        batch.compensation_done(lease, "remove")
        batch.compensation_failed(lease, "close", "x", 0)
    assert [type(result) for result in batch.results] == [Lease, Task]
    assert types(engine, "t")[-2:] == ["compensation_done", "compensation_failed"]


def test_results_are_in_the_order_of_the_commands(engine: Engine) -> None:
    with engine.batch() as batch:
        ids = [batch.create("build", {"n": number}) for number in range(5)]
        batch.cancel(ids[0])
    tasks = [result for result in batch.results if isinstance(result, Task)]
    assert [task.id for task in tasks] == [*ids, ids[0]]
    assert [task.state for task in tasks] == ["pending"] * 5 + ["cancelled"]


def test_a_lease_that_a_batch_ends_is_given_back_as_a_task(engine: Engine) -> None:
    lease = leased(engine)
    with engine.batch() as batch:
        batch.register(lease, REMOVE)
        batch.release(lease)
    assert [type(result) for result in batch.results] == [Lease, Task]
    assert isinstance(batch.results[1], Task)
    assert batch.results[1].state == "pending"


def _end_twice(batch: Batch, lease: Lease) -> None:
    batch.complete(lease)
    batch.complete(lease, 1)


def _end_otherwise(batch: Batch, lease: Lease) -> None:
    batch.complete(lease)
    batch.release(lease)


REFUSED: dict[str, tuple[Callable[[Batch, Lease], object], type[Any]]] = {
    "no task": (lambda batch, _: batch.cancel("nobody"), NotFound),
    "nothing to undo it by": (lambda batch, lease: batch.fail(lease, "x"), CompensationRequired),
    "ended twice": (_end_twice, Conflict),
    "ended otherwise": (_end_otherwise, LeaseLost),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_leaves_nothing_of_the_batch_and_names_its_command(engine: Engine, name: str) -> None:
    command, error = REFUSED[name]
    lease = leased(engine)

    def run() -> None:
        with engine.batch() as batch:
            batch.create("build", id="new")
            batch.note("t", "seen")
            command(batch, lease)

    refusal = refused(engine, error, run)
    assert refusal.command == (3 if name.startswith("ended") else 2)
    assert f"command {refusal.command} of" in str(refusal)
    assert engine.get("new") is None


def test_an_argument_that_offends_is_refused_inside_the_block(engine: Engine) -> None:
    lease = leased(engine)

    def run() -> None:
        with engine.batch() as batch:
            batch.note("t", "seen")
            batch.complete(lease, {1, 2})

    assert refused(engine, InvalidValue, run).path == "result"


def test_a_batch_that_has_ended_takes_no_more(engine: Engine) -> None:
    with engine.batch() as batch:
        batch.create("build", id="t")
    refused(engine, Rejected, batch.note, "t", "too late")
    failed = engine.batch()
    with pytest.raises(KeyError), failed:
        raise KeyError
    refused(engine, Rejected, failed.note, "t", "too late")


def test_a_batch_has_a_bound(engine: Engine) -> None:
    def run() -> None:
        with engine.batch() as batch:
            while True:
                batch.note("t", "seen")

    engine.create("build", id="t")
    refusal = refused(engine, OverBound, run)
    assert (refusal.bound, refusal.maximum) == ("batch_commands", bounds.BATCH_COMMANDS_MAX)


def test_a_group_gathers_its_results_within_a_batch_of_all_or_none(engine: Engine) -> None:
    engine.create("build", id="ready", priority=-1)
    with engine.batch() as batch:
        batch.create("build", id="a")
        with batch.group():
            batch.create("build", id="b")
            batch.create("build", id="c")
        with batch.group():
            pass
        batch.claim("default", owner="ann", ttl_ms=1_000)
    first, group, claimed = batch.results
    assert isinstance(first, Task)
    assert first.id == "a"
    assert isinstance(group, tuple)
    assert [one.id for one in group if isinstance(one, Task)] == ["b", "c"]
    assert isinstance(claimed, list)
    assert [lease.task.id for lease in claimed] == ["ready"]


@pytest.mark.parametrize("together", [True, False])
def test_of_a_group_whose_block_raised_nothing_is_carried_out(engine: Engine, together: bool) -> None:
    with engine.batch(together=together) as batch:
        batch.create("build", id="a")
        with suppress(InvalidValue), batch.group():
            batch.create("build", id="b")
            batch.create("", id="c")
        with batch.group():
            batch.create("build", id="d")
    assert [task.id for task in engine.find()] == ["a", "d"]


def test_what_is_changed_after_it_was_given_is_not_carried_along(engine: Engine) -> None:
    payload = {"n": 1}
    with engine.batch() as batch:
        batch.create("build", payload, id="t")
        payload["n"] = 2
    assert get(engine).payload == {"n": 1}


def test_the_actor_of_a_batch_is_who_is_named_or_the_engines(open_engine: OpenEngine) -> None:
    engine = open_engine(actor="the house")
    lease = leased(engine)
    with engine.batch() as batch:
        batch.note("t", "seen")
        batch.note("t", "seen", actor="me", idempotency_key="r")
        batch.complete(lease)
    assert [one.actor for one in engine.history("t")[2:]] == ["user:the house", "user:me", "worker:ann"]
    assert engine.history("t")[3].idempotency_key == "r"


def test_requests_in_a_batch_make_its_commands_repeatable(engine: Engine) -> None:
    def run() -> Batch:
        with engine.batch() as batch:
            batch.create("build", {"n": 1}, idempotency_key="first")
            batch.create("build", {"n": 2}, idempotency_key="second")
        return batch

    first = run()
    before = log_of(engine)
    assert run().results == first.results
    assert log_of(engine) == before


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


def test_a_batch_that_was_refused_or_left_is_not_carried_out_later(engine: Engine) -> None:
    """An exception left its block."""
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

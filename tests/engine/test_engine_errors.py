"""Errors: what they carry, that they survive a process boundary, and what to do after an unknown outcome."""

from __future__ import annotations

import multiprocessing
import pickle
import threading
from collections.abc import Sequence
from typing import Any

import pytest

import sagalog
from sagalog import (
    Compensation,
    Conflict,
    Corrupt,
    Engine,
    LeaseHeld,
    Rejected,
    SagalogError,
    Unavailable,
    Unknown,
    errors,
)
from sagalog.store import Operation
from sagalog.store.memory import MemoryStore
from sagalog.testing import ManualClock, SeededEntropy
from tests.engine.checking import REMOVE, TTL_MS, get, leased, log_of, refused, unchanged

CLASSES = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, SagalogError)]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_error_survives_pickling_with_all_it_carries(kind: type[SagalogError]) -> None:
    error = kind("a sentence", task="t", fence=3, differs=["payload"])
    again = pickle.loads(pickle.dumps(error))  # noqa: S301  it was made here
    assert (type(again), str(again), again.message, again.code) == (kind, "a sentence", "a sentence", kind.code)
    assert again.fields == {"task": "t", "fence": 3, "differs": ["payload"]}
    assert again.fence == 3


def test_every_code_has_one_class_and_every_public_class_a_branch() -> None:
    assert len({kind.code for kind in CLASSES}) == len(CLASSES)
    branches = (Rejected, Conflict, Unavailable, Unknown, Corrupt)
    assert all(issubclass(kind, branches) for kind in CLASSES if kind is not SagalogError)
    assert all(getattr(sagalog, kind.__name__) is kind for kind in CLASSES)


def test_a_field_that_an_error_does_not_have_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="owner"):
        _ = SagalogError("x").owner


def _hold(path: str) -> None:
    with sagalog.open(path) as engine:
        engine.acquire("t", owner="child", ttl_ms=TTL_MS)


def test_a_refusal_crosses_a_process_boundary(sqlite_url: str) -> None:
    with sagalog.open(sqlite_url) as engine:
        # Longer than a busy machine takes to begin a process.
        leased(engine).heartbeat(600_000)
        with multiprocessing.get_context("spawn").Pool(1) as pool, pytest.raises(LeaseHeld) as caught:
            pool.apply(_hold, (sqlite_url,))
    assert (caught.value.task, caught.value.owner, caught.value.fence) == ("t", "ann", 1)


class UncertainStore:
    """A store that loses the answer of the next commit, after it was written or before."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.fails: str | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def commit(self, operations: Sequence[Operation]) -> list[Any]:
        fails, self.fails = self.fails, None
        if fails == "before":
            raise Unknown("the link broke at the commit")
        answers = self._store.commit(operations)
        if fails == "after":
            raise Unknown("the link broke at the commit", path="somewhere")
        return answers


@pytest.fixture
def uncertain(clock: ManualClock) -> tuple[Engine, UncertainStore]:
    store = UncertainStore(MemoryStore(clock))
    return Engine(store, clock=clock, entropy=SeededEntropy(1)), store


@pytest.mark.parametrize("fails", ["before", "after"])
def test_an_unknown_creation_carries_the_id_that_the_engine_drew(
    uncertain: tuple[Engine, UncertainStore], fails: str
) -> None:
    engine, store = uncertain
    store.fails = fails
    with pytest.raises(Unknown) as caught:
        engine.create("build", {"n": 1})
    identity = caught.value.identity
    assert list(identity) == ["id"]
    task = engine.create("build", {"n": 1}, **identity)
    assert task.id == identity["id"]
    assert [one.type for one in log_of(engine)] == ["founded", "created"]


@pytest.mark.parametrize("fails", ["before", "after"])
def test_an_unknown_creation_of_many_carries_every_id_that_the_engine_drew(
    uncertain: tuple[Engine, UncertainStore], fails: str
) -> None:
    engine, store = uncertain
    store.fails = fails
    specs: list[dict[str, Any]] = [{"kind": "build"}, {"kind": "test", "id": "mine"}, {"kind": "build"}]
    with pytest.raises(Unknown) as caught:
        engine.create_many(specs)
    ids = caught.value.identity["ids"]
    assert ids[1] == "mine"
    tasks = engine.create_many([{**spec, "id": id} for spec, id in zip(specs, ids, strict=True)])
    assert [task.id for task in tasks] == ids
    assert len(log_of(engine)) == 4


@pytest.mark.parametrize("given", [{"id": "mine"}, {"idempotency_key": "r"}])
def test_an_unknown_creation_of_the_callers_identity_carries_no_other(
    uncertain: tuple[Engine, UncertainStore], given: dict[str, str]
) -> None:
    engine, store = uncertain
    store.fails = "after"
    with pytest.raises(Unknown) as caught:
        engine.create("build", **given)  # type: ignore[arg-type]
    assert "identity" not in caught.value.fields
    unchanged(engine, engine.create, "build", **given)


@pytest.mark.parametrize("fails", ["before", "after"])
def test_every_verb_is_settled_by_repeating_it(uncertain: tuple[Engine, UncertainStore], fails: str) -> None:
    engine, store = uncertain

    def twice(call: Any, *given: Any, **named: Any) -> Any:
        store.fails = fails
        with pytest.raises(Unknown):
            call(*given, **named)
        return call(*given, **named)

    engine.create("build", id="t", retry=sagalog.Retry(delay_min_ms=0, delay_max_ms=0))
    lease = twice(engine.claim, "default", owner="ann", ttl_ms=TTL_MS, idempotency_key="r1")[0]
    twice(lease.register, REMOVE)
    twice(lease.retry, "x")
    lease = engine.acquire("t", owner="ann", ttl_ms=TTL_MS)
    twice(lease.release, "why")
    twice(engine.note, "t", "seen", idempotency_key="r2")
    twice(engine.cancel, "t", "called off", idempotency_key="r3")
    undo = engine.acquire("t", owner="ann", ttl_ms=TTL_MS, purpose="undo")
    twice(undo.compensation_failed, "remove", "x", 0)
    undo = engine.acquire("t", owner="ann", ttl_ms=TTL_MS, purpose="undo")
    assert twice(undo.compensation_done, "remove").state == "compensated"
    assert [one.type for one in engine.history("t")] == [
        "created", "leased", "compensation_registered", "retried", "leased", "released", "noted", "cancelled",
        "leased", "compensation_failed", "leased", "compensation_done", "compensated",
    ]  # fmt: skip


def test_values_are_frozen_and_compared_by_content(engine: Engine) -> None:
    lease = leased(engine, compensations=[REMOVE])
    same = engine.heartbeat([lease]).renewed[0]
    assert same == lease
    assert same is not lease
    assert lease.task == get(engine)
    assert lease != same.register(Compensation("close"))
    for value, name in ((lease, "task"), (lease.task, "state"), (lease.record, "fence"), (REMOVE, "kind")):
        with pytest.raises(AttributeError):
            setattr(value, name, None)


def test_threads_share_an_engine(engine: Engine) -> None:
    failures: list[BaseException] = []
    done: list[str] = []

    def work(owner: str) -> None:
        try:
            engine.create_many({"kind": "build"} for _ in range(10))
            while leases := engine.claim("default", owner=owner, ttl_ms=60_000, limit=3):
                for lease in leases:
                    lease.heartbeat(progress=owner)
                    done.append(lease.complete(owner).id)
        except BaseException as failure:
            failures.append(failure)
            raise

    threads = [threading.Thread(target=work, args=(f"worker {number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert len(done) == len(set(done)) == 40
    assert engine.verify().ok


def test_a_refusal_says_what_to_do_next(engine: Engine) -> None:
    leased(engine).complete()
    texts = [
        str(refused(engine, sagalog.NotFound, engine.cancel, "nobody")),
        str(refused(engine, sagalog.TerminalTask, engine.cancel, "t")),
    ]
    assert "create it first" in texts[0]
    assert "create a new task instead" in texts[1]

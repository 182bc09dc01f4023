"""Who is on record for an event: a class and a name, and no caller speaks for the engine. [ACTOR-1] [ACTOR-2]"""

from __future__ import annotations

from collections.abc import Callable

import pytest

import sagalog
from sagalog import Compensation, Engine, InvalidValue, LeaseLost
from sagalog.actors import check_actor
from sagalog.kernel import bounds
from sagalog.testing import ManualClock
from tests.conftest import OpenEngine
from tests.engine.checking import TTL_MS, leased, refused

UNDO = Compensation("zip", id="zip")


def actors(engine: Engine, id: str) -> list[tuple[str, str | None]]:
    return [(one.type, one.actor) for one in engine.history(id)]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("ann", "user:ann"),
        ("user:ann", "user:ann"),
        ("token:7", "token:7"),
        ("schedule:nightly", "schedule:nightly"),
        ("cron:nightly", "user:cron:nightly"),
        ("Worker:ann", "user:Worker:ann"),
        ("user:worker:ann", "user:worker:ann"),
        ("a" * 200, "user:" + "a" * 200),
        ("schedule:" + "a" * 200, "schedule:" + "a" * 200),
    ],
)
def test_an_actor_without_a_class_is_a_user(given: str, kept: str) -> None:
    assert check_actor(given, "actor") == kept
    assert len(kept) <= bounds.ACTOR_CHARACTERS_MAX


@pytest.mark.parametrize(
    "given", ["", "user:", "token:", "a" * 201, "user:" + "a" * 201, "a\n", "user:a\x7f", 7, b"ann", "x" * 1_000]
)
def test_an_actor_whose_name_is_none_is_refused(given: object) -> None:
    with pytest.raises(InvalidValue, match=r"^actor: expected a str of 1 to 200 characters"):
        check_actor(given, "actor")


@pytest.mark.parametrize("given", ["worker:ann", "system:maintenance", "system:", "worker:"])
def test_no_caller_speaks_for_a_worker_or_for_the_engine(engine: Engine, given: str) -> None:
    """A fence shows that a worker wrote something, so no name alone may."""
    engine.create("build", id="t")
    calls: list[Callable[[], object]] = [
        lambda: engine.create("build", actor=given),
        lambda: engine.note("t", "seen", actor=given),
        lambda: engine.cancel("t", actor=given),
        lambda: engine.signal("t", "go", actor=given),
        lambda: engine.batch().__enter__().note("t", "seen", actor=given),
    ]
    for call in calls:
        assert refused(engine, InvalidValue, call).path == "actor"
    with pytest.raises(InvalidValue, match="the engine alone writes"):
        sagalog.open("memory:", actor=given)


def test_whatever_a_holder_writes_is_on_record_as_its_workers(engine: Engine, clock: ManualClock) -> None:
    owner = "a" * 200
    lease = leased(engine, owner=owner)
    clock.advance(1)
    [lease] = engine.heartbeat([lease]).renewed
    with engine.batch() as batch:
        batch.step(lease, "one")
    lease.release()
    [lease] = engine.claim("default", owner=owner, ttl_ms=TTL_MS)
    lease.complete()
    with engine.batch() as batch:
        batch.create("build", id="u")
    with engine.batch() as batch:
        batch.acquire("u", owner=owner, ttl_ms=TTL_MS)
    found = {actor for id in "tu" for _, actor in actors(engine, id)[1:]}
    assert found == {f"worker:{owner}"}


def test_holders_are_told_apart_by_owner_and_fence(engine: Engine) -> None:
    """Their actors do not matter."""
    lease = leased(engine, owner="ann")
    engine.cancel("t", now=True, actor="ann")
    refused(engine, LeaseLost, lease.complete)
    assert actors(engine, "t")[-1] == ("cancelled", "user:ann")


def test_what_is_due_is_written_by_maintenance_in_any_call(open_engine: OpenEngine, clock: ManualClock) -> None:
    engine = open_engine(actor="the house")
    for id in ("claimed", "recovered", "acquired"):
        engine.create("build", id=id, queue=id)
        engine.acquire(id, owner="ann", ttl_ms=TTL_MS)
    clock.advance(TTL_MS)
    engine.claim("claimed", owner="bob", ttl_ms=TTL_MS)
    engine.acquire("acquired", owner="bob", ttl_ms=TTL_MS)
    engine.recover()
    for id in ("claimed", "recovered", "acquired"):
        assert ("lease_expired", "system:maintenance") in actors(engine, id)


@pytest.mark.parametrize(("given", "kept"), [(None, "system:maintenance"), ("ann", "user:ann"), ("token:7", "token:7")])
def test_the_caller_who_declares_an_undo_kind_unknown_is_on_record(
    open_engine: OpenEngine, given: str | None, kept: str
) -> None:
    engine = open_engine(actor=given)
    leased(engine, compensations=[UNDO]).fail("no")
    engine.recover(known_kinds=["other"])
    assert actors(engine, "t")[-1] == ("quarantined", kept)

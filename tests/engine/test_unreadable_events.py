"""An event that turns unreadable behind an open store's back, without a rebuild, stops its own task only. [LOG-5]

Rule: nothing tells the engine; it meets the event in the middle of a call, as beside a newer version.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sagalog import Compensation, Engine, Lease, LogDamaged, SagalogError, UnknownEvent
from sagalog.codec import Envelope, digest_of
from sagalog.store.memory import MemoryStore
from sagalog.testing import ManualClock
from tests.contract.tampering import tamper
from tests.engine.checking import TTL_MS, get
from tests.store_of import store_of

# What happens to the event, and which error tells the reader of it.
SPOILED: dict[str, tuple[Callable[[Envelope], dict[str, Any]], type[SagalogError]]] = {
    "a newer schema": (lambda event: {"schema": event.schema + 1}, UnknownEvent),
    "a newer type": (lambda _: {"type": "created_twice"}, UnknownEvent),
    "a garbled body": (lambda event: {"body": event.body[:-2]}, LogDamaged),
    "a changed body": (
        lambda event: {"body": event.body.replace("build", "burnt"), "digest": event.digest},
        LogDamaged,
    ),
}


def sent(value: Any) -> Any:
    """A value as it is handed to another process."""
    return {"hex": value.hex()} if isinstance(value, bytes) else value


class Log:
    """The log of an open store, in the hands of a program that is not the store."""

    def __init__(self, engine: Engine, path: Path) -> None:
        self._engine = engine
        self._path = path

    def change(self, task: str, changes: dict[str, Any]) -> dict[str, Any]:
        """Change the fields of a task's first event; what they were."""
        store = store_of(self._engine)
        with store.read() as snapshot:
            [event] = snapshot.history(f"task/{task}", limit=1)
        if isinstance(store, MemoryStore):
            changed = msgspec.structs.replace(event, **changes)
            store.tables.log[event.position - 1] = store.tables.stream_of[event.stream][0] = changed
        else:
            sets = ", ".join(f"{name} = ?" for name in changes)
            tamper(
                self._path,
                (f"UPDATE events SET {sets} WHERE position = ?", [*map(sent, changes.values()), event.position]),  # noqa: S608  names of ours
            )
        return {name: getattr(event, name) for name in changes}

    def spoil(self, task: str, how: str) -> Callable[[], object]:
        """Make a task unreadable; what mends it again."""
        with store_of(self._engine).read() as snapshot:
            [event] = snapshot.history(f"task/{task}", limit=1)
        changes = SPOILED[how][0](event)
        # A newer version gives its events a digest that fits; so does a forger.
        fitting = digest_of(msgspec.structs.replace(event, **changes))
        before = self.change(task, {"digest": fitting, **changes})
        return lambda: self.change(task, before)

    def unreadable(self) -> list[str]:
        """The tasks that are put aside."""
        with store_of(self._engine).read() as snapshot:
            return snapshot.unreadable()


@pytest.fixture
def log(engine: Engine, tmp_path: Path) -> Log:
    return Log(engine, tmp_path / "log.db")


def claim(engine: Engine, limit: int = 5, **given: Any) -> list[Lease]:
    return engine.claim("default", owner="ann", ttl_ms=TTL_MS, limit=limit, **given)


def ids(leases: list[Lease]) -> list[str]:
    return [lease.task.id for lease in leases]


@pytest.mark.parametrize("how", SPOILED)
@pytest.mark.parametrize("idempotency_key", [None, "r"])
@pytest.mark.parametrize(("limit", "expected"), [(1, ["b"]), (5, ["b", "c"])])
def test_a_claim_puts_it_aside_and_leases_the_others(
    engine: Engine, log: Log, how: str, idempotency_key: str | None, limit: int, expected: list[str]
) -> None:
    for id in ("a", "b", "c"):
        engine.create("build", {"id": id}, id=id)
    log.spoil("a", how)
    leases = claim(engine, limit, idempotency_key=idempotency_key)
    assert ids(leases) == expected
    assert log.unreadable() == ["a"]
    assert [event.type for event in engine.history("b")] == ["created", "leased"]
    if idempotency_key is not None:
        assert claim(engine, limit, idempotency_key=idempotency_key) == leases
    for lease in leases:
        lease.complete()
    assert ids(claim(engine)) == ["c"] * (2 - len(leases))


@pytest.mark.parametrize("how", SPOILED)
def test_a_repeated_claim_gives_what_can_still_be_read(engine: Engine, log: Log, how: str) -> None:
    """[LOG-5] [REPEAT-4]"""
    for id in ("a", "b"):
        engine.create("build", id=id)
    first, second = claim(engine, idempotency_key="r")
    log.spoil("a", how)
    assert first.task.id == "a"
    assert claim(engine, idempotency_key="r") == [second]


def test_all_unreadable_tasks_in_front_are_put_aside_in_one_call(engine: Engine, log: Log) -> None:
    for id in ("a", "b", "c", "d"):
        engine.create("build", id=id)
    for id in ("a", "b", "c"):
        log.spoil(id, "a newer schema")
    assert ids(claim(engine, 1)) == ["d"]
    assert log.unreadable() == ["a", "b", "c"]


def test_a_claim_that_finds_nothing_else_comes_back_empty(engine: Engine, log: Log) -> None:
    engine.create("build", id="a")
    log.spoil("a", "a garbled body")
    assert claim(engine) == []
    assert log.unreadable() == ["a"]


def test_an_undo_claim_puts_it_aside_too(engine: Engine, log: Log) -> None:
    for id in ("a", "b"):
        engine.create("build", id=id, waive_compensation="nothing is done")
        lease = engine.acquire(id, owner="ann", ttl_ms=TTL_MS)
        lease.fail("no way on", [Compensation("remove")])
    log.spoil("a", "a newer schema")
    assert ids(claim(engine, 1, purpose="undo")) == ["b"]
    assert log.unreadable() == ["a"]


@pytest.mark.parametrize("how", SPOILED)
def test_reading_it_names_it_and_listings_leave_it_out(engine: Engine, clock: ManualClock, log: Log, how: str) -> None:
    for id in ("a", "b"):
        engine.create("build", id=id)
    assert ids(claim(engine)) == ["a", "b"]
    clock.advance(TTL_MS)
    log.spoil("a", how)
    assert [task.id for task in engine.find()] == ["b"]
    assert [task.id for task in engine.stale()] == ["b"]
    assert engine.counts() == {"default": {"running": 2}}
    for call in (engine.get, engine.history):
        refusal = refused_by_name(SPOILED[how][1], call)
        assert (refusal.stream, refusal.version) == ("task/a", 1)


@pytest.mark.parametrize("how", SPOILED)
def test_maintenance_goes_on_with_the_others(engine: Engine, clock: ManualClock, log: Log, how: str) -> None:
    for id in ("a", "b", "c"):
        engine.create("build", id=id)
    claim(engine)
    clock.advance(TTL_MS)
    log.spoil("b", how)
    assert {"a", "c"} <= {one.task for one in engine.recover()}
    assert [get(engine, id).state for id in ("a", "c")] == ["pending", "pending"]
    assert ids(claim(engine)) == ["a", "c"]


@pytest.mark.parametrize("how", SPOILED)
def test_a_heartbeat_of_many_names_it_and_renews_the_others(
    engine: Engine, clock: ManualClock, log: Log, how: str
) -> None:
    for id in ("a", "b", "c"):
        engine.create("build", id=id)
    held = claim(engine)
    log.spoil("b", how)
    assert engine.rebuild().unreadable == ("b",)
    clock.advance(1)
    renewal = engine.heartbeat(held)
    assert ids(list(renewal.renewed)) == ["a", "c"]
    assert [(type(error), error.fields["stream"]) for error in renewal.lost] == [(SPOILED[how][1], "task/b")]


@pytest.mark.parametrize("how", SPOILED)
def test_once_it_is_mended_and_rebuilt_it_is_claimed_again(engine: Engine, log: Log, how: str) -> None:
    for id in ("a", "b"):
        engine.create("build", {"id": id}, id=id)
    mend = log.spoil("a", how)
    assert ids(claim(engine)) == ["b"]
    assert [fault.stream for fault in engine.verify().faults] == ["task/a"]
    mend()
    assert engine.rebuild().unreadable == ()
    assert ids(claim(engine)) == ["a"]
    assert get(engine, "a").payload == {"id": "a"}
    assert engine.verify().ok


def refused_by_name(kind: type[SagalogError], call: Callable[[str], object]) -> SagalogError:
    """How the call is refused for task `a`; the log cannot be compared, since it cannot be read."""
    with pytest.raises(kind) as caught:
        call("a")
    assert type(caught.value) is kind
    return caught.value

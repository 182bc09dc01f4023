"""Plain calls: one stream decides them, so no view is made; and they are whole or nothing as every other call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from msgspec.structs import replace

import sagalog
from sagalog.engine import Engine, unit_of_work
from sagalog.store import Operation
from sagalog.store.memory import MemoryStore
from sagalog.system import SystemClock
from sagalog_sqlite import transaction
from tests.adapters.sqlite.interrupts import Interrupt
from tests.adapters.sqlite.stores import open_at, raw
from tests.store_of import store_of

TTL_MS = 600_000
UNDO = sagalog.Compensation("undo", id="u")


@pytest.fixture
def engine(path: Path) -> Iterator[Engine]:
    with sagalog.open(f"sqlite:///{path}", durability="normal") as engine:
        # The store looks up once which gates have tasks, and when one is due.
        engine.claim("default", owner="ann", ttl_ms=TTL_MS)
        yield engine
        assert engine.verify().ok


@pytest.fixture
def viewless(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From when on neither a view nor a unit of work may be made."""

    def refuse(*_: object) -> None:
        raise AssertionError("a plain call needs none")

    def from_now_on() -> None:
        monkeypatch.setattr(transaction, "SqliteView", refuse)
        monkeypatch.setattr(unit_of_work.UnitOfWork, "__init__", refuse)

    return from_now_on


def leased(engine: Engine) -> sagalog.Lease:
    engine.create("build", {"n": 1})
    (lease,) = engine.claim("default", owner="ann", ttl_ms=TTL_MS)
    return lease


BY_HOLDERS: dict[str, Callable[[sagalog.Lease], object]] = {
    "heartbeat": lambda lease: lease.heartbeat(progress={"done": 1}),
    "step": lambda lease: lease.step("fetched", {"n": 2}),
    "put_artifact": lambda lease: lease.put_artifact("log", b"all well"),
    "release": lambda lease: lease.release("not now"),
    "retry": lambda lease: lease.retry("no network"),
    "complete": lambda lease: lease.complete({"n": 3}),
    "fail": lambda lease: lease.fail("no way", waive_compensation="nothing was done"),
    "quarantine": lambda lease: lease.quarantine("look at this"),
}
BY_OPERATORS: dict[str, Callable[[Engine, str], object]] = {
    "note": lambda engine, id: engine.note(id, "seen"),
    "signal": lambda engine, id: engine.signal(id, "yes"),
    "cancel": lambda engine, id: engine.cancel(id),
    "quarantine": lambda engine, id: engine.quarantine(id, "look at this"),
}


def test_a_creation_and_a_claim_are_plain(engine: Engine, viewless: Callable[[], None]) -> None:
    leased(engine).complete()
    viewless()
    task = engine.create("build", {"n": 1}, inputs={"in": b"bytes"}, tags={"a": "b"})
    (lease,) = engine.claim("default", owner="ann", ttl_ms=TTL_MS)
    assert (lease.task.id, lease.task.payload) == (task.id, {"n": 1})
    assert engine.claim("default", owner="ann", ttl_ms=TTL_MS) == []


@pytest.mark.parametrize("verb", BY_HOLDERS)
def test_what_a_holder_says_of_its_task_is_plain(engine: Engine, viewless: Callable[[], None], verb: str) -> None:
    lease = leased(engine)
    viewless()
    BY_HOLDERS[verb](lease)


@pytest.mark.parametrize("verb", BY_OPERATORS)
def test_what_an_operator_says_of_a_task_is_plain(engine: Engine, viewless: Callable[[], None], verb: str) -> None:
    id = engine.create("build").id
    viewless()
    BY_OPERATORS[verb](engine, id)


class Held(NamedTuple):
    """A leased task, and its engine."""

    engine: Engine
    lease: sagalog.Lease


ASKING_FOR_MORE: dict[str, Callable[[Held], object]] = {
    "an id that may be on record": lambda at: at.engine.create("build", id=at.lease.task.id),
    "a creation under a key": lambda at: at.engine.create("build", idempotency_key="k"),
    "a command under a key": lambda at: at.engine.note(at.lease.task.id, "seen", idempotency_key="k"),
    "an undo": lambda at: at.lease.register(UNDO),
    "a failure with undos": lambda at: at.lease.fail("no", [UNDO]),
    "a wait for tasks": lambda at: at.lease.park("w", after="other"),
    "a lease of one task": lambda at: at.engine.acquire("other", owner="ann", ttl_ms=TTL_MS),
    "a claim of several": lambda at: at.engine.claim("default", owner="ann", ttl_ms=TTL_MS, limit=2),
    "a claim under a key": lambda at: at.engine.claim("default", owner="ann", ttl_ms=TTL_MS, idempotency_key="k"),
}


@pytest.mark.parametrize("call", ASKING_FOR_MORE)
def test_where_more_than_one_stream_may_count_the_view_decides(
    engine: Engine, viewless: Callable[[], None], call: str
) -> None:
    lease = leased(engine)
    engine.create("build", id="other", queue="elsewhere")
    viewless()
    with pytest.raises(AssertionError, match="needs none"):
        ASKING_FOR_MORE[call](Held(engine, lease))


@pytest.mark.parametrize(
    ("changed", "queue", "kind"),
    [
        ("kind = 'test'", "default", "test"),
        ("queue = 'mine'", "mine", "build"),
        ("gate = 'ready', run_at_ms = 0", "default", "build"),
    ],
)
def test_a_changed_row_leads_no_plain_claim_to_its_task(
    engine: Engine, path: Path, changed: str, queue: str, kind: str
) -> None:
    """[LOG-5] Another program has changed it.

    The row is put right, and the task is not leased for what only its row says.
    """
    later_ms = engine.now_ms() + TTL_MS
    task = engine.create("build", run_at_ms=later_ms if "run_at_ms" in changed else None)
    with closing(raw(path)) as behind:
        behind.execute(f"UPDATE tasks SET {changed}")  # noqa: S608  texts of this test
    assert engine.claim(queue, owner="ann", ttl_ms=TTL_MS, kinds=[kind]) == []
    assert engine.get(task.id) == task


def test_the_memory_store_asks_no_operation_for_its_plain_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random runs compare every other store with it, and so the two ways with one another."""
    store = MemoryStore(SystemClock())
    commit = store.commit
    given: list[Operation] = []

    def refuse(*_: object) -> None:
        raise AssertionError("the memory store decides by views")

    def without(operations: Any) -> list[Any]:
        given.extend(one for one in operations if one.plain is not None)
        return commit([one if one.plain is None else replace(one, plain=refuse) for one in operations])

    monkeypatch.setattr(store, "commit", without)
    with Engine(store) as engine:
        leased(engine).complete()
    assert len(given) == 4  # the claim has its maintenance before it


@pytest.mark.parametrize("each_reach", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_an_interrupt_at_any_line_leaves_a_plain_call_whole_or_undone(
    engine: Engine, path: Path, each_reach: bool
) -> None:
    """And the next one finds neither a turn that is kept nor anything that is believed and was not committed.

    Only the campaign interrupts a line at each time that the calls reach it.
    """
    other = open_at(path, clock=SystemClock(), turn_timeout_ms=2_000)

    def life(id: str) -> None:
        engine.create("build", {"n": 1}, id=id, queue=id)
        for lease in engine.claim(id, owner="ann", ttl_ms=TTL_MS, kinds=["build"]):
            lease.heartbeat(2 * TTL_MS)  # another length, so that it writes also within the millisecond of the claim
            lease.complete({"n": 2})

    life("warm")
    with Interrupt(0) as counting:
        life("counted")
    assert counting.lines > 300
    for at in counting.moments(each_reach):
        id = f"n{at}"
        try:
            with Interrupt(at):
                life(id)
        except KeyboardInterrupt:
            pass
        assert other.commit([]) == [], f"line {at} kept the turn"
        types = [event.type for event in engine.history(id)] if engine.get(id) else []
        assert types == ["created", "leased", "heartbeat", "completed"][: len(types)], f"line {at}"
        # The process goes on from what is on record.
        engine.create("build", {"n": 1}, id=id, queue=id)
        task = engine.note(id, "seen")
        assert task.version == max(len(types), 1) + 1, f"line {at}"
    other.close()
    assert store_of(engine) is not None

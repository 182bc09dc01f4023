"""What calls cost: the same whatever else the store holds, and whatever the task has behind it. Counted, never timed.

Counted are the statements and the steps of SQLite's machine, on every connection of a store.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

import sagalog
from sagalog import Compensation, Engine, Retry
from sagalog.testing import ManualClock
from sagalog_sqlite import writer
from sagalog_sqlite.store import SqliteStore
from tests.store_of import store_of

LASTING = Retry(releases_max=None, attempts_max=None)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with sagalog.open(f"sqlite:///{tmp_path / 'costs.db'}", durability="normal", clock=ManualClock()) as engine:
        yield engine


def cost(engine: Engine, call: Callable[[], Any]) -> tuple[int, int]:
    """Statements and steps of a call, in all connections."""
    store = store_of(engine)
    assert isinstance(store, SqliteStore)
    statements = steps = 0

    def count(event: dict[str, Any]) -> None:
        nonlocal statements, steps
        statements += 1
        steps += event["stmt_status"]["SQLITE_STMTSTATUS_VM_STEP"]

    engine.newest_position()
    assert store._connections.writer is not None
    connections = [store._connections.writer, *store._connections.readers._idle]
    for one in connections:
        one.trace_v2(apsw.SQLITE_TRACE_PROFILE, count)
    call()
    for one in connections:
        one.trace_v2(0, None)
    assert steps > 0
    return statements, steps


def life(engine: Engine, id: str) -> dict[str, tuple[int, int]]:
    """What each call of one task's life costs; its queue, kind and tag are those of many others."""
    held: list[Any] = []

    def claim() -> None:
        held[:] = engine.claim("q", owner="ann", ttl_ms=1_000, kinds=["build", "test"], affinity=["red"])

    def renew() -> None:
        engine._executor.clock.advance(1)  # type: ignore[attr-defined]
        held[0].heartbeat()

    calls: dict[str, Callable[[], object]] = {
        "create": lambda: engine.create(
            "build", {"n": 1}, id=id, queue="q", tags={"team": "red", "id": id}, priority=-1
        ),
        "claim": claim,
        "heartbeat": renew,
        "step": lambda: held[0].step("one", 1),
        "get": lambda: engine.get(id),
        "complete": lambda: held[0].complete({"ok": True}),
        "claim of nothing": claim,
    }
    found = {name: cost(engine, call) for name, call in calls.items()}
    assert not held
    return found


def fill(engine: Engine, first: int, last: int) -> None:
    """Tasks in every state, in the queue of the calls that are measured and in others, all of them with tags."""
    with engine.batch() as batch:
        for number in range(first, last):
            for state in ("later", "leased", "owing", "done", "waiting"):
                tags = {"team": "red", f"tag{number % 10}": f"{number}"}
                undo = [Compensation("undo")] if state == "owing" else []
                due_ms = 2**50 if state in ("later", "leased") else None
                for queue in ("q", f"queue{number}"):
                    batch.create(
                        "build", id=f"{state}{number}{queue}", queue=queue, tags=tags, run_at_ms=due_ms,
                        compensations=undo, waive_compensation="none", affinity="red",
                    )  # fmt: skip
    for number in range(first, last):
        for queue in ("q", f"queue{number}"):
            engine.acquire(f"leased{number}{queue}", owner="bob", ttl_ms=2**40)
            engine.acquire(f"owing{number}{queue}", owner="bob", ttl_ms=1_000).fail("no")
            engine.acquire(f"done{number}{queue}", owner="bob", ttl_ms=1_000).complete()
            engine.acquire(f"waiting{number}{queue}", owner="bob", ttl_ms=1_000).park("w", signal="go")


def test_a_call_costs_the_same_however_much_the_store_holds(engine: Engine) -> None:
    """The numbers of tasks, tags and queues do not matter."""
    fill(engine, 0, 5)
    life(engine, "first")
    few = life(engine, "few")
    fill(engine, 5, 60)
    life(engine, "other")
    assert life(engine, "man") == few


def test_a_search_costs_the_same_however_many_other_tasks_there_are(engine: Engine) -> None:
    engine.create("build", id="0001-a", queue="q", parent="plan", correlation_id="order 7")
    engine.acquire("0001-a", owner="bob", ttl_ms=1_000).park("approval", signal="go")
    searches: dict[str, Callable[[], object]] = {
        "parent": lambda: engine.find(parent="plan", state="pending"),
        "correlation": lambda: engine.find(correlation_id="order 7", newest_first=True),
        "a wait": lambda: engine.find(waiting="approval", queue=["q", "r"]),
        "any wait": lambda: engine.find(waiting=True),
        "prefix": lambda: engine.ids_with_prefix("0001"),
    }

    def costs() -> dict[str, tuple[int, int]]:
        return {name: cost(engine, search) for name, search in searches.items()}

    def others(count: int) -> None:
        engine.create_many({"kind": "build", "queue": f"q{n % 7}", "parent": f"p{n}"} for n in range(count))

    others(10)
    costs()
    few = costs()
    others(900)
    assert costs() == few


def test_an_audit_of_a_task_costs_the_same_however_much_there_is(engine: Engine) -> None:
    """The numbers of tasks and tags do not matter."""

    def audit() -> float:
        assert engine.verify().ok
        statements, steps = cost(engine, engine.verify)
        tasks = len(engine.find())
        assert statements / tasks < 8
        return steps / tasks

    engine.create_many([{"kind": "k", "tags": {"a": str(n), "b": "x"}} for n in range(300)])
    few = audit()
    engine.create_many([{"kind": "k", "tags": {"a": str(n), "b": "x"}} for n in range(2_700)])
    assert audit() < 1.2 * few


def test_a_call_costs_the_same_however_many_undos_were_planned(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    # A small creation is remembered and a large one is read again: here none is remembered.
    monkeypatch.setattr(writer, "CREATED_CHARACTERS_MAX", 0)

    def life_with(count: int) -> dict[str, tuple[int, int]]:
        id = f"t{count}"
        planned = [Compensation("undo", {"n": number}) for number in range(count)]
        lease: list[Any] = []

        def acquire() -> None:
            lease[:] = [engine.acquire(id, owner="ann", ttl_ms=1_000)]

        calls: dict[str, Callable[[], object]] = {
            "create": lambda: engine.create("build", id=id, queue="q", compensations=planned),
            "repeat": lambda: engine.create("build", id=id, queue="q", compensations=planned),
            "acquire": acquire,
            "get": lambda: engine.get(id),
            "find": lambda: engine.find(queue="q", kind="build", state="running", limit=1),
            "step": lambda: lease[0].step("one"),
            "repeated undos": lambda: lease[0].register(planned[0]),
            "fail": lambda: lease[0].fail("no", planned),
            "undo": lambda: engine.acquire(id, owner="ann", ttl_ms=1_000, purpose="undo").quarantine("no"),
            "retry as new": lambda: engine.retry_as_new(id),
        }
        return {name: cost(engine, call) for name, call in calls.items()}

    life_with(1)
    assert life_with(256) == life_with(2)


def test_leasing_a_task_takes_work_in_proportion_to_its_planned_undos(engine: Engine) -> None:
    def calls(count: int) -> int:
        engine.create("build", id=f"t{count}", compensations=[Compensation("undo", {"n": n}) for n in range(count)])
        made = 0

        def profile(*_: object) -> None:
            nonlocal made
            made += 1

        sys.setprofile(profile)
        engine.acquire(f"t{count}", owner="ann", ttl_ms=1_000)
        sys.setprofile(None)
        return made

    calls(1)
    none, some = calls(2), calls(65)
    assert calls(254) - none < 4.4 * (some - none)


def test_a_call_costs_the_same_however_many_steps_are_on_record(engine: Engine) -> None:
    def life_after(count: int) -> dict[str, tuple[int, int]]:
        id = f"t{count:03}"
        engine.create("build", id=id, retry=LASTING, waive_compensation="none")
        lease = [engine.acquire(id, owner="ann", ttl_ms=2**30)]
        for number in range(count):
            lease[0].step(f"step {number:03}", number)
        calls: dict[str, Callable[[], object]] = {
            "get": lambda: engine.get(id),
            "result": lambda: engine.step_result(id, "step 000"),
            "heartbeat": lambda: lease[0].heartbeat(2**31),
            "step": lambda: lease[0].step("last"),
            "release": lambda: lease[0].release(),
            "acquire": lambda: lease.append(engine.acquire(id, owner="ann", ttl_ms=2**30)),
            "complete": lambda: lease[-1].complete(),
        }
        return {name: cost(engine, call) for name, call in calls.items()}

    # Beyond 64 events a task is read anew for each call.
    life_after(1)
    few, many = life_after(70), life_after(300)
    assert {name: statements for name, (statements, _) in many.items()} == {
        name: statements for name, (statements, _) in few.items()
    }
    assert all(steps <= 1.1 * few[name][1] for name, (_, steps) in many.items())


def test_a_claim_of_many_kinds_looks_only_for_those_that_are_ready(engine: Engine) -> None:
    queues = [f"q{number}" for number in range(4)]
    engine.create("kind 7", queue="q1")

    def claim(count: int) -> tuple[int, int]:
        kinds = [f"other {number}" for number in range(count)]
        return cost(engine, lambda: engine.claim(queues, owner="ann", ttl_ms=1_000, kinds=kinds))

    claim(3)
    assert claim(1_000) == claim(3)


def test_a_look_for_delayed_tasks_costs_the_same_however_many_there_are(engine: Engine) -> None:
    """[TIME-3] These are tasks that a clock delays."""
    clock = engine._executor.clock
    assert isinstance(clock, ManualClock)

    def look() -> tuple[int, int]:
        clock.advance(60_000)
        return cost(engine, lambda: engine.claim("empty", owner="ann", ttl_ms=1_000))

    def delay(count: int) -> None:
        engine.create_many({"kind": "k", "queue": f"q{n % 7}", "run_at_ms": 2**50} for n in range(count))

    delay(10)
    look()
    few = look()
    delay(900)
    assert look() == few


def test_a_claim_costs_the_same_beside_tasks_that_a_limit_holds_back(engine: Engine) -> None:
    """[LIMIT-5] Those that come in between make no look for what is due: their account is due instead."""
    engine.set_limit("gpu", slots=1)
    engine.create("build", queue="q", uses={"gpu": 1})
    engine.claim("q", owner="ann", ttl_ms=None)
    engine.create_many([{"kind": "build", "queue": "q"}] * 9)

    def claim() -> None:
        assert len(engine.claim("q", owner="ann", ttl_ms=None)) == 1

    claim()
    before = cost(engine, claim)
    engine.create("build", queue="q", priority=-1, uses={"gpu": 1})

    assert cost(engine, claim) == before


def test_a_completion_costs_the_same_however_many_tasks_a_limit_holds_back(engine: Engine) -> None:
    """[LIMIT-5] It lets the first one in, and looks at no other."""
    engine.set_limit("gpu", slots=1)

    def lived(held: int) -> tuple[tuple[int, int], tuple[int, int]]:
        engine.create_many([{"kind": "build", "queue": "q", "uses": {"gpu": 1}}] * held)
        leases: list[Any] = engine.claim("q", owner="ann", ttl_ms=None)
        for _ in range(2):
            leases[0].complete()
            leases = engine.claim("q", owner="ann", ttl_ms=None)
        completion = cost(engine, lambda: leases[0].complete())
        return completion, cost(engine, lambda: engine.claim("q", owner="ann", ttl_ms=None)[0].complete())

    assert lived(10) == lived(400)


def test_a_slice_of_a_pruning_costs_the_same_however_much_lives(engine: Engine) -> None:
    """[PRUNE-1] Each digest costs a few seeks; the walk through all is one for each call."""

    def steps_a_blob() -> float:
        statements, steps = cost(engine, lambda: engine.prune(0))
        with store_of(engine).read() as snapshot:
            count = snapshot.digest_count()
        assert statements / count < 8
        return steps / count

    def create(first: int, count: int) -> None:
        engine.create_many([{"kind": "k", "inputs": {"spec": b"%d" % n}} for n in range(first, first + count)])

    create(0, 300)
    few = steps_a_blob()
    create(300, 2_700)
    assert steps_a_blob() < 1.2 * few

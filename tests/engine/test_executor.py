"""Entries are data: one that was encoded and decoded is carried out as the one that was made; and executors differ."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

import sagalog
from sagalog import Compensation, Engine, Failure, Lease, Rate, Retry, SagalogError, Task, UnrecordedStep
from sagalog.engine import holder_verbs, settings_verbs, verbs
from sagalog.engine.entries import CommandEntry, Entry, EntryGroup
from sagalog.engine.executor import Executor
from sagalog.engine.local_executor import LocalExecutor
from sagalog.kernel import commands as c
from sagalog.kernel.decide import VERBS
from sagalog.store import Store
from sagalog.store.memory import MemoryStore
from sagalog.testing import ManualClock, SeededEntropy
from sagalog.validation.commands import ClaimRequest
from sagalog.worker import WorkContext
from tests.engine.bytes_executor import BytesExecutor, sent_entries

START_MS = 1_700_000_000_000
TTL_MS = 1_000
UNDO = Compensation("remove", {"path": "wt", "size": 2.50, "deep": [None, True, -0.0]}, "left over", "undo")
BROKEN = Failure("broken", "it broke", {"status": 1, "said": "no \N{SNOWMAN}"})
# What JSON could change on the way: numbers of both kinds and at their bounds, texts, an order of names, emptiness.
PAYLOAD = {"z": 1, "a": [1.0, 1e300, -(2**63), 2**63 - 1, 0.1], "e": {}, "t": 'a "quoted" \u2028 \U0001f600', "n": None}


def executor() -> LocalExecutor:
    clock = ManualClock(START_MS)
    return LocalExecutor(MemoryStore(clock), clock, SeededEntropy(7), "user:ann")


def held(at: Executor, id: str = "t", **arguments: Any) -> Task:
    at.carry_out(verbs.create(at, "build", PAYLOAD, id=id, **arguments))
    return at.carry_out(verbs.acquire(at, id, owner="ann", ttl_ms=TTL_MS))


def metered(at: Executor) -> Task:
    at.set(settings_verbs.set_limit(at, "tokens", rate=Rate(1_000, period_ms=60_000)))
    return held(at, uses={"tokens": 1})


def undoing(at: Executor) -> Task:
    at.carry_out(holder_verbs.fail(at, held(at, compensations=[UNDO]), "no way"))
    return at.carry_out(verbs.acquire(at, "t", owner="ann", ttl_ms=TTL_MS, purpose="undo"))


def retried(at: Executor) -> CommandEntry:
    begun = [UnrecordedStep("charge"), UnrecordedStep("ship")]
    at.carry_out(holder_verbs.quarantine_held(at, held(at), "look", begun))
    return verbs.retry_as_new(at, "t", results={"charge": PAYLOAD}, rerun=["ship"])


def adopting(at: Executor) -> Task:
    at.carry_out(verbs.create(at, "build", id="child", parent="t"))
    at.carry_out(holder_verbs.quarantine_held(at, held(at), "look"))
    heir = at.carry_out(verbs.retry_as_new(at, "t"))
    return at.carry_out(verbs.acquire(at, heir.id, owner="ann", ttl_ms=TTL_MS))


# An entry of every kind of command, at an executor where it can be carried out.
ENTRIES: dict[type[c.Command], Callable[[Executor], CommandEntry]] = {
    c.Create: lambda at: verbs.create(
        at,
        "build",
        PAYLOAD,
        inputs={"source": b"\x00\xff"},
        compensations=[UNDO],
        tags={"repo": "acme"},
        retry=Retry(attempts_max=2),
        idempotency_key="k",
        actor="token:ci",
    ),
    c.Acquire: lambda at: verbs.acquire(
        at, at.carry_out(verbs.create(at, "build", id="t")).id, owner="bob", ttl_ms=None, idempotency_key="k"
    ),
    c.Heartbeat: lambda at: holder_verbs.heartbeat(at, held(at), 5_000, PAYLOAD),
    c.Register: lambda at: holder_verbs.register(at, held(at), UNDO),
    c.Step: lambda at: holder_verbs.step(at, held(at, compensations=[UNDO]), "charge", PAYLOAD, "undo"),
    c.PutArtifact: lambda at: holder_verbs.put_artifact(at, held(at), "log", b"\x00\xff" * 100),
    c.Use: lambda at: holder_verbs.use(at, metered(at), "tokens", 900),
    c.Healthy: lambda at: holder_verbs.healthy(at, metered(at), "tokens"),
    c.AdoptChild: lambda at: holder_verbs.adopt_child(at, adopting(at), "kid", "child"),
    c.Park: lambda at: holder_verbs.park(at, held(at), "w", "go", until_ms=START_MS + 5),
    c.Release: lambda at: holder_verbs.release(at, held(at), "later", START_MS + 5),
    c.Retry: lambda at: holder_verbs.retry(at, held(at), BROKEN, retry_after_ms=7_000),
    c.Complete: lambda at: holder_verbs.complete(at, held(at), PAYLOAD),
    c.Fail: lambda at: holder_verbs.fail(at, held(at), BROKEN, [UNDO]),
    c.QuarantineHeld: lambda at: holder_verbs.quarantine_held(at, held(at), BROKEN, ["charge"]),
    c.CompensationDone: lambda at: holder_verbs.compensation_done(at, undoing(at), "undo"),
    c.CompensationFailed: lambda at: holder_verbs.compensation_failed(at, undoing(at), "undo", BROKEN),
    c.Cancel: lambda at: verbs.cancel(at, held(at).id, "no more", now=True),
    c.Quarantine: lambda at: verbs.quarantine(at, held(at).id, "look"),
    c.Signal: lambda at: verbs.signal(at, held(at).id, "go", PAYLOAD, idempotency_key="k"),
    c.Note: lambda at: verbs.note(at, held(at).id, "a remark"),
    c.Waive: lambda at: verbs.waive(at, held(at, compensations=[UNDO]).id, "undo", "gone"),
    c.RetryAsNew: retried,
    c.Amend: lambda at: verbs.amend(
        at,
        at.carry_out(verbs.create(at, "build", id="t", deadline_ms=START_MS + 5)).id,
        payload=PAYLOAD,
        retry=Retry(attempts_max=2),
        deadline_ms=None,
        uses={},
        idempotency_key="k",
    ),
}


def log_of(at: LocalExecutor) -> list[tuple[Any, ...]]:
    """The whole log, event by event."""
    return [msgspec.structs.astuple(one) for one in at.queries.envelopes(0, 10_000)]


def test_there_is_an_entry_here_for_every_command_that_callers_give() -> None:
    assert set(ENTRIES) == {verb.command for verb in VERBS} - {c.Maintain, c.CancelChild}


@pytest.mark.parametrize("command", ENTRIES, ids=lambda one: one.__name__)
def test_an_entry_that_was_sent_is_carried_out_as_the_one_that_was_made(command: type[c.Command]) -> None:
    here, there = executor(), executor()
    made, prepared = ENTRIES[command](here), ENTRIES[command](there)
    [arrived] = sent_entries([prepared])
    assert isinstance(arrived, CommandEntry)
    assert type(arrived.command) is command

    answer = here.carry_out(made)

    assert there.carry_out(arrived) == answer
    assert log_of(there) == log_of(here)
    assert here.verify().ok


def test_a_claim_that_was_sent_leases_the_same() -> None:
    claims = []
    for at in (executor(), executor()):
        for id, affinity in (("a", None), ("b", "red")):
            at.carry_out(verbs.create(at, "build", id=id, affinity=affinity))
        request = verbs.claim(
            at,
            ["left", "default"],
            owner="ann",
            ttl_ms=TTL_MS,
            limit=2,
            kinds=["build", "test"],
            affinity="red",
            idempotency_key="k",
            wait_ms=5,
            waive_compensation={"build": "writes nothing"},
        )
        claims.append((at, request))
    (here, made), (there, prepared) = claims
    arrived: Entry
    [arrived] = sent_entries([prepared])
    assert isinstance(arrived, ClaimRequest)
    assert arrived == prepared

    answer = here.claim(made)

    assert [task.id for task in answer.tasks] == ["b", "a"]
    assert there.claim(arrived) == answer
    assert log_of(there) == log_of(here)


def test_a_group_that_was_sent_succeeds_or_fails_together() -> None:
    at = executor()
    group = EntryGroup((verbs.create(at, "build", PAYLOAD, id="a"), verbs.note(at, "nothing", "a remark")))
    alone = verbs.create(at, "build", id="b")

    refusal, task = at.carry_out_all(sent_entries([group, alone]), together=False)

    assert isinstance(refusal, SagalogError)
    assert isinstance(task, Task)
    assert [one.id for one in at.queries.find()] == ["b"]


# --- an engine over another executor --------------------------------------------------------------------------------


@pytest.fixture
def server() -> LocalExecutor:
    return executor()


@pytest.fixture
def engine(server: LocalExecutor) -> Iterator[Engine]:
    with Engine.over(BytesExecutor(server)) as engine:
        yield engine


def test_an_engine_over_another_executor_lives_a_life_of_a_task(engine: Engine) -> None:
    task = engine.create("build", PAYLOAD, inputs={"source": b"\x00"}, idempotency_key="k")
    assert engine.create("build", PAYLOAD, inputs={"source": b"\x00"}, idempotency_key="k") == task
    [lease] = engine.claim("default", owner="ann", ttl_ms=TTL_MS)
    assert engine.claim("default", owner="ann", ttl_ms=TTL_MS, wait_ms=0) == []
    lease = lease.heartbeat(progress={"done": 1}).register(UNDO).step("charge", PAYLOAD, UNDO)
    assert engine.heartbeat([lease]).lost == ()
    lease.put_artifact("log", b"\x00\xff")
    with pytest.raises(sagalog.LeaseHeld):
        engine.acquire(task.id, owner="bob", ttl_ms=None)
    done = lease.complete({"ok": True})

    assert (done.state, done.result, done.steps) == ("completed", {"ok": True}, ("charge",))
    assert (engine.step_result(task.id, "charge"), engine.artifact(task.id, "log").data) == (PAYLOAD, b"\x00\xff")
    assert engine.cancel(engine.create("build").id, "no more").state == "cancelled"
    assert engine.store_id == engine.health().store_id
    assert engine.verify().ok


def test_a_batch_over_another_executor_settles_and_claims_in_one_commit(engine: Engine) -> None:
    engine.create_many({"kind": "build", "id": id} for id in ("a", "b"))
    [first] = engine.claim("default", owner="ann", ttl_ms=TTL_MS)
    before = engine.newest_position()
    with engine.batch(together=False) as batch:
        batch.complete(first, PAYLOAD)
        with batch.group():
            batch.create("build", id="c")
            batch.signal("c", "go")
        batch.note("nothing", "a remark")
        batch.claim("default", owner="ann", ttl_ms=TTL_MS, limit=2)
    done, group, refusal, leases = batch.results

    assert isinstance(done, Task)
    assert isinstance(group, tuple)
    assert isinstance(refusal, sagalog.NotFound)
    assert isinstance(leases, list)
    assert all(isinstance(lease, Lease) for lease in leases)
    assert [lease.task.id for lease in leases] == ["b", "c"]
    assert engine.newest_position() == before + 5


def test_a_worker_works_over_another_executor(server: LocalExecutor, engine: Engine) -> None:
    worker = sagalog.Worker(concurrency=2)
    undone = threading.Event()

    @worker.task("build")
    def build(context: WorkContext, payload: Any) -> Any:
        context.spawn("kid", "part", payload)
        found = context.step("charge", lambda: {"paid": payload["z"]}, compensation=UNDO)
        context.artifact("log", b"\x00")
        return found

    @worker.task("part")
    def part(_: WorkContext, payload: Any) -> Any:
        raise sagalog.Permanent("no way", compensations=[UNDO])

    @worker.compensation("remove")
    def remove(_: Any, params: Any) -> None:
        assert params == UNDO.params
        undone.set()

    task = engine.create("build", PAYLOAD)
    worker.run(engine, until="idle", handle_signals=False)

    assert {one.kind: one.state for one in engine.find()} == {"build": "completed", "part": "compensated"}
    assert engine.get(task.id).result == {"paid": 1}  # type: ignore[union-attr]
    assert undone.is_set()
    assert server.verify().ok


def test_a_creation_of_unknown_outcome_names_the_id_that_was_drawn() -> None:
    class Lost(MemoryStore):
        def commit(self, operations: Any) -> list[Any]:
            answers = super().commit(operations)
            if self.tables.rows:
                raise sagalog.Unknown("the line went dead")
            return answers

    store: Store = Lost(ManualClock(START_MS))
    engine = Engine(store, clock=ManualClock(START_MS), entropy=SeededEntropy(1))
    with pytest.raises(sagalog.Unknown) as caught:
        engine.create("build")
    [task] = engine.find()
    assert caught.value.fields["identity"] == {"id": task.id}


def test_a_lease_moves_to_another_engine_on_its_store_only(server: LocalExecutor) -> None:
    engine, other, elsewhere = Engine.over(server), Engine.over(BytesExecutor(server)), Engine.over(executor_of(3))
    engine.create("build", id="t")
    lease = engine.acquire("t", owner="ann", ttl_ms=TTL_MS)

    assert other.rebind(lease) == lease
    assert other.rebind(lease).complete().state == "completed"
    with pytest.raises(sagalog.InvalidValue):
        elsewhere.rebind(lease)
    with pytest.raises(sagalog.InvalidValue):
        engine.rebind("t")  # type: ignore[arg-type]


def executor_of(seed: int) -> LocalExecutor:
    clock = ManualClock(START_MS)
    return LocalExecutor(MemoryStore(clock), clock, SeededEntropy(seed))

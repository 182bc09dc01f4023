"""Creating: what a task is made of, and what makes a second creation the same one. [REPEAT-2] [REPEAT-6]"""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from sagalog import AlreadyExists, Compensation, Conflict, Engine, InvalidValue, Policy, Retry
from sagalog.kernel import bounds
from sagalog.kernel.values import Spent
from sagalog.testing import ManualClock, SeededEntropy
from tests.conftest import START_MS, OpenEngine
from tests.engine.checking import CLOSE, REMOVE, get, leased, refused, types, unchanged


def test_a_new_task_is_pending_with_defaults_for_what_was_left_out(engine: Engine) -> None:
    task = engine.create("build")
    assert (task.kind, task.payload, task.queue, task.priority, task.state) == ("build", None, "default", 0, "pending")
    assert (task.version, task.attempt, task.leases, task.fence, task.lease) == (1, 1, 0, 0, None)
    assert (task.run_at_ms, task.created_ms, task.updated_ms) == (START_MS, START_MS, START_MS)
    assert (task.compensations, task.owed, task.tags, task.policy) == ((), (), {}, Retry().resolve())
    assert (task.result, task.error, task.code, task.reason, task.outcome, task.progress) == (None,) * 6
    assert not task.is_terminal
    assert not task.cancel_requested


def test_a_new_task_is_made_of_what_was_given(engine: Engine) -> None:
    task = engine.create(
        "build",
        {"issue": 168},
        id="mine",
        queue="agents",
        priority=-5,
        affinity="box-1",
        key="repo-7",
        run_at_ms=START_MS + 5,
        retry=Retry(attempts_max=1, spent="quarantine"),
        compensations=[REMOVE, CLOSE],
        waive_compensation="not needed",
        tags={"team": "red", "a": ""},
        correlation_id="c-1",
        parent="someone",
        trace="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        tracestate="vendor=opaque",
        actor="me",
        cause="task/x@3",
        idempotency_key="r-1",
    )
    assert task == get(engine, "mine")
    assert (task.payload, task.queue, task.priority, task.affinity) == ({"issue": 168}, "agents", -5, "box-1")
    assert (task.key, task.run_at_ms, task.tags) == ("repo-7", START_MS + 5, {"a": "", "team": "red"})
    assert (task.correlation_id, task.parent, task.predecessor) == ("c-1", "someone", None)
    assert task.trace == "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    assert task.tracestate == "vendor=opaque"
    assert [(one.id, one.kind, one.params, one.reason, one.status) for one in task.compensations] == [
        ("remove", "remove", {"n": 1}, "left over", "planned"),
        ("close", "close", None, None, "planned"),
    ]
    [created] = engine.history("mine")
    assert (created.actor, created.cause, created.idempotency_key) == ("user:me", "task/x@3", "r-1")


def test_the_log_records_the_whole_policy(engine: Engine) -> None:
    engine.create("build", id="t", retry=Retry(attempts_max=7))
    policy = engine.history("t")[0].event.policy  # type: ignore[attr-defined]
    assert isinstance(policy, Policy)
    assert (policy.attempts_max, policy.transient_max, policy.undo_wait_ms) == (7, 20, 604_800_000)
    body = engine.history("t")[0].body
    assert all(f'"{name}"' in body for name in Policy.__struct_fields__)


def test_planned_compensations_are_owed_from_the_first_lease_on(engine: Engine) -> None:
    lease = leased(engine, compensations=[REMOVE, CLOSE])
    assert [one.id for one in lease.task.owed] == ["close", "remove"]


def test_drawn_ids_are_ulids_that_sort_by_creation(engine: Engine, clock: ManualClock) -> None:
    drawn = [engine.create("build").id for _ in range(20)]
    clock.step(-5_000)
    drawn += [engine.create("build").id for _ in range(20)]
    assert drawn == sorted(drawn)
    assert len(set(drawn)) == 40
    assert {len(id) for id in drawn} == {26}


def test_drawn_ids_come_from_chance(open_engine: OpenEngine, store_url: str, clock: ManualClock) -> None:
    if store_url != "memory:":
        pytest.skip("two new stores are needed")
    first, second = (open_engine(entropy=SeededEntropy(7)) for _ in range(2))
    assert first.store_id == second.store_id
    assert first.create("build").id == second.create("build").id


@pytest.mark.parametrize("id", ["a", "a" * 200, "with a space", "ünï/cödé", "%2e%2e/'\"--", "task/x@7"])
def test_a_caller_may_choose_any_printable_id(engine: Engine, id: str) -> None:
    assert engine.create("build", id=id).id == id
    assert get(engine, id).id == id
    assert engine.acquire(id, owner="ann", ttl_ms=1).complete().id == id
    assert [event.stream for event in engine.history(id)] == [f"task/{id}"] * 3
    assert engine.verify().ok


def test_the_name_of_any_event_is_accepted_as_a_cause(engine: Engine) -> None:
    engine.create("build", id="a" * 200)
    cause = engine.history("a" * 200)[0].name
    created = engine.history(engine.create("build", cause=cause).id)[0]
    assert created.cause == cause == f"task/{'a' * 200}@1"
    with engine.batch() as batch:
        batch.create("build", id="b", cause=cause)
    assert engine.history("b")[0].cause == cause
    with pytest.raises(InvalidValue, match=r"cause: .* name of an event, a str of 1 to 240 .* of 241 characters"):
        engine.create("build", cause="a" * 241)


def test_a_payload_may_have_a_mebibyte_of_json_and_is_given_back_as_it_was(engine: Engine) -> None:
    payload = {"text": "x" * (bounds.PAYLOAD_BYTES_MAX - len('{"text":""}'))}
    engine.create("build", payload, id="t")
    lease = engine.acquire("t", owner="ann", ttl_ms=1_000)
    assert lease.task.payload == payload
    assert lease.complete(payload).result == payload
    assert get(engine).result == payload


@pytest.mark.parametrize("payload", [None, False, 0, "", [], {}, 1.5, -(2**63), 2**63 - 1, {"a": [None, {"b": []}]}])
def test_every_json_value_may_be_a_payload(engine: Engine, payload: Any) -> None:
    engine.create("build", payload, id="t")
    found = get(engine).payload
    assert found == payload
    assert type(found) is type(payload)


def test_numbers_that_python_holds_equal_are_different_contents(engine: Engine) -> None:
    engine.create("build", 1, id="t")
    for other in (1.0, True):
        assert refused(engine, AlreadyExists, engine.create, "build", other, id="t").differs == ["payload"]


def test_the_order_of_keys_is_no_content(engine: Engine) -> None:
    engine.create("build", {"a": 1, "b": 2}, id="t", tags={"x": "1", "y": "2"})
    unchanged(engine, engine.create, "build", {"b": 2, "a": 1}, id="t", tags={"y": "2", "x": "1"})


GIVEN: dict[str, tuple[Any, Any]] = {
    "queue": ("agents", "others"),
    "priority": (3, 4),
    "affinity": ("red", "blue"),
    "key": ("k", "l"),
    "run_at_ms": (START_MS + 1, START_MS + 2),
    "retry": (Retry(attempts_max=2), Retry(attempts_max=4)),
    "compensations": ([REMOVE], [CLOSE]),
    "waive_compensation": ("a", "b"),
    "tags": ({"x": "1"}, {"x": "1", "y": "2"}),
    "correlation_id": ("c", "d"),
    "parent": ("p", "q"),
    "data_key": ("tenant-1", "tenant-2"),
    "trace": (f"00-{1:032x}-{1:016x}-01", f"00-{1:032x}-{2:016x}-01"),
}


@pytest.mark.parametrize("name", GIVEN)
def test_a_repeated_creation_is_compared_in_what_it_gives_only(engine: Engine, name: str) -> None:
    value, other = GIVEN[name]
    task = engine.create("build", id="t", **{name: value})
    assert unchanged(engine, engine.create, "build", id="t", **{name: value}) == task
    assert unchanged(engine, engine.create, "build", id="t") == task
    refusal = refused(engine, AlreadyExists, engine.create, "build", id="t", **{name: other})
    assert refusal.task == "t"
    assert len(refusal.differs) == 1


@pytest.mark.parametrize("name", GIVEN)
def test_a_repeat_that_gives_what_the_first_left_out_is_other_content(engine: Engine, name: str) -> None:
    engine.create("build", id="t")
    refused(engine, AlreadyExists, engine.create, "build", id="t", **{name: GIVEN[name][1]})


def test_who_asks_and_when_is_no_content(engine: Engine, clock: ManualClock) -> None:
    task = engine.create("build", id="t", actor="me", cause="task/x@1")
    clock.advance(1_000)
    assert unchanged(engine, engine.create, "build", id="t", actor="you", cause="task/y@1") == task


def test_a_repeat_after_the_end_gives_the_task_as_it_is_now(engine: Engine) -> None:
    leased(engine).complete(42)
    assert unchanged(engine, engine.create, "build", id="t").result == 42


def test_an_idempotency_key_finds_the_creation_whose_id_was_drawn(engine: Engine, clock: ManualClock) -> None:
    task = engine.create("build", {"n": 1}, idempotency_key="r")
    clock.advance(1)
    assert unchanged(engine, engine.create, "build", {"n": 1}, idempotency_key="r") == task
    assert refused(engine, Conflict, engine.create, "build", {"n": 2}, idempotency_key="r").task == task.id


SAYS = "give this call a key of its own, or repeat the first one as it was"


def test_a_reused_idempotency_key_is_named_with_its_task_and_what_differs(engine: Engine) -> None:
    """[REPEAT-6] What may hold a secret is named and not shown."""
    engine.create("build", {"password": "one"}, id="t", queue="agents", idempotency_key="r")
    call = partial(refused, engine, Conflict, engine.create)
    refusal = call("build", {"password": "two"}, id="t", queue="others", idempotency_key="r")
    assert refusal.message == (
        "idempotency key 'r' was used by task 't' ('created', version 1) with other content (payload differs; queue: "
        f"'others' given, 'agents' on record); {SAYS}"
    )
    assert (refusal.idempotency_key, refusal.task, refusal.differs) == ("r", "t", ["payload", "queue"])
    assert (refusal.stream, refusal.version) == ("task/t", 1)
    assert call("build", id="u", idempotency_key="r").differs == ["task"]


def test_an_idempotency_key_of_another_command_says_which_event_it_wrote(engine: Engine) -> None:
    """[REPEAT-4]"""
    engine.create("build", id="t")
    engine.note("t", "seen", idempotency_key="r")
    refusal = refused(engine, Conflict, engine.create, "build", idempotency_key="r")
    said = "was used by task 't' ('noted', version 2) with other content (the command is another one)"
    assert said in refusal.message
    assert refusal.message.endswith(SAYS)
    assert (refusal.task, refusal.differs) == ("t", ["command"])


def test_an_idempotency_key_under_another_chosen_id_is_a_conflict(engine: Engine) -> None:
    engine.create("build", id="t", idempotency_key="r")
    unchanged(engine, engine.create, "build", id="t", idempotency_key="r")
    refused(engine, Conflict, engine.create, "build", id="u", idempotency_key="r")
    assert engine.get("u") is None


def test_a_creation_may_be_repeated_under_another_idempotency_key(engine: Engine) -> None:
    task = engine.create("build", id="t", idempotency_key="r")
    assert unchanged(engine, engine.create, "build", id="t", idempotency_key="s") == task


def test_an_idempotency_key_of_another_command_is_a_conflict(engine: Engine) -> None:
    engine.create("build", id="t")
    engine.note("t", "seen", idempotency_key="r")
    assert refused(engine, Conflict, engine.create, "build", idempotency_key="r").idempotency_key == "r"


def test_many_are_created_with_the_arguments_of_create(engine: Engine) -> None:
    specs: list[dict[str, Any]] = [
        {"kind": "build", "payload": 1, "id": "a", "queue": "agents", "tags": {"x": "1"}, "actor": "me"},
        {"kind": "test", "compensations": [Compensation("remove")], "idempotency_key": "r", "cause": "task/a@1"},
    ]
    first, second = engine.create_many(specs)
    assert (first.id, first.queue, first.tags) == ("a", "agents", {"x": "1"})
    assert engine.history("a")[0].actor == "user:me"
    [created] = engine.history(second.id)
    assert (created.idempotency_key, created.cause) == ("r", "task/a@1")
    assert unchanged(engine, engine.create_many, specs) == [first, second]


def test_many_with_drawn_ids_are_new_each_time(engine: Engine) -> None:
    drawn = {task.id for _ in range(2) for task in engine.create_many([{"kind": "build"}] * 3)}
    assert len(drawn) == 6


def test_one_id_twice_in_many_is_one_task_or_refused(engine: Engine) -> None:
    first, second = engine.create_many([{"kind": "build", "id": "t"}, {"kind": "build", "id": "t"}])
    assert first == second
    assert types(engine, "t") == ["created"]
    twice = [{"kind": "build", "id": "u"}, {"kind": "test", "id": "u"}]
    assert refused(engine, AlreadyExists, engine.create_many, twice).command == 1


@pytest.mark.parametrize("spent", ["fail", "quarantine"])
def test_a_policy_is_seen_on_the_task(engine: Engine, spent: Spent) -> None:
    retry = Retry(None, None, None, 4, None, 0, 0, spent, None, 9)
    assert engine.create("build", id="t", retry=retry).policy == retry.resolve()

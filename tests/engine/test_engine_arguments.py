"""Arguments are checked before any state is read, and a refusal names the path of what offends. [BOUND-1]"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any

import pytest

from sagalog import Compensation, Engine, Failure, InvalidValue, OverBound, Retry
from sagalog.kernel import bounds
from tests.engine.checking import REMOVE, leased, refused, undoing

LONG = "x" * 201
BIG = {"text": "x" * bounds.PAYLOAD_BYTES_MAX}


@pytest.fixture
def store_url() -> str:
    """The memory store alone: a refused argument has reached no store, so a second one would show the same again."""
    return "memory:"


class Colour(Enum):
    RED = "red"


# (how the argument is given to `create`, the path that the refusal names)
CREATE: list[tuple[dict[str, Any], str]] = [
    ({"kind": ""}, "kind"),
    ({"kind": None}, "kind"),
    ({"kind": LONG}, "kind"),
    ({"kind": "a\nb"}, "kind"),
    ({"payload": {"a": [1, {"b": float("nan")}]}}, "payload.a[1].b"),
    ({"payload": {"a": {1: 2}}}, "payload.a"),
    ({"payload": {"odd key": b"x"}}, 'payload["odd key"]'),
    ({"payload": [0, 2**63]}, "payload[1]"),
    ({"payload": (1, 2)}, "payload"),
    ({"payload": Colour.RED}, "payload"),
    ({"payload": {"a": "\0"}}, "payload.a"),
    ({"payload": ["\ud800"]}, "payload[0]"),
    ({"payload": BIG}, "payload"),
    ({"id": ""}, "id"),
    ({"id": LONG}, "id"),
    ({"id": 7}, "id"),
    ({"id": "a\tb"}, "id"),
    ({"queue": ""}, "queue"),
    ({"priority": 1.0}, "priority"),
    ({"priority": True}, "priority"),
    ({"priority": 2**31}, "priority"),
    ({"affinity": ""}, "affinity"),
    ({"key": 3}, "key"),
    ({"run_at_ms": -1}, "run_at_ms"),
    ({"run_at_ms": 1.5}, "run_at_ms"),
    ({"run_at_ms": 2**53}, "run_at_ms"),
    ({"retry": {"attempts_max": 3}}, "retry"),
    ({"retry": Retry(attempts_max=0)}, "retry.attempts_max"),
    ({"retry": Retry(transient_max=bounds.BUDGET_MAX + 1)}, "retry.transient_max"),
    ({"retry": Retry(expiries_max=True)}, "retry.expiries_max"),
    ({"retry": Retry(releases_max=-1)}, "retry.releases_max"),
    ({"retry": Retry(undo_attempts_max=0)}, "retry.undo_attempts_max"),
    ({"retry": Retry(quota_wait_max_ms=-1)}, "retry.quota_wait_max_ms"),
    ({"retry": Retry(undo_wait_ms=0.5)}, "retry.undo_wait_ms"),  # type: ignore[arg-type]
    ({"retry": Retry(delay_min_ms=-1)}, "retry.delay_min_ms"),
    ({"retry": Retry(delay_min_ms=10, delay_max_ms=9)}, "retry.delay_max_ms"),
    ({"retry": Retry(spent="explode")}, "retry.spent"),  # type: ignore[arg-type]
    ({"compensations": "remove"}, "compensations"),
    ({"compensations": ["remove"]}, "compensations[0]"),
    ({"compensations": [REMOVE, REMOVE]}, "compensations"),
    ({"compensations": [Compensation("a"), Compensation("a")]}, "compensations"),
    ({"compensations": [Compensation("")]}, "compensations[0].kind"),
    ({"compensations": [REMOVE, Compensation("a", {"b": {1}})]}, "compensations[1].params.b"),
    ({"compensations": [Compensation("a", "x" * 65_536)]}, "compensations[0].params"),
    ({"compensations": [Compensation("a", id="")]}, "compensations[0].id"),
    ({"waive_compensation": 3}, "waive_compensation"),
    ({"waive_compensation": " "}, "waive_compensation"),
    ({"tags": ["a"]}, "tags"),
    ({"tags": {"": "a"}}, "tags"),
    ({"tags": {"team": 3}}, "tags.team"),
    ({"tags": {str(number): "" for number in range(33)}}, "tags"),
    ({"parent": ""}, "parent"),
    ({"correlation_id": LONG}, "correlation_id"),
    ({"trace": ""}, "trace"),
    ({"actor": ""}, "actor"),
    ({"cause": 1}, "cause"),
    ({"idempotency_key": LONG}, "idempotency_key"),
]


@pytest.mark.parametrize(("given", "path"), CREATE, ids=[f"{path}-{place}" for place, (_, path) in enumerate(CREATE)])
def test_create_names_the_path_of_what_offends(engine: Engine, given: dict[str, Any], path: str) -> None:
    refusal = refused(engine, InvalidValue, engine.create, **{"kind": "build", **given})
    assert refusal.path == path


@pytest.mark.parametrize("given", [given for given, _ in CREATE[::6] if "kind" not in given])
def test_create_many_names_the_spec_too(engine: Engine, given: dict[str, Any]) -> None:
    refusal = refused(engine, InvalidValue, engine.create_many, [{"kind": "build"}, {"kind": "build", **given}])
    assert refusal.command == 1
    assert "specs[1]" in str(refusal)


CALLS: list[tuple[str, Callable[[Engine], object], str]] = [
    ("acquire", lambda engine: engine.acquire("", owner="a", ttl_ms=1), "task_id"),
    ("acquire", lambda engine: engine.acquire("t", owner="", ttl_ms=1), "owner"),
    ("acquire", lambda engine: engine.acquire("t", owner="a", ttl_ms=0), "ttl_ms"),
    ("acquire", lambda engine: engine.acquire("t", owner="a", ttl_ms=1.0), "ttl_ms"),  # type: ignore[arg-type]
    ("acquire", lambda engine: engine.acquire("t", owner="a", ttl_ms=1, purpose="play"), "purpose"),  # type: ignore[arg-type]
    ("acquire", lambda engine: engine.acquire("t", owner="a", ttl_ms=1, kinds="remove"), "kinds"),
    ("acquire", lambda engine: engine.acquire("t", owner="a", ttl_ms=1, kinds=[""]), "kinds"),
    ("acquire", lambda engine: engine.acquire("t", owner="a", ttl_ms=1, waive_compensation=""), "waive_compensation"),
    ("claim", lambda engine: engine.claim("", owner="a", ttl_ms=1), "queues"),
    ("claim", lambda engine: engine.claim([], owner="a", ttl_ms=1), "queues"),
    ("claim", lambda engine: engine.claim("q", owner="a\n", ttl_ms=1), "owner"),
    ("claim", lambda engine: engine.claim("q", owner="a", ttl_ms=-1), "ttl_ms"),
    ("claim", lambda engine: engine.claim("q", owner="a", ttl_ms=1, limit=0), "limit"),
    ("claim", lambda engine: engine.claim("q", owner="a", ttl_ms=1, limit=1_001), "limit"),
    ("claim", lambda engine: engine.claim("q", owner="a", ttl_ms=1, kinds="build"), "kinds"),
    ("claim", lambda engine: engine.claim("q", owner="a", ttl_ms=1, affinity=[]), "affinity"),
    ("claim", lambda engine: engine.claim("q", owner="a", ttl_ms=1, affinity=[""]), "affinity"),
    ("claim", lambda engine: engine.claim("q", owner="a", ttl_ms=1, purpose="rest"), "purpose"),  # type: ignore[arg-type]
    ("claim", lambda engine: engine.claim("q", owner="a", ttl_ms=1, idempotency_key=""), "idempotency_key"),
    ("heartbeat", lambda engine: engine.heartbeat([], 0), "ttl_ms"),
    ("cancel", lambda engine: engine.cancel(""), "id"),
    ("cancel", lambda engine: engine.cancel("t", 3), "reason"),  # type: ignore[arg-type]
    ("cancel", lambda engine: engine.cancel("t", now=1), "now"),  # type: ignore[arg-type]
    ("cancel", lambda engine: engine.cancel("t", actor=""), "actor"),
    ("cancel", lambda engine: engine.cancel("t", idempotency_key=""), "idempotency_key"),
    ("quarantine", lambda engine: engine.quarantine("t", ""), "reason"),
    ("quarantine", lambda engine: engine.quarantine("t", " \n"), "reason"),
    ("note", lambda engine: engine.note("t", ""), "text"),
    ("note", lambda engine: engine.note("t", "a\0b"), "text"),
    ("note", lambda engine: engine.note("t", "x", settles="remove"), "settles"),
    ("note", lambda engine: engine.note("t", "x", settles=["a", "a"]), "settles"),
    ("waive", lambda engine: engine.waive("t", "", "gone"), "compensation"),
    ("waive", lambda engine: engine.waive("t", "remove", "  "), "reason"),
    ("recover", lambda engine: engine.recover(limit=0), "limit"),
    ("recover", lambda engine: engine.recover(unknown_kinds="remove"), "unknown_kinds"),
    ("rebuild", lambda engine: engine.rebuild(progress=7), "progress"),  # type: ignore[arg-type]
    ("verify", lambda engine: engine.verify(progress="bar"), "progress"),  # type: ignore[arg-type]
    ("get", lambda engine: engine.get(""), "id"),
    ("find", lambda engine: engine.find(state="done"), "state"),
    ("find", lambda engine: engine.find(state=["pending", "done"]), "state"),
    ("find", lambda engine: engine.find(state=[]), "state"),
    ("find", lambda engine: engine.find(state=3), "state"),  # type: ignore[arg-type]
    ("find", lambda engine: engine.find(queue=""), "queue"),
    ("find", lambda engine: engine.find(queue=["q", ""]), "queue"),
    ("find", lambda engine: engine.find(queue=[]), "queue"),
    ("find", lambda engine: engine.find(waiting=""), "waiting"),
    ("find", lambda engine: engine.find(waiting=False), "waiting"),  # type: ignore[arg-type]
    ("find", lambda engine: engine.find(parent=""), "parent"),
    ("find", lambda engine: engine.find(correlation_id=7), "correlation_id"),  # type: ignore[arg-type]
    ("find", lambda engine: engine.find(since_ms=-1), "since_ms"),
    ("find", lambda engine: engine.find(since_ms=1.5), "since_ms"),  # type: ignore[arg-type]
    ("find", lambda engine: engine.find(newest_first=1), "newest_first"),  # type: ignore[arg-type]
    ("ids_with_prefix", lambda engine: engine.ids_with_prefix(""), "prefix"),
    ("ids_with_prefix", lambda engine: engine.ids_with_prefix("a", 0), "limit"),
    ("find", lambda engine: engine.find(kind=LONG), "kind"),
    ("find", lambda engine: engine.find(tags={"a": 1}), "tags.a"),  # type: ignore[dict-item]
    ("find", lambda engine: engine.find(limit=0), "limit"),
    ("counts", lambda engine: engine.counts(""), "queue"),
    ("history", lambda engine: engine.history(""), "id"),
    ("history", lambda engine: engine.history(), "id"),
    ("history", lambda engine: engine.history("t", limit="provider"), "limit"),
    ("history", lambda engine: engine.history(limit=""), "limit"),
    ("history", lambda engine: engine.history(queue=7), "queue"),  # type: ignore[arg-type]
    ("history", lambda engine: engine.history(schedule=LONG), "schedule"),
    ("events", lambda engine: engine.events(after=-1), "after"),
    ("events", lambda engine: engine.events(limit=0), "limit"),
    ("wait", lambda engine: engine.wait("t", -1), "timeout_ms"),
]


@pytest.mark.parametrize(("name", "call", "path"), CALLS, ids=[f"{n}-{p}-{i}" for i, (n, _, p) in enumerate(CALLS)])
def test_a_call_names_the_argument_that_offends(
    engine: Engine, name: str, call: Callable[[Engine], object], path: str
) -> None:
    assert refused(engine, InvalidValue, call, engine).path == path


def test_where_one_name_will_do_the_error_says_that_a_text_is_fine_too(engine: Engine) -> None:
    error = refused(engine, InvalidValue, lambda: engine.claim("q", owner="a", ttl_ms=1, affinity=5))  # type: ignore[arg-type]

    assert error.message == "affinity: expected a text or a list of texts, found 5"


LEASE_CALLS: list[tuple[str, Callable[[Any], object], str]] = [
    ("heartbeat", lambda lease: lease.heartbeat(0), "ttl_ms"),
    ("heartbeat", lambda lease: lease.heartbeat(progress={"a": object()}), "progress.a"),
    ("heartbeat", lambda lease: lease.heartbeat(progress="x" * 8_192), "progress"),
    ("register", lambda lease: lease.register("remove"), "compensation"),
    ("register", lambda lease: lease.register(Compensation("")), "compensation.kind"),
    ("register", lambda lease: lease.register(Compensation("a", {"b": {2: 3}})), "compensation.params.b"),
    ("release", lambda lease: lease.release(3), "reason"),
    ("release", lambda lease: lease.release(run_at_ms=-1), "run_at_ms"),
    ("retry", lambda lease: lease.retry(None), "error"),
    ("retry", lambda lease: lease.retry("x", budget="luck"), "budget"),
    ("retry", lambda lease: lease.retry("x", run_at_ms="soon"), "run_at_ms"),
    ("retry", lambda lease: lease.retry(Failure("", "x")), "error.code"),
    ("retry", lambda lease: lease.retry(Failure("a", "x", {"b": {1}})), "error.details.b"),
    ("complete", lambda lease: lease.complete({"a": {1, 2}}), "result.a"),
    ("complete", lambda lease: lease.complete(BIG), "result"),
    ("fail", lambda lease: lease.fail(7), "reason"),
    ("fail", lambda lease: lease.fail("x", [REMOVE, "close"]), "compensations[1]"),
    ("fail", lambda lease: lease.fail("x", [REMOVE, REMOVE]), "compensations"),
    ("fail", lambda lease: lease.fail("x", waive_compensation=b"y"), "waive_compensation"),
    ("compensation_done", lambda lease: lease.compensation_done(""), "id"),
    ("compensation_failed", lambda lease: lease.compensation_failed("", "x"), "id"),
    ("compensation_failed", lambda lease: lease.compensation_failed("remove", 3), "error"),
    ("compensation_failed", lambda lease: lease.compensation_failed("remove", "x", -5), "run_at_ms"),
]


@pytest.mark.parametrize(
    ("name", "call", "path"), LEASE_CALLS, ids=[f"{n}-{p}-{i}" for i, (n, _, p) in enumerate(LEASE_CALLS)]
)
def test_a_verb_of_a_lease_names_the_argument_that_offends(
    engine: Engine, name: str, call: Callable[[Any], object], path: str
) -> None:
    lease = undoing(engine) if name.startswith("compensation") else leased(engine)
    assert refused(engine, InvalidValue, call, lease).path == path


def test_arguments_are_checked_before_the_state(engine: Engine) -> None:
    lease = leased(engine)
    lease.complete()
    assert refused(engine, InvalidValue, lease.complete, {"a": {1}}).path == "result.a"
    assert refused(engine, InvalidValue, engine.cancel, "nobody", 3).path == "reason"


def test_more_compensations_than_a_task_may_hold_are_refused_by_name(engine: Engine) -> None:
    many = [Compensation("remove", id=str(number)) for number in range(bounds.COMPENSATIONS_MAX + 1)]
    refusal = refused(engine, OverBound, engine.create, "build", compensations=many)
    assert (refusal.bound, refusal.maximum) == ("compensations", bounds.COMPENSATIONS_MAX)
    lease = leased(engine, compensations=many[1:])
    assert refused(engine, OverBound, lease.register, many[0]).bound == "compensations"
    assert refused(engine, OverBound, lease.fail, "no way on", [many[0]]).bound == "compensations"


def test_a_wrong_argument_name_in_a_spec_is_refused_by_name(engine: Engine) -> None:
    refusal = refused(engine, InvalidValue, engine.create_many, [{"kind": "a"}, {"kind": "build", "colour": "red"}])
    assert refusal.path == "specs[1]"
    assert "colour" in str(refusal)


def test_texts_are_cut_at_their_bound_and_errors_of_any_text_are_taken(engine: Engine) -> None:
    long = "y" * (bounds.TEXT_CHARACTERS_MAX + 5)
    lease = leased(engine, waive_compensation=long)
    task = lease.retry(f"odd \0 \ud800 {long}")
    assert task.error is not None
    assert task.error.message.startswith("odd ? ? yyy")
    assert len(task.error.message) == bounds.TEXT_CHARACTERS_MAX
    assert task.error.message.endswith("…")
    assert engine.note("t", long).version == 4
    noted = engine.history("t")[-1].event
    assert len(noted.text) == bounds.TEXT_CHARACTERS_MAX  # type: ignore[attr-defined]

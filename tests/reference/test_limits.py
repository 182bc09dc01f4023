"""The limits that the reference tells of arguments are those at which the calls refuse. [BOUND-1]"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import sagalog
from sagalog import Compensation, Engine, InvalidValue, Lease, OverBound, SagalogError
from sagalog.kernel import bounds
from sagalog.testing import ManualClock
from tests.reference.limits import all_bounds, bounds_of, limit_of
from tests.reference.signatures import parameters_of

# What each call must be given beside the argument that is tried.
GIVEN: dict[str, dict[str, Any]] = {
    "Engine.create": {"kind": "build"},
    "Engine.cancel": {"id": "t"},
    "Engine.quarantine": {"id": "t", "reason": "why"},
    "Engine.signal": {"id": "t", "name": "go"},
    "Engine.note": {"id": "t", "text": "said"},
    "Engine.waive": {"id": "t", "compensation": "undo", "reason": "why"},
    "Engine.retry_as_new": {"id": "t"},
    "Engine.acquire": {"task_id": "t", "owner": "bob", "ttl_ms": None},
    "Engine.claim": {"queues": "default", "owner": "bob", "ttl_ms": None},
    "Engine.create_many": {"specs": []},
    "Engine.heartbeat": {"leases": []},
    "Engine.events": {},
    "Engine.find": {},
    "Engine.ids_with_prefix": {"prefix": "t"},
    "Engine.recover": {},
    "Engine.subscribe": {"name": "reader"},
    "Engine.wait": {"id": "t", "timeout_ms": 0},
    "Lease.heartbeat": {},
    "Lease.register": {"compensation": Compensation("remove")},
    "Lease.step": {"name": "one"},
    "Lease.put_artifact": {"name": "log", "data": b""},
    "Lease.adopt_child": {"name": "child", "child": "c"},
    "Lease.park": {"name": "wait", "signal": "go"},
    "Lease.release": {},
    "Lease.retry": {"error": "why"},
    "Lease.complete": {},
    "Lease.fail": {"reason": "why"},
    "Lease.compensation_failed": {"id": "undo", "error": "why"},
}
# Bounds of which the value depends on more than its argument, or that cut instead of refusing.
APART = {"CLAIM_LOOKS_MAX", "TEXT_CHARACTERS_MAX", "TRACESTATE_CHARACTERS_MAX", "TRACESTATE_MEMBERS_MAX"}


# A call takes the longest wait by waiting so long, and no test makes thousands of leases.
TAKEN_UNTRIED = {"wait_ms", "timeout_ms", "leases"}


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def of_size(argument: str, size: int) -> Any:
    """A value of so many bytes, as the argument wants it."""
    return {"inputs": {"one": bytes(size)}, "data": bytes(size), "results": {"one": "x" * (size - 2)}}.get(
        argument, "x" * (size - 2)
    )


def many(argument: str, count: int) -> Any:
    """So many of what the argument holds."""
    match argument:
        case "compensations":
            return [Compensation("remove", number) for number in range(count)]
        case "specs":
            return [{"kind": "build", "id": f"many-{number}"} for number in range(count)]
        case "leases":
            return ["no lease"] * count
        case "inputs" | "tags":
            return {f"name-{number}": b"" if argument == "inputs" else "" for number in range(count)}
        case _:
            return [f"name-{number}" for number in range(count)]


def value_at(bound: str, argument: str, beyond: int) -> Any:
    """A value of the argument at the bound, or as far beyond it."""
    number = getattr(bounds, bound)
    if bound.endswith("_MIN"):
        return number - beyond
    if bound == "NESTING_MAX":
        return {"one": nested(number + beyond)} if argument == "results" else nested(number + beyond)
    if bound == "DETAILS_BYTES_MAX":
        return Compensation("remove", of_size("params", number + beyond))
    if bound.endswith("_BYTES_MAX"):
        blob = "data" if bound == "BLOB_BYTES_MAX" and argument == "data" else argument
        return of_size(blob if bound == "BLOB_BYTES_MAX" else argument.replace("data", "payload"), number + beyond)
    if bound.endswith("_CHARACTERS_MAX"):
        text = "x" * (number + beyond)
        return {"tags": {text: ""}}.get(argument, f"user:{text}" if argument == "actor" else text)
    if argument == "limit" or bound in ("PRIORITY_MAX", "TIME_MS_MAX"):
        return number + beyond
    return many(argument, number + beyond)


def tried() -> Iterator[Any]:
    for title in GIVEN:
        kind, _, name = title.partition(".")
        for one in parameters_of(getattr({"Engine": Engine, "Lease": Lease}[kind], name)):
            for bound in bounds_of(title, one.name):
                if bound not in APART:
                    yield pytest.param(title, one.name, bound, id=f"{title}-{one.name}-{bound}")


def refusal_of(title: str, argument: str, value: Any) -> SagalogError | None:
    """The refusal of a call over this argument; None: it was not this argument that was refused."""
    kind, _, name = title.partition(".")
    with sagalog.open("memory:", clock=ManualClock(10**12)) as engine:
        engine.create("build", id="t", queue="elsewhere")
        holder = engine if kind == "Engine" else engine.acquire("t", owner="ann", ttl_ms=60_000)
        try:
            getattr(holder, name)(**{**GIVEN[title], argument: value})
        except (InvalidValue, OverBound) as refusal:
            path = refusal.fields.get("path", refusal.fields.get("bound"))
            return refusal if str(path).startswith(argument) or "bound" in refusal.fields else None
        except (SagalogError, TimeoutError):
            return None
    return None


@pytest.mark.parametrize(("title", "argument", "bound"), list(tried()))
def test_a_call_refuses_what_lies_beyond_a_limit_that_is_told(title: str, argument: str, bound: str) -> None:
    """[BOUND-1]"""
    assert refusal_of(title, argument, value_at(bound, argument, 1)) is not None
    if argument not in TAKEN_UNTRIED:
        assert refusal_of(title, argument, value_at(bound, argument, 0)) is None


def test_a_text_is_cut_at_its_limit() -> None:
    """[BOUND-3]"""
    with sagalog.open("memory:") as engine:
        engine.create("build", id="t")
        engine.quarantine("t", "x" * (bounds.TEXT_CHARACTERS_MAX + 1))
        task = engine.get("t")

    assert task is not None
    assert len(task.reason or "") == bounds.TEXT_CHARACTERS_MAX


def test_limits_are_told_with_their_unit() -> None:
    assert limit_of("Engine.create", "kind") == "200 characters"
    assert limit_of("Engine.create", "priority") == "-2,147,483,648 to 2,147,483,647"
    assert limit_of("Engine.create", "retry") == ""
    assert limit_of("Engine.create", "actor") == "200 characters after its class"
    assert limit_of("Engine.next_times", "limit") == "1,000 times"
    assert limit_of("Engine.claim", "limit") == "1,000 leases"
    assert limit_of("Worker.preflight", "kinds") == ""
    assert limit_of("store.Reads.find", "kind") == ""


def test_the_table_of_limits_holds_every_bound() -> None:
    numbers = {name: value for name, value in vars(bounds).items() if name.isupper()}

    assert {name: bound.value for name, bound in all_bounds().items()} == numbers

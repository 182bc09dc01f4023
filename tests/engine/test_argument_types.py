"""Arguments of types that the engine does not take and refuses as what they are: never by another exception.

Rule: what is given here passes no type checker; callers without one are refused as kindly as the others. [BOUND-1]
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import sagalog
from sagalog import Batch, Compensation, Engine, InvalidValue
from sagalog.kernel import bounds
from tests.engine.checking import leased, refused


@pytest.fixture
def store_url() -> str:
    """The memory store alone: a refused argument has reached no store, so a second one would show the same again."""
    return "memory:"


class Silent:
    """A value that cannot be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("no words")


def type_of(value: object) -> str:
    return type(value).__name__


URLS: list[Any] = [Path("log.db"), None, 5, b"memory:", "", "memory", "\ud800", "memory:\ud800", "sqlite:///a\udcff.db"]


@pytest.mark.parametrize("url", URLS, ids=ascii)
def test_what_is_no_url_is_refused_as_a_value_error(url: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"\w") as caught:
        sagalog.open(url)
    assert caught.type is ValueError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("durability", ["off", "", "FULL", None, 2, ["full"], Silent()], ids=type_of)
def test_an_odd_durability_is_refused_as_a_value_error(store_url: str, durability: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="durability"):
        sagalog.open(store_url, durability=durability)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "leases",
    [5, None, "abc", b"abc", {"a": 1}, [None], ["abc"], [5], [Silent()], Silent()],
    ids=type_of,
)
def test_a_heartbeat_of_anything_but_leases_is_refused(engine: Engine, leases: Any) -> None:
    assert refused(engine, InvalidValue, engine.heartbeat, leases).path == "leases"


VERBS: dict[str, Callable[[Batch, Any], object]] = {
    "heartbeat": lambda batch, lease: batch.heartbeat(lease),
    "register": lambda batch, lease: batch.register(lease, Compensation("remove")),
    "release": lambda batch, lease: batch.release(lease),
    "retry": lambda batch, lease: batch.retry(lease, "x"),
    "complete": lambda batch, lease: batch.complete(lease),
    "fail": lambda batch, lease: batch.fail(lease, "x"),
    "compensation_done": lambda batch, lease: batch.compensation_done(lease, "remove"),
    "compensation_failed": lambda batch, lease: batch.compensation_failed(lease, "remove", "x"),
}


@pytest.mark.parametrize("lease", [None, 5, "t", Silent(), "its task"], ids=type_of)
@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_of_a_batch_takes_leases_only(engine: Engine, verb: str, lease: Any) -> None:
    task = leased(engine).task

    def run() -> None:
        with engine.batch() as batch:
            VERBS[verb](batch, task if lease == "its task" else lease)

    assert refused(engine, InvalidValue, run).path == "lease"


@pytest.mark.parametrize("specs", [5, None, "build", b"build", {"kind": "build"}, Silent()], ids=type_of)
def test_many_creations_are_given_as_a_list(engine: Engine, specs: Any) -> None:
    assert refused(engine, InvalidValue, engine.create_many, specs).path == "specs"


@pytest.mark.parametrize(
    "spec",
    [5, None, "build", {"bogus": 1}, {}, {1: 2}, {"kind": "build", "bogus": Silent()}, Silent()],
    ids=type_of,
)
def test_a_spec_that_is_none_is_named_by_its_index(engine: Engine, spec: Any) -> None:
    refusal = refused(engine, InvalidValue, engine.create_many, [{"kind": "build"}, spec])
    assert (refusal.path, refusal.command) == ("specs[1]", 1)


SILENT: dict[str, Callable[[Engine], object]] = {
    name: (lambda engine, name=name: engine.create(**{"kind": "build", name: Silent()}))  # type: ignore[misc]
    for name in (
        "kind", "payload", "id", "queue", "priority", "affinity", "key", "run_at_ms", "retry", "compensations",
        "waive_compensation", "tags", "correlation_id", "parent", "trace", "tracestate", "data_key", "actor",
        "cause", "idempotency_key",
    )
}  # fmt: skip
SILENT |= {
    "a payload's value": lambda engine: engine.create("build", {"a": [Silent()]}),
    "a payload's key": lambda engine: engine.create("build", {Silent(): 1}),
    "a tag": lambda engine: engine.create("build", tags={"a": Silent()}),  # type: ignore[dict-item]
    "a state": lambda engine: engine.find(state=Silent()),  # type: ignore[arg-type]
    "a limit": lambda engine: engine.find(limit=Silent()),  # type: ignore[arg-type]
    "a purpose": lambda engine: engine.claim("q", owner="a", ttl_ms=1, purpose=Silent()),  # type: ignore[arg-type]
    "queues": lambda engine: engine.claim(Silent(), owner="a", ttl_ms=1),  # type: ignore[arg-type]
    "an id": lambda engine: engine.get(Silent()),  # type: ignore[arg-type]
    "now": lambda engine: engine.cancel("t", now=Silent()),  # type: ignore[arg-type]
    "settles": lambda engine: engine.note("t", "x", Silent()),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("what", SILENT)
def test_a_value_that_cannot_be_shown_is_refused_all_the_same(engine: Engine, what: str) -> None:
    refused(engine, InvalidValue, SILENT[what], engine)


@pytest.mark.parametrize("given", [0, "", b"", False, {}, None], ids=repr)
def test_what_is_false_is_not_taken_for_no_compensations(engine: Engine, given: Any) -> None:
    assert refused(engine, InvalidValue, engine.create, "build", compensations=given).path == "compensations"
    lease = leased(engine)
    assert refused(engine, InvalidValue, lease.fail, "x", given, "nothing was done").path == "compensations"


@pytest.mark.parametrize("given", [(), [], iter(())], ids=type_of)
def test_any_empty_listing_is_no_compensations(engine: Engine, given: Any) -> None:
    assert engine.create("build", compensations=given).compensations == ()


TOO_LARGE: dict[str, tuple[Callable[[Engine], object], str, int]] = {
    "payload": (
        lambda engine: engine.create("build", "x" * bounds.PAYLOAD_BYTES_MAX),
        "payload_bytes",
        bounds.PAYLOAD_BYTES_MAX,
    ),
    "result": (
        lambda engine: leased(engine, "r").complete(["x" * bounds.PAYLOAD_BYTES_MAX]),
        "payload_bytes",
        bounds.PAYLOAD_BYTES_MAX,
    ),
    "progress": (
        lambda engine: leased(engine, "p").heartbeat(progress="x" * bounds.PROGRESS_BYTES_MAX),
        "progress_bytes",
        bounds.PROGRESS_BYTES_MAX,
    ),
    "compensations[0].params": (
        lambda engine: engine.create("build", compensations=[Compensation("remove", "x" * bounds.DETAILS_BYTES_MAX)]),
        "details_bytes",
        bounds.DETAILS_BYTES_MAX,
    ),
}


@pytest.mark.parametrize("path", TOO_LARGE)
def test_json_that_is_too_large_names_its_bound(engine: Engine, path: str) -> None:
    """[BOUND-1]"""
    call, bound, maximum = TOO_LARGE[path]
    with pytest.raises(InvalidValue) as caught:
        call(engine)
    assert caught.value.fields == {"path": path, "bound": bound, "maximum": maximum}


def test_json_with_another_fault_names_no_bound(engine: Engine) -> None:
    assert refused(engine, InvalidValue, engine.create, "build", [float("nan")]).fields == {"path": "payload[0]"}

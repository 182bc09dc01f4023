"""Claims: what makes a second one a repeat, and which tasks a claim leases where others are in its way."""

from __future__ import annotations

from typing import Any

import pytest

from sagalog import Conflict, Engine
from sagalog.kernel.bounds import STREAM_EVENTS_RESERVE
from sagalog.kernel.decide import rules
from sagalog.testing import ManualClock
from tests.engine.checking import CLOSE, REMOVE, TTL_MS, get, leased, refused, unchanged


@pytest.mark.parametrize(
    "changed",
    [
        {"owner": "bob"},
        {"purpose": "undo"},
        {"ttl_ms": TTL_MS + 1},
        {"ttl_ms": None},
        {"queues": "other"},
        {"kinds": ["ship"]},
        {"limit": 1},
    ],
)
def test_a_repeated_claim_must_be_the_same_claim(engine: Engine, changed: dict[str, Any]) -> None:
    """[REPEAT-4] [REPEAT-6] A second worker with the same idempotency key must not be handed the first one's leases."""
    for id in ("a", "b", "c"):
        engine.create("build", id=id)
    given: dict[str, Any] = {"queues": "default", "owner": "ann", "ttl_ms": TTL_MS, "limit": 2, "idempotency_key": "r"}
    leases = engine.claim(**given)
    assert len(leases) == 2
    refusal = refused(engine, Conflict, engine.claim, **{**given, **changed})
    assert (refusal.idempotency_key, refusal.task, refusal.differs) == ("r", "a", list(changed))
    assert unchanged(engine, engine.claim, **given) == leases


def test_a_repeated_claim_gives_no_undo_to_who_does_not_know_its_kind(engine: Engine) -> None:
    """[UNDO-1] [REPEAT-6]"""
    leased(engine, compensations=[REMOVE]).fail("no way on")
    given: dict[str, Any] = {"owner": "bob", "ttl_ms": TTL_MS, "purpose": "undo", "idempotency_key": "r"}
    [lease] = engine.claim("default", kinds=[REMOVE.kind], **given)
    refused(engine, Conflict, engine.claim, "default", kinds=["other"], **given)
    assert unchanged(engine, engine.claim, "default", kinds=[REMOVE.kind, "other"], **given) == [lease]


def test_a_claim_with_the_key_of_another_command_leases_nothing(engine: Engine) -> None:
    engine.create("build", id="t", idempotency_key="r")
    refused(engine, Conflict, engine.claim, "default", owner="ann", ttl_ms=TTL_MS, idempotency_key="r")


def test_a_claim_that_quarantines_the_first_at_its_bound_leases_the_next(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """[BOUND-2] A worker that claims one task at a time must not come back with none while there are others."""
    monkeypatch.setattr(rules, "EVENTS_MAX", STREAM_EVENTS_RESERVE + 2)
    for id in ("full", "next"):
        engine.create("build", id=id)
    engine.note("full", "one too many")
    [lease] = engine.claim("default", owner="ann", ttl_ms=TTL_MS, limit=1)
    assert lease.task.id == "next"
    assert (get(engine, "full").state, get(engine, "full").code) == ("quarantined", "bound")


@pytest.mark.parametrize("touch", ["note", "waive"])
def test_a_gate_that_was_open_stays_open_when_the_clock_steps_back(
    engine: Engine, clock: ManualClock, touch: str
) -> None:
    engine.create("build", id="t", run_at_ms=clock.now_ms() + 1_000, compensations=[REMOVE, CLOSE])
    engine.create("other", id="u")
    clock.advance(1_000)
    # Lets it in, and leaves it.
    assert len(engine.claim("default", owner="ann", ttl_ms=TTL_MS, kinds=["other"])) == 1
    clock.step(-3_600_000)
    if touch == "note":
        engine.note("t", "still there")
    else:
        engine.waive("t", "remove", "nothing to remove")
    assert [lease.task.id for lease in engine.claim("default", owner="ann", ttl_ms=TTL_MS)] == ["t"]


def test_a_gate_for_undoing_stays_open_too(engine: Engine, clock: ManualClock) -> None:
    leased(engine, compensations=[CLOSE, REMOVE]).fail("no way on")
    clock.step(-3_600_000)
    engine.waive("t", "remove", "nothing to remove")
    assert [lease.task.id for lease in engine.claim("default", owner="ann", ttl_ms=TTL_MS, purpose="undo")] == ["t"]

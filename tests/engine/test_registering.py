"""Undos that a holder registers: when they are repeats, and when an undo that was waived is in their way."""

from __future__ import annotations

from sagalog import AlreadySettled, Compensation, Conflict, Engine, LeaseLost
from sagalog.testing import ManualClock
from tests.engine.checking import CLOSE, REMOVE, SOON, TTL_MS, leased, refused, unchanged

OTHER = Compensation("remove", {"n": 2}, None, "remove")


def test_an_undo_waived_under_an_earlier_lease_covers_no_later_effect(engine: Engine) -> None:
    """[COMP-1] Else the second effect would count as undone, and no worker would undo it."""
    lease = leased(engine, retry=SOON)
    lease.register(REMOVE)
    engine.waive("t", "remove", "it was never made")
    lease.retry("once more")
    again = engine.acquire("t", owner="ann", ttl_ms=TTL_MS)
    refusal = refused(engine, AlreadySettled, again.register, REMOVE)
    assert (refusal.compensation, refusal.status) == ("remove", "waived")
    refused(engine, AlreadySettled, again.fail, "no way on", [REMOVE])
    refused(engine, AlreadySettled, again.fail, "no way on", [CLOSE, REMOVE])
    task = again.register(Compensation("remove", {"n": 1}, None, "remove-2")).task
    assert [one.id for one in task.owed] == ["remove-2"]


def test_a_planned_undo_waived_before_the_first_lease_covers_no_effect(engine: Engine) -> None:
    engine.create("build", id="t", compensations=[REMOVE])
    engine.waive("t", "remove", "not this time")
    lease = engine.acquire("t", owner="ann", ttl_ms=TTL_MS)
    refused(engine, AlreadySettled, lease.register, REMOVE)
    refused(engine, AlreadySettled, lease.fail, "no way on", [REMOVE])


def test_an_undo_waived_under_the_same_lease_is_a_repeat(engine: Engine) -> None:
    lease = leased(engine)
    lease.register(REMOVE)
    engine.waive("t", "remove", "it was never made")
    unchanged(engine, lease.register, REMOVE)
    assert lease.fail("no way on", [REMOVE]).state == "failed"


def test_a_late_holder_hears_first_that_its_lease_is_lost(engine: Engine, clock: ManualClock) -> None:
    """[FENCE-2] Before anything is compared: what it brings no longer matters."""
    late = leased(engine)
    late.register(REMOVE)
    clock.advance(TTL_MS)
    engine.recover()
    assert refused(engine, LeaseLost, late.fail, "no way on", [OTHER]).current == late.fence
    engine.acquire("t", owner="bob", ttl_ms=TTL_MS)
    refused(engine, LeaseLost, late.fail, "no way on", [OTHER])
    refused(engine, LeaseLost, late.register, CLOSE)


def test_who_holds_the_lease_hears_that_the_content_differs(engine: Engine) -> None:
    lease = leased(engine).register(REMOVE)
    refused(engine, Conflict, lease.fail, "no way on", [OTHER])

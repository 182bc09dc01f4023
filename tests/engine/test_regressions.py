"""What once went wrong between commands, and must not again: repeats, settled undos, late holders, pictures.

Rule: each test is one case that occurred; the topics themselves have files of their own.
"""

from __future__ import annotations

import builtins
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import sagalog
from sagalog import (
    AlreadySettled,
    Compensation,
    Conflict,
    Engine,
    LeaseLost,
    NotFound,
    Retry,
    TerminalTask,
)
from sagalog.engine.lease_watch import LeaseWatch
from sagalog.kernel.bounds import STREAM_EVENTS_RESERVE
from sagalog.kernel.decide import rules
from sagalog.kernel.state import TaskFold
from sagalog.kernel.values import LeaseRecord, State
from sagalog.testing import ManualClock, SeededEntropy
from tests.conftest import OpenEngine
from tests.engine.checking import CLOSE, REMOVE, TTL_MS, get, leased, refused, unchanged, undoing

OTHER = Compensation("remove", {"n": 2}, None, "remove")
SOON = Retry(delay_min_ms=0, delay_max_ms=0)


# --- claims ---------------------------------------------------------------------------------------------------------


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


def test_a_claim_with_the_idempotency_key_of_another_command_leases_nothing(engine: Engine) -> None:
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


# --- compensations --------------------------------------------------------------------------------------------------


def test_an_undo_waived_under_an_earlier_lease_stands_for_no_later_effect(engine: Engine) -> None:
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


def test_a_planned_undo_that_was_waived_before_the_first_lease_stands_for_no_effect(engine: Engine) -> None:
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


# --- heartbeats and observers ---------------------------------------------------------------------------------------


def test_a_heartbeat_of_many_renews_the_good_and_names_the_bad(
    engine: Engine, open_engine: OpenEngine, clock: ManualClock
) -> None:
    with sagalog.open("memory:", clock=clock, entropy=SeededEntropy(9)) as elsewhere:
        stray = leased(elsewhere, "stray")
    first, ended, last = (leased(engine, id) for id in ("first", "ended", "last"))
    ended.complete()
    clock.advance(1)
    renewal = engine.heartbeat([first, stray, ended, last])
    assert [lease.task.id for lease in renewal.renewed] == ["first", "last"]
    assert [type(error) for error in renewal.lost] == [NotFound, LeaseLost]
    assert [error.task for error in renewal.lost] == ["stray", "ended"]
    assert [lease.expires_ms for lease in renewal.renewed] == [clock.now_ms() + TTL_MS] * 2


def fold(id: str, now_ms: int) -> TaskFold:
    return TaskFold(id, 1, State.RUNNING, lease=LeaseRecord("ann", 1, 1, "work", 10, now_ms + 10, now_ms))


class Slow(list[TaskFold]):
    """A listing in the middle of which another thread comes."""

    meanwhile: Callable[[], None] | None = None

    def __iter__(self) -> Iterator[TaskFold]:
        for task in super().__iter__():
            if self.meanwhile is not None:
                come, self.meanwhile = self.meanwhile, None
                come()
            yield task


def test_threads_look_through_one_watch_one_after_another() -> None:
    """[TIME-3] Else one forgets what the other has just seen, or trips over it."""
    clock = ManualClock()
    watch = LeaseWatch(clock)
    began_ms = clock.monotonic_ms()
    done: list[bool] = []

    def look_too() -> None:
        watch.look([fold("a", 0), fold("b", 0)], [], began_ms + 5)
        done.append(True)

    another = threading.Thread(target=look_too)

    def come() -> None:
        another.start()
        another.join(0.1)
        assert done == [], "the other thread did not wait"

    listing = Slow([fold("a", 0)])
    listing.meanwhile = come
    watch.look(listing, [], began_ms)
    another.join(60)
    assert done == [True]
    clock.advance(15)
    seen = watch.over(None)
    assert [(command.task, command.seen and command.seen.unchanged_ms) for command in seen] == [("a", 15), ("b", 10)]


# --- pictures -------------------------------------------------------------------------------------------------------


def test_a_completed_task_shows_nothing_of_what_went_wrong_on_the_way(engine: Engine) -> None:
    lease = leased(engine, retry=SOON)
    assert lease.retry("it broke").error is not None
    lease = engine.acquire("t", owner="ann", ttl_ms=TTL_MS)
    assert engine.cancel("t", "not needed").reason == "not needed"
    assert (lease.complete(42).error, get(engine).error, get(engine).reason) == (None, None, None)


def test_a_failed_task_does_not_show_the_reason_of_a_cancel_that_came_to_nothing(engine: Engine) -> None:
    lease = leased(engine)
    engine.cancel("t", "not needed")
    task = lease.fail("no way on", waive_compensation="nothing was done")
    assert (task.state, task.reason) == ("failed", None)
    assert task.error is not None
    assert get(engine) == task


def test_tasks_and_leases_can_be_kept_in_sets(engine: Engine) -> None:
    lease = leased(engine, payload={"a": [1]}, tags={"team": "x"}, compensations=[REMOVE])
    same = engine.heartbeat([lease]).renewed[0]
    assert (lease, lease.task) == (same, get(engine))
    assert (hash(lease), hash(lease.task)) == (hash(same), hash(get(engine)))
    later = engine.note("t", "seen")
    assert len({lease, same, leased(engine, "u")}) == 2
    assert len({lease.task, get(engine), later}) == 2


# --- operators ------------------------------------------------------------------------------------------------------


def test_quarantining_again_is_a_repeat_in_the_same_words_only(engine: Engine) -> None:
    lease = leased(engine)
    engine.quarantine("t", "odd")
    assert unchanged(engine, engine.quarantine, "t", "odd").reason == "odd"
    assert refused(engine, Conflict, engine.quarantine, "t", "quite odd").differs == ["reason"]
    refused(engine, LeaseLost, lease.complete)


@pytest.mark.parametrize("end", ["at once", "undone by half"])
def test_a_quarantined_task_is_not_cancelled_by_what_came_before(engine: Engine, end: str) -> None:
    """[CANCEL-3] A caller who cancels must not believe that it is out of the way."""
    if end == "at once":
        leased(engine)
        engine.cancel("t", "asked for")
    else:
        leased(engine, compensations=[REMOVE])
        assert engine.cancel("t", now=True).outcome == "cancelled"
    engine.quarantine("t", "odd")
    assert refused(engine, TerminalTask, engine.cancel, "t").state == "quarantined"


def test_a_task_that_was_cancelled_and_undone_may_be_cancelled_again(engine: Engine) -> None:
    leased(engine, compensations=[REMOVE])
    engine.cancel("t", now=True)
    engine.acquire("t", owner="ann", ttl_ms=TTL_MS, purpose="undo").compensation_done("remove")
    assert unchanged(engine, engine.cancel, "t").state == "compensated"


def test_a_task_that_failed_and_was_undone_was_not_cancelled(engine: Engine) -> None:
    undo = undoing(engine, compensations=[REMOVE])
    undo.compensation_done("remove")
    refused(engine, TerminalTask, engine.cancel, "t")


# --- names ----------------------------------------------------------------------------------------------------------


def test_importing_all_names_does_not_hide_the_builtin_open() -> None:
    names: dict[str, Any] = {}
    exec("from sagalog import *", names)  # noqa: S102  as a script would
    assert "open" not in names
    assert {"Engine", "Task", "Lease", "Compensation"} <= set(names)
    assert callable(sagalog.open)
    assert names["__builtins__"]["open"] is builtins.open

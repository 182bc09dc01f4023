"""What each event changes in a fold: a story before it, the event, and the fields that differ afterwards."""

from __future__ import annotations

from typing import Any

import msgspec

from sagalog.kernel import events as e
from sagalog.kernel.state import (
    AdoptedChild,
    CompensationRecord,
    EndedLease,
    EndedWaits,
    KeptPolicy,
    KeptSignal,
    Recording,
    StepRecord,
    TakenSignal,
    TaskFold,
)
from sagalog.kernel.values import LeaseRecord, State, Unchanged
from sagalog.testing import Scenario, given
from tests.kernel.making import (
    ERROR,
    LATER_UNDO,
    UNDO,
    policy,
    waiting_for,
)

CREATED = e.Created("build", "q", 0, 0, policy(), State.PENDING, compensations=(UNDO, LATER_UNDO))
PENDING = given(CREATED, now_ms=10)
RUNNING = PENDING.given(e.Leased("ann", 1, 1, "work", False, 100, 110))
OWING = RUNNING.given(e.Failed(State.COMPENSATING, "failed", ERROR, fence=1, verb="fail"))
PARKED = RUNNING.given(e.Parked(1, "park", "w", 1, "go"))
# It has slept twice under the name "w", and is leased again, under fence 3.
TIRED = RUNNING.given(
    e.Parked(1, "park", "w", 1, until_ms=9),
    e.Unblocked("w", 1, "time"),
    e.Leased("ann", 2, 1, "work", False, 100, 110),
    e.Parked(2, "park", "w", 2, until_ms=9),
    e.Unblocked("w", 2, "time"),
    e.Leased("ann", 3, 1, "work", False, 100, 110),
)


UNDOING = OWING.given(e.Leased("ann", 2, 1, "undo", False, 100, 110))
LEFT = UNDOING.given(e.Quarantined("operator", "odd", ERROR, ("u1", "u2"), 2, "quarantine"))


def folded(story: Scenario) -> TaskFold:
    assert story.task is not None
    return story.task


def heir(to: State = State.PENDING, **changed: Any) -> e.Created:
    """The creation of a successor of `t0`."""
    return e.Created("build", "q", 0, 0, policy(), to=to, **{"predecessor": "t0", **changed})


def compensations(**changed: CompensationRecord) -> dict[str, CompensationRecord]:
    """The two planned ones, owed, unless changed."""
    owed = {"u1": CompensationRecord("remove", 1, 0, "owed"), "u2": CompensationRecord("close", 1, 1, "owed")}
    return {**owed, **changed}


def _retried() -> dict[str, Any]:
    return {
        "state": State.PENDING,
        "lease": None,
        "ended": EndedLease(1, "retry", 3),
        "run_at_ms": 95,
        "error_version": 3,
    }


ALL_UNDONE: tuple[Scenario, e.Recordable, dict[str, Any]] = (
    UNDOING.given(e.CompensationDone("u2", 2), e.CompensationDone("u1", 2)),
    e.Compensated("failed", 2, "compensation_done"),
    {},
)


# Each event on a task that has a place for it, and what it changes in the fold besides version, length and time.
CHANGES: dict[str, tuple[Scenario, e.Recordable, dict[str, Any]]] = {
    "leased first": (
        PENDING,
        e.Leased("ann", 1, 1, "work", True, 100, 120),
        {
            "state": State.RUNNING,
            "leases": 1,
            "lease": LeaseRecord("ann", 1, 1, "work", 100, 120, 20, True),
            "compensations": compensations(),
            "needs_undo": True,
        },
    ),
    "leased with a build": (
        PENDING,
        e.Leased("ann", 1, 1, "work", False, 100, 120, build="2026-11-29.3"),
        {
            "state": State.RUNNING,
            "leases": 1,
            "lease": LeaseRecord("ann", 1, 1, "work", 100, 120, 20),
            "compensations": compensations(),
            "needs_undo": True,
        },
    ),
    "leased with a waiver": (
        PENDING,
        e.Leased("ann", 1, 1, "work", False, 100, 120, waiver="writes nothing"),
        {
            "state": State.RUNNING,
            "leases": 1,
            "lease": LeaseRecord("ann", 1, 1, "work", 100, 120, 20),
            "compensations": compensations(),
        },
    ),
    "promoted": (
        given(e.Created("build", "q", 0, 500, policy(), State.PENDING), now_ms=100),
        e.Promoted(Unchanged(1, 400)),
        {"run_at_ms": 20},
    ),
    "leased to undo": (
        OWING,
        e.Leased("bob", 2, 1, "undo", False),
        {"leases": 2, "lease": LeaseRecord("bob", 2, 1, "undo", None, None, 20)},
    ),
    "renewed": (
        RUNNING,
        e.Heartbeat(1, 50, 70),
        {"lease": LeaseRecord("ann", 1, 1, "work", 50, 70, 20), "length": 2},
    ),
    "renewed with progress": (
        RUNNING,
        e.Heartbeat(1, None, None, {"n": 1}),
        {"lease": LeaseRecord("ann", 1, 1, "work", None, None, 20), "length": 2, "progress_version": 3},
    ),
    "released": (
        RUNNING,
        e.Released(1, "release", 90, "tired"),
        {"state": State.PENDING, "lease": None, "ended": EndedLease(1, "release", 3), "releases": 1, "run_at_ms": 90},
    ),
    "released while undoing": (
        UNDOING,
        e.Released(2, "release", 90),
        {"lease": None, "ended": EndedLease(2, "release", 5), "undo_releases": 1, "run_at_ms": 90},
    ),
    "a child of a predecessor": (
        RUNNING,
        e.ChildAdopted("build", 1, "t0/build"),
        {"children": {"build": AdoptedChild("t0/build", 3, 1)}},
    ),
    "a step": (RUNNING, e.StepCompleted("s1", 1, {"n": 1}), {"steps": {"s1": StepRecord(3, 1)}}),
    "an artifact": (
        UNDOING,
        e.ArtifactPut("log", 2, "ab" * 32, 3, "text/plain"),
        {"artifacts": {"log": Recording(5, 2)}},
    ),
    "parked": (
        RUNNING,
        e.Parked(1, "park", "w", 1, None, ("a",), 90),
        {
            "state": State.PENDING,
            "lease": None,
            "ended": EndedLease(1, "park", 3),
            "run_at_ms": 20,
            "waiting": waiting_for("a", until_ms=90),
        },
    ),
    "signalled": (PENDING, e.Signalled("go", 1), {"signals": (KeptSignal("go", 2),)}),
    "unblocked by a signal": (
        PARKED.given(e.Signalled("go"), e.Signalled("go")),
        e.Unblocked("w", 1, "signal", 4),
        {
            "waiting": None,
            "waits": {"w": EndedWaits(1, (TakenSignal(6),))},
            "rounds": 1,
            "signals": (KeptSignal("go", 5),),
            "run_at_ms": 20,
        },
    ),
    "unblocked by a signal after sleeps of that name": (
        TIRED.given(e.Parked(3, "park", "w", 3, "go"), e.Signalled("go")),
        e.Unblocked("w", 3, "signal", 10),
        {
            "waiting": None,
            "waits": {"w": EndedWaits(3, (-2, TakenSignal(11)))},
            "rounds": 3,
            "signals": (),
            "run_at_ms": 20,
        },
    ),
    "a sleep is over": (
        RUNNING.given(e.Parked(1, "park", "w", 1, until_ms=9)),
        e.Unblocked("w", 1, "time"),
        {"waiting": None, "waits": {"w": EndedWaits(1, (-1,))}, "rounds": 1, "run_at_ms": 20},
    ),
    "another sleep of that name is over": (
        TIRED.given(e.Parked(3, "park", "w", 3, until_ms=9)),
        e.Unblocked("w", 3, "time"),
        {"waiting": None, "waits": {"w": EndedWaits(3, (-3,))}, "rounds": 3, "run_at_ms": 20},
    ),
    "unblocked by time": (
        RUNNING.given(e.Parked(1, "park", "w", 1, "go", until_ms=20)),
        e.Unblocked("w", 1, "time"),
        {"waiting": None, "waits": {"w": EndedWaits(1, (4,))}, "rounds": 1, "run_at_ms": 20},
    ),
    "cancelled while it waits": (
        PARKED,
        e.Cancelled(State.COMPENSATING),
        {"state": State.COMPENSATING, "waiting": None, "outcome": "cancelled", "run_at_ms": 20},
    ),
    "expired": (
        RUNNING,
        e.LeaseExpired(1, "expire", "epoch"),
        {"state": State.PENDING, "lease": None, "ended": EndedLease(1, "expire", 3), "expiries": 1, "run_at_ms": 20},
    ),
    "expired while undoing": (
        UNDOING,
        e.LeaseExpired(2, "expire", "epoch"),
        {"lease": None, "ended": EndedLease(2, "expire", 5), "undo_expiries": 1, "run_at_ms": 20},
    ),
    "a compensation registered": (
        RUNNING,
        e.CompensationRegistered("u3", "x", 1),
        {"compensations": compensations(u3=CompensationRecord("x", 3, -1, "owed", 1))},
    ),
    "a compensation waived": (
        UNDOING,
        e.CompensationWaived("u1", "gone"),
        {"compensations": compensations(u1=CompensationRecord("remove", 1, 0, "waived", 0, 5))},
    ),
    "a compensation done": (
        UNDOING,
        e.CompensationDone("u2", 2),
        {"compensations": compensations(u2=CompensationRecord("close", 1, 1, "done", 0, 5, 2))},
    ),
    "a compensation failed": (
        UNDOING,
        e.CompensationFailed("u2", 2, "compensation_failed", ERROR, 95),
        {
            "lease": None,
            "ended": EndedLease(2, "compensation_failed", 5),
            "undo_failures": 1,
            "run_at_ms": 95,
            "error_version": 5,
        },
    ),
    "retried": (
        RUNNING,
        e.Retried(1, "retry", ERROR, "attempt", 95),
        {**_retried(), "failures": 1},
    ),
    "retried, transient": (
        RUNNING,
        e.Retried(1, "retry", ERROR, "transient", 95),
        {**_retried(), "transients": 1},
    ),
    "retried for quota": (
        RUNNING,
        e.Retried(1, "retry", ERROR, "quota", 95),
        {**_retried(), "quota_since_ms": 20},
    ),
    "failed, owing": (
        RUNNING,
        e.Failed(State.COMPENSATING, "failed", ERROR, fence=1, verb="fail"),
        {
            "state": State.COMPENSATING,
            "lease": None,
            "ended": EndedLease(1, "fail", 3),
            "outcome": "failed",
            "code": "failed",
            "run_at_ms": 20,
            "error_version": 3,
        },
    ),
    "failed with a waiver and no error": (
        given(e.Created("build", "q", 0, 0, policy(), State.PENDING), now_ms=10),
        e.Failed(State.FAILED, "expiries_spent", None, "harmless"),
        {
            "state": State.FAILED,
            "outcome": "failed",
            "code": "expiries_spent",
            "run_at_ms": 20,
            "has_waiver": True,
            "reason_version": 2,
        },
    ),
    "asked to stop": (RUNNING, e.CancelRequested(), {"cancel_version": 3, "reason_version": 3}),
    "cancelled while pending": (
        PENDING,
        e.Cancelled(State.CANCELLED, "too late"),
        {"state": State.CANCELLED, "outcome": "cancelled", "run_at_ms": 20, "reason_version": 2},
    ),
    "cancelled without a reason": (
        RUNNING,
        e.Cancelled(State.COMPENSATING, None, 1, "cancel"),
        {
            "state": State.COMPENSATING,
            "lease": None,
            "ended": EndedLease(1, "cancel", 3),
            "outcome": "cancelled",
            "run_at_ms": 20,
        },
    ),
    "completed": (
        RUNNING,
        e.Completed(1, "complete", {"pr": 42}),
        {
            "state": State.COMPLETED,
            "lease": None,
            "ended": EndedLease(1, "complete", 3),
            "result_version": 3,
            "compensations": compensations(
                u1=CompensationRecord("remove", 1, 0, "void", 0, 3),
                u2=CompensationRecord("close", 1, 1, "void", 0, 3),
            ),
        },
    ),
    "quarantined": (
        RUNNING,
        e.Quarantined("attempts_spent", None, ERROR, ("u1", "u2"), 1, "retry"),
        {
            "state": State.QUARANTINED,
            "lease": None,
            "ended": EndedLease(1, "retry", 3),
            "code": "attempts_spent",
            "error_version": 3,
        },
    ),
    "quarantined by hand": (
        PENDING,
        e.Quarantined("operator", "odd"),
        {"state": State.QUARANTINED, "code": "operator", "reason_version": 2},
    ),
    "asked to stop by its deadline": (
        given(msgspec.structs.replace(CREATED, deadline_ms=20)).given(e.Leased("ann", 1, 1, "work", False, 100, 100)),
        e.CancelRequested(code="deadline"),
        {"cancel_version": 3, "reason_version": 3, "cancel_code": "deadline"},
    ),
    "cancelled by its deadline": (
        given(msgspec.structs.replace(CREATED, start_by_ms=20)),
        e.Cancelled(State.CANCELLED, code="start_by"),
        {"state": State.CANCELLED, "outcome": "cancelled", "run_at_ms": 20, "code": "start_by", "reason_version": 2},
    ),
    "amended": (
        PENDING,
        e.Amended("r", 5, 9, {"n": 1}, "gpu", "k", 90, 80, policy(attempts_max=9), uses={"gpu": 2}, build="b2"),
        {
            "queue": "r",
            "priority": 5,
            "run_at_ms": 9,
            "payload_version": 2,
            "affinity": "gpu",
            "key": "k",
            "build": "b2",
            "deadline_ms": 90,
            "start_by_ms": 80,
            "policy": KeptPolicy.of(policy(attempts_max=9)),
            "policy_version": 2,
            "uses": {"gpu": 2},
        },
    ),
    "amended, taking away": (
        given(
            msgspec.structs.replace(
                CREATED, affinity="gpu", key="k", build="b1", deadline_ms=90, start_by_ms=80, uses={"gpu": 1}
            )
        ),
        e.Amended(removes=("payload", "affinity", "key", "build", "deadline_ms", "start_by_ms", "uses")),
        {
            "payload_version": 2,
            "affinity": None,
            "key": None,
            "build": None,
            "deadline_ms": None,
            "start_by_ms": None,
            "uses": None,
        },
    ),
    "noted": (RUNNING, e.Noted("seen"), {}),
    "noted, settling": (
        LEFT,
        e.Noted("by hand", ("u2",)),
        {"compensations": compensations(u2=CompensationRecord("close", 1, 1, "noted", 0, 6))},
    ),
}

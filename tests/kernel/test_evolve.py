"""Folding a sound log: what each event adds, all of it and nothing else."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from sagalog.errors import LogDamaged
from sagalog.kernel import events as e
from sagalog.kernel.evolve import evolve, fold
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
    Waiting,
)
from sagalog.kernel.values import Budget, Compensation, KeptStep, KeptWaits, LeaseRecord, SignalEnd, State, Unchanged
from sagalog.testing import Scenario, given
from tests.kernel.making import (
    ERROR,
    LATER_UNDO,
    UNDO,
    acquire,
    acquire_undo,
    cancel,
    compensation_done,
    complete,
    create,
    fail,
    heartbeat,
    inherited,
    leased,
    maintain,
    policy,
    quarantine,
    register,
    registered,
    release,
    retry,
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
            "waiting": Waiting("w", 1, 3, None, ("a",), 90),
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
    "noted": (RUNNING, e.Noted("seen"), {}),
    "noted, settling": (
        LEFT,
        e.Noted("by hand", ("u2",)),
        {"compensations": compensations(u2=CompensationRecord("close", 1, 1, "noted", 0, 6))},
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_each_event_changes_what_it_says_and_nothing_else(name: str) -> None:
    """[RECORD-1] [RECORD-3]"""
    story, event, changes = CHANGES[name]
    before = folded(story)
    expected = {"version": before.version + 1, "length": before.length + 1, "updated_ms": 20, **changes}
    assert evolve(before, event, before.version + 1, 20) == msgspec.structs.replace(before, **expected)


def test_every_event_that_ends_a_lease_names_its_fence_and_the_verb() -> None:
    """[REPEAT-5]"""
    ended = set()
    for story, event, _ in (*CHANGES.values(), ALL_UNDONE):
        before = folded(story)
        after = evolve(before, event, before.version + 1, 20)
        if before.lease is not None and after.lease is None:
            assert after.ended == EndedLease(event.fence, event.verb, after.version)  # type: ignore[attr-defined]
            ended.add(type(event))
    assert ended == {kind for kind in e.TASK_EVENTS if "verb" in kind.__struct_fields__}


def test_a_creation_begins_the_fold() -> None:
    """[RECORD-1] [COMP-1]"""
    created = e.Created(
        "build",
        "q",
        -3,
        70,
        policy(),
        State.PENDING,
        compensations=(UNDO,),
        waiver="harmless",
        tags={"team": "red"},
        affinity="host",
        key="repo",
    )
    assert evolve(TaskFold("t"), created, 1, 10) == TaskFold(
        "t",
        version=1,
        state=State.PENDING,
        kind="build",
        queue="q",
        priority=-3,
        affinity="host",
        key="repo",
        tags={"team": "red"},
        run_at_ms=70,
        policy=KeptPolicy.of(policy()),
        has_waiver=True,
        compensations={"u1": CompensationRecord("remove", 1, 0, "planned")},
        length=1,
        created_ms=10,
        updated_ms=10,
    )


def test_a_run_of_quota_retries_ends_with_another_sort_of_retry() -> None:
    """[ATTEMPT-2] It begins with the first."""
    story = given(create(UNDO, quota_wait_max_ms=None, transient_max=None))
    run: list[tuple[Budget, int | None]] = [("quota", 10), ("quota", 10), ("transient", None), ("quota", 40)]
    for n, (budget, since_ms) in enumerate(run, start=1):
        story = story.given(acquire(), retry(n, budget), now_ms=n * 10)
        assert folded(story).quota_since_ms == since_ms


def test_a_fold_keeps_where_things_are_and_not_the_things() -> None:
    """[RECORD-1]"""
    story = given(create(UNDO), acquire(), now_ms=5).given(heartbeat(progress={"n": 1}), register(LATER_UNDO), now_ms=7)
    task = folded(story.given(complete(result={"large": "x" * 999}), now_ms=9))
    assert (task.progress_version, task.result_version, task.created_ms, task.updated_ms) == (3, 5, 5, 9)
    planned, brought = task.compensations["u1"], task.compensations["u2"]
    assert (planned.version, planned.index, planned.fence) == (1, 0, 0)
    assert (brought.version, brought.index, brought.fence) == (4, -1, 1)
    assert "large" not in msgspec.json.encode(task).decode()


def test_the_last_ended_lease_is_remembered_by_the_verb_that_was_asked() -> None:
    """[REPEAT-5]"""
    held = given(create(UNDO, attempts_max=1), acquire())
    endings = {
        "release": held.given(release()),
        "expire": held.given(maintain(), now_ms=100),
        "fail": held.given(fail()),
        "cancel": held.given(cancel(now=True)),
        "quarantine": held.given(quarantine()),
        "complete": held.given(complete()),
        "retry": held.given(e.Failed(State.COMPENSATING, "attempts_spent", ERROR, fence=1, verb="retry")),
    }
    for verb, story in endings.items():
        assert folded(story).ended == EndedLease(1, verb, 3)
        assert folded(story).lease is None


def test_a_heartbeat_renews_the_lease_and_changes_nothing_else_of_it() -> None:
    """[LEASE-3]"""
    task = folded(
        given(CREATED).given(e.Leased("ann", 1, 1, "work", True, 100, 140), e.Heartbeat(1, 50, 90), now_ms=40)
    )
    assert task.lease == LeaseRecord("ann", 1, 1, "work", 50, 90, 40, True)


def test_a_recorded_time_may_be_earlier_than_the_one_before() -> None:
    """[TIME-2]"""
    story = given(now_ms=1_000).given(create(), acquire()).given(complete(), now_ms=400)
    assert (folded(story).created_ms, folded(story).updated_ms) == (1_000, 400)


def test_a_successor_that_only_undoes_owes_just_what_it_inherits() -> None:
    """[COMP-7] [RECORD-1] It begins compensating."""
    planned = (Compensation("close", id="u0"), UNDO)
    event = heir(State.COMPENSATING, compensations=planned, inherited=(inherited(),), outcome="cancelled")
    successor = given(event)
    assert (folded(successor).owed(), folded(successor).outcome) == (["u1"], "cancelled")
    assert list(folded(successor).compensations) == ["u1"]
    successor.given(acquire_undo()).when(compensation_done(fence=1)).then(
        e.CompensationDone("u1", 1), e.Compensated("cancelled", 1, "compensation_done")
    )


def test_an_inherited_undo_is_owed_at_once_and_keeps_its_place() -> None:
    """[COMP-7] It is owed before the first lease, and its place is among what is planned."""
    planned = (Compensation("close", id="u0"), UNDO)
    event = heir(compensations=planned, inherited=(inherited(UNDO, 1, 1), inherited(LATER_UNDO)))
    assert folded(given(event)).owed() == ["u1", "u2"]
    assert folded(given(event).given(acquire())).owed() == ["u0", "u1", "u2"]


@pytest.mark.parametrize(
    "damage",
    [
        heir(State.COMPENSATING, compensations=(UNDO,), outcome="failed"),
        heir(State.COMPENSATING, inherited=(inherited(),)),
        heir(predecessor=None, inherited=(inherited(),)),
        heir(predecessor=None, steps=(KeptStep("s1", "t0", 4),)),
        heir(inherited=(inherited(), inherited())),
        heir(steps=(KeptStep("s1", "t0", 4), KeptStep("s1", "t0", 5))),
        heir(State.COMPENSATING, inherited=(inherited(),), steps=(KeptStep("s1", "t0", 4),), outcome="failed"),
        heir(State.COMPENSATING, inherited=(inherited(),), waits=(KeptWaits("w", (-1,)),), outcome="failed"),
        heir(waits=(KeptWaits("w", (-1,)), KeptWaits("w", (-2,)))),
        heir(predecessor=None, waits=(KeptWaits("w", (-1,)),)),
        heir(waits=(KeptWaits("w", (-1, 0)),)),
        heir(waits=(KeptWaits("w", ()),)),
        heir(waits=(KeptWaits("w", (4, -1)),)),
    ],
    ids=[
        "inherits nothing",
        "says no outcome",
        "inherits from no predecessor",
        "keeps steps of no predecessor",
        "inherits one twice",
        "keeps a step twice",
        "only undoes and keeps steps",
        "only undoes and keeps waits",
        "keeps the waits of a name twice",
        "keeps waits of no predecessor",
        "keeps a gap behind its waits",
        "keeps a name and no wait of it",
        "keeps an end by its version",
    ],
)
def test_a_creation_whose_inheritance_cannot_be_is_a_damaged_log(damage: e.Created) -> None:
    """[COMP-7] [STEP-1]"""
    with pytest.raises(LogDamaged):
        folded(given(damage))


HEIR = given(
    heir(
        inherited=(inherited(), inherited(LATER_UNDO, 0, 1, "t00")),
        steps=(KeptStep("s1", "t0", 4, "u1"), KeptStep("s0", "t00", 9)),
    )
).given(leased())


def test_inherited_undos_and_steps_are_found_in_predecessors_streams() -> None:
    """[COMP-7] [STEP-1]"""
    task = folded(HEIR)
    assert task.sources == ("t0", "t00")
    assert task.compensations == {
        "u1": CompensationRecord("remove", 3, -1, "owed", source=1),
        "u2": CompensationRecord("close", 1, 0, "owed", source=2),
    }
    assert task.steps == {"s1": StepRecord(4, 0, 1, "u1"), "s0": StepRecord(9, 0, 2)}
    assert [task.stream_of(number) for number in (0, 1, 2)] == ["t", "t0", "t00"]


def test_waits_that_a_successor_takes_for_over_are_no_rounds_of_its_own() -> None:
    """[WAIT-1] [BOUND-1] Their numbers go on."""
    waits = (KeptWaits("poll", (-3, SignalEnd("t00", 7), -1)), KeptWaits("go", (SignalEnd("t0", 9),)))
    task = folded(given(heir(waits=waits)).given(leased(), e.Parked(1, "park", "poll", 6, until_ms=9)))
    assert task.sources == ("t00", "t0")
    assert task.waits == {
        "poll": EndedWaits(5, (-3, TakenSignal(7, 1), -1)),
        "go": EndedWaits(1, (TakenSignal(9, 2),)),
    }
    slept = TakenSignal(0)
    assert task.waits["poll"].places() == {1: slept, 2: slept, 3: slept, 4: TakenSignal(7, 1), 5: slept}
    assert (task.rounds, task.kept_wait_names) == (0, 2)


def test_a_wait_that_is_asked_anew_fills_its_gap() -> None:
    """[WAIT-1] Those behind it keep their numbers. However they end, what was one row of sleeps is one count again."""
    task = folded(given(heir(waits=(KeptWaits("w", (-1, 0, -2, 0, 0, SignalEnd("t0", 9))),))))
    taken = TakenSignal(9, 1)
    assert task.waits == {"w": EndedWaits(1, (-1,), (0, -2, 0, 0, taken))}
    assert task.waits["w"].places() == {1: TakenSignal(0), 3: TakenSignal(0), 4: TakenSignal(0), 7: taken}
    assert task.next_wait("w") == 2
    slept = task.waits["w"].and_more(-1)
    assert slept == EndedWaits(4, (-4,), (0, 0, taken))
    asked = slept.and_more(7)
    assert asked == EndedWaits(5, (-4, 7), (0, taken))
    assert asked.kept() == (-4, 0, 0, taken)
    assert asked.and_more(9) == EndedWaits(7, (-4, 7, 9, taken))
    assert asked.and_more(9).and_more(11).kept() == (-4, 0, 0, taken)
    assert EndedWaits().and_more(5).kept() == ()


def test_what_is_owed_at_the_end_is_void_but_for_what_is_left_over() -> None:
    """[COMP-6] [COMP-7] A note hands that over."""
    done = folded(HEIR.given(registered(Compensation("x", id="u3")), e.Completed(1, "complete", left=("u2",))))
    assert [(id, one.status, one.settled) for id, one in done.compensations.items()] == [
        ("u1", "void", 4),
        ("u2", "owed", 0),
        ("u3", "void", 4),
    ]
    assert done.compensations["u1"].source == 1
    noted = folded(HEIR.given(e.Completed(1, "complete", left=("u2",)), e.Noted(None, ("u2",), "t9", code="left_over")))
    assert (noted.owed(), noted.compensations["u2"].status, noted.successor_version) == ([], "noted", 4)


@pytest.mark.parametrize(
    "damage",
    [
        e.Completed(1, "complete"),
        e.Completed(1, "complete", left=("u1", "u2")),
        registered(Compensation("other", id="u2")),
        e.StepCompleted("s1", 1),
        e.StepCompleted("s2", 1, None, "u9"),
    ],
    ids=["leaves too little", "leaves too much", "another kind", "a kept step", "an undo that is not registered"],
)
def test_what_contradicts_what_a_successor_took_over_is_a_damaged_log(damage: e.Recordable) -> None:
    """[RECORD-1] [STEP-1]"""
    with pytest.raises(LogDamaged):
        folded(HEIR.given(damage))


def test_an_inherited_undo_that_is_registered_again_is_the_tasks_own() -> None:
    """[COMP-7] [REPEAT-3]"""
    mine = folded(HEIR.given(registered(LATER_UNDO)))
    assert list(mine.compensations) == ["u1", "u2"]
    assert mine.compensations["u2"] == CompensationRecord("close", 3, -1, "owed", 1)
    with pytest.raises(LogDamaged):
        folded(HEIR.given(registered(LATER_UNDO), registered(LATER_UNDO)))


def test_a_second_successor_or_one_of_a_living_task_is_a_damaged_log() -> None:
    """[REPEAT-7] [TERM-2]"""
    named = e.Noted(code="retried_as_new", successor="t2")
    ended = given(create(), quarantine())
    folded(ended.given(named))
    with pytest.raises(LogDamaged):
        folded(ended.given(named, named))
    with pytest.raises(LogDamaged):
        folded(given(create(), named))


def test_folding_at_once_is_folding_step_by_step() -> None:
    """[RECORD-3]"""
    events: list[e.Recordable] = [
        CREATED,
        leased(at_ms=20),
        registered(Compensation("x", id="u3")),
        e.CancelRequested(),
    ]
    task = TaskFold("t")
    for version, event in enumerate(events, start=1):
        task = evolve(task, event, version, version * 10)
    assert fold("t", [(event, n, n * 10) for n, event in enumerate(events, start=1)]) == task


def test_older_folds_stay_as_they_were() -> None:
    """[RECORD-3] They share what has not changed, and nothing that has."""
    first = folded(RUNNING)
    before = msgspec.json.encode(first)
    evolve(evolve(first, registered(Compensation("x", id="u3")), 3, 1), e.CompensationWaived("u1", "gone"), 4, 2)
    assert msgspec.json.encode(first) == before

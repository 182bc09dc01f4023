"""Everything that can happen to one small task, searched to its end; and rules broken on purpose, which it must see."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Final

import msgspec
import pytest

from sagalog.errors import Blocked
from sagalog.kernel import changes
from sagalog.kernel import commands as c
from sagalog.kernel import decide as kernel
from sagalog.kernel import events as e
from sagalog.kernel import evolve as folding
from sagalog.kernel.decide import compensations, interventions, leases, maintenance, recordings, rules, waits, work
from sagalog.kernel.lifecycle import TASK_LIFE
from sagalog.kernel.state import EndedWaits, TaskFold
from sagalog.kernel.values import (
    Compensation,
    KeptStep,
    KeptWaits,
    LeaseRecord,
    OnFailed,
    Seen,
    SignalEnd,
    State,
    TaskEnd,
)
from tests.kernel.making import LATER_UNDO, UNDO, inherited
from tests.kernel.search import Searched, check_rounds, check_ways_out, search, small

# Budgets of one keep the space of a task that also waits small.
ONE: dict[str, Any] = {
    "attempts_max": 1,
    "transient_max": 1,
    "expiries_max": 2,
    "releases_max": 1,
    "undo_attempts_max": 1,
}

# Successors: one that works and owes from its first moment, one that only undoes. [COMP-7]
HEIR = msgspec.structs.replace(small(UNDO), predecessor="t0", inherited=(inherited(LATER_UNDO),))
KEEPER = msgspec.structs.replace(
    small(UNDO, **ONE),
    predecessor="t0",
    inherited=(inherited(UNDO, 0, 1), inherited(LATER_UNDO)),
    steps=(KeptStep("s1", "t0", 4, "u1"),),
)
CHILD = msgspec.structs.replace(small(**ONE), parent="p", on_parent_end="cancel")
FAILED = (TaskEnd("other", 3, State.FAILED),)
UNDOER = msgspec.structs.replace(
    small(UNDO),
    predecessor="t0",
    inherited=(inherited(UNDO, 0, 1), inherited(LATER_UNDO)),
    outcome="failed",
)


def timed(*compensations: Compensation, **changed: Any) -> c.Create:
    """A task with both deadlines; the search begins at 10."""
    return msgspec.structs.replace(small(*compensations, **changed), deadline_ms=12, start_by_ms=11)


def searched(create: c.Create, hazards: bool = False, until_found: bool = False, also: Iterable[str] = ()) -> Searched:
    result = search(create, hazards, until_found, also=frozenset(also))
    if not (until_found and result.findings):
        check_ways_out(result)
        check_rounds(result)
    return result


@pytest.mark.parametrize(
    ("create", "states_min"),
    [
        pytest.param(small(UNDO), 4_000, id="planned undo"),
        pytest.param(UNDOER, 100, id="only undoes"),
        pytest.param(HEIR, 2_000, id="heir", marks=pytest.mark.slow),
        pytest.param(small(), 1_500, id="nothing planned", marks=pytest.mark.slow),
        pytest.param(small(spent="quarantine"), 1_500, id="quarantines", marks=pytest.mark.slow),
        pytest.param(small(waiver="harmless"), 1_500, id="waived", marks=pytest.mark.slow),
        pytest.param(small(UNDO, undo_wait_ms=2), 4_000, id="undos that wait", marks=pytest.mark.slow),
    ],
)
def test_nothing_that_can_happen_breaks_a_promise(create: c.Create, states_min: int) -> None:
    """[LIFE-2] [LEASE-1] [FENCE-1] [FENCE-2] [COMP-1] [COMP-5] [COMP-6] [CANCEL-2] [ATTEMPT-2] [UNDO-3] [TERM-1]

    [COMP-7]
    """
    result = searched(create)
    assert result.findings == {}
    assert len(result.states) > states_min
    assert result.refusals > states_min


def test_nor_does_a_lease_that_needs_no_undo() -> None:
    """[COMP-2] [COMP-3] [LIFE-2]"""
    result = searched(small(), also=("waived lease",))
    assert result.findings == {}
    assert any(world.task.state is State.FAILED and not world.task.has_waiver for world in result.states)


@pytest.mark.slow
@pytest.mark.timeout(600)  # seconds; what it searches takes a quarter of a minute of one core
def test_nor_does_a_clock_that_steps_back_or_a_store_that_is_restored() -> None:
    """[LEASE-2] [LEASE-4] [TIME-3] [FENCE-1]"""
    result = searched(small(UNDO, **ONE), hazards=True)
    assert result.findings == {}
    assert len(result.states) > 8_000


@pytest.mark.parametrize(
    "also",
    [
        ("step", "artifact"),
        ("child",),
        pytest.param(("approval",), marks=pytest.mark.slow),
        pytest.param(("pause", "step"), marks=pytest.mark.slow),
    ],
    ids="+".join,
)
def test_nor_does_a_task_that_records_and_waits(also: tuple[str, ...]) -> None:
    """[WAIT-1] [WAIT-2] [WAIT-3] [STEP-1] [CANCEL-2] [LIFE-2]"""
    result = searched(small(UNDO, **ONE), also=also)
    assert result.findings == {}
    assert len(result.states) > 1_000


@pytest.mark.parametrize("on_failed", ["cancel", "run", "quarantine"])
@pytest.mark.parametrize("other", ["other", "other fails"])
def test_nor_does_a_child_that_waits_for_another_task(on_failed: OnFailed, other: str) -> None:
    """[WAIT-5] [CANCEL-4] [LIFE-2]"""
    create = msgspec.structs.replace(CHILD, after=("other",), on_failed=on_failed)
    result = searched(create, also=(other, "parent"))
    assert result.findings == {}
    runs = any(world.task.leases for world in result.states)
    assert runs == (other == "other" or on_failed == "run")


@pytest.mark.parametrize("also", [("step", "child of another"), ("step of u2",)], ids="+".join)
def test_nor_does_a_successor_that_keeps_steps_and_leaves_undos(also: tuple[str, ...]) -> None:
    """[STEP-1] [COMP-6] [COMP-7]"""
    result = searched(KEEPER, also=also)
    assert result.findings == {}
    assert len(result.states) > 500


@pytest.mark.slow
def test_nor_does_a_successor_that_asks_an_early_wait_anew() -> None:
    """[WAIT-1] [WAIT-2] The wait comes before one that it keeps."""
    waits = (KeptWaits("approval", (0, SignalEnd("t0", 9))),)
    result = searched(msgspec.structs.replace(KEEPER, waits=waits), also=("approval", "second approval"))
    assert result.findings == {}
    numbers = {world.task.next_wait("approval") for world in result.states}
    assert numbers == {1, 3}


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_nor_does_one_that_does_all_of_that() -> None:
    """[WAIT-1] [WAIT-2] [WAIT-3] [STEP-1]"""
    result = searched(small(**ONE), also=("step", "approval", "child", "pause"))
    assert result.findings == {}
    assert len(result.states) > 10_000


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_nor_do_these_hazards_with_every_budget_open() -> None:
    """[LEASE-2] [LEASE-4] [TIME-3] [FENCE-1] [ATTEMPT-2]"""
    result = searched(small(UNDO), hazards=True)
    assert result.findings == {}
    assert len(result.states) > 60_000


def test_the_search_treads_every_row_and_meets_every_event_of_a_verb() -> None:
    """[LIFE-1] Spaces that are small each tread all rows together: budgets of one lead to every end as well."""
    few = {**ONE, "expiries_max": 1}
    searches = [
        search(small(UNDO, **few)),
        search(UNDOER, also=frozenset({"artifact"})),
        search(small(**few), also=frozenset({"step", "artifact", "child of another"})),
        search(small(**few), also=frozenset({"approval"})),
        search(small(**few), also=frozenset({"pause"})),
        search(small(**few), also=frozenset({"use"})),
        search(msgspec.structs.replace(HEIR, policy=small(**few).policy)),
        search(small(**few), hazards=True),
        search(timed(UNDO, **few), also=frozenset({"amend"})),
        search(CHILD, also=frozenset({"parent"})),
        search(msgspec.structs.replace(CHILD, after=("other",), on_failed="cancel", ended=FAILED)),
        search(msgspec.structs.replace(CHILD, after=("other",), on_failed="quarantine", ended=FAILED)),
    ]
    trodden = set().union(*(one.rows for one in searches))
    table = {(move["source"], move["trigger"], move["dest"]) for move in TASK_LIFE.moves}
    assert trodden == table
    # A task waits 3,000 times before a wait more has it quarantined.
    unmet = {(c.Park, "quarantined")}
    listed = {(verb.command, event) for verb in kernel.VERBS for event in verb.writes}
    assert set().union(*(one.written for one in searches)) == listed - unmet


@pytest.mark.parametrize(
    ("create", "also"),
    [
        pytest.param(timed(UNDO, **{**ONE, "expiries_max": 1}), (), id="deadlines"),
        pytest.param(timed(**ONE), ("pause",), id="deadlines and a wait", marks=pytest.mark.slow),
        pytest.param(timed(UNDO, **ONE), ("amend", "step"), id="amended", marks=pytest.mark.slow),
    ],
)
def test_nor_does_a_task_with_deadlines_or_one_that_is_amended(create: c.Create, also: tuple[str, ...]) -> None:
    """[DEADLINE-1] [DEADLINE-2] [AMEND-2] [LIFE-2]"""
    result = searched(create, also=also)
    assert result.findings == {}
    assert {world.task.code for world in result.states} >= {"deadline", "start_by"}


# --- teeth -----------------------------------------------------------------------------------------------------------

Break = Callable[[pytest.MonkeyPatch], None]


def replaced(command: type[c.Command], mutant: Callable[..., Any]) -> Break:
    return lambda patch: patch.setitem(kernel.VERB_OF, command, replace(kernel.VERB_OF[command], decide=mutant))


def unlisted(command: type[c.Command], event: str) -> Break:
    verb = kernel.VERB_OF[command]
    return lambda patch: patch.setitem(kernel.VERB_OF, command, replace(verb, writes=verb.writes - {event}))


def folded(event: type[e.Recordable], mutant: Callable[[TaskFold, Any, int, int], None]) -> Break:
    def break_it(patch: pytest.MonkeyPatch) -> None:
        for moves in folding._MOVES.values():
            if event in moves:
                dest, fork, compare, _, counts = moves[event]
                patch.setitem(moves, event, (dest, fork, compare, mutant, counts))

    return break_it


def helper(name: str, mutant: Callable[..., Any], *modules: Any) -> Break:
    def break_it(patch: pytest.MonkeyPatch) -> None:
        for module in modules:
            patch.setattr(module, name, mutant)

    return break_it


def any_fence_will_do(task: TaskFold, fence: int, epoch: int) -> LeaseRecord | None:
    return task.lease


def lease_whatever_is_leased(task: TaskFold, command: c.Acquire, now_ms: int, epoch: int) -> kernel.Decision:
    state = State.PENDING if task.state is State.RUNNING else task.state
    return leases.acquire(msgspec.structs.replace(task, lease=None, state=state), command, now_ms, epoch)


def begin_again_at_the_first_fence(task: TaskFold, command: c.Acquire, now_ms: int, epoch: int) -> kernel.Decision:
    return leases.acquire(msgspec.structs.replace(task, leases=0), command, now_ms, epoch)


def forget_the_epoch(task: TaskFold, command: c.Acquire, now_ms: int, epoch: int) -> kernel.Decision:
    return leases.acquire(task, command, now_ms, 0)


def lease_no_undo(task: TaskFold, command: c.Acquire, now_ms: int, epoch: int) -> kernel.Decision:
    decision = leases.acquire(task, command, now_ms, epoch)
    if command.purpose == "undo":
        raise Blocked("no worker undoes")
    return decision


def cancel_leaving_all_behind(task: TaskFold, command: c.Cancel, now_ms: int, epoch: int) -> kernel.Decision:
    decision = interventions.cancel(task, command, now_ms, epoch)
    assert not isinstance(decision, rules.Repeat)
    return tuple(
        msgspec.structs.replace(event, to=State.CANCELLED) if isinstance(event, e.Cancelled) else event
        for event in decision
    )


def fail_with_nothing(task: TaskFold, command: c.Fail, now_ms: int, epoch: int) -> kernel.Decision:
    return work.fail(msgspec.structs.replace(task, has_waiver=True), command, now_ms, epoch)


def compensated_at_once(task: TaskFold, settled: str, verb: str) -> tuple[e.Recordable, ...]:
    fence = None if task.lease is None else task.lease.fence
    compensated = e.Compensated("failed", fence, None if fence is None else verb)
    return (compensated,) if task.state is State.COMPENSATING else ()


def never_compensated(task: TaskFold, settled: str, verb: str) -> tuple[e.Recordable, ...]:
    return ()


def over_a_moment_early(lease: LeaseRecord, seen: Seen | None, now_ms: int, epoch: int) -> str | None:
    return "clock" if lease.expires_ms is not None and now_ms + 1 >= lease.expires_ms else None


def unseen_at_once(lease: LeaseRecord, seen: Seen | None, now_ms: int, epoch: int) -> str | None:
    if lease.is_over(now_ms, epoch):
        return "clock"
    return "unseen" if seen is not None and now_ms < lease.renewed_ms else None


def never_over(lease: LeaseRecord, seen: Seen | None, now_ms: int, epoch: int) -> None:
    return None


def uncounted(count: str, fold: Callable[[TaskFold, Any, int, int], None]) -> Callable[[TaskFold, Any, int, int], None]:
    def mutant(task: TaskFold, event: Any, version: int, at_ms: int) -> None:
        before = getattr(task, count)
        fold(task, event, version, at_ms)
        setattr(task, count, before)

    return mutant


def quarantined_silently(task: TaskFold, code: str, *args: Any) -> e.Quarantined:
    return e.Quarantined(code, None, None, (), *args[2:])


def followed_by_nothing(task: TaskFold) -> tuple[e.Recordable, ...]:
    return ()


def never_spent(count: int, maximum: int | None) -> bool:
    return False


def never_refused(task: TaskFold, event: str, verb: str) -> TaskFold:
    return task


def unasked(*args: object) -> None:
    return None


def cancelled_to_undo_nothing(task: TaskFold) -> tuple[e.Recordable, ...]:
    return (e.Cancelled(to=State.COMPENSATING),)


def begin_the_step_again(task: TaskFold, command: c.Step, now_ms: int, epoch: int) -> kernel.Decision:
    return recordings.step(msgspec.structs.replace(task, steps={}), command, now_ms, epoch)


def lease_what_waits(task: TaskFold, command: c.Acquire, now_ms: int, epoch: int) -> kernel.Decision:
    return leases.acquire(msgspec.structs.replace(task, waiting=None), command, now_ms, epoch)


def wait_again(task: TaskFold, command: c.Park, now_ms: int, epoch: int) -> kernel.Decision:
    return waits.park(msgspec.structs.replace(task, waits={}), command, now_ms, epoch)


def wait_without_asking_which(task: TaskFold, command: c.Park, now_ms: int, epoch: int) -> kernel.Decision:
    ended = {command.name: EndedWaits(command.number - 1)}
    return waits.park(msgspec.structs.replace(task, waits=ended), command, now_ms, epoch)


def keep_what_was_taken(task: TaskFold, event: e.Unblocked, version: int, at_ms: int) -> None:
    kept = task.signals
    changes._unblocked(task, event, version, at_ms)
    task.signals = kept


_END_OF_WAIT: Final = waits.end_of_wait


def blind_to_ends(task: TaskFold, ended: tuple[TaskEnd, ...], now_ms: int, *seen: Any) -> tuple[e.Recordable, ...]:
    return _END_OF_WAIT(task, (), now_ms, *seen)


def complete_leaving_all_behind(task: TaskFold, command: c.Complete, now_ms: int, epoch: int) -> kernel.Decision:
    decision = work.complete(task, command, now_ms, epoch)
    assert not isinstance(decision, rules.Repeat)
    return decision[:1]


def all_is_void(task: TaskFold, event: e.Completed, version: int) -> None:
    task.compensations = {id: changes._settled(one, "void", version) for id, one in task.compensations.items()}


def nothing_is_left(task: TaskFold) -> tuple[str, ...]:
    return ()


def never_wakes(task: TaskFold, *others: Any) -> tuple[e.Recordable, ...]:
    return ()


MUTANTS: dict[str, tuple[Break, str]] = {
    "the fence is not compared": (
        helper("held", any_fence_will_do, leases, work, compensations),
        "stale_fence_accepted",
    ),
    "acquire ignores the lease": (replaced(c.Acquire, lease_whatever_is_leased), "two_leases"),
    "fences begin again": (replaced(c.Acquire, begin_again_at_the_first_fence), "fence_does_not_rise"),
    "a lease is over a moment early": (helper("_cause_of_expiry", over_a_moment_early, maintenance), "log_damaged"),
    "a lease is never over": (helper("_cause_of_expiry", never_over, maintenance), "immortal_lease"),
    "a release forgets the cancel": (
        helper("cancelled_after", followed_by_nothing, leases),
        "work_after_cancel",
    ),
    "a retry forgets the cancel": (helper("cancelled_after", followed_by_nothing, work), "work_after_cancel"),
    "an expiry forgets the cancel": (helper("cancelled_after", followed_by_nothing, maintenance), "work_after_cancel"),
    "a cancel leaves behind what is owed": (replaced(c.Cancel, cancel_leaving_all_behind), "left_behind"),
    "a cancel undoes nothing": (
        helper("cancelled_after", cancelled_to_undo_nothing, leases, work, maintenance),
        "nothing_to_undo",
    ),
    "no budget is ever spent": (
        helper("is_spent", never_spent, leases, work, compensations, maintenance),
        "budget_overrun",
    ),
    "failures are not counted": (folded(e.Retried, uncounted("failures", changes._retried)), "endless_round"),
    "expiries are not counted": (
        folded(e.LeaseExpired, uncounted("expiries", changes._lease_expired)),
        "endless_round",
    ),
    "failed undos are not counted": (
        folded(e.CompensationFailed, uncounted("undo_failures", changes._compensation_failed)),
        "endless_round",
    ),
    "quota retries have no beginning": (
        folded(e.Retried, uncounted("quota_since_ms", changes._retried)),
        "endless_round",
    ),
    "a task fails with nothing to undo it by": (
        replaced(c.Fail, fail_with_nothing),
        "failed_with_nothing_to_undo_by",
    ),
    "a task is compensated before all is settled": (
        helper("_compensated_after", compensated_at_once, compensations),
        "left_behind",
    ),
    "a task is never compensated": (
        helper("_compensated_after", never_compensated, compensations),
        "undoing_of_nothing",
    ),
    "no worker may undo": (replaced(c.Acquire, lease_no_undo), "dead_end"),
    "undos are done in any order": (helper("_require_last", unasked, compensations), "undone_out_of_order"),
    "what was planned is never owed": (helper("_owe_planned", unasked, changes), "fold_disagrees"),
    "a quarantine does not name what is owed": (
        helper("quarantined", quarantined_silently, interventions, rules, maintenance, compensations, leases),
        "owed_not_named",
    ),
    "an ended task is worked on": (helper("in_place", never_refused, interventions), "after_the_end"),
    "a verb writes what it does not list": (unlisted(c.Release, "cancelled"), "unlisted_event"),
}


# What is broken, what the task also does, and the finding.
WAITING_MUTANTS: dict[str, tuple[Break, tuple[str, ...], str]] = {
    "a step is recorded twice": (replaced(c.Step, begin_the_step_again), ("step",), "step_twice"),
    "what waits is leased": (replaced(c.Acquire, lease_what_waits), ("approval",), "leased_while_waiting"),
    "a wait is begun again": (replaced(c.Park, wait_again), ("pause",), "waits_twice"),
    "a wait is begun out of turn": (
        replaced(c.Park, wait_without_asking_which),
        ("approval", "second approval"),
        "wait_out_of_order",
    ),
    "parking forgets the cancel": (
        helper("cancelled_after", followed_by_nothing, waits),
        ("pause",),
        "work_after_cancel",
    ),
    "a signal that was taken is kept": (
        folded(e.Unblocked, keep_what_was_taken),
        ("approval", "second approval"),
        "signal_taken_twice",
    ),
    "an end that is waited for is not seen": (
        helper("end_of_wait", blind_to_ends, waits, maintenance),
        ("child",),
        "dead_end",
    ),
    "no wait ever ends": (helper("end_of_wait", never_wakes, waits, maintenance), ("pause",), "dead_end"),
}


def adopt_again(task: TaskFold, command: c.AdoptChild, now_ms: int, epoch: int) -> kernel.Decision:
    return recordings.adopt_child(msgspec.structs.replace(task, children={}), command, now_ms, epoch)


HEIR_MUTANTS: dict[str, tuple[Break, str]] = {
    "what is left is handed to no task": (replaced(c.Complete, complete_leaving_all_behind), "left_to_no_task"),
    "what is left is void": (lambda patch: patch.setattr(TaskFold, "left", nothing_is_left), "left_to_no_task"),
    "all is void": (helper("_void", all_is_void, changes), "log_damaged"),
    "a child is adopted twice": (replaced(c.AdoptChild, adopt_again), "child_twice"),
}


# Found only by a search of the whole space; the gate keeps one mutant of each finding.
LATE: Final = {
    "expiries are not counted",
    "failed undos are not counted",
    "failures are not counted",
    "no worker may undo",
}


def marked(mutants: Iterable[str]) -> list[Any]:
    """The mutants, with those for the campaign marked."""
    return [pytest.param(one, marks=[pytest.mark.slow] if one in LATE else []) for one in mutants]


@pytest.mark.parametrize("mutant", marked(HEIR_MUTANTS))
def test_the_search_sees_a_broken_rule_of_successors(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    break_it, name = HEIR_MUTANTS[mutant]
    break_it(monkeypatch)
    assert name in searched(KEEPER, until_found=True, also=("child of another",)).findings


@pytest.mark.parametrize("mutant", marked(WAITING_MUTANTS))
def test_the_search_sees_a_broken_rule_of_recording_and_waiting(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    break_it, also, name = WAITING_MUTANTS[mutant]
    break_it(monkeypatch)
    assert name in searched(small(UNDO, **ONE), until_found=True, also=also).findings


@pytest.mark.parametrize("mutant", marked(MUTANTS))
def test_the_search_sees_a_broken_rule(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    break_it, name = MUTANTS[mutant]
    break_it(monkeypatch)
    create = small() if "nothing to undo" in mutant else small(UNDO)
    assert name in searched(create, until_found=True).findings


def test_the_search_sees_a_fence_that_forgets_its_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    replaced(c.Acquire, forget_the_epoch)(monkeypatch)
    assert "fence_of_another_epoch" in searched(small(), hazards=True, until_found=True).findings


def test_the_search_sees_an_observer_that_is_believed_too_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    helper("_cause_of_expiry", unseen_at_once, maintenance)(monkeypatch)
    assert "log_damaged" in searched(small(), hazards=True, until_found=True).findings


def test_a_finding_tells_the_way_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    replaced(c.Acquire, lease_whatever_is_leased)(monkeypatch)
    found = searched(small(), until_found=True).findings
    assert found["two_leases"].startswith("after lease: ")

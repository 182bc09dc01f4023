"""create, acquire, heartbeat, release: how a task comes into being and changes hands."""

from __future__ import annotations

import msgspec
import pytest

from sagalog.errors import Blocked, LeaseHeld, LeaseLost, NotFound, TerminalTask
from sagalog.kernel import commands as c
from sagalog.kernel import events as e
from sagalog.kernel.values import Failure, LeaseRecord, State
from sagalog.testing import given
from tests.kernel.making import (
    LATER_UNDO,
    TTL_MS,
    UNDO,
    acquire,
    acquire_undo,
    cancel,
    complete,
    create,
    fail,
    heartbeat,
    in_epoch,
    leased,
    maintain,
    policy,
    release,
)

# --- create ----------------------------------------------------------------------------------------------------------


def test_creating_records_all_that_was_asked_with_the_whole_policy() -> None:
    """[RECORD-2]"""
    command = c.Create(
        task="t",
        kind="build",
        queue="q",
        priority=-3,
        run_at_ms=70,
        policy=policy(spent="quarantine"),
        payload={"issue": 168},
        compensations=(UNDO,),
        waiver="harmless",
        tags={"team": "red"},
        affinity="host-1",
        key="repo",
        parent="p",
        predecessor="o",
        correlation_id="c",
        trace="00-1",
        tracestate="v=1",
        data_key="tenant",
    )
    created = (
        given()
        .when(command, now_ms=5)
        .then(
            e.Created(
                "build",
                "q",
                -3,
                70,
                policy(spent="quarantine"),
                State.PENDING,
                {"issue": 168},
                (UNDO,),
                "harmless",
                {"team": "red"},
                "host-1",
                "repo",
                "p",
                "o",
                "c",
                "00-1",
                "v=1",
                "tenant",
            )
        )
    )
    assert created.task is not None
    assert created.task.state is State.PENDING
    assert created.task.created_ms == 5


def test_a_task_without_a_time_is_due_at_once_and_its_event_says_when() -> None:
    """[RECORD-1]"""
    created = (
        given().when(create(run_at_ms=None), now_ms=41).then(e.Created("build", "q", 0, 41, policy(), State.PENDING))
    )
    assert created.task is not None
    assert created.task.run_at_ms == 41


def test_creating_an_id_on_record_is_a_repeat() -> None:
    """[REPEAT-1] [REPEAT-2] What became of the task does not matter."""
    given(create()).when(create(run_at_ms=99)).then_repeat(1)
    given(create(), acquire(), complete()).when(create()).then_repeat(1)


@pytest.mark.parametrize("command", [acquire(), heartbeat(), release(), complete(), fail(), cancel(), maintain()])
def test_no_command_but_create_meets_a_task_that_is_not_there(command: c.Command) -> None:
    given().when(command).then_refused(NotFound, task="t")


# --- builds ---------------------------------------------------------------------------------------------------------


def test_a_lease_records_the_build_that_its_worker_names() -> None:
    """[WORKER-10] One for work, and one for undoing."""
    working = given(create(UNDO)).when(msgspec.structs.replace(acquire(), build="2026-11-29.3"))
    story = working.then(msgspec.structs.replace(leased(), build="2026-11-29.3")).given(fail())
    undoing = story.when(msgspec.structs.replace(acquire_undo(), build="b"))
    undoing.then(msgspec.structs.replace(leased(fence=2, purpose="undo"), build="b"))


# --- acquire ---------------------------------------------------------------------------------------------------------


def test_a_lease_has_the_first_fence_and_ends_a_ttl_from_now() -> None:
    """[FENCE-1] [LEASE-2]"""
    running = given(create()).when(acquire("ann", 100), now_ms=7).then(e.Leased("ann", 1, 1, "work", False, 100, 107))
    assert running.task is not None
    assert running.task.state is State.RUNNING


def test_a_lease_may_be_without_end() -> None:
    """[LEASE-2]"""
    held = given(create()).when(acquire(ttl_ms=None)).then(e.Leased("ann", 1, 1, "work", False, None, None))
    held.when(maintain(), now_ms=10**12).then_nothing()


def test_a_leased_task_is_refused_to_every_owner() -> None:
    """[LEASE-1] It is refused to its own owner, too, and when the lease is over."""
    held = given(create(), acquire("ann"))
    for owner in ("ann", "bob"):
        for now_ms in (0, TTL_MS, 10 * TTL_MS):
            held.when(acquire(owner), now_ms=now_ms).then_refused(
                LeaseHeld, task="t", owner="ann", fence=1, expires_ms=TTL_MS
            )


def test_a_lease_without_end_is_refused_to_others_without_naming_a_time() -> None:
    """[LEASE-1]"""
    given(create(), acquire(ttl_ms=None)).when(acquire("bob")).then_refused(LeaseHeld, expires_ms=None)


def test_who_works_on_undoing_holds_the_task_as_firmly() -> None:
    """[LEASE-1]"""
    undoing = given(create(UNDO), acquire(), fail(), acquire_undo("ann"))
    undoing.when(acquire_undo("bob")).then_refused(LeaseHeld, owner="ann", fence=2)


def test_fences_rise_with_every_lease_and_go_on_counting_in_a_later_epoch() -> None:
    """[FENCE-1]"""
    story = given(create(), acquire(), release(1)).when(acquire()).then(leased(2)).given(release(2))
    story.when(acquire(), epoch=3).then(leased(in_epoch(3, 3)))


def test_a_lease_of_an_older_epoch_is_ended_before_the_next_one() -> None:
    """[LEASE-4] [LEASE-1] [LEASE-2]"""
    story = given(create(), acquire(ttl_ms=None)).at(epoch=1)
    story.when(acquire("bob")).then_refused(LeaseHeld)
    freed = story.when(maintain()).then(e.LeaseExpired(1, "expire", "epoch"))
    freed.when(acquire("bob")).then(leased(in_epoch(1, 2), "bob"))


def test_an_ended_task_is_not_leased() -> None:
    """[TERM-1]"""
    given(create(), acquire(), complete()).when(acquire()).then_refused(TerminalTask, task="t", state="completed")


def test_a_task_that_is_not_compensating_is_not_leased_for_undoing() -> None:
    """[UNDO-1]"""
    given(create(UNDO)).when(acquire_undo()).then_refused(Blocked, task="t", state="pending")


def test_a_compensating_task_is_leased_for_undoing_only() -> None:
    """[UNDO-1]"""
    owing = given(create(UNDO), acquire(), fail())
    owing.when(acquire()).then_refused(Blocked, task="t", state="compensating")
    owing.when(acquire_undo()).then(leased(2, purpose="undo"))


def test_undoing_is_leased_only_to_who_knows_every_kind_that_is_owed() -> None:
    """[UNDO-1]"""
    owing = given(create(UNDO, LATER_UNDO), acquire(), fail())
    owing.when(acquire_undo(kinds=frozenset({"remove"}))).then_refused(Blocked, kinds=["close"])
    owing.when(acquire_undo(kinds=frozenset())).then_refused(Blocked, kinds=["close", "remove"])
    owing.when(acquire_undo(kinds=frozenset({"remove", "close", "more"}))).then(leased(2, purpose="undo"))


def test_kinds_that_are_settled_need_not_be_known() -> None:
    """[UNDO-1]"""
    owing = given(create(UNDO, LATER_UNDO), acquire(), fail(), c.Waive(task="t", compensation="u2", reason="gone"))
    owing.when(acquire_undo(kinds=frozenset({"remove"}))).then(leased(2, purpose="undo"))


# --- heartbeat -------------------------------------------------------------------------------------------------------


def test_a_heartbeat_moves_the_expiry_a_ttl_from_now() -> None:
    """[LEASE-3]"""
    renewed = given(create(), acquire(ttl_ms=100)).when(heartbeat(), now_ms=60).then(e.Heartbeat(1, 100, 160))
    renewed.when(maintain(), now_ms=159).then_nothing()
    renewed.when(maintain(), now_ms=160).then(e.LeaseExpired(1, "expire", "clock"))


def test_a_heartbeat_may_change_the_ttl_and_later_ones_keep_it() -> None:
    """[LEASE-3]"""
    renewed = given(create(), acquire(ttl_ms=100)).when(heartbeat(ttl_ms=500), now_ms=10).then(e.Heartbeat(1, 500, 510))
    renewed.when(heartbeat(), now_ms=20).then(e.Heartbeat(1, 500, 520))


def test_a_heartbeat_that_moves_nothing_forward_writes_nothing() -> None:
    """[LEASE-3]"""
    held = given(create(), acquire(ttl_ms=100))
    held.when(heartbeat()).then_nothing()
    held.when(heartbeat(ttl_ms=50), now_ms=50).then_nothing()
    held.when(heartbeat(ttl_ms=50), now_ms=51).then(e.Heartbeat(1, 50, 101))


def test_progress_is_written_even_where_the_later_expiry_is_kept() -> None:
    """[LEASE-3]"""
    held = given(create(), acquire(ttl_ms=100))
    told = held.when(heartbeat(ttl_ms=50, progress={"done": 3}), now_ms=10).then(e.Heartbeat(1, 100, 100, {"done": 3}))
    assert told.task is not None
    assert told.task.progress_version == 3


def test_a_lease_without_end_stays_so_and_no_heartbeat_removes_an_end() -> None:
    """[LEASE-3]"""
    given(create(), acquire(ttl_ms=None)).when(heartbeat(ttl_ms=50)).then_nothing()
    given(create(), acquire(ttl_ms=None)).when(heartbeat(progress=1)).then(e.Heartbeat(1, None, None, 1))
    given(create(), acquire(ttl_ms=100)).when(heartbeat(), now_ms=99).then(e.Heartbeat(1, 100, 199))


def test_a_heartbeat_after_the_clock_stepped_back_is_written() -> None:
    """[LEASE-3] [TIME-3] Its expiry comes earlier. Else no observer could see that the worker lives."""
    held = given().given(create(), acquire(ttl_ms=100), now_ms=1_000)
    held.when(heartbeat(), now_ms=400).then(e.Heartbeat(1, 100, 500))


def test_a_heartbeat_is_refused_from_the_moment_of_expiry_on() -> None:
    """[LEASE-3] [FENCE-2]"""
    held = given(create(), acquire(ttl_ms=100))
    held.when(heartbeat(), now_ms=99).then(e.Heartbeat(1, 100, 199))
    held.when(heartbeat(), now_ms=100).then_refused(LeaseLost, task="t", fence=1, current=1, state="running")


def test_undoing_is_renewed_alike() -> None:
    """[LEASE-3]"""
    given(create(UNDO), acquire(), fail(), acquire_undo()).when(heartbeat(2), now_ms=60).then(e.Heartbeat(2, 100, 160))


# --- release ---------------------------------------------------------------------------------------------------------


def test_a_task_given_back_is_pending_and_due_when_the_worker_says() -> None:
    """It is due at once where the worker says no time."""
    held = given(create(), acquire())
    freed = held.when(release(reason="shutting down"), now_ms=30).then(e.Released(1, "release", 30, "shutting down"))
    assert freed.task is not None
    assert (freed.task.state, freed.task.run_at_ms, freed.task.attempt) == (State.PENDING, 30, 1)
    held.when(release(run_at_ms=900), now_ms=30).then(e.Released(1, "release", 900))


def test_giving_back_twice_is_a_repeat_until_the_next_lease_ends() -> None:
    """[REPEAT-5]"""
    freed = given(create(), acquire(), release())
    freed.when(release()).then_repeat(3)
    freed.given(acquire()).when(release(1)).then_repeat(3)
    freed.given(acquire(), release(2)).when(release(1)).then_refused(LeaseLost, fence=1, current=2)


def test_giving_back_after_another_ending_is_too_late() -> None:
    """[REPEAT-5] [FENCE-2]"""
    given(create(), acquire(), complete()).when(release()).then_refused(LeaseLost, state="completed")


def test_giving_back_has_no_budget_unless_the_policy_sets_one() -> None:
    """[ATTEMPT-2]"""
    story = given(create(UNDO))
    for n in range(1, 30):
        story = story.given(acquire()).when(release(n)).then(e.Released(n, "release", 0))


def test_the_last_release_of_the_budget_ends_the_forward_work() -> None:
    """[ATTEMPT-2] [ATTEMPT-3]"""
    story = (
        given(create(UNDO, releases_max=2), acquire())
        .when(release(1))
        .then(e.Released(1, "release", 0))
        .given(acquire())
    )
    ended = e.Failed(State.COMPENSATING, "releases_spent", fence=2, verb="release", reason="tired")
    story.when(release(2, "tired")).then(ended).when(release(2, "tired")).then_repeat(5)
    story.when(release(2)).then(e.Failed(State.COMPENSATING, "releases_spent", fence=2, verb="release"))


def test_an_undo_given_back_stays_compensating_until_a_budget_is_spent() -> None:
    """[UNDO-3]"""
    story = given(create(UNDO, releases_max=2), acquire(), fail(), acquire_undo())
    story = story.when(release(2, run_at_ms=40)).then(e.Released(2, "release", 40)).given(acquire_undo())
    spent = story.when(release(3, "tired")).then(
        e.Quarantined("undo_releases_spent", "tired", None, ("u1",), 3, "release")
    )
    spent.when(release(3)).then_repeat(7)


def test_a_task_that_was_asked_to_stop_is_cancelled_when_it_is_given_back() -> None:
    """[CANCEL-2] Also where the release would have spent a budget."""
    asked = given(create(UNDO, releases_max=1), acquire(), cancel())
    asked.when(release()).then(e.Released(1, "release", 0), e.Cancelled(State.COMPENSATING))
    unowed = given(create(waiver="harmless"), acquire(), cancel())
    unowed.when(release()).then(e.Released(1, "release", 0), e.Cancelled(State.CANCELLED))


# --- the fence -------------------------------------------------------------------------------------------------------

LATE_COMMANDS = [
    heartbeat(),
    release(),
    complete(),
    fail(waiver="w"),
    c.Register(task="t", fence=1, compensation=UNDO),
    c.Retry(task="t", fence=1, error=Failure("x", "y"), budget="attempt", jitter=0.0),
    c.CompensationDone(task="t", fence=1, compensation="u1"),
    c.CompensationDone(task="t", fence=1, compensation="unheard of"),
    c.CompensationFailed(task="t", fence=1, compensation="u1", error=Failure("x", "y"), jitter=0.0),
]


@pytest.mark.parametrize("late", LATE_COMMANDS, ids=lambda late: type(late).__name__)
def test_a_worker_that_wakes_after_a_take_over_is_always_refused(late: c.Held) -> None:
    """[FENCE-2] A task that runs on refuses it, one that is being undone, and one that has ended."""
    lost = given(create(LATER_UNDO), acquire("ann"), now_ms=0).given(maintain(), now_ms=TTL_MS)
    for story in (
        lost,
        lost.given(acquire("bob")),
        lost.given(acquire("bob"), fail(fence=2), acquire_undo("bob")),
        lost.given(acquire("bob"), complete(2)),
        lost.given(cancel()),
    ):
        story.when(late).then_refused(LeaseLost, task="t", fence=1)


@pytest.mark.parametrize("late", LATE_COMMANDS, ids=lambda late: type(late).__name__)
def test_a_fence_of_an_older_epoch_is_refused(late: c.Held) -> None:
    """[FENCE-2] No event has ended its lease."""
    given(create(LATER_UNDO), acquire()).when(late, epoch=1).then_refused(LeaseLost, task="t", fence=1, current=1)


def test_finished_work_is_accepted_after_the_expiry() -> None:
    """[FENCE-2] No other worker has taken over. The clock has no say."""
    late = given(create(UNDO), acquire()).at(now_ms=100 * TTL_MS)
    late.when(complete(result=1)).then(e.Completed(1, "complete", 1))
    late.when(release()).then(e.Released(1, "release", 100 * TTL_MS))


def test_a_refusal_says_who_holds_the_task_and_until_when() -> None:
    """[LEASE-1] [FENCE-2]"""
    ending, endless = given(create(), acquire("ann")), given(create(), acquire("ann", ttl_ms=None))
    for story, until in ((ending, "until 100 ms"), (endless, "without end")):
        with pytest.raises(LeaseHeld, match=f"'ann' holds it under fence 1 {until}"):
            story.given(acquire("bob"))
    with pytest.raises(LeaseLost, match=r"that lease has ended \(newest fence 1\) and the task is pending"):
        ending.given(release(), complete())
    with pytest.raises(LeaseLost, match="it is held by 'bob' under fence 2"):
        ending.given(release(), acquire("bob"), complete(1))


def test_a_lease_on_record_tells_whether_it_is_over() -> None:
    """[LEASE-2]"""
    ending, endless = LeaseRecord("ann", 1, 1, "work", 100, 100, 0), LeaseRecord("ann", 1, 1, "work", None, None, 0)
    assert [ending.is_over(now_ms, 0) for now_ms in (0, 99, 100, 101)] == [False, False, True, True]
    assert [endless.is_over(10**15, epoch) for epoch in (0, 1)] == [False, True]
    assert ending.is_over(0, 1)

"""maintain: what the engine does about what is due on a task, at the next call that claims, acquires or recovers."""

from __future__ import annotations

import pytest

from sagalog.kernel import events as e
from sagalog.kernel.bounds import STREAM_EVENTS_MAX, STREAM_EVENTS_RESERVE
from sagalog.kernel.values import Parameters, Seen, State, Unchanged
from sagalog.testing import Scenario, given
from tests.kernel.making import (
    LATER_UNDO,
    TTL_MS,
    UNDO,
    acquire,
    acquire_undo,
    cancel,
    compensation_failed,
    complete,
    create,
    ends,
    fail,
    heartbeat,
    in_epoch,
    leased,
    maintain,
    maintain_unchanged,
    park,
    quarantine,
    release,
    retry,
    unblocked_by_tasks,
)
from tests.kernel.test_bounds import grown

HELD = given(create(UNDO), acquire())
OWING = HELD.given(fail())


@pytest.mark.parametrize(
    "story",
    [given(create(UNDO)), HELD, OWING, HELD.given(complete()), HELD.given(quarantine())],
    ids=lambda story: story.task.state.value,
)
def test_where_nothing_is_due_nothing_is_written(story: Scenario) -> None:
    """[UPKEEP-1]"""
    story.when(maintain()).then_nothing()


def test_a_lease_is_over_at_its_expiry_and_not_before() -> None:
    """[LEASE-2] [LEASE-4]"""
    HELD.when(maintain(), now_ms=TTL_MS - 1).then_nothing()
    freed = HELD.when(maintain(), now_ms=TTL_MS).then(e.LeaseExpired(1, "expire", "clock"))
    assert freed.task is not None
    assert (freed.task.state, freed.task.run_at_ms, freed.task.attempt) == (State.PENDING, TTL_MS, 1)


def test_tending_twice_is_tending_once() -> None:
    """[UPKEEP-1]"""
    HELD.given(maintain(), now_ms=TTL_MS).when(maintain()).then_nothing()


def test_a_lease_of_an_older_epoch_is_over_whatever_the_clock_says() -> None:
    """[LEASE-2] [LEASE-4]"""
    HELD.when(maintain(), now_ms=0, epoch=1).then(e.LeaseExpired(1, "expire", "epoch"))
    HELD.when(maintain(), now_ms=10 * TTL_MS, epoch=1).then(e.LeaseExpired(1, "expire", "epoch"))


def test_a_lease_of_this_epoch_is_not_over_by_it() -> None:
    """[LEASE-2]"""
    story = given(create(UNDO)).at(epoch=2).when(acquire()).then(leased(in_epoch(2, 1)))
    story.when(maintain()).then_nothing()


def test_what_the_end_of_a_lease_makes_due_is_done_in_the_same_commit() -> None:
    """[UPKEEP-1] Else tending again would still find something."""
    left = given(create(UNDO, expiries_max=1), acquire()).at(now_ms=TTL_MS)
    unable = maintain(unknown_kinds=frozenset({"remove"}))
    left.when(unable).then(
        e.LeaseExpired(1, "expire", "clock"),
        e.Failed(State.COMPENSATING, "expiries_spent"),
        e.Quarantined("unknown_compensation", owed=("u1",), parameters={"kinds": ("remove",)}),
    ).when(unable).then_nothing()


# --- unseen ----------------------------------------------------------------------------------------------------------

# The lease was taken at 1000 and the clock has stepped back behind that.
AHEAD = given().given(create(UNDO), acquire(), now_ms=1_000)


def test_a_clock_that_stepped_back_makes_no_lease_immortal() -> None:
    """[TIME-3] [LEASE-4]"""
    seen = Seen(1, 1_000, TTL_MS)
    AHEAD.when(maintain(), now_ms=200).then_nothing()
    AHEAD.when(maintain(seen), now_ms=200).then(e.LeaseExpired(1, "expire", "unseen", seen))


@pytest.mark.parametrize(
    "seen",
    [Seen(1, 1_000, TTL_MS - 1), Seen(1, 999, TTL_MS), Seen(2, 1_000, TTL_MS)],
    ids=["not for the whole ttl", "another renewal", "another lease"],
)
def test_an_observer_is_believed_only_after_the_whole_ttl(seen: Seen) -> None:
    """[TIME-3] It must have seen this renewal for that long."""
    AHEAD.when(maintain(seen), now_ms=200).then_nothing()


def test_an_observer_is_not_asked_where_the_clock_can_tell() -> None:
    """[TIME-3] [LEASE-4]"""
    AHEAD.when(maintain(Seen(1, 1_000, TTL_MS)), now_ms=1_000).then_nothing()
    AHEAD.when(maintain(Seen(1, 1_000, TTL_MS)), now_ms=1_100).then(e.LeaseExpired(1, "expire", "clock"))


def test_an_observer_ends_no_lease_without_end() -> None:
    """[TIME-3] [LEASE-2]"""
    endless = given().given(create(UNDO), acquire(ttl_ms=None), now_ms=1_000)
    endless.when(maintain(Seen(1, 1_000, 10**9)), now_ms=200).then_nothing()


def test_a_renewal_after_the_step_back_starts_the_observers_wait_anew() -> None:
    """[TIME-3]"""
    renewed = AHEAD.given(heartbeat(), now_ms=500)
    renewed.when(maintain(Seen(1, 1_000, TTL_MS)), now_ms=400).then_nothing()
    renewed.when(maintain(Seen(1, 500, TTL_MS)), now_ms=400).then(
        e.LeaseExpired(1, "expire", "unseen", Seen(1, 500, TTL_MS))
    )


# --- what an expiry brings -------------------------------------------------------------------------------------------


def test_lost_workers_have_a_budget() -> None:
    """[ATTEMPT-2] [ATTEMPT-3]"""
    story = given(create(UNDO, expiries_max=2), acquire()).given(maintain(), acquire(), now_ms=TTL_MS)
    owing = story.when(maintain(), now_ms=2 * TTL_MS).then(
        e.LeaseExpired(2, "expire", "clock"), e.Failed(State.COMPENSATING, "expiries_spent")
    )
    assert owing.task is not None
    assert owing.task.run_at_ms == 2 * TTL_MS


def test_lost_workers_of_a_task_without_an_undo_lead_to_quarantine() -> None:
    """[COMP-3]"""
    held = given(create(expiries_max=1), acquire())
    parameters: Parameters = {"instead_of": "expiries_spent"}
    held.when(maintain(), now_ms=TTL_MS).then(
        e.LeaseExpired(1, "expire", "clock"), e.Quarantined("compensation_required", parameters=parameters)
    )


def test_lost_workers_quarantine_where_the_policy_says_so() -> None:
    """[ATTEMPT-3] [COMP-6]"""
    held = given(create(UNDO, expiries_max=1, spent="quarantine"), acquire())
    held.when(maintain(), now_ms=TTL_MS).then(
        e.LeaseExpired(1, "expire", "clock"), e.Quarantined("expiries_spent", owed=("u1",))
    )


def test_an_expired_undo_goes_on_though_a_cancel_had_been_asked_for() -> None:
    """[CANCEL-2] [UNDO-3] The cancel was of the forward work."""
    story = given(create(UNDO), acquire(), cancel(), fail(), acquire_undo("ann"))
    freed = story.when(maintain(), now_ms=TTL_MS).then(e.LeaseExpired(2, "expire", "clock"))
    freed.when(acquire_undo("bob")).then(leased(3, "bob", at_ms=TTL_MS, purpose="undo"))


# --- undos that no worker can do, or comes for -----------------------------------------------------------------------


def test_an_undo_of_an_unknown_kind_is_quarantined_and_none_is_run() -> None:
    """[UNDO-2] No worker knows the kind."""
    owing = given(create(UNDO, LATER_UNDO), acquire(), fail())
    owing.when(maintain(unknown_kinds=frozenset({"close", "build"}))).then(
        e.Quarantined("unknown_compensation", owed=("u1", "u2"), parameters={"kinds": ("close",)})
    )
    owing.when(maintain(unknown_kinds=frozenset({"build"}))).then_nothing()


def test_an_undo_of_a_kind_that_is_not_among_the_known_ones_is_quarantined() -> None:
    """[UNDO-2]"""
    owing = given(create(UNDO, LATER_UNDO), acquire(), fail())
    owing.when(maintain(known_kinds=frozenset({"remove"}))).then(
        e.Quarantined("unknown_compensation", owed=("u1", "u2"), parameters={"kinds": ("close",)})
    )
    owing.when(maintain(known_kinds=frozenset())).then(
        e.Quarantined(
            "unknown_compensation",
            owed=("u1", "u2"),
            parameters={
                "kinds": (
                    "close",
                    "remove",
                )
            },
        )
    )
    both = frozenset({"remove", "close"})
    owing.when(maintain(known_kinds=both)).then_nothing()
    owing.when(maintain(known_kinds=both, unknown_kinds=frozenset({"remove"}))).then(
        e.Quarantined("unknown_compensation", owed=("u1", "u2"), parameters={"kinds": ("remove",)})
    )
    HELD.when(maintain(known_kinds=frozenset())).then_nothing()


def test_a_wait_is_ended_once_by_any_call() -> None:
    """[WAIT-3] [UPKEEP-1]"""
    story = HELD.given(park(after=("a", "b"), until_ms=500))
    story.when(maintain(ended=("a",))).then_nothing()
    both, over = maintain(ended=("a", "b")), unblocked_by_tasks("w", 1, *ends("a", "b"))
    story.when(both).then(over).when(both).then_nothing()
    story.when(both, now_ms=500).then(over)
    story.when(maintain(), now_ms=500).then(e.Unblocked("w", 1, "time"))


def test_who_holds_an_undo_is_not_disturbed() -> None:
    """[UNDO-2]"""
    held = given(create(UNDO, undo_wait_ms=1), acquire(), fail(), acquire_undo())
    held.when(maintain(unknown_kinds=frozenset({"remove"}), overdue=True), now_ms=TTL_MS - 1).then_nothing()


def test_only_undoing_asks_who_knows_the_kinds() -> None:
    """[UNDO-2]"""
    HELD.when(maintain(unknown_kinds=frozenset({"remove"}))).then_nothing()
    HELD.given(release()).when(maintain(unknown_kinds=frozenset({"remove"}))).then_nothing()
    given(create(UNDO)).when(maintain(unknown_kinds=frozenset({"remove"}))).then_nothing()


def test_an_undo_that_no_worker_claims_is_quarantined_in_time() -> None:
    """[UNDO-2] The policy says after which time."""
    owing = given(create(UNDO, undo_wait_ms=500), acquire(), now_ms=0).given(fail(), now_ms=50)
    owing.when(maintain(overdue=True), now_ms=549).then_nothing()
    owing.when(maintain(), now_ms=550).then_nothing()
    owing.when(maintain(overdue=True), now_ms=550).then(
        e.Quarantined("undo_wait", owed=("u1",), parameters={"due_for_ms": 500})
    )


def test_an_undo_waits_for_ever_where_the_policy_says_so() -> None:
    """[UNDO-2]"""
    owing = given(create(UNDO, undo_wait_ms=None), acquire(), fail())
    owing.when(maintain(overdue=True), now_ms=10**12).then_nothing()


# --- a clock that was set back ----------------------------------------------------------------------------------------

# Its last event was written at 1000; the clock has stepped back behind that.
DELAYED = {
    "a delayed task": given(create(UNDO, run_at_ms=1_500), now_ms=1_000),
    "a retry": given(create(UNDO, run_at_ms=None, delay_min_ms=500, delay_max_ms=500), acquire(), now_ms=1_000).given(
        retry()
    ),
    "a retry of an undo": given(
        create(UNDO, run_at_ms=None, delay_min_ms=500, delay_max_ms=500),
        acquire(),
        fail(),
        acquire_undo(),
        now_ms=1_000,
    ).given(compensation_failed("u1")),
}


@pytest.mark.parametrize("name", DELAYED)
def test_what_an_observer_saw_for_long_enough_is_due(name: str) -> None:
    """[TIME-3] The clock is too early to say so."""
    story = DELAYED[name]
    assert story.task is not None
    version = story.task.version
    story.when(maintain_unchanged(version, 499), now_ms=400).then_nothing()
    story.when(maintain_unchanged(version - 1, 500), now_ms=400).then_nothing()
    promoted = story.when(maintain_unchanged(version, 500), now_ms=400).then(e.Promoted(Unchanged(version, 500)))
    assert promoted.task is not None
    assert promoted.task.run_at_ms == 400
    promoted.when(maintain_unchanged(version + 1, 500), now_ms=400).then_nothing()


@pytest.mark.parametrize("name", DELAYED)
def test_an_observer_has_no_say_where_the_clock_can_tell(name: str) -> None:
    """[TIME-3]"""
    story = DELAYED[name]
    assert story.task is not None
    story.when(maintain_unchanged(story.task.version, 5_000), now_ms=1_000).then_nothing()


def test_a_sleep_ends_by_what_an_observer_saw_and_says_so() -> None:
    """[TIME-3] [WAIT-3]"""
    asleep = given(create(), acquire(), now_ms=1_000).given(park(until_ms=1_500))
    asleep.when(maintain_unchanged(3, 499), now_ms=400).then_nothing()
    asleep.when(maintain_unchanged(3, 500), now_ms=400).then(e.Unblocked("w", 1, "time", seen=Unchanged(3, 500)))


def test_what_is_held_is_not_promoted() -> None:
    """[TIME-3]"""
    held = given(create(), acquire(ttl_ms=None), now_ms=1_000)
    held.when(maintain_unchanged(2, 10_000), now_ms=400).then_nothing()


def test_a_task_without_room_for_its_next_lease_is_not_promoted() -> None:
    """[TIME-3] [BOUND-2]"""
    story = grown(DELAYED["a delayed task"], STREAM_EVENTS_MAX - STREAM_EVENTS_RESERVE - 1)
    assert story.task is not None
    story.when(maintain_unchanged(story.task.version, 500), now_ms=400).then_nothing()

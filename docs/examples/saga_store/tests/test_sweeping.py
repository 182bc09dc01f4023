"""The recovery sweep, status, and retrying what was quarantined."""

from __future__ import annotations

import pytest

import sagalog
from saga_store import Compensation, SagaStore, Swept, TaskSaga, TaskState, sweep
from saga_store.tests.making import BRANCH, TTL_MS, WORKTREE, loaded, planned, running
from sagalog.testing import ManualClock

BACKOFF_MS = 60_000


class Undoing:
    """Handlers that keep what they were asked for; those for `broken` kinds raise."""

    def __init__(self, *kinds: str, broken: tuple[str, ...] = ()) -> None:
        self.asked: list[tuple[str, Compensation]] = []
        self.broken = set(broken)
        self.handlers = dict.fromkeys((*kinds, *broken), self._undo)

    def _undo(self, saga: TaskSaga, compensation: Compensation) -> None:
        self.asked.append((saga.task_id, compensation))
        if compensation.kind in self.broken:
            raise OSError("the disk is away")


def dead(store: SagaStore, clock: ManualClock, *compensations: Compensation, count: int = 1) -> None:
    """Sagas t1, t2, … whose agents have died."""
    for number in range(1, count + 1):
        running(store, number, compensations)
    clock.advance(TTL_MS)


def test_a_saga_whose_agent_died_is_failed_and_undone_in_reverse_order(store: SagaStore, clock: ManualClock) -> None:
    store.append_compensation(running(store, compensations=[WORKTREE]), BRANCH)
    clock.advance(TTL_MS)
    undoing = Undoing("remove-worktree", "delete-branch")

    report = sweep(store, undoing.handlers)

    assert undoing.asked == [("t1", BRANCH), ("t1", WORKTREE)]
    assert report == (Swept("t1", True, (BRANCH, WORKTREE), None, TaskState.COMPENSATED),)
    assert (loaded(store).state, loaded(store).terminal_reason) == (TaskState.COMPENSATED, "its agent is gone")


def test_a_saga_that_was_marked_failed_is_undone_by_the_sweep(store: SagaStore) -> None:
    store.mark_failed(running(store), "tests fail", WORKTREE)

    report = sweep(store, Undoing("remove-worktree").handlers)

    assert report == (Swept("t1", False, (WORKTREE,), None, TaskState.COMPENSATED),)
    assert loaded(store).terminal_reason == "tests fail"


def test_living_leases_and_planned_sagas_are_left_alone(store: SagaStore) -> None:
    before = [running(store, 1, [WORKTREE]), planned(store, 2)]

    assert sweep(store, Undoing("remove-worktree").handlers) == ()
    assert store.list_in_flight() == before


def test_a_dead_agent_that_recorded_nothing_leaves_a_quarantined_saga(store: SagaStore, clock: ManualClock) -> None:
    dead(store, clock)

    assert sweep(store, {}) == (Swept("t1", True, (), None, TaskState.QUARANTINED),)


def test_a_saga_that_owes_an_unknown_kind_is_quarantined(store: SagaStore, clock: ManualClock) -> None:
    """None of its undos is run."""
    dead(store, clock, Compensation("revoke-token", "x"), WORKTREE)
    running(store, 2, [WORKTREE])
    clock.advance(TTL_MS)
    undoing = Undoing("remove-worktree")

    first, second = sweep(store, undoing.handlers)

    assert undoing.asked == [("t2", WORKTREE)]
    assert (first.state, first.undone) == (TaskState.QUARANTINED, ())
    assert first.problem is not None
    assert "revoke-token" in first.problem
    assert loaded(store).terminal_reason == first.problem
    assert second.state is TaskState.COMPENSATED


def test_one_saga_whose_handler_raises_never_stops_the_sweep(store: SagaStore, clock: ManualClock) -> None:
    running(store, 1, [WORKTREE])
    running(store, 2, [BRANCH])
    running(store, 3, [WORKTREE])
    clock.advance(TTL_MS)

    report = sweep(store, Undoing("delete-branch", broken=("remove-worktree",)).handlers)

    assert [one.state for one in report] == [TaskState.COMPENSATING, TaskState.COMPENSATED, TaskState.COMPENSATING]
    assert report[0].problem == "remove-worktree: the disk is away"
    failed = [one for one in store.engine.history("t1") if one.type == "compensation_failed"]
    assert "OSError: the disk is away" in failed[0].body


def test_what_could_not_be_undone_is_retried_after_its_backoff(store: SagaStore, clock: ManualClock) -> None:
    dead(store, clock, WORKTREE)
    broken, whole = Undoing(broken=("remove-worktree",)), Undoing("remove-worktree")
    sweep(store, broken.handlers)

    assert sweep(store, whole.handlers) == ()
    assert whole.asked == []
    clock.advance(BACKOFF_MS)
    sweep(store, whole.handlers)

    assert loaded(store).state is TaskState.COMPENSATED


def test_an_undo_that_keeps_failing_spends_its_budget_and_is_quarantined(store: SagaStore, clock: ManualClock) -> None:
    dead(store, clock, WORKTREE)
    undoing = Undoing(broken=("remove-worktree",))
    states = []
    for _ in range(4):
        states += [one.state for one in sweep(store, undoing.handlers)]
        clock.advance(BACKOFF_MS)

    assert states == [TaskState.COMPENSATING, TaskState.COMPENSATING, TaskState.QUARANTINED]
    assert len(undoing.asked) == 3


def test_what_was_undone_before_a_failure_is_not_undone_again(store: SagaStore, clock: ManualClock) -> None:
    dead(store, clock, WORKTREE, BRANCH)
    sweep(store, Undoing("delete-branch", broken=("remove-worktree",)).handlers)
    clock.advance(BACKOFF_MS)
    whole = Undoing("delete-branch", "remove-worktree")

    sweep(store, whole.handlers)

    assert whole.asked == [("t1", WORKTREE)]


def test_sweeping_again_writes_nothing(store: SagaStore, clock: ManualClock) -> None:
    dead(store, clock, WORKTREE, count=3)
    planned(store, 4, [Compensation("unknown", "x")])
    sweep(store, Undoing("remove-worktree").handlers)
    position = store.engine.newest_position()

    assert sweep(store, Undoing("remove-worktree").handlers) == ()
    assert store.engine.newest_position() == position


def test_a_saga_that_another_sweep_is_undoing_is_left_to_it(store: SagaStore) -> None:
    store.mark_failed(running(store), "tests fail", WORKTREE)
    inner: list[tuple[Swept, ...]] = []

    def undo(saga: TaskSaga, compensation: Compensation) -> None:
        inner.append(sweep(store, {}, owner="another"))

    sweep(store, {"remove-worktree": undo})

    assert inner == [()]
    assert loaded(store).state is TaskState.COMPENSATED


def test_a_sweep_whose_undo_outlives_its_lease_stops_and_the_others_go_on(store: SagaStore, clock: ManualClock) -> None:
    store.mark_failed(running(store, 1), "tests fail", WORKTREE)
    store.mark_failed(running(store, 2), "tests fail", BRANCH)

    def slow(saga: TaskSaga, compensation: Compensation) -> None:
        clock.advance(TTL_MS)
        store.engine.recover()

    first, second = sweep(store, {"remove-worktree": slow, "delete-branch": Undoing()._undo}, ttl_ms=TTL_MS)

    assert first.problem is not None
    assert "fence" in first.problem
    assert second.state is TaskState.COMPENSATED


def test_each_undo_has_the_whole_ttl_for_itself(store: SagaStore, clock: ManualClock) -> None:
    saga = store.append_compensation(running(store, compensations=[WORKTREE]), BRANCH)
    store.mark_failed(saga, "tests fail")

    def slow(saga: TaskSaga, compensation: Compensation) -> None:
        clock.advance(TTL_MS - 1)
        store.engine.recover()

    sweep(store, {"remove-worktree": slow, "delete-branch": slow}, ttl_ms=TTL_MS)

    assert loaded(store).state is TaskState.COMPENSATED


def test_a_sweep_that_is_stopped_gives_its_lease_back(store: SagaStore) -> None:
    store.mark_failed(running(store), "tests fail", WORKTREE)

    def stop(saga: TaskSaga, compensation: Compensation) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep(store, {"remove-worktree": stop})
    assert loaded(store).lease_owner is None

    sweep(store, Undoing("remove-worktree").handlers)
    assert loaded(store).state is TaskState.COMPENSATED


def test_the_next_sweep_finishes_what_a_dead_sweep_was_undoing(store: SagaStore, clock: ManualClock) -> None:
    store.append_compensation(running(store, compensations=[WORKTREE]), BRANCH)
    clock.advance(TTL_MS)
    store.engine.acquire("t1", owner="dead", ttl_ms=TTL_MS).fail("its agent is gone")
    store.engine.acquire("t1", owner="dead", ttl_ms=TTL_MS, purpose="undo").compensation_done(
        loaded_task(store).owed[0].id
    )
    undoing = Undoing("remove-worktree", "delete-branch")

    assert sweep(store, undoing.handlers) == ()
    clock.advance(TTL_MS)
    report = sweep(store, undoing.handlers)

    assert report == (Swept("t1", True, (WORKTREE,), None, TaskState.COMPENSATED),)
    assert undoing.asked == [("t1", WORKTREE)]


def loaded_task(store: SagaStore) -> sagalog.Task:
    task = store.engine.get("t1")
    assert task is not None
    return task


def test_a_sweep_undoes_and_quarantines_nothing_of_other_queues(store: SagaStore) -> None:
    store.engine.create("build", id="foreign", queue="ci", compensations=[sagalog.Compensation("odd")])
    store.engine.acquire("foreign", owner="ci", ttl_ms=TTL_MS).fail("broken")

    running(store, compensations=[Compensation("odd", "x")])
    store.mark_failed(loaded(store), "tests fail")

    assert [one.task_id for one in sweep(store, {})] == ["t1"]
    assert store.existing("foreign").state == "compensating"


def test_the_status_counts_states_and_names_what_is_in_flight_and_stale(store: SagaStore, clock: ManualClock) -> None:
    running(store, 1, [WORKTREE])
    clock.advance(TTL_MS)
    planned(store, 2)
    planned(store, 3)
    store.dispatch("t3")
    store.mark_completed(running(store, 4))

    status = store.status()

    assert status.counts == {
        TaskState.RUNNING: 1,
        TaskState.PLANNED: 1,
        TaskState.DISPATCHED: 1,
        TaskState.COMPLETED: 1,
    }
    assert status.in_flight == ("t1", "t2", "t3")
    assert status.stale == ("t1",)


def test_a_quarantined_saga_is_retried_as_a_task_that_owes_the_same(store: SagaStore, clock: ManualClock) -> None:
    dead(store, clock, WORKTREE)
    sweep(store, {})
    assert loaded(store).state is TaskState.QUARANTINED

    again = store.retry("t1")

    assert (again.saga_id, again.state) == ("s1", TaskState.COMPENSATING)
    assert again.task_id != "t1"
    assert store.retry("t1") == again
    assert [saga.task_id for saga in store.find(saga_id="s1")] == ["t1", again.task_id]
    undoing = Undoing("remove-worktree")
    sweep(store, undoing.handlers)
    assert undoing.asked == [(again.task_id, WORKTREE)]
    assert loaded(store, again.task_id).state is TaskState.COMPENSATED


def test_a_saga_that_has_not_ended_is_not_retried(store: SagaStore) -> None:
    planned(store)

    with pytest.raises(sagalog.WrongState):
        store.retry("t1")


def test_after_everything_the_log_verifies(store: SagaStore, clock: ManualClock) -> None:
    dead(store, clock, WORKTREE, count=3)
    sweep(store, Undoing(broken=("remove-worktree",)).handlers)
    clock.advance(BACKOFF_MS)
    sweep(store, {})
    store.retry("t1")

    assert store.engine.verify().ok

"""The recovery sweep: who is gone, what is undone, what is put before a human, and that a second one does nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from saga_store import Handler, SagaCompensation, SagaStore, Swept, TaskSaga, TaskState, sweep
from saga_store.tests.test_saga_store import BRANCH, TTL_MS, WORKTREE, failed, plan, running
from sagalog.testing import ManualClock

EXAMPLES = Path(__file__).parents[2]


class Hands:
    """Handlers that write down what they were asked to undo; what is named in `broken` fails."""

    def __init__(self, *kinds: str, broken: str | None = None) -> None:
        self.done: list[tuple[str, str]] = []
        self.broken = broken
        self.handlers: dict[str, Handler] = dict.fromkeys(kinds or ("remove-worktree", "delete-branch"), self.undo)

    def undo(self, saga: TaskSaga, compensation: SagaCompensation) -> None:
        if self.broken == saga.task_id:
            raise OSError("no such folder")
        self.done.append((saga.task_id, compensation.kind))


def swept(store: SagaStore, hands: Hands) -> dict[str, Swept]:
    return {one.task_id: one for one in sweep(store, hands.handlers, "sweeper", TTL_MS)}


def test_a_sweep_undoes_what_a_dead_worker_left_in_reverse_order(store: SagaStore, clock: ManualClock) -> None:
    store.register(running(store, "t1", WORKTREE), BRANCH)
    hands = Hands()
    assert swept(store, hands) == {}
    clock.advance(TTL_MS)
    assert swept(store, hands)["t1"].state == "compensated"
    assert hands.done == [("t1", "delete-branch"), ("t1", "remove-worktree")]


def test_a_sweep_undoes_what_has_failed_and_leaves_the_living_alone(store: SagaStore) -> None:
    failed(store, "t1")
    plan(store, "t2")
    held = running(store, "t3", WORKTREE)
    hands = Hands()
    assert set(swept(store, hands)) == {"t1"}
    assert (len(hands.done), store.get("t3")) == (2, held)


def test_a_saga_that_owes_an_unknown_kind_is_quarantined_and_none_of_it_is_run(store: SagaStore) -> None:
    failed(store, "t1")
    hands = Hands("delete-branch")
    assert swept(store, hands)["t1"].state == "quarantined"
    saga = store.get("t1")
    assert saga is not None
    assert (hands.done, saga.state) == ([], TaskState.QUARANTINED)
    assert "remove-worktree" in (saga.terminal_reason or "")


def test_one_bad_saga_never_stops_the_sweep(store: SagaStore) -> None:
    for id in ("t1", "t2", "t3"):
        failed(store, id)
    hands = Hands(broken="t2")
    found = swept(store, hands)
    assert [found[id].state for id in ("t1", "t2", "t3")] == ["compensated", "compensating", "compensated"]
    assert found["t2"].error == "OSError: no such folder"


def test_a_bad_saga_is_tried_again_after_its_backoff_and_then_put_before_a_human(
    store: SagaStore, clock: ManualClock
) -> None:
    failed(store, "t1")
    hands = Hands(broken="t1")
    swept(store, hands)
    assert swept(store, hands) == {}
    clock.advance(1_000)
    assert swept(store, hands)["t1"].state == "quarantined"


def test_a_bad_saga_that_is_mended_is_undone_by_a_later_sweep(store: SagaStore, clock: ManualClock) -> None:
    failed(store, "t1")
    hands = Hands(broken="t1")
    swept(store, hands)
    clock.advance(1_000)
    hands.broken = None
    assert swept(store, hands)["t1"] == Swept("t1", "compensated")


def test_sweeping_again_changes_nothing(store: SagaStore, clock: ManualClock) -> None:
    failed(store, "t1")
    running(store, "t2", WORKTREE)
    running(store, "t3", SagaCompensation("unheard-of", "x"))
    clock.advance(TTL_MS)
    hands = Hands(broken="t1")
    assert set(swept(store, hands)) == {"t1", "t2", "t3"}
    log, done = store.engine.newest_position(), list(hands.done)
    assert swept(store, hands) == {}
    assert (store.engine.newest_position(), hands.done) == (log, done)


def test_a_dead_worker_with_nothing_to_undo_by_is_put_before_a_human(store: SagaStore, clock: ManualClock) -> None:
    running(store, "t1")
    clock.advance(TTL_MS)
    swept(store, Hands())
    saga = store.get("t1")
    assert saga is not None
    assert (saga.state, "nothing to undo" in (saga.terminal_reason or "")) == (TaskState.QUARANTINED, True)


def test_an_undo_whose_sweeper_died_is_finished_by_the_next(store: SagaStore, clock: ManualClock) -> None:
    failed(store, "t1")
    dead = store.engine.acquire("t1", owner="dead", ttl_ms=TTL_MS, purpose="undo")
    dead.compensation_done(dead.task.owed[0].id)
    hands = Hands()
    assert swept(store, hands) == {}
    clock.advance(TTL_MS)
    assert swept(store, hands)["t1"].state == "compensated"
    assert hands.done == [("t1", "remove-worktree")]


@pytest.mark.parametrize("line", ["stale: task-2, task-3", "undo: delete-branch fix/2", "again: []"])
def test_the_story_runs_and_tells_what_happens(line: str) -> None:
    path = os.pathsep.join([str(EXAMPLES), *sys.path])
    told = subprocess.run(
        [sys.executable, "-m", "saga_store"], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    assert told.returncode == 0, told.stderr
    assert line in told.stdout.splitlines()

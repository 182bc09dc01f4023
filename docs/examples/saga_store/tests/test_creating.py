"""create, get, find, dispatch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import saga_store
import sagalog
from saga_store import SagaStore, TaskSaga, TaskState
from saga_store.tests.making import BRANCH, TTL_MS, WORKTREE, loaded, planned, running


def test_a_created_saga_is_planned_and_whole(store: SagaStore) -> None:
    created = planned(store, compensations=[WORKTREE, BRANCH])

    assert created == TaskSaga("t1", "s1", TaskState.PLANNED, 1, "fix/1", "wt/1", (WORKTREE, BRANCH))
    assert store.get("t1") == created


def test_create_takes_keywords_only(store: SagaStore) -> None:
    with pytest.raises(TypeError):
        store.create("t1", "s1", 1, "fix/1", "wt/1")  # type: ignore[call-arg]  # that is the point


def test_a_duplicate_task_id_is_refused_and_the_row_is_kept(store: SagaStore) -> None:
    created = planned(store)

    with pytest.raises(sagalog.AlreadyExists):
        planned(store, saga_id="another")

    assert store.list_in_flight() == [created]
    assert store.find(saga_id="another") == []


def test_a_duplicate_saga_id_is_refused_and_the_row_is_kept(store: SagaStore) -> None:
    created = planned(store)

    with pytest.raises(sagalog.Conflict):
        planned(store, 2, saga_id="s1")

    assert store.list_in_flight() == [created]


def test_the_very_same_creation_again_gets_the_saga_that_exists(store: SagaStore) -> None:
    created = planned(store)
    position = store.engine.newest_position()

    assert planned(store) == created
    assert store.engine.newest_position() == position


def test_a_saga_id_is_unique_among_processes(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'sagas.db'}"
    program = """
import sys
from saga_store import open_store
from sagalog import Conflict
from sagalog.testing import ManualClock
with open_store(sys.argv[1], clock=ManualClock(1), durability="normal") as store:
    print("ready", flush=True)
    sys.stdin.readline()
    won = 0
    for n in range(20):
        try:
            store.create(task_id=f"{sys.argv[2]}-{n}", saga_id=f"s{n}", issue=n, branch="b", worktree="w")
            won += 1
        except Conflict:
            pass
    print(won)
"""
    path = ":".join([str(Path(saga_store.__file__).parents[1]), *sys.path])
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, url, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={"PYTHONPATH": path},
        )
        for name in ("a", "b")
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()

    won = [int(process.communicate(timeout=60)[0]) for process in processes]

    assert sum(won) == 20


def test_getting_a_missing_saga_gives_none(store: SagaStore) -> None:
    assert store.get("absent") is None


def test_sagas_are_found_by_saga_id_and_by_issue(store: SagaStore) -> None:
    first, second = planned(store, 1), planned(store, 2)

    assert store.find(saga_id="s1") == [first]
    assert store.find(issue=2) == [second]


def test_a_dispatched_saga_says_so_until_it_runs(store: SagaStore) -> None:
    planned(store)

    assert store.dispatch("t1").state is TaskState.DISPATCHED
    position = store.engine.newest_position()
    assert store.dispatch("t1").state is TaskState.DISPATCHED
    assert store.engine.newest_position() == position
    assert store.acquire_lease("t1", "agent-1", ttl_ms=TTL_MS).state is TaskState.RUNNING


def test_only_a_saga_that_waits_can_be_dispatched(store: SagaStore) -> None:
    saga = running(store)

    with pytest.raises(sagalog.WrongState):
        store.dispatch("t1")
    store.mark_completed(saga)
    with pytest.raises(sagalog.TerminalTask):
        store.dispatch("t1")
    with pytest.raises(sagalog.NotFound):
        store.dispatch("absent")


def test_a_remark_that_is_not_ours_dispatches_nothing(store: SagaStore) -> None:
    planned(store)

    store.engine.note("t1", "dispatched")

    assert loaded(store).state is TaskState.PLANNED


def test_a_task_id_too_long_for_later_remarks_is_refused_at_once(store: SagaStore) -> None:
    with pytest.raises(sagalog.InvalidValue):
        store.create(task_id="t" * 121, saga_id="s", issue=1, branch="b", worktree="w")

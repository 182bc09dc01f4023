"""Commits of unknown outcome: what a worker claimed in one is found, and what it wrote is written once. [REPEAT-1]"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

import sagalog
from sagalog import Unavailable, Unknown
from sagalog.store.memory import MemoryStore
from sagalog.store.memory_snapshot import MemorySnapshot
from sagalog.testing import ManualClock, SeededEntropy
from sagalog.testing.faults import answer_lost, away, faults
from sagalog.worker import WorkContext
from tests.worker.commit_plans import AFTER, BEFORE, UNDO, failing, plan_of
from tests.worker.inline import InlineWorker
from tests.worker.worker_processes import at_work, ended, story


class ShortOfReads(MemoryStore):
    """A memory store that cannot be read so many times."""

    left = 0

    @contextmanager
    def read(self) -> Iterator[MemorySnapshot]:
        if self.left:
            self.left -= 1
            raise Unavailable("no snapshot is to be had")
        with super().read() as snapshot:
            yield snapshot


def test_tasks_claimed_in_an_unknown_commit_are_found_after_more_failures(
    clock: ManualClock,
) -> None:
    """[REPEAT-1] Unknown, then Unavailable again and again: that says nothing of what was claimed."""
    ran: list[str] = []
    store = ShortOfReads(clock)
    engine = sagalog.Engine(store, clock=clock, entropy=SeededEntropy(1))
    for id in ("a", "b"):
        engine.create("do", id=id)
    worker = InlineWorker(engine, plan_of(lambda context, _payload: ran.append(context.task.id)), "w", clock)
    worker.worker_loop.look()
    with faults(AFTER, answer_lost), pytest.raises(Unknown):
        worker.worker_loop.run_round()
    assert worker.worker_loop.held == 0
    for reads in (1, 2, 3):
        # It fails before it finds the first, between the two, and behind them.
        store.left = 0
        with faults(BEFORE, away), suppress(Unavailable):
            engine.note("a", "anything")
        store.left = reads
        with suppress(Unavailable):
            worker.worker_loop.run_round()
    store.left = 0
    worker.until_idle()

    assert sorted(ran) == ["a", "b"]
    for id in ("a", "b"):
        assert [one for one in story(engine, id) if one != "noted"] == ["created", "leased", "completed"]


def test_undos_claimed_in_an_unknown_commit_are_carried_out(engine: sagalog.Engine, clock: ManualClock) -> None:
    """[REPEAT-1] [UNDO-3]"""
    undone: list[str] = []
    failing(engine, "a", "b")
    worker = InlineWorker(engine, plan_of(None, lambda context, _params: undone.append(context.task.id)), "w", clock)
    worker.worker_loop.look()
    with faults(AFTER, answer_lost), pytest.raises(Unknown):
        worker.worker_loop.run_round()
    worker.until_idle()

    assert sorted(undone) == ["a", "b"]
    assert story(engine, "a") == ["created", "leased", "failed", "leased", "compensation_done", "compensated"]


def test_tasks_found_after_an_unknown_commit_count_time_from_that_claim(
    engine: sagalog.Engine, clock: ManualClock
) -> None:
    """[WORKER-2] Their leases are measured from the commit that claimed them."""
    told: list[bool] = []

    def handler(context: WorkContext, _payload: Any) -> None:
        clock.advance(9)
        worker.worker_loop.watch()
        told.append(context.lost)
        clock.advance(1)
        worker.worker_loop.watch()
        told.append(context.lost)

    engine.create("do")
    worker = InlineWorker(engine, plan_of(handler), "w", clock)
    worker.worker_loop.look()
    with faults(AFTER, answer_lost), pytest.raises(Unknown):
        worker.worker_loop.run_round()
    clock.advance(70)
    # The first turn after that finds it; its own commit says nothing of when the lease began.
    worker.worker_loop._find_own()
    worker.run_job()
    assert told == [False, True]


def test_a_closing_worker_gives_back_what_an_unknown_commit_claimed(engine: sagalog.Engine, clock: ManualClock) -> None:
    """[WORKER-3] Nothing of it is begun, and none of it waits for its lease to run out."""
    ran: list[str] = []
    engine.create("do", id="a")
    failing(engine, "b")
    worker = InlineWorker(engine, plan_of(lambda *_: ran.append("work"), lambda *_: ran.append("undo")), "w", clock)
    worker.worker_loop.look()
    with faults(AFTER, answer_lost), pytest.raises(Unknown):
        worker.worker_loop.run_round()
    assert (story(engine, "a")[-1], story(engine, "b")[-1]) == ("created", "leased")
    with faults(AFTER, None, answer_lost):
        # It finds the undo, and in the second commit from there it claims the work.
        while story(engine, "a")[-1] == "created":
            with suppress(Unknown):
                worker.turn()
    worker.worker_loop.announce_stop()
    before = worker.worker_loop.has_unsettled
    worker.worker_loop.run_round()

    assert (before, worker.worker_loop.has_unsettled) == (True, False)
    assert worker.pool.waiting == []
    assert ran == []
    assert [story(engine, id)[-1] for id in ("a", "b")] == ["released", "released"]
    assert [task.attempt for task in engine.find()] == [1, 1]


def test_a_stopped_worker_leaves_no_lease_of_an_unknown_commit() -> None:
    """[WORKER-3] A real worker is told to stop in that commit."""
    worker = sagalog.Worker(ttl_ms=600_000)
    worker.task("do")(lambda _context, _payload: "done")

    with sagalog.open("memory:") as opened:

        def stop_and_lose() -> None:
            if any(task.lease is not None for task in opened.find()):
                worker.stop()
                answer_lost()

        opened.create("do", id="a")
        with faults(AFTER, *[stop_and_lose] * 10):
            worker.run(opened, handle_signals=False)
        task = opened.get("a")
        assert task is not None
        assert (task.state, task.lease, task.attempt) == ("pending", None, 1)
        assert story(opened, "a") == ["created", "leased", "released"]


def test_a_settlement_whose_answer_was_lost_is_written_once(engine: sagalog.Engine, clock: ManualClock) -> None:
    """[REPEAT-5] The store is lost as well, afterwards."""
    engine.create("do", id="a")
    worker = InlineWorker(engine, plan_of(lambda *_: "done"), "w", clock)
    worker.turn()
    worker.run_job()
    with faults(AFTER, answer_lost), pytest.raises(Unknown):
        worker.worker_loop.run_round()
    with faults(BEFORE, away), pytest.raises(Unavailable):
        worker.worker_loop.run_round()
    worker.until_idle()
    assert story(engine, "a") == ["created", "leased", "completed"]
    assert (worker.worker_loop.stats.settled, worker.worker_loop.stats.lost) == (1, 0)


def test_a_step_whose_answer_was_lost_twice_is_recorded_once_and_run_once(tmp_path: Any) -> None:
    """[STEP-1] [REPEAT-3]"""
    worker = sagalog.Worker()
    ran: list[int] = []
    planned: list[Any] = []

    @worker.task("do")
    def do(context: WorkContext, _payload: Any) -> Any:
        with faults(AFTER, answer_lost, answer_lost) as happened, faults(BEFORE, None, away):
            planned.append(happened)
            return context.step("once", lambda: ran.append(1) or "written", compensation=UNDO)  # type: ignore[func-returns-value]

    with sagalog.open(f"sqlite:///{tmp_path}/store.db", durability="normal") as engine:
        id = engine.create("do").id
        with at_work(worker, engine):
            assert ended(engine, id).result == "written"
        assert planned[0].left == 0
        assert ran == [1]
        assert story(engine, id) == ["created", "leased", "compensation_registered", "step_completed", "completed"]


@pytest.mark.parametrize("together", [True, False])
def test_an_unknown_batch_names_every_task_that_it_would_create(engine: sagalog.Engine, together: bool) -> None:
    """It names those within groups, too."""
    ids: list[str] = []

    def record() -> None:
        with engine.batch(together=together) as batch:
            ids.append(batch.create("do"))
            if not together:
                with batch.group():
                    ids.append(batch.create("do"))
                    batch.note(ids[0], "seen")
                    ids.append(batch.create("do"))
            batch.note(ids[0], "seen again")
            ids.append(batch.create("do"))

    with faults(AFTER, answer_lost), pytest.raises(Unknown) as unknown:
        record()
    assert unknown.value.fields["identity"] == {"ids": ids}
    assert [task.id for task in engine.find()] == ids
